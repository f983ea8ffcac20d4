"""Has everything looked at that is due, from MongoDB alone: nothing depends on a message surviving in Redis.

Safe to run twice at once and to kill anywhere: what is due is handed to one caller for a while by compare-and-set, and
being handed out twice only means that a case is looked at twice.
Source: design § 4 "a reconciler re-derives from MongoDB what should be in a queue"; reliability § 6.5.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

import structlog

from schemas.errors import Temporary
from workers.cases.canaries import go_on_with_all
from workers.cases.delivering import sweep
from workers.cases.desk import Desk
from workers.cases.outside import take_in
from workers.cases.rounds import LOOK_AGAIN, end_if_answered

log = structlog.get_logger("greffier.cases")

EVERY_S: Final = 2.0
_LEASE: Final = timedelta(seconds=30)
_AT_ONCE: Final = 500


async def reconcile(desk: Desk) -> int:
    """One pass; how many things were due."""
    now = desk.services.clock()
    asked = await take_in(desk)
    cases = await desk.cases.due(now, now + _LEASE, _AT_ONCE)
    for reference in cases:
        await desk.wake_case(reference)
    stores = await desk.cases.stores_to_send(now)
    for store in stores:
        await desk.wake_store(store)
    mails = await desk.cases.mails_due(now, now + _LEASE, _AT_ONCE)
    for mail in mails:
        await desk.wake_mail(mail)
    over = await desk.services.rounds.due(now, now + LOOK_AGAIN, _AT_ONCE)
    for reference in over:
        await end_if_answered(desk, reference)
    drills = await go_on_with_all(desk)
    waiting = await desk.services.rounds.waiting(1)
    if waiting:
        await desk.wake_rounds()
    return asked + drills + len(cases) + len(stores) + len(mails) + len(over) + len(waiting) + await sweep(desk)


async def reconcile_for_ever(desk: Desk) -> None:
    """A pass every two seconds until cancelled; a store or a queue that is away is tried again."""
    while True:
        try:
            await reconcile(desk)
        except Temporary as error:
            log.warning("reconciler waits", reason=type(error).__name__)
        except Exception as error:
            log.error("reconciler pass failed", exc_info=error)
        await asyncio.sleep(EVERY_S)
