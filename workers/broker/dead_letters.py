"""Dead letters are mirrored in MongoDB before Redis may forget them.

Two ways lead there: the hook, at the moment a message is given up, and a sweep of Redis' own dead letters for those
that the hook could not hand over (store away, process killed). Only what the parker accepted is removed from Redis.

Source: P1 (nothing is dropped unseen); `reliability.md` § 6.1.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from dramatiq.broker import Broker, MessageProxy
from dramatiq.common import q_name, xq_name
from dramatiq.middleware import Middleware

from schemas.errors import Temporary
from workers.broker.letters import DeadLetter, ours

if TYPE_CHECKING:
    from workers.broker.hardened import HardenedBroker

log = logging.getLogger(__name__)

CHUNK = 50  # letters of up to half a megabyte
CHUNKS_PER_SWEEP = 20


class DeadLetters(Middleware):
    """Hands each dead letter to `on_dead`."""

    def __init__(self, on_dead: Callable[[DeadLetter], None]) -> None:
        self._on_dead = on_dead

    def after_nack(self, broker: Broker, message: MessageProxy) -> None:
        hardened: HardenedBroker = broker  # type: ignore[assignment]
        letter = DeadLetter(q_name(message.queue_name), ours(message).redis_id, ours(message).reason, message.encode())
        try:
            self._on_dead(letter)
            self._remove(hardened, letter.queue, [letter.redis_id])
        except Exception as error:
            log.warning("a dead letter of queue %s left to the sweep: %s", letter.queue, type(error).__name__)

    def sweep(self, broker: HardenedBroker) -> int:
        """Hand over what lies in the dead letters of every declared queue; how many were accepted.

        Raises `redis.RedisError` when Redis is away.
        """
        return sum(self._sweep_queue(broker, queue) for queue in sorted(broker.get_declared_queues()))

    def _sweep_queue(self, broker: HardenedBroker, queue: str) -> int:
        key = f"{broker.namespace}:{xq_name(queue)}"
        accepted = kept = 0
        for _ in range(CHUNKS_PER_SWEEP):
            ids = cast("list[bytes]", broker.client.zrange(key, kept, kept + CHUNK - 1))
            if not ids:
                break
            bodies = broker.client.hmget(f"{key}.msgs", ids)
            done = [redis_id for redis_id, raw in zip(ids, bodies, strict=True) if self._accept(queue, redis_id, raw)]
            self._remove(broker, queue, done)
            accepted += len(done)
            kept += len(ids) - len(done)
        return accepted

    def _accept(self, queue: str, redis_id: bytes, raw: bytes | None) -> bool:
        if raw is None:
            return True  # an id without a letter: another process just removed it
        try:
            self._on_dead(DeadLetter(queue, redis_id.decode("ascii", "backslashreplace"), "unknown", raw))
        except Exception as error:
            log.log(
                logging.INFO if isinstance(error, Temporary) else logging.WARNING,
                "a dead letter of queue %s waits: parker failed (%s)",
                queue,
                type(error).__name__,
            )
            return False
        return True

    def _remove(self, broker: HardenedBroker, queue: str, ids: list[Any]) -> None:
        if not ids:
            return
        key = f"{broker.namespace}:{xq_name(queue)}"
        with broker.client.pipeline(transaction=True) as together:
            together.zrem(key, *ids)
            together.hdel(f"{key}.msgs", *ids)
            together.execute()
