"""The record of disposals, in **evidence**: how far the walks are, what they disposed of, how long a "no" took.

What is disposed of is counted, by what was done, case, purpose and rule, and names nobody. A count is written once,
under the number of its part of a walk, before anything of the part is deleted: a worker that dies in between counts
nothing twice.
Source: R13, R14, R30; P9.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final, NamedTuple

from workers.stores.mongo import Collection as Stored
from workers.stores.mongo import Databases, Document, available, insert_new

_NO: Final = "no-to-deletion"
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Disposed(NamedTuple):
    """One line of the record. ``what``: ``archived``, ``deleted``, ``said_no`` or ``purged``."""

    what: str
    case: str
    purpose: str
    rule: str


@dataclass(frozen=True, slots=True)
class Walk:
    """How far a walk has come. ``after``: the last id that it passed; ``part``: the number of the part it is at.

    ``counts``: of this walk so far; ``in_hand``: part → persons of whom deletion may have begun.
    """

    began: datetime
    after: str = ""
    part: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    in_hand: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ended:
    """A walk that came to its end, and what it counted."""

    at: datetime
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Took:
    """How long the deletion of what a "no" ended took, in seconds: the last one, and the longest ever."""

    last_s: float
    longest_s: float


class Disposals:
    """Walks by name; counts by day."""

    def __init__(self, databases: Databases) -> None:
        self._walks: Stored = databases.evidence["sweeps"]
        self._counts: Stored = databases.evidence["disposals"]

    async def walk(self, name: str, now: datetime, stale: datetime) -> Walk:
        """The walk of this name that is under way; one begun before ``stale``, or none, begins anew."""
        under_way = {"_id": name, "began": {"$gte": stale, "$lte": now}}
        with available():
            found = await self._walks.find_one(under_way)
            if found is None:  # one that a clock began which ran ahead counts as none
                await self._walks.update_one({"_id": name}, {"$setOnInsert": {"began": _LONG_AGO}}, upsert=True)
                not_under_way = {"_id": name, "$or": [{"began": {"$lt": stale}}, {"began": {"$gt": now}}]}
                await self._walks.update_one(not_under_way, {"$set": _anew(now)})
                found = await self._walks.find_one({"_id": name}) or _anew(now)
        return Walk(found["began"], found["after"], found["part"], found["counts"], found.get("in_hand", {}))

    async def take_in_hand(self, name: str, walk: Walk, persons: Iterable[str]) -> None:
        """Note of whom deletion begins: once a person's document is gone, no walk would find them again."""
        taken = list(persons)
        if taken:
            with available():
                await self._walks.update_one({"_id": name}, {"$set": {f"in_hand.{walk.part}": taken}})

    async def out_of_hand(self, name: str, parts: Collection[str]) -> None:
        """What was in hand of these parts is deleted."""
        with available():
            await self._walks.update_one({"_id": name}, {"$unset": {f"in_hand.{part}": "" for part in parts}})

    async def advance(self, name: str, walk: Walk, after: str, counts: Mapping[str, int]) -> None:
        """The part is done. Of two who did the same one of them says so."""
        added = {f"counts.{counted}": number for counted, number in counts.items() if number}
        with available():
            await self._walks.update_one(
                {"_id": name, "began": walk.began, "part": walk.part},
                {
                    "$set": {"after": after},
                    "$inc": {"part": 1, **added},
                    "$unset": {f"in_hand.{walk.part}": ""},
                },
            )

    async def end(self, name: str, walk: Walk, now: datetime) -> None:
        """The walk came to its end; the next one begins anew."""
        with available():
            found = await self._walks.find_one({"_id": name, "began": walk.began}, {"counts": 1})
            if found is not None:
                ended = {"ended": {"at": now, "counts": found["counts"]}, **_anew(now)}
                await self._walks.update_one({"_id": name, "began": walk.began}, {"$set": ended})

    async def ended(self, names: Collection[str]) -> dict[str, Ended]:
        """The last walk of each name that came to its end."""
        with available():
            found = await self._walks.find({"_id": {"$in": list(names)}}, {"ended": 1}).to_list(None)
        return {one["_id"]: Ended(**one["ended"]) for one in found if "ended" in one}

    # ------------------------------------------------------------------ counts

    async def count(self, part: str, day: date, disposed: Mapping[Disposed, int]) -> None:
        """Record what a part disposes of, once. ``part``: its name, made from nothing about a person."""
        lines = [{**what._asdict(), "records": number} for what, number in disposed.items()]
        if lines:
            await insert_new(self._counts, [{"_id": part, "day": day.isoformat(), "disposed": lines}])

    async def by_day(self, since: date) -> list[dict[str, Any]]:
        """Day by day, from ``since``: what was done, case, purpose, rule, and of how many records."""
        keys = ("what", "case", "purpose", "rule")
        stages: list[Document] = [
            {"$match": {"day": {"$gte": since.isoformat()}}},
            {"$unwind": "$disposed"},
            {
                "$group": {
                    "_id": {"day": "$day", **{key: f"$disposed.{key}" for key in keys}},
                    "records": {"$sum": "$disposed.records"},
                }
            },
            {"$sort": {"_id": 1}},
        ]
        with available():
            return [{**one["_id"], "records": one["records"]} async for one in self._counts.aggregate(stages)]

    # ------------------------------------------------------------------ from a "no" to the deletion

    async def took(self, seconds: float) -> None:
        """Note how long it took until what a "no" ended was deleted."""
        with available():
            await self._walks.update_one(
                {"_id": _NO}, {"$set": {"last_s": seconds}, "$max": {"longest_s": seconds}}, upsert=True
            )

    async def no_to_deletion(self) -> Took | None:
        """``None`` where nothing was deleted for a "no" yet."""
        with available():
            found = await self._walks.find_one({"_id": _NO})
        return Took(found["last_s"], found["longest_s"]) if found else None


def _anew(now: datetime) -> Document:
    return {"began": now, "after": "", "part": 0, "counts": {}}
