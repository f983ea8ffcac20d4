"""Tombstones: what was erased, as keyed hashes with the server's time. They outlive every backup and queue.

An erasure writes them first. Intake writes its data first and looks here after, on the primary, outside any
transaction: whichever came first, one of the two sees the other.
Source: P5; R26; design § 4 "P5 in one paragraph"; reliability § 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from pymongo import UpdateOne

from workers.stores.gathering import Gathered, Gatherer
from workers.stores.mongo import Databases, available


def of_address(reference: bytes) -> str:
    """The tombstone of an e-mail address, from its keyed reference for that use."""
    return "address:" + reference.hex()


def of_person(person: str) -> str:
    """The tombstone of a person's record: whatever is found under this id later has no owner."""
    return "person:" + person


def of_device(reference: bytes) -> str:
    """The tombstone of a device that was linked to an erased person."""
    return "device:" + reference.hex()


def of_event(key: str) -> str:
    """The tombstone of an event that brought erased data: the same event never brings it again."""
    return "event:" + key


class Tombstones:
    """The list of what was erased, in **evidence**."""

    def __init__(self, databases: Databases) -> None:
        self._database = databases.evidence
        self._gathered = Gathered(databases.evidence["tombstones"])
        self._clock: Gatherer[None, datetime] = Gatherer(self._say_now)

    async def write(self, ids: Iterable[str]) -> None:
        """Set them at the database server's time; one that stands moves to now. Returns when a majority has them."""
        moved_to_now = [{"$set": {"at": "$$NOW"}}]
        writes = [UpdateOne({"_id": stone}, moved_to_now, upsert=True) for stone in dict.fromkeys(ids)]
        await self._gathered.write(*writes)

    async def now(self) -> datetime:
        """The moment by the clock that tombstones are set by."""
        return await self._clock.call(None)

    async def _say_now(self, asked: Sequence[None]) -> list[datetime]:
        with available():
            said = await self._database.command("hello", codec_options=self._database.codec_options)
        return [said["localTime"]] * len(asked)

    async def write_address(self, stone: str, began: datetime | None = None) -> datetime:
        """The tombstone of an address: sets it, or moves it to now; the moment it bears, by the database's clock.

        ``began``: when the erasure began, should this be a part of it that is done again: a tombstone set since then is
        its own and stays, or whoever came back meanwhile would be erased too.
        """
        own = {"$gte": ["$at", began]} if began else False
        moved = [{"$set": {"at": {"$cond": [own, "$at", "$$NOW"]}}}]
        await self._gathered.write(UpdateOne({"_id": stone}, moved, upsert=True))
        # Should another erasure have moved it in between, what this one takes is part of what that one takes.
        at: datetime = (await self._gathered.having("_id", [stone]))[0]["at"]
        return at

    async def name_persons(self, stone: str, persons: Iterable[str]) -> None:
        """Remember with an address's tombstone who was erased: whose document went first is still found by it."""
        named = {"$addToSet": {"persons": {"$each": list(persons)}}}
        await self._gathered.write(UpdateOne({"_id": stone}, named))

    async def persons_of(self, stone: str) -> list[str]:
        """The persons named with an address's tombstone."""
        found = await self._gathered.get(stone)
        return list(found.get("persons", ())) if found else []

    async def look(self, ids: Iterable[str]) -> dict[str, datetime]:
        """Which of these stand, and since when (UTC)."""
        return {stone["_id"]: stone["at"] for stone in await self._gathered.having("_id", ids)}
