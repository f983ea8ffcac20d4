"""Puts sealed orders into the subsidiaries' namespaces and looks after what lies there. Blocks: called from a thread.

Losing an order here loses nothing: it waits in MongoDB, and is made again when its answer does not come. A subsidiary's
Redis user may neither give back what a dead worker took nor remove what was given up, so it is done from here.
Source: R25; reliability § 8.4.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection, Iterable
from typing import Any, Final

import dramatiq
import structlog

from schemas.orders import ORDER_QUEUE, order_namespace
from workers.broker import HardenedBroker, Hooks, Tuning
from workers.broker.hardened import connect

log = structlog.get_logger("greffier.cases")

_LOOKED_AT: Final = 1_000
"""Orders of one store that one look sees, the oldest first."""


def message_id(token: str) -> str:
    """The id of the message that carries an order: by it the order is found again without being read."""
    return str(uuid.UUID(bytes=hashlib.sha256(token.encode()).digest()[:16]))


class Posting:
    """One connection, one namespace per subsidiary.

    ``fetched``: the subsidiaries that fetch their orders over HTTP. The counter hands them out of MongoDB
    (:mod:`workers.stores.leases`), so of theirs only the bell is rung here.
    """

    def __init__(self, redis_url: str, tuning: Tuning | None = None, fetched: Collection[str] = ()) -> None:
        self._tuning = tuning or Tuning()
        self._fetched = frozenset(fetched)
        self._client = connect(redis_url, self._tuning)
        self._brokers: dict[str, HardenedBroker] = {}

    def post(self, store: str, token: str) -> None:
        """Enqueue and announce. Raises :class:`dramatiq.errors.ConnectionClosed` when Redis is away."""
        name, broker = message_id(token), self._broker(store)
        if store in self._fetched:
            broker.wake.announce(ORDER_QUEUE)
            return
        message: dramatiq.Message[Any] = dramatiq.Message(
            queue_name=ORDER_QUEUE,
            actor_name=ORDER_QUEUE,
            args=(),
            kwargs={"token": token},
            options={"redis_message_id": name},
            message_id=name,
        )
        broker.do_enqueue(ORDER_QUEUE, name, message.encode())
        broker.wake.announce(ORDER_QUEUE)

    def look_after(self, store: str) -> None:
        """Give back what a dead worker of the store took, and remove what it gave up: that is asked again anyhow.

        Raises redis' and dramatiq's errors.
        """
        broker = self._broker(store)
        broker.give_back_the_dead()
        broker.sweep_dead_letters()

    def waiting(self, store: str) -> list[str]:
        """The ids of the messages that no worker of the store has taken. Raises :class:`redis.RedisError`."""
        found: list[Any] = self._client.lrange(self._queue(store), 0, _LOOKED_AT - 1)
        return [one.decode() for one in found]

    def withdraw(self, store: str, ids: Iterable[str]) -> int:
        """Remove waiting messages; how many. What a worker takes at this moment is its own: it is left."""
        withdrawn = 0
        for name in ids:
            if self._client.lrem(self._queue(store), 1, name):
                self._client.hdel(self._broker(store).bodies_key(ORDER_QUEUE), name)
                withdrawn += 1
        return withdrawn

    def _queue(self, store: str) -> str:
        return f"{order_namespace(store)}:{ORDER_QUEUE}"

    def _broker(self, store: str) -> HardenedBroker:
        if store not in self._brokers:
            hooks = Hooks(
                on_poison=lambda _: None,  # it reads nothing
                on_dead=lambda letter: log.warning("order given up by its office", store=store, queue=letter.queue),
            )
            broker = HardenedBroker(self._client, hooks, self._tuning, order_namespace(store))
            broker.declare_queue(ORDER_QUEUE)
            self._brokers[store] = broker
        return self._brokers[store]

    def close(self) -> None:
        self._client.close()
