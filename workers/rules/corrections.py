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

A value may hold several fields together, as a column for the whole name does. It is taken apart only where what the
person saw leaves one way to do it: :class:`Composition`.

Source: R18; GDPR Art. 16.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations_with_replacement, pairwise
from typing import Any, Final, Self

from schemas.errors import InvalidMessage
from schemas.subject import clean_phone

_WORDS: Final = 32
"""A value of more words is taken apart by nobody: the ways to do it grow with each."""


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
    return weighed((patch, patch.judge(stored)) for patch, stored in stands)


def weighed(verdicts_of: Iterable[tuple[Patch, Verdict]]) -> Judged:
    """The same of verdicts that were found already."""
    found = list(verdicts_of)
    verdicts = frozenset(verdict for _, verdict in found)
    applies = tuple(patch for patch, verdict in found if verdict is Verdict.APPLIES)
    return Judged(verdicts, () if Verdict.CONFLICTS in verdicts else applies)


@dataclass(frozen=True, slots=True)
class Composition:
    """Fields that stand in one value together, in this order, with ``join`` between them.

    A field that nobody speaks of is one word, or nobody knows where it ends; one of which the person says that nothing
    stood there may be missing where they speak of all the others. What is left ambiguous is a conflict.
    """

    of: tuple[str, ...]
    join: str

    def judge(self, patches: Mapping[str, Patch], stored: object) -> tuple[str, Verdict]:
        """What should stand in a stored value, and what becomes of it. ``patches``: by field, one of ours or more."""
        ours = [patches.get(name) for name in self.of]
        stands = "" if stored is None else _normal(str(stored))
        if not stands:
            return self._of_nothing(ours)
        words = stands.split() if self.join.isspace() else stands.split(self.join)
        ways = list(self._ways(words, ours)) if len(words) <= _WORDS else []
        right = any(verdicts == {Verdict.HOLDS} for _, verdicts in ways)
        values = {value for value, _ in ways}
        if right or values == {stands}:
            return stands, Verdict.HOLDS
        return (values.pop(), Verdict.APPLIES) if len(values) == 1 else (stands, Verdict.CONFLICTS)

    def _of_nothing(self, ours: Sequence[Patch | None]) -> tuple[str, Verdict]:
        said = [patch for patch in ours if patch is not None]
        if all(patch.was is not None for patch in said):
            return "", Verdict.ABSENT
        if len(said) == len(self.of) and all(patch.was is None for patch in said):
            return self.join.join(patch.to for patch in said), Verdict.APPLIES
        return "", Verdict.CONFLICTS

    def _ways(self, words: Sequence[str], ours: Sequence[Patch | None]) -> Iterator[tuple[str, set[Verdict]]]:
        """Each way to tell the fields apart that fits what the person saw: the value then, and what becomes of each."""
        for ends in _cuts(len(words), len(ours)):
            parts = [self.join.join(words[start:end]) for start, end in pairwise((0, *ends, len(words)))]
            if _one_word_each(ours, ends, len(words)) and (all(parts) or None not in ours):
                verdicts = {patch.judge(part) for patch, part in zip(ours, parts, strict=True) if patch is not None}
                if verdicts <= {Verdict.HOLDS, Verdict.APPLIES}:
                    now = [part if patch is None else patch.to for patch, part in zip(ours, parts, strict=True)]
                    yield self.join.join(now), verdicts


def _cuts(words: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Where each part but the last ends."""
    return combinations_with_replacement(range(words + 1), parts - 1)


def _one_word_each(ours: Sequence[Patch | None], ends: Sequence[int], words: int) -> bool:
    lengths = [end - start for start, end in pairwise((0, *ends, words))]
    return all(patch is not None or length == 1 for patch, length in zip(ours, lengths, strict=True))


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
