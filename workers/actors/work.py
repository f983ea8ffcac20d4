"""From a message to kept events: open, keep, and if one event breaks the rest, keep them without it.

Source: P3; design § 3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

import structlog

from schemas.errors import GreffierError, Temporary
from workers import metrics
from workers.actors.batches import Arrived, open_batch
from workers.services import Services

log = structlog.get_logger("greffier.work")

Keep = Callable[[Services, Sequence[Arrived]], Awaitable[None]]
"""Keeps events of one queue, parking or refusing what must be. Repeating it changes nothing."""

TIME_LIMIT_S: Final = 30.0


class SomeFailed(GreffierError):
    """Some events of a batch fail for a reason of their own; their neighbours are kept. ``code``: the last one's."""

    def __init__(self, failed: int, code: str) -> None:
        self.failed = failed
        self.code = code
        super().__init__(f"{failed} event(s): {code}")


async def work(services: Services, queue: str, wire: object, keep: Keep, only: Collection[int] | None = None) -> None:
    """Keep the events of one message. ``only``: positions of a second try.

    Raises :class:`schemas.errors.Temporary` when a store is away: nothing is decided, the message goes back.
    Raises :class:`SomeFailed` when single events keep failing: the message is tried again, then they are parked.
    """
    async with asyncio.timeout(TIME_LIMIT_S):
        batch, arrived = await open_batch(services, queue, wire, only)
        if batch is None:
            return
        with metrics.BATCH_SECONDS.labels(queue).time():
            await _keep_all(services, keep, arrived)
            if only is None:
                await services.bookkeeping.arrived(batch, services.clock())
    metrics.EVENTS.labels(queue, "worked").inc(len(arrived))


async def _keep_all(services: Services, keep: Keep, arrived: Sequence[Arrived]) -> None:
    failed = await _failing(services, keep, arrived)
    if failed:
        log.warning("some events failed", events=len(arrived), failed=len(failed), exc_info=failed[-1])
        raise SomeFailed(len(failed), type(failed[-1]).__name__)


async def _failing(services: Services, keep: Keep, arrived: Sequence[Arrived]) -> list[Exception]:
    """Keep what can be kept, halving what fails until it stands alone; why each event that is left could not be.

    One bad event of 500 costs some twenty bulks this way. One by one it cost 500, and a store that answers slowly
    would have let the time limit end before the last neighbour's turn came.
    """
    try:
        await keep(services, arrived)
    except Temporary:
        raise
    except Exception as error:
        if len(arrived) == 1:
            return [error]
    else:
        return []
    middle = len(arrived) // 2
    halves = (arrived[:middle], arrived[middle:])
    return [error for half in halves for error in await _failing(services, keep, half)]
