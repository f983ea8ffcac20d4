"""A bad adapter, for `greffier conform` to find out: it says what it should have done, and does nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "adapter"))

from office import JsonOffice

from schemas.terms import Right
from workers.stores.subsidiaries.adapter import Subject, Tally


class SaysDone(JsonOffice):
    """Erases in words."""

    async def erase(self, subject: Subject, planned: Sequence[Tally] = ()) -> list[Tally]:
        return await self.plan(Right.ERASURE, subject)


def open_office(store: str) -> JsonOffice:
    """What `greffier conform` opens."""
    return SaysDone(Path(store))
