"""Ticks: what was due, when it came, and what became of it, in **evidence**. One document for each, whatever repeats.

Source: design § 4 "Time and no"; P9.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo import ReturnDocument

from schemas.ticks import tick_id
from workers.stores.mongo import Collection, Databases, available


@dataclass(frozen=True, slots=True)
class Standing:
    """How a chore stands: what the last tick that came was planned for, and the last one that was done, and when."""

    planned: datetime | None = None
    planned_done: datetime | None = None
    done: datetime | None = None


class Ticks:
    """By chore and planned moment."""

    def __init__(self, databases: Databases) -> None:
        self._ticks: Collection = databases.evidence["ticks"]

    async def receive(self, chore: str, planned: datetime, now: datetime) -> datetime | None:
        """Note that a tick came; when it was done, if it was."""
        first: Mapping[str, Any] = {"chore": chore, "planned": planned, "received": now}
        with available():
            found = await self._ticks.find_one_and_update(
                {"_id": _id(chore, planned)},
                {"$setOnInsert": first},
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
        return found.get("done")

    async def overtaken(self, chore: str, planned: datetime, now: datetime) -> bool:
        """Whether a later tick of the chore is done.

        One planned for a moment still to come does not count: a clock that ran ahead shall not silence the right ones.
        """
        later = {"chore": chore, "planned": {"$gt": planned, "$lte": now}, "done": {"$exists": True}}
        with available():
            return await self._ticks.find_one(later, {"_id": 1}) is not None

    async def note(self, chore: str, planned: datetime, **what: datetime) -> None:
        """Note a moment: ``begun``, ``done`` or ``overtaken``. The first ``begun`` stays."""
        operator = "$min" if "begun" in what else "$set"
        with available():
            await self._ticks.update_one({"_id": _id(chore, planned)}, {operator: what})

    async def count(self, chore: str, planned: datetime, counts: Mapping[str, int]) -> None:
        """Add to what a tick brought about."""
        added = {f"counts.{name}": number for name, number in counts.items()}
        with available():
            await self._ticks.update_one({"_id": _id(chore, planned)}, {"$inc": added})

    async def purge(self, chores: Iterable[str], before: datetime) -> int:
        """Delete the ticks of these chores that were planned before a moment; how many there were."""
        with available():
            old = [await self._ticks.delete_many({"chore": chore, "planned": {"$lt": before}}) for chore in chores]
        return sum(one.deleted_count for one in old)

    async def standing(self, chore: str, now: datetime) -> Standing:
        """How a chore stands; ticks planned for later than ``now`` are left out."""
        due = {"chore": chore, "planned": {"$lte": now}}
        with available():
            came = await self._ticks.find_one(due, {"planned": 1}, sort=[("planned", -1)])
            done = await self._ticks.find_one(due | {"done": {"$exists": True}}, sort=[("planned", -1)])
        return Standing(
            came["planned"] if came else None, done["planned"] if done else None, done["done"] if done else None
        )


def _id(chore: str, planned: datetime) -> str:
    return tick_id(chore, planned)
