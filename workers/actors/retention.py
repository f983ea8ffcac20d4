"""The queue ``retention``: a tick says that a chore is due; it is done, and that it was is kept.

A tick that comes again changes nothing, one whose chore died is done when it is delivered again, and one that a later
tick of the same chore has overtaken is noted and not run: a chore looks at everything that is due when it runs.
Source: design § 4 "Time and no"; P2, P9.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from schemas.fields import read_moment
from workers.actors.batches import Arrived, letter_of, park
from workers.actors.chores import CHORES
from workers.actors.work import Keep
from workers.services import Services

SLICE_S: Final = 10.0
"""How long a chore may go on in one message, before the rest goes back to the queue: well within its time limit."""

GoOn = Callable[[list[int]], Awaitable[None]]
"""Puts the same batch back, for these positions only: there is more to do."""

log = structlog.get_logger("greffier.retention")


def keep_ticks(go_on: GoOn, slice_s: float = SLICE_S) -> Keep:
    """What does the chores that ticks ask for. ``slice_s``: seconds for each."""

    async def keep(services: Services, arrived: Sequence[Arrived]) -> None:
        for one in arrived:
            if one.data["chore"] not in CHORES:  # a clock that is newer or older than this worker
                await park(services, [letter_of(services, one, "unknown_chore")])
            elif not await _done(services, one, slice_s):
                await go_on([one.position])

    return keep


async def _done(services: Services, one: Arrived, slice_s: float) -> bool:
    """Do what a tick asks for, for a while; ``False`` where there is more to do."""
    chore, planned = one.data["chore"], read_moment(one.data["planned"])
    done = await services.ticks.receive(chore, planned, services.clock())
    # Done earlier than planned, for a clock that ran far ahead, is not what was planned.
    if done is not None and done + services.skew >= planned:
        return True
    if await services.ticks.overtaken(chore, planned, services.clock()):
        await services.ticks.note(chore, planned, overtaken=services.clock())
        return True
    await services.ticks.note(chore, planned, begun=services.clock())
    end = time.monotonic() + slice_s
    more = True
    while more and time.monotonic() < end:
        counts, more = await CHORES[chore](services)
        await services.ticks.count(chore, planned, counts)
    if more:
        return False
    await services.ticks.note(chore, planned, done=services.clock())
    log.info("chore_done", chore=chore, planned=one.data["planned"])
    return True
