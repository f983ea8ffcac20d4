"""What a restored backup may have brought back, page by page, and what tells whether it had been given up.

The databases **active**, **archive** and **keys** may be older than **evidence**, which is asked here what became of a
key's owner since: a person by the tombstones, a case, a slip or a round by its own document.
Source: R26; P5; design § 4 "evidence … must survive a restore of the others".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from workers.stores.mongo import Databases, Document, available, insert_new

_RESTORED: Final = ("active", "archive", "keys")
_ENDED: Final[Mapping[str, tuple[str, Document]]] = {
    "case": ("cases", {"$or": [{"proof": "closed"}, {"ended": True}]}),
    "slip": ("slips", {"waiting": {"$exists": False}}),
    "round": ("rounds", {"look_at": {"$exists": False}}),
}
"""Class of a key → where its owner stands in **evidence**, and when nobody needs the key any more."""


class Restoring:
    """Reads across the four databases. Raises :class:`schemas.errors.StoreUnavailable`."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases

    async def living_keys(self, after: str, size: int) -> list[str]:
        """The next keys that open something."""
        wanted = {"_id": {"$gt": after}, "wrapped": {"$exists": True}}
        with available():
            found = self._databases.keys["keys"].find(wanted, {"_id": 1}).sort("_id", 1).limit(size)
            return [one["_id"] for one in await found.to_list(None)]

    async def submissions(self, after: str, size: int) -> list[Document]:
        """The next records in use: ``_id`` and ``person``."""
        with available():
            found = self._databases.active["submissions"].find({"_id": {"$gt": after}}, {"person": 1})
            return await found.sort("_id", 1).limit(size).to_list(None)

    async def letters(self, after: str, size: int) -> list[Document]:
        """The next parked letters that speak of an address: ``reason`` and ``received``."""
        wanted = {"_id": {"$gt": after}, "refs": {"$exists": True}}
        with available():
            found = self._databases.active["parked"].find(wanted, {"reason": 1, "received": 1})
            return await found.sort("_id", 1).limit(size).to_list(None)

    async def ended(self, key_class: str, owners: Iterable[str]) -> set[str]:
        """Which of these owners of such keys need them no more, by **evidence**."""
        if key_class not in _ENDED:
            return set()
        collection, over = _ENDED[key_class]
        with available():
            wanted = {"_id": {"$in": list(owners)}, **over}
            return {one["_id"] async for one in self._databases.evidence[collection].find(wanted, {"_id": 1})}

    async def held(self) -> list[Document]:
        """The cases that keep somebody's keys from being destroyed: ``hold`` with its ground, day and keys."""
        with available():
            return await self._databases.evidence["cases"].find({"hold": {"$exists": True}}, {"hold": 1}).to_list(None)

    # ------------------------------------------------------------------ a drill's own databases

    async def everything(self) -> dict[tuple[str, str], list[Document]]:
        """Every document of the databases that a backup holds. Of a drill's, which hold a few people."""
        found = {}
        for database in _RESTORED:
            handle = getattr(self._databases, database)
            with available():
                for name in await handle.list_collection_names():
                    found[database, name] = await handle[name].find().to_list(None)
        return found

    async def put_back(self, backup: Mapping[tuple[str, str], Sequence[Document]]) -> None:
        """As a restore does: what stands there goes, what the backup holds comes."""
        for (database, name), documents in backup.items():
            collection = getattr(self._databases, database)[name]
            with available():
                await collection.delete_many({})
            await insert_new(collection, list(documents))

    async def drop(self) -> None:
        """Remove the four databases."""
        for database in (*_RESTORED, "evidence"):
            handle: Any = getattr(self._databases, database)
            with available():
                await handle.client.drop_database(handle.name)
