"""A subsidiary's canary: a fictional person is put into its store, as its own mapping says, for the group to ask about.

Only an address of the fictional kind gets here (:data:`schemas.orders.PLANT_ENTRY`). Repeating it plants nothing twice,
and nothing again once the canary was erased: the journal knows what was planted before the group hears of it.
Source: R25; P6; docs/decisions/0019.
"""

from __future__ import annotations

import asyncio

import structlog

from schemas.errors import StoreUnavailable, Temporary
from workers.actors.answers import Answer
from workers.actors.entries import Entry, head, receipt_entry, refusal
from workers.office import Office
from workers.stores.subsidiaries.adapter import PlantingAdapter, StoreRefuses, Subject

log = structlog.get_logger("greffier.subsidiary.orders")


async def plant(office: Office, entry: Entry) -> Answer:
    """Serve one entry. Raises :class:`schemas.errors.Temporary` when the store is away, or takes too long."""
    subject = Subject((entry["address"],), office.clock())
    names = [entry["task"], *office.journal.marks(subject)]
    try:
        async with asyncio.timeout(office.entry_timeout_s), office.busy.with_all(names):
            done = office.journal.done(entry["task"])
            if done is not None:
                return Answer({**done.entry, "attempt": entry["attempt"]})
            if not isinstance(office.store, PlantingAdapter):
                raise StoreRefuses("not-supported")
            planted = receipt_entry(office, entry, await office.store.plant(subject))
            await asyncio.to_thread(office.journal.finish, [planted])
            return Answer(planted)
    except TimeoutError:
        raise StoreUnavailable("the store takes too long") from None
    except Temporary:
        raise
    except StoreRefuses as refused:
        reason = refused.reason
    except Exception as error:
        log.error("store failed", task=entry["task"], exc_info=error)
        reason = "store-error"
    return Answer({**head(entry), **refusal(office, reason)})
