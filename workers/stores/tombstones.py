"""Tombstones: what was erased, as keyed hashes with the server's time. They outlive every backup and queue.

An erasure writes them first. Intake writes its data first and looks here after, on the primary, outside any
transaction: whichever came first, one of the two sees the other.
Source: P5; R26; design § 4 "P5 in one paragraph"; reliability § 7.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pymongo import ReturnDocument, UpdateOne

from workers.stores.mongo import Collection, Databases, available


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
        self._stones: Collection = databases.evidence["tombstones"]

    async def write(self, ids: Iterable[str]) -> None:
        """Set them at the database server's time; one that stands moves to now. Returns when a majority has them."""
        moved_to_now = [{"$set": {"at": "$$NOW"}}]
        writes = [UpdateOne({"_id": stone}, moved_to_now, upsert=True) for stone in dict.fromkeys(ids)]
        if writes:
            with available():
                await self._stones.bulk_write(writes, ordered=False)

    async def now(self) -> datetime:
        """The moment by the clock that tombstones are set by."""
        with available():
            said = await self._database.command("hello", codec_options=self._database.codec_options)
        moment: datetime = said["localTime"]
        return moment

    async def write_address(self, stone: str, began: datetime | None = None) -> datetime:
        """The tombstone of an address: sets it, or moves it to now; the moment it bears, by the database's clock.

        ``began``: when the erasure began, should this be a part of it that is done again: a tombstone set since then is
        its own and stays, or whoever came back meanwhile would be erased too.
        """
        own = {"$gte": ["$at", began]} if began else False
        with available():
            written = await self._stones.find_one_and_update(
                {"_id": stone},
                [{"$set": {"at": {"$cond": [own, "$at", "$$NOW"]}}}],
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
        at: datetime = written["at"]
        return at

    async def name_persons(self, stone: str, persons: Iterable[str]) -> None:
        """Remember with an address's tombstone who was erased: whose document went first is still found by it."""
        with available():
            await self._stones.update_one({"_id": stone}, {"$addToSet": {"persons": {"$each": list(persons)}}})

    async def persons_of(self, stone: str) -> list[str]:
        """The persons named with an address's tombstone."""
        with available():
            found = await self._stones.find_one({"_id": stone}, {"persons": 1})
        return list(found.get("persons", ())) if found else []

    async def look(self, ids: Iterable[str]) -> dict[str, datetime]:
        """Which of these stand, and since when (UTC)."""
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            return {}
        with available():
            return {stone["_id"]: stone["at"] async for stone in self._stones.find({"_id": {"$in": wanted}})}
