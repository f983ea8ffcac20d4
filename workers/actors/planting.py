"""A subsidiary's canary: a fictional person is put into its store, as its own mapping says, for the group to ask about.

Only an address of the fictional kind gets here (:data:`schemas.orders.PLANT_ENTRY`). Repeating it plants nothing twice,
and nothing again once the canary was erased: the journal knows what was planted before the group hears of it.
Source: R25; P6; docs/decisions/0019.
"""

from __future__ import annotations

import asyncio
from functools import partial

from workers.actors.answers import Answer
from workers.actors.entries import Entry, by_itself, receipt_entry
from workers.office import Office
from workers.stores.subsidiaries.adapter import PlantingAdapter, StoreRefuses, Subject


async def plant(office: Office, entry: Entry) -> Answer:
    """Serve one entry. Raises :class:`schemas.errors.Temporary` when the store is away, or takes too long."""
    subject = Subject((entry["address"],), office.clock())
    names = [entry["task"], *office.journal.marks(subject)]
    return await by_itself(office, entry, names, office.entry_timeout_s, partial(_planted, office, entry, subject))


async def _planted(office: Office, entry: Entry, subject: Subject) -> Entry:
    done = office.journal.done(entry["task"])
    if done is not None:
        return {**done.entry, "attempt": entry["attempt"]}
    if not isinstance(office.store, PlantingAdapter):
        raise StoreRefuses("not-supported")
    planted = receipt_entry(office, entry, await office.store.plant(subject))
    await asyncio.to_thread(office.journal.finish, [planted])
    return planted
