"""Confirmations of newsletter subscriptions: the proof that the mailed link was used.

The subscription itself is a submission. Both are inserted whatever order they come in, each looking for the other
after its own write, so that one of them at least finds the pair.
Source: R16; design § 4 "A first subscription".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from workers.stores.events import Inserted, insert_events
from workers.stores.gathering import Gathered
from workers.stores.mongo import Collection, Databases, Document, available


class Confirmations:
    """Confirmation events by event key; ``about`` is the subscription's event key."""

    def __init__(self, databases: Databases) -> None:
        self._confirmations: Collection = databases.active["confirmations"]
        self._gathered = Gathered(self._confirmations)

    async def insert(self, documents: Sequence[Document]) -> Inserted:
        """Confirmations with ``about``, ``happened`` and ``digest``."""
        return await insert_events(self._confirmations, documents)

    async def about(self, subscriptions: Iterable[str]) -> list[Document]:
        """The confirmations of these subscriptions."""
        wanted = list(subscriptions)
        with available():
            return await self._confirmations.find({"about": {"$in": wanted}}).to_list(None)

    async def undo(self, keys: Iterable[str]) -> None:
        """Take back what these events wrote."""
        with available():
            await self._confirmations.delete_many({"_id": {"$in": list(keys)}})

    async def erase(self, subscriptions: Iterable[str]) -> int:
        """Delete the confirmations of erased subscriptions; how many there were."""
        return await self._gathered.delete("about", subscriptions)
