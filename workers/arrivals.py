"""Whether what was accepted so far is stored: for a read that must not answer before it is.

Looks at the messages that are in Redis at this moment and waits for these alone, so that a busy queue starves nobody.
Source: P10; R24; design § 6 ``audience``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from schemas.errors import QueueUnavailable, StoreUnavailable
from schemas.routes import NOT_YET_NO

PATIENCE_S: Final = 5.0
_LOOK_S: Final = 0.02

Ids = set[Any]


async def stored_so_far(
    redis: Redis, queues: Sequence[Sequence[str]] = NOT_YET_NO, patience_s: float = PATIENCE_S
) -> None:
    """Return once everything is stored that was accepted into these queues before the call.

    ``queues``: the hashes of each queue's messages; those that may bring an unsubscribe or objection by default.
    Raises :class:`StoreUnavailable` when that takes longer, :class:`QueueUnavailable` when it cannot be known.
    """
    waiting = await _messages(redis, queues)
    try:
        async with asyncio.timeout(patience_s):
            while any(ids for hashes in waiting for ids in hashes):
                await asyncio.sleep(_LOOK_S)
                found = await _messages(redis, queues)
                waiting = [_still(before, now) for before, now in zip(waiting, found, strict=True)]
    except TimeoutError:
        raise StoreUnavailable("accepted and not stored yet") from None


def _still(before: Sequence[Ids], now: Sequence[Ids]) -> list[Ids]:
    """What of a queue's messages is waited for still.

    A message that goes from one hash to another (tried again later, its time come) gets a new id there, and is there
    before it is gone here: so where something went, what stands in the others is waited for too.
    """
    went = [bool(ids - found) for ids, found in zip(before, now, strict=True)]
    elsewhere = [any(went[:place] + went[place + 1 :]) for place in range(len(went))]
    return [found if moved else ids & found for ids, found, moved in zip(before, now, elsewhere, strict=True)]


async def _messages(redis: Redis, queues: Sequence[Sequence[str]]) -> list[list[Ids]]:
    """The ids in each hash of each queue, all of one moment."""
    looks = redis.pipeline(transaction=True)
    for hashes in queues:
        for name in hashes:
            looks.hkeys(name)
    try:
        found = iter(await looks.execute())
    except RedisError:
        raise QueueUnavailable("redis_unreachable") from None
    return [[set(next(found)) for _ in hashes] for hashes in queues]
