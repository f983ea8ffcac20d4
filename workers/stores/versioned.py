"""Documents of which every change is a compare-and-set, so that of two who change one, one reads it again.

Source: design § 4 "transitions by compare-and-set".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pymongo import ReturnDocument

from workers.stores.mongo import Collection, Document, available


class Versioned:
    """One collection whose documents bear a ``version``."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection

    async def get(self, name: str) -> Document | None:
        """One document by its id."""
        with available():
            return await self.collection.find_one({"_id": name})

    async def change(self, document: Mapping[str, Any], changes: Mapping[str, Any], *unset: str) -> bool:
        """Change a document unless somebody did since it was read."""
        update = {"$set": dict(changes), "$inc": {"version": 1}, "$unset": dict.fromkeys(unset, "")}
        as_read = {"_id": document["_id"], "version": document["version"]}
        with available():
            return bool((await self.collection.update_one(as_read, update)).modified_count)

    async def take(self, field: str, now: datetime, lease_until: datetime) -> Document | None:
        """One document whose moment ``field`` has come, the earliest, handed to one caller until ``lease_until``."""
        leased = {"$set": {field: lease_until}, "$inc": {"version": 1}}
        with available():
            return await self.collection.find_one_and_update(
                {field: {"$lte": now}}, leased, sort=[(field, 1)], return_document=ReturnDocument.AFTER
            )


async def rewrite(
    collection: Collection, event: str, before: bytes, sealed: bytes, changes: Document, fields: Iterable[str]
) -> bool:
    """Put another sealed body in the place of the one that was read, and count up the version of each field in it.

    ``False`` where another stands by now, or none. ``changes``: what of it is kept in the clear beside it.
    """
    counted = {f"versions.{field.replace('.', '-')}": 1 for field in fields}
    with available():
        done = await collection.update_one(
            {"_id": event, "sealed": before}, {"$set": {**changes, "sealed": sealed}, "$inc": counted}
        )
    return bool(done.modified_count)
