"""What a case asks of external processors, one errand for each: in **evidence**, sealed to the counter that runs it.

The letter with the person's address goes when the processor has taken the request; what it signed stays. What it hands
over for access lies here, sealed to the controller, until a worker has put it among the case's copies. Every change is
a compare-and-set. Source: rights-protocols § 4; R17, R25.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from workers.stores.mongo import Databases, Document, available, insert_new
from workers.stores.versioned import Versioned

DONE: Final = "done"
REFUSED: Final = "refused"
BARRED: Final = "barred"
"""Nothing may cross that border: it was not asked."""
_SEALED: Final = ("letter", "handed_over.letter", "handed_over.content")


class Errands(Versioned):
    """By the id that the processor knows them by."""

    def __init__(self, databases: Databases) -> None:
        super().__init__(databases.evidence["errands"])

    async def open(self, errands: Sequence[Document]) -> None:
        """Insert errands; those that are there stay as they are."""
        await insert_new(self.collection, [{**errand, "version": 1} for errand in errands])

    async def of_case(self, reference: str) -> list[Document]:
        """A case's errands, by processor, without what is sealed."""
        with available():
            found = self.collection.find({"case": reference}, dict.fromkeys(_SEALED, 0)).sort(
                [("processor", 1), ("_id", 1)]
            )
            return await found.to_list(None)

    async def handed_over(self, reference: str) -> list[Document]:
        """Those of a case's errands for which something lies here that no worker has put among the copies."""
        with available():
            return await self.collection.find({"case": reference, "handed_over": {"$exists": True}}).to_list(None)

    async def waiting(self, reference: str) -> bool:
        """Whether a processor has not done what the case asked of it, or said that it will not."""
        with available():
            open_ones = {"case": reference, "state": {"$nin": [DONE, BARRED]}}
            return await self.collection.count_documents(open_ones, limit=1) > 0

    async def alarms(self) -> dict[str, int]:
        """Processor → of how many of its errands somebody should look."""
        with available():
            grouped: list[Document] = [
                {"$match": {"alarm": {"$exists": True}}},
                {"$group": {"_id": "$processor", "count": {"$sum": 1}}},
            ]
            return {one["_id"]: one["count"] async for one in self.collection.aggregate(grouped)}
