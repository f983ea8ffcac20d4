"""What a check of a bundle finds: faults by code and place, and what each store was asked and answered.

Source: P12; R30.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from schemas.signed import DatedKey
from schemas.terms import Proof


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not hold. ``where``: a JSON Pointer into the file. No value of the file is quoted."""

    code: str
    where: str = ""


class Standing(StrEnum):
    """How a store's answer stands: proved in one of two ways, or what is missing."""

    VERIFIED = Proof.VERIFIED.value
    ATTESTED = Proof.ATTESTED.value
    ANSWERED = "answered"
    SILENT = "silent"
    BARRED = "barred"
    NOT_ASKED = "not-asked"
    CONTRADICTING = "contradicting"
    DECIDED = "decided"

    @property
    def proved(self) -> bool:
        return self in (Standing.VERIFIED, Standing.ATTESTED)


SETTLED: Final = frozenset({Standing.VERIFIED, Standing.ATTESTED, Standing.BARRED, Standing.DECIDED})
"""With these a case may be closed."""


@dataclass(frozen=True, slots=True)
class StoreStory:
    """What one store was asked and answered. Moments as on the wire; ``entry`` and ``look``: what it signed for."""

    code: str
    name: str
    country: str
    standing: Standing
    asked_at: str | None = None
    answered_at: str | None = None
    entry: Mapping[str, Any] | None = None
    look: Mapping[str, Any] | None = None
    looked_at: str | None = None


@dataclass(slots=True)
class Report:
    """All that a check found. ``faults`` empty: the file is what was signed, and agrees with itself.

    ``notes``: what the reader must know, such as that no key was given to compare with. ``case`` and ``head`` are
    absent when the file could not even be read.
    """

    faults: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    case: Mapping[str, Any] | None = None
    head: Mapping[str, Any] | None = None
    ledger_keys: list[DatedKey] = field(default_factory=list)
    entries: list[Mapping[str, Any]] = field(default_factory=list)
    stores: list[StoreStory] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not self.faults

    def fault(self, code: str, where: str = "") -> None:
        self.faults.append(Finding(code, where))
