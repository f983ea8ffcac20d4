"""What is said about somebody's record, each an event of its own: it names an address or an event, never a person.

So it may arrive before what it is about, or after, and what it means is folded when it is asked for. Three kinds stand
in collections of their own: anchors (retention is counted from them), notices (the person was told, Art. 14) and
agreements (to a purpose that the record was not collected for).
Source: design § 4 "A person", "Purpose links"; docs/decisions/0006.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from workers.stores.events import Inserted, insert_events
from workers.stores.gathering import Gathered
from workers.stores.mongo import Collection, Databases, Document, available

REMARKS: Final = ("anchors", "notices", "agreements")
"""The kinds, by their collection."""


class Remarks:
    """One kind of them, in **active**, by event key: each has either ``refs`` or ``about``."""

    def __init__(self, databases: Databases, kind: str) -> None:
        self._remarks: Collection = databases.active[kind]
        self._gathered = Gathered(self._remarks)

    async def insert(self, documents: Sequence[Document]) -> Inserted:
        """Remarks by event key, with ``received``, ``digest`` and either ``refs`` or ``about``."""
        return await insert_events(self._remarks, documents)

    async def about(self, refs: Iterable[bytes], events: Iterable[str] = ()) -> list[Document]:
        """What is said about these references and these events, in no order."""
        ways = await asyncio.gather(self._gathered.having("refs", refs), self._gathered.having("about", events))
        return list({one["_id"]: one for found in ways for one in found}.values())

    async def page(self, after: str, size: int) -> list[Document]:
        """The next remarks by event key: whom or what each is about, and ``received``."""
        fields = {"refs": 1, "about": 1, "received": 1}
        with available():
            return await self._remarks.find({"_id": {"$gt": after}}, fields).sort("_id", 1).limit(size).to_list(None)

    async def undo(self, keys: Iterable[str]) -> None:
        """Take back what these events said."""
        gone = list(keys)
        if gone:
            with available():
                await self._remarks.delete_many({"_id": {"$in": gone}})

    async def undo_about(self, events: Iterable[str]) -> None:
        """Take back what is said about these events."""
        with available():
            await self._remarks.delete_many({"about": {"$in": list(events)}})

    async def erase(self, refs: Iterable[bytes], events: Iterable[str]) -> int:
        """Delete what is said about these references and events; how many remarks there were."""
        return await self._gathered.delete("refs", refs) + await self._gathered.delete("about", events)
