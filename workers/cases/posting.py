"""Puts sealed orders into the subsidiaries' namespaces. Plain and blocking: called from a thread.

Losing an order here loses nothing: it waits in MongoDB, and is made again when its answer does not come.
"""

from __future__ import annotations

from typing import Any

import dramatiq

from schemas.orders import ORDER_QUEUE, order_namespace
from workers.broker import HardenedBroker, Hooks, Tuning
from workers.broker.hardened import connect


class Posting:
    """One connection, one namespace per subsidiary."""

    def __init__(self, redis_url: str, tuning: Tuning | None = None) -> None:
        self._tuning = tuning or Tuning()
        self._client = connect(redis_url, self._tuning)
        self._brokers: dict[str, HardenedBroker] = {}

    def post(self, store: str, token: str) -> None:
        """Enqueue and announce. Raises :class:`dramatiq.errors.ConnectionClosed` when Redis is away."""
        message: dramatiq.Message[Any] = dramatiq.Message(
            queue_name=ORDER_QUEUE, actor_name=ORDER_QUEUE, args=(), kwargs={"token": token}, options={}
        )
        self._broker(store).enqueue(message)

    def _broker(self, store: str) -> HardenedBroker:
        if store not in self._brokers:
            nobody = Hooks(on_poison=lambda _: None, on_dead=lambda _: None)  # it only sends
            self._brokers[store] = HardenedBroker(self._client, nobody, self._tuning, order_namespace(store))
        return self._brokers[store]

    def close(self) -> None:
        self._client.close()
