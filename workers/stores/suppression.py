"""The suppression list: whom not to use for what, as keyed hashes. It outlives the data it protects.

Source: R20, R24; P10; retention-defaults § 4.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from schemas.terms import Purpose
from workers.stores.mongo import Collection, Databases, available


class Suppressions:
    """Entries by keyed reference, in **evidence**."""

    def __init__(self, databases: Databases) -> None:
        self._entries: Collection = databases.evidence["suppressions"]

    async def add(self, ref: bytes, purposes: Iterable[Purpose], ground: str, now: datetime) -> None:
        """Suppress purposes for an address; adding again adds purposes and takes none away. ``ground``: a code."""
        new = {"$addToSet": {"purposes": {"$each": [str(purpose) for purpose in purposes]}}}
        first = {"$setOnInsert": {"ground": ground, "since": now}}
        with available():
            await self._entries.update_one({"_id": ref}, new | first, upsert=True)

    async def among(self, refs: Iterable[bytes], purpose: Purpose) -> frozenset[bytes]:
        """Those of these addresses for which a purpose is suppressed."""
        wanted = {"_id": {"$in": list(refs)}, "purposes": purpose.value}
        with available():
            return frozenset([bytes(entry["_id"]) async for entry in self._entries.find(wanted, {"_id": 1})])

    async def of(self, ref: bytes) -> frozenset[Purpose]:
        """The purposes suppressed for an address."""
        with available():
            entry = await self._entries.find_one({"_id": ref})
        return frozenset(Purpose(purpose) for purpose in entry["purposes"]) if entry else frozenset()
