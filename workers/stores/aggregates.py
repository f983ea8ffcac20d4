"""Published counts of visits, in **evidence**: one document for each day in Paris, written once.

They are about nobody, and stand here rather than beside the visits because a restore of **active** must not have a day
counted anew: with who was erased since left out, it would show by how much they made it larger.
Source: R6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from workers.rules.aggregates import Cell
from workers.stores.mongo import Collection, Databases, available, insert_new


@dataclass(frozen=True, slots=True)
class Counted:
    """A day's counts. ``least``: no cell is of fewer devices."""

    day: date
    least: int
    cells: tuple[Cell, ...]

    def as_json(self) -> dict[str, Any]:
        cells = [cell._asdict() for cell in self.cells]
        return {"day": self.day.isoformat(), "least": self.least, "cells": cells}


class Aggregates:
    """By day."""

    def __init__(self, databases: Databases) -> None:
        self._days: Collection = databases.evidence["aggregates"]

    async def keep(self, counted: Counted, now: datetime) -> None:
        """Keep a day's counts; those that stand already stay as they are."""
        told = counted.as_json()
        await insert_new(self._days, [{"_id": told.pop("day"), "made": now, **told}])

    async def latest(self) -> date | None:
        """The last day that was counted."""
        with available():
            found = await self._days.find_one({}, {"_id": 1}, sort=[("_id", -1)])
        return date.fromisoformat(found["_id"]) if found else None

    async def between(self, first: date, last: date, *, least: int) -> Sequence[Counted]:
        """The days from ``first`` to ``last`` of which no cell is of fewer than ``least`` devices, in order."""
        wanted = {"_id": {"$gte": first.isoformat(), "$lte": last.isoformat()}, "least": {"$gte": least}}
        with available():
            found = await self._days.find(wanted).sort("_id", 1).to_list(None)
        return [
            Counted(date.fromisoformat(one["_id"]), one["least"], tuple(Cell(**cell) for cell in one["cells"]))
            for one in found
        ]
