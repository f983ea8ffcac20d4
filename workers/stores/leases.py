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
        with available():
            orders = await self._waiting(store)
            if not orders:
                return None
            lent = set(await self._leases.distinct("_id", {"_id": {"$in": orders}, "until": {"$gt": now}}))
            for order in (one for one in orders if one not in lent):
                found = await self._orders.find_one({"_id": order}, {"token": 1})
                if found is not None and await self._lend(order, store, now, until):
                    return str(found["token"])
        return None

    async def in_force(self, store: str) -> list[str]:
        """Every sealed order that waits for a store, the oldest first, lent or not. Raises StoreUnavailable."""
        with available():
            wanted = {"_id": {"$in": await self._waiting(store)}}
            found = await self._orders.find(wanted, {"token": 1}).sort("_id", 1).to_list(None)
        return [str(order["token"]) for order in found]

    async def _waiting(self, store: str) -> list[str]:
        """The orders that tasks which wait name; by their ids (UUIDv7) the oldest first."""
        orders = await self._tasks.distinct("order", {"store": store, "send_at": {"$exists": True}})
        return sorted(order for order in orders if order is not None)

    async def _lend(self, order: str, store: str, now: datetime, until: datetime) -> bool:
        """Compare-and-set; ``False``: somebody was quicker."""
        lapsed = {"_id": order, "until": {"$lte": now}}
        try:
            await self._leases.update_one(lapsed, {"$set": {"store": store, "until": until}}, upsert=True)
        except DuplicateKeyError:
            return False
        return True
