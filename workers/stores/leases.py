"""Orders lent to whoever fetches them over HTTP, each to one caller for a while: in **evidence**.

Nothing is taken away by a lease. An order is there to be fetched while a task that waits names it; who answers it has
its tasks wait no more, and who does not finds it again when the lease has lapsed (or is removed, by a TTL index).
Source: R28; design § 4 "orders wait in MongoDB already sealed", § 6 "Counter".
"""

from __future__ import annotations

from datetime import datetime

from pymongo.errors import DuplicateKeyError

from workers.stores.mongo import Collection, Databases, available


class Leases:
    """Reads tasks and orders, writes leases and nothing else."""

    def __init__(self, databases: Databases) -> None:
        self._tasks: Collection = databases.evidence["tasks"]
        self._orders: Collection = databases.evidence["attempts"]
        self._leases: Collection = databases.evidence["leases"]

    async def take(self, store: str, now: datetime, until: datetime) -> str | None:
        """The oldest sealed order that waits for a store and is lent to nobody, lent until then.

        Raises :class:`schemas.errors.StoreUnavailable`.
        """
        waiting = {"store": store, "send_at": {"$exists": True}}
        with available():
            orders = [order for order in await self._tasks.distinct("order", waiting) if order is not None]
            if not orders:
                return None
            lent = set(await self._leases.distinct("_id", {"_id": {"$in": orders}, "until": {"$gt": now}}))
            for order in sorted(set(orders) - lent):  # UUIDv7: the oldest first
                found = await self._orders.find_one({"_id": order}, {"token": 1})
                if found is not None and await self._lend(order, store, now, until):
                    return str(found["token"])
        return None

    async def _lend(self, order: str, store: str, now: datetime, until: datetime) -> bool:
        """Compare-and-set; ``False``: somebody was quicker."""
        lapsed = {"_id": order, "until": {"$lte": now}}
        try:
            await self._leases.update_one(lapsed, {"$set": {"store": store, "until": until}}, upsert=True)
        except DuplicateKeyError:
            return False
        return True
