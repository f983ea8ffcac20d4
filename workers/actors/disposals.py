"""A subsidiary's disposal: what is over by the group's periods goes from its store, and the receipt counts it.

Counted, written down as begun, done, written down as done: as an erasure, and as safe to kill anywhere and to ask for
again. Nobody is named, neither in the order nor in the journal.
Source: R13, R25, R28; P2, P9; design § 5.5.
"""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from functools import partial
from typing import Final

from schemas.calendar import civil_day
from workers.actors.answers import Answer
from workers.actors.entries import Entry, by_itself, earlier, receipt_entry
from workers.office import Office
from workers.stores.subsidiaries.adapter import DisposingAdapter, Period, StoreRefuses, Terms
from workers.stores.subsidiaries.outcomes import together

DISPOSAL_S: Final = 600.0
"""How long one may take before its order goes back; what was disposed of stays so, and is counted by the next."""


async def dispose(office: Office, entry: Entry) -> Answer:
    """Serve one entry of :data:`schemas.orders.DISPOSAL_ENTRY`.

    Raises :class:`schemas.errors.Temporary` when store or journal are away, or it takes too long.
    """
    return await by_itself(office, entry, [entry["task"]], DISPOSAL_S, partial(_disposed, office, entry))


async def _disposed(office: Office, entry: Entry) -> Entry:
    store, task = office.store, entry["task"]
    done = office.journal.done(task)
    if done is not None and done.attempt >= entry["attempt"]:
        return {**done.entry, "attempt": entry["attempt"]}
    if not isinstance(store, DisposingAdapter):
        raise StoreRefuses("not-supported")
    terms = _terms(office, entry)
    planned = await store.plan_disposal(terms)
    before = earlier(office, task, planned)
    stood = [tally.as_outcome() for tally in planned]
    await asyncio.to_thread(office.journal.begin_disposal, task, stood, office.clock())
    answer = receipt_entry(office, entry, together(before, await store.dispose(terms)))
    await asyncio.to_thread(office.journal.finish, [answer])
    return answer


def _terms(office: Office, entry: Entry) -> Terms:
    """What is asked for, and never for a day to come: what is deleted too early does not come back."""
    on, today = date.fromisoformat(entry["on"]), civil_day(office.clock())
    if on > today + timedelta(days=1):
        raise StoreRefuses("day-to-come")
    return Terms(min(on, today), {one["rule"]: Period(one["active"], one.get("archive")) for one in entry["periods"]})
