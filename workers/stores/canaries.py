"""Canaries: fictional people who are put into each store, asked about and erased again, one drill of a store at a time.

A drill stands here before its person stands anywhere, with the keyed reference of the address: by it, whoever walks
over the people of **active** leaves the canary out, whatever was killed when. The address itself is of nobody.
Source: R25; P6; docs/decisions/0019.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from workers.stores.mongo import Collection, Databases, Document, available, insert_new

KEPT: Final = timedelta(days=90)
"""How long a drill that has ended is told of."""


class Canaries:
    """Drills by ``<reference>/<store>``, in **evidence**. Raises :class:`schemas.errors.StoreUnavailable`."""

    def __init__(self, databases: Databases) -> None:
        self._canaries: Collection = databases.evidence["canaries"]

    async def open(self, drills: Sequence[Document]) -> None:
        """Begin drills; those that are there stay as they are."""
        await insert_new(self._canaries, [{**drill, "version": 1} for drill in drills])

    async def in_drill(self) -> set[str]:
        """The stores whose drill has not ended."""
        with available():
            return set(await self._canaries.distinct("store", {"look_at": {"$exists": True}}))

    async def due(self, now: datetime, look_again: datetime, limit: int) -> list[Document]:
        """Drills that are to be looked at, each handed to one caller until ``look_again``."""
        found: list[Document] = []
        with available():
            async for one in self._canaries.find({"look_at": {"$lte": now}}).limit(limit):
                leased: Document = {"look_at": look_again, "version": one["version"] + 1}
                taken = await self._canaries.update_one(_as_read(one), {"$set": leased})
                if taken.modified_count:
                    found.append(one | leased)
        return found

    async def get(self, name: str) -> Document | None:
        """One drill."""
        with available():
            return await self._canaries.find_one({"_id": name})

    async def change(self, drill: Mapping[str, Any], changes: Mapping[str, Any], *unset: str) -> Document | None:
        """Change a drill unless somebody did since it was read; as it is now, ``None`` where somebody did."""
        changed = {**changes, "version": drill["version"] + 1}
        with available():
            done = await self._canaries.update_one(
                _as_read(drill), {"$set": changed, **({"$unset": dict.fromkeys(unset, "")} if unset else {})}
            )
        if not done.modified_count:
            return None
        return {name: value for name, value in {**drill, **changed}.items() if name not in unset}

    async def latest(self) -> list[Document]:
        """The latest drill of each store, by store."""
        stages: list[Document] = [
            {"$sort": {"store": -1, "began": -1}},
            {"$group": {"_id": "$store", "drill": {"$first": "$$ROOT"}}},
            {"$replaceRoot": {"newRoot": "$drill"}},
            {"$sort": {"store": 1}},
        ]
        with available():
            return await self._canaries.aggregate(stages).to_list(None)


async def canary_references(databases: Databases) -> frozenset[bytes]:
    """The references of every canary there may still be something of: no walk over people shows whom they name."""
    with available():
        told = {"forget_at": {"$gt": datetime(1970, 1, 1, tzinfo=UTC)}}  # all of them, along an index
        found = databases.evidence["canaries"].find(told, {"_id": 0, "ref": 1})
        return frozenset([bytes(one["ref"]) async for one in found])


def _as_read(drill: Mapping[str, Any]) -> Document:
    return {"_id": drill["_id"], "version": drill["version"]}
