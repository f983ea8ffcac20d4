"""What happened to messages and events, without personal data: batch numbers per door, and what was refused.

A gap in a door's numbers is a message that was accepted and never arrived: an alarm.
Source: P1; I9; design § 3 "Each door numbers its messages".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from schemas.envelope import Batch
from schemas.fields import read_moment
from workers.stores.mongo import Collection, Databases, available, insert_new


@dataclass(frozen=True, slots=True)
class Sequence:
    """A door's numbers as they arrived: the highest, how many distinct ones, and how often one came again.

    ``ahead_ms``: by how much its clock was seen to run ahead of a worker's, at most; 0 where it never was.
    """

    door: str
    highest: int
    arrived: int
    redelivered: int
    ahead_ms: int

    @property
    def missing(self) -> int:
        """Numbers below the highest that never arrived. Of a live system, the newest may still be on their way."""
        return self.highest - self.arrived


class Bookkeeping:
    """Batch numbers in **active**, outcomes in **evidence**."""

    def __init__(self, databases: Databases) -> None:
        self._batches: Collection = databases.active["batches"]
        self._outcomes: Collection = databases.evidence["outcomes"]

    async def arrived(self, batch: Batch, now: datetime) -> None:
        """Note a batch's number; a redelivery only counts up."""
        first = {
            "door": batch.door,
            "seq": batch.seq,
            "events": len(batch.events),
            "recorded": read_moment(batch.events[-1].recordedtime),
            "at": now,
        }
        with available():
            await self._batches.update_one(
                {"_id": batch.id}, {"$setOnInsert": first, "$inc": {"deliveries": 1}}, upsert=True
            )

    async def working_since(self) -> datetime | None:
        """When the oldest message that is still noted arrived; ``None`` where none ever did."""
        with available():
            found = await self._batches.find_one({}, {"at": 1}, sort=[("at", 1)])
        return found["at"] if found else None

    async def sequences(self) -> list[Sequence]:
        """Every door's numbers."""
        by_number = {
            "_id": {"door": "$door", "seq": "$seq"},
            "again": {"$sum": {"$subtract": ["$deliveries", 1]}},
            "ahead": {"$max": {"$subtract": ["$recorded", "$at"]}},
        }
        by_door = {
            "_id": "$_id.door",
            "highest": {"$max": "$_id.seq"},
            "arrived": {"$sum": 1},
            "again": {"$sum": "$again"},
            "ahead": {"$max": "$ahead"},
        }
        with available():
            found = self._batches.aggregate([{"$group": by_number}, {"$group": by_door}, {"$sort": {"_id": 1}}])
            return [
                Sequence(door["_id"], door["highest"], door["arrived"], door["again"], max(0, int(door["ahead"] or 0)))
                async for door in found
            ]

    async def dropped(self, letter: str, event: str, why: str, now: datetime) -> None:
        """Note that staff dropped a parked letter; once per letter."""
        entry = {"_id": f"letter {letter}", "outcome": "dropped", "reason": why, "event": event, "at": now}
        await insert_new(self._outcomes, [entry])

    async def refused(self, events: Iterable[str], reason: str, now: datetime) -> None:
        """Note that accepted events were refused by a worker, and why."""
        await insert_new(
            self._outcomes, [{"_id": key, "outcome": "refused", "reason": reason, "at": now} for key in events]
        )
