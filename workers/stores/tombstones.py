"""Tombstones: what was erased, as keyed hashes with the server's time. They outlive every backup and queue.

An erasure writes them first. Intake writes its data first and looks here after, on the primary, outside any
transaction: whichever came first, one of the two sees the other.
Source: P5; R26; design § 4 "P5 in one paragraph"; reliability § 7.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo import UpdateOne

from workers.stores.gathering import Gathered, Gatherer
from workers.stores.mongo import Collection, Databases, available, insert_new


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


@dataclass(frozen=True, slots=True)
class Proposal:
    """Tombstones that stand once they are settled. ``contested``: some of them stood already, by whoever's doing."""

    token: str
    at: datetime
    contested: bool


class Tombstones:
    """The list of what was erased, in **evidence**.

    A tombstone with a ``token`` was proposed under it, and stands for good once **proposals** says so of the token: one
    document for very many, written once, whose first writer decides.
    """

    def __init__(self, databases: Databases) -> None:
        self._database = databases.evidence
        self._stones: Collection = databases.evidence["tombstones"]
        self._proposals: Collection = databases.evidence["proposals"]
        self._gathered = Gathered(self._stones)
        self._clock: Gatherer[None, datetime] = Gatherer(self._say_now)

    async def write(self, ids: Iterable[str]) -> None:
        """Set them at the database server's time; one that stands moves to now. Returns when a majority has them."""
        moved_to_now: list[dict[str, Any]] = [{"$set": {"at": "$$NOW"}}, {"$unset": "token"}]
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

    async def set(self, ids: Iterable[str]) -> None:
        """Set very many at once, at the server's time; those that stand stay as they are."""
        stones = list(dict.fromkeys(ids))
        if stones:
            now = await self.now()
            await insert_new(self._stones, [{"_id": stone, "at": now} for stone in stones])

    async def propose(self, ids: Iterable[str]) -> Proposal:
        """Set tombstones that may yet be withdrawn. One that stands for good stays as it is.

        Whoever writes about their persons meanwhile finds them, as any other, and takes himself back. What somebody
        else proposed and has not settled is taken over: then he settles nothing any more.
        """
        token, at, stones = secrets.token_hex(8), await self.now(), list(ids)
        taken = await insert_new(self._stones, [{"_id": stone, "at": at, "token": token} for stone in stones])
        if taken:
            await self._take_over([stones[position] for position in taken], token)
        return Proposal(token, at, contested=bool(taken))

    async def withdraw(self, ids: Iterable[str], proposal: Proposal) -> None:
        """Take back what is proposed by this, unless an erasure has made it its own."""
        with available():
            await self._stones.delete_many({"_id": {"$in": list(ids)}, "token": proposal.token})

    async def settle(self, ids: Iterable[str], proposal: Proposal) -> dict[str, datetime]:
        """Make these stand that were proposed and not withdrawn; which of them stand now, and since when."""
        stones = list(ids)
        decided = await self._decide([proposal.token], stands=True)
        if decided and not proposal.contested:
            return dict.fromkeys(stones, proposal.at)
        found = await self._gathered.having("_id", stones)
        settled = await self._settled({one["token"] for one in found if "token" in one})
        return {one["_id"]: one["at"] for one in found if "token" not in one or one["token"] in settled}

    async def drop_proposed(self, ids: Iterable[str]) -> None:
        """Take back what of these was proposed and not settled: whoever proposed it died, or asks again.

        For whoever is not to go: else they would be hidden behind a tombstone that nobody has decided on.
        """
        stones = list(ids)
        given_up = await self._give_up(stones)
        if given_up:
            with available():
                await self._stones.delete_many({"_id": {"$in": stones}, "token": {"$in": given_up}})

    async def _take_over(self, stones: list[str], token: str) -> None:
        given_up = await self._give_up(stones)
        if given_up:
            with available():
                mine = {"$set": {"token": token}}
                await self._stones.update_many({"_id": {"$in": stones}, "token": {"$in": given_up}}, mine)

    async def _give_up(self, stones: list[str]) -> list[str]:
        """The tokens under which others proposed some of these, and settle nothing any more."""
        found = await self._gathered.having("_id", stones, "token")
        others = {one["token"] for one in found if "token" in one}
        if not others:
            return []
        await self._decide(others, stands=False)
        return list(others - await self._settled(others))

    async def _decide(self, tokens: Iterable[str], *, stands: bool) -> bool:
        """Say of proposals whether they stand; whether nobody had said so before of any."""
        return not await insert_new(self._proposals, [{"_id": token, "stands": stands} for token in tokens])

    async def _settled(self, tokens: Iterable[str]) -> frozenset[str]:
        with available():
            found = self._proposals.find({"_id": {"$in": list(tokens)}, "stands": True}, {"_id": 1})
            return frozenset([one["_id"] async for one in found])

    async def name_persons(self, stone: str, persons: Iterable[str]) -> None:
        """Remember with an address's tombstone who was erased: whose document went first is still found by it."""
        named = {"$addToSet": {"persons": {"$each": list(persons)}}}
        await self._gathered.write(UpdateOne({"_id": stone}, named))

    async def named_with(self, stone: str) -> tuple[list[str], datetime]:
        """The persons named with an address's tombstone that stands, and the moment it bears by now."""
        found = (await self._gathered.having("_id", [stone]))[0]
        return list(found.get("persons", ())), found["at"]

    async def named(self, stones: Iterable[str]) -> list[str]:
        """The persons named with these addresses' tombstones, as far as they stand."""
        found = await self._gathered.having("_id", stones)
        return [person for stone in found for person in stone.get("persons", ())]

    async def of_persons(self, first: str, last: str) -> dict[str, datetime]:
        """Those of persons from ``first`` to ``last``, and since when: what stands, however many persons there are."""
        between = {"_id": {"$gte": of_person(first), "$lte": of_person(last)}}
        with available():
            return {stone["_id"]: stone["at"] async for stone in self._stones.find(between, {"at": 1})}

    async def look(self, ids: Iterable[str]) -> dict[str, datetime]:
        """Which of these stand, and since when (UTC)."""
        return {stone["_id"]: stone["at"] for stone in await self._gathered.having("_id", ids)}
