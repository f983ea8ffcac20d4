"""What a case asks of external processors, one errand for each: in **evidence**, sealed to the counter that runs it.

The letter with the person's address goes when the processor has taken the request; what it signed stays. Every change
is a compare-and-set. Source: rights-protocols § 4; R25.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from pymongo import ReturnDocument

from workers.stores.mongo import Collection, Databases, Document, available, insert_new

DONE: Final = "done"
REFUSED: Final = "refused"


class Errands:
    """By the id that the processor knows them by."""

    def __init__(self, databases: Databases) -> None:
        self._errands: Collection = databases.evidence["errands"]

    async def open(self, errands: Sequence[Document]) -> None:
        """Insert errands; those that are there stay as they are."""
        await insert_new(self._errands, [{**errand, "version": 1} for errand in errands])

    async def get(self, errand: str) -> Document | None:
        """One errand."""
        with available():
            return await self._errands.find_one({"_id": errand})

    async def of_case(self, reference: str) -> list[Document]:
        """A case's errands, by processor, without what is sealed."""
        with available():
            found = self._errands.find({"case": reference}, {"letter": 0}).sort("processor", 1)
            return await found.to_list(None)

    async def waiting(self, reference: str) -> bool:
        """Whether a processor has not done what the case asked of it, or said that it will not."""
        with available():
            return await self._errands.count_documents({"case": reference, "state": {"$ne": DONE}}, limit=1) > 0

    async def due(self, now: datetime, lease_until: datetime) -> Document | None:
        """One errand to be run, handed to one caller until ``lease_until``."""
        leased = {"$set": {"run_at": lease_until}, "$inc": {"version": 1}}
        with available():
            return await self._errands.find_one_and_update(
                {"run_at": {"$lte": now}}, leased, sort=[("run_at", 1)], return_document=ReturnDocument.AFTER
            )

    async def change(self, errand: Mapping[str, Any], changes: Mapping[str, Any], *unset: str) -> bool:
        """Change an errand unless somebody did since it was read."""
        update = {"$set": dict(changes), "$inc": {"version": 1}, "$unset": dict.fromkeys(unset, "")}
        as_read = {"_id": errand["_id"], "version": errand["version"]}
        with available():
            return bool((await self._errands.update_one(as_read, update)).modified_count)

    async def alarms(self) -> dict[str, int]:
        """Processor → of how many of its errands somebody should look."""
        with available():
            grouped: list[Document] = [
                {"$match": {"alarm": {"$exists": True}}},
                {"$group": {"_id": "$processor", "count": {"$sum": 1}}},
            ]
            return {one["_id"]: one["count"] async for one in self._errands.aggregate(grouped)}
