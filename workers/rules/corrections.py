"""What a correction means for a value that stands, wherever it stands: set, right already, in conflict, or none of it.

===================== ======================= =========================================
what stands           what the person saw     what becomes of it
===================== ======================= =========================================
what should           anything                ``holds``: right already
what they saw         that                    ``applies``: what should stand is set
nothing               nothing                 ``applies``: the field is completed
nothing               something               ``absent``: nothing is wrong here
anything else         anything                ``conflicts``: left as it is, and shown
===================== ======================= =========================================

Source: R18; GDPR Art. 16.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from schemas.errors import InvalidMessage
from schemas.subject import clean_phone


class Verdict(StrEnum):
    """What becomes of one value; see the module."""

    HOLDS = "holds"
    APPLIES = "applies"
    ABSENT = "absent"
    CONFLICTS = "conflicts"


@dataclass(frozen=True, slots=True)
class Patch:
    """One field's correction. ``was``: the version the person saw, None where nothing stood there."""

    name: str
    to: str = field(repr=False)
    was: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, said: Mapping[str, str]) -> Self:
        """From one of :data:`schemas.corrections.PATCHES`."""
        return cls(said["field"], said["to"], said.get("was"))

    def judge(self, stored: object) -> Verdict:
        """What becomes of a stored value; anything but text is compared as its text."""
        stands = "" if stored is None else _normal(str(stored))
        if stands == _normal(self.to):
            return Verdict.HOLDS
        if not stands:
            return Verdict.APPLIES if self.was is None else Verdict.ABSENT
        same = self.was is not None and _loosely(self.name, stands) == _loosely(self.name, self.was)
        return Verdict.APPLIES if same else Verdict.CONFLICTS


@dataclass(frozen=True, slots=True)
class Judged:
    """A whole record under its patches. ``sets``: those to be applied, none while another conflicts."""

    verdicts: frozenset[Verdict]
    sets: tuple[Patch, ...]

    @property
    def concerned(self) -> bool:
        """Whether it holds, or is to hold, any of the fields."""
        return bool(self.verdicts - {Verdict.ABSENT})

    @property
    def conflicts(self) -> bool:
        return Verdict.CONFLICTS in self.verdicts


def judged(stands: Iterable[tuple[Patch, Any]]) -> Judged:
    """What becomes of a record: each patch with what stands in its field. A record in conflict is left whole."""
    found = [(patch, patch.judge(stored)) for patch, stored in stands]
    verdicts = frozenset(verdict for _, verdict in found)
    applies = tuple(patch for patch, verdict in found if verdict is Verdict.APPLIES)
    return Judged(verdicts, () if Verdict.CONFLICTS in verdicts else applies)


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


def _loosely(name: str, text: str) -> str:
    """As people compare: letter case and spaces apart; a telephone number in whichever way it is written."""
    if name == "phone":
        try:
            return clean_phone(text)
        except InvalidMessage:
            pass
    return " ".join(_normal(text).casefold().split())
