"""Whether what was accepted so far is stored: for a read that must not answer before it is.

Looks at the messages that are in Redis at this moment and waits for these alone, so that a busy queue starves nobody.
Source: P10; R24; design § 6 ``audience``.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from schemas.errors import QueueUnavailable, StoreUnavailable
from schemas.routes import NAMESPACE, NEWSLETTER, RIGHTS

PATIENCE_S: Final = 5.0
_LOOK_S: Final = 0.02
_KINDS: Final = ("", ".DQ", ".XQ")
"""Of a queue: work, what is tried again later, and what was given up and not parked yet."""


async def stored_so_far(redis: Redis, patience_s: float = PATIENCE_S) -> None:
    """Return once every unsubscribe and objection is stored that was accepted before the call.

    Raises :class:`StoreUnavailable` when that takes longer, :class:`QueueUnavailable` when it cannot be known.
    """
    queues = [f"{NAMESPACE}:{queue}{kind}.msgs" for queue in (NEWSLETTER, RIGHTS) for kind in _KINDS]
    waiting = {queue: await _messages(redis, queue) for queue in queues}
    try:
        async with asyncio.timeout(patience_s):
            while any(waiting.values()):
                await asyncio.sleep(_LOOK_S)
                waiting = {queue: ids & await _messages(redis, queue) for queue, ids in waiting.items() if ids}
    except TimeoutError:
        raise StoreUnavailable("accepted and not stored yet") from None


async def _messages(redis: Redis, queue: str) -> set[Any]:
    try:
        return set(await redis.hkeys(queue))
    except RedisError:
        raise QueueUnavailable("redis_unreachable") from None
