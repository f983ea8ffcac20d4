"""Keeps the offices' namespaces in Redis in order: nothing stays with the dead, nothing piles up.

An office that is down for weeks is asked again and again; only the last order over each task need lie there. What lies
there for nobody (its tasks have answered, or are named by a later order) is withdrawn. Any number of controllers may do
this at once.
Source: R25; reliability § 6.1, § 6.5.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import redis
import structlog
from dramatiq.errors import BrokerConnectionError

from schemas.errors import Temporary
from workers.cases.inbox import Inbox
from workers.cases.posting import Posting
from workers.stores.cases import Cases

log = structlog.get_logger("greffier.cases")

EVERY_S: Final = 30.0


async def keep_house(posting: Posting, inbox: Inbox, cases: Cases, stores: Sequence[str]) -> int:
    """One pass over every store; how many orders were withdrawn. Raises redis', dramatiq's and the stores' errors."""
    withdrawn = 0
    for store in stores:
        await asyncio.to_thread(posting.look_after, store)
        await asyncio.to_thread(inbox.look_after, store)
        # In this order: what lies there now was named by its tasks before it was posted.
        waiting = await asyncio.to_thread(posting.waiting, store)
        over = set(waiting) - await cases.messages_in_force(store) if waiting else set()
        withdrawn += await asyncio.to_thread(posting.withdraw, store, over)
    return withdrawn


async def keep_house_for_ever(posting: Posting, inbox: Inbox, cases: Cases, stores: Sequence[str]) -> None:
    """A pass every half minute until cancelled; what is away is tried again."""
    while True:
        try:
            await keep_house(posting, inbox, cases, stores)
        except (Temporary, redis.RedisError, BrokerConnectionError) as error:
            log.info("offices' queues not looked after", reason=type(error).__name__)
        except Exception as error:
            log.error("offices' queues not looked after", exc_info=error)
        await asyncio.sleep(EVERY_S)
