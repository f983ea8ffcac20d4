"""The chores: what is done because time has passed. Each does a bounded part of it and says whether there is more.

Any may run twice at once, be killed anywhere and be run again: what is due is looked up anew each time, and each
erases or records by the one code path there is for it. No read waits for them: past its date nothing is shown anyway.
Source: R13, R15, R16; P3, P9.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple

from schemas.calendar import end_of_period
from schemas.terms import Case
from schemas.ticks import (
    AGGREGATES,
    CANARIES,
    DUE_PERSONS,
    EXPIRED_CONSENTS,
    EXPIRED_VISITS,
    NOTICES,
    PARKED_LETTERS,
    PURGE_ARCHIVE,
    PURGE_EXPIRED,
    PURGE_REMARKS,
    RENEWALS,
    SUBSIDIARIES_RETENTION,
    SWEEPS,
    UNCONFIRMED_SUBSCRIPTIONS,
)
from workers.actors.consent import expire_visits
from workers.aggregates import count_next_day
from workers.cases.canaries import open_drills
from workers.cases.disposals import open_disposals
from workers.notices import note_due
from workers.renewals import note_renewals
from workers.retention.folding import UNDER_WAY
from workers.retention.purge import purge_archive, purge_expired, purge_remarks
from workers.retention.sweep import Done, look_at_due, sweep
from workers.services import Services
from workers.stores.mongo import Document

AT_ONCE: Final = 100
"""Letters, subscriptions or consents in one part."""

VISITS_AT_ONCE: Final = 1_000


class Part(NamedTuple):
    """``counts``: what was done; ``more``: whether it is worth going on at once."""

    counts: Mapping[str, int]
    more: bool


async def erase_parked(services: Services) -> Part:
    """Letters whose time is over: keys destroyed, waiting files cleared, then deleted."""
    erased = await services.parked.erase_expired(services.clock(), limit=AT_ONCE)
    return Part({"erased": erased}, erased == AT_ONCE)


async def note_expired_consents(services: Services) -> Part:
    """Consents that have run out become a record, once each. What they cover is judged when it is used, not here."""
    noted = await services.consents.note_expired(services.clock(), limit=AT_ONCE)
    return Part({"expired": noted}, noted == AT_ONCE)


async def count_visits(services: Services) -> Part:
    """Visits of days that are over become counts, a day at a time."""
    counted = await count_next_day(services)
    return Part({"days": int(counted)}, counted)


async def ask_subsidiaries(services: Services) -> Part:
    """Every subsidiary is asked to dispose of what is over in its own store; its worker does, and reports."""
    return Part({"asked": await open_disposals(services)}, more=False)


async def note_renewals_due(services: Services) -> Part:
    """Choices about cookies that are to be made again: near their end, or made under an older version of the policy."""
    noted, more = await note_renewals(services, AT_ONCE)
    return Part({"due": noted}, more)


async def delete_expired_visits(services: Services) -> Part:
    """Visits whose time is over, or whose device's consent has run out."""
    return Part(*await expire_visits(services, VISITS_AT_ONCE))


async def note_notices(services: Services) -> Part:
    """Contacts whose person must soon be told where their data is from, and those that should have been."""
    return Part(*await note_due(services, AT_ONCE))


async def erase_unconfirmed(services: Services) -> Part:
    """Subscriptions whose mailed link was not used in time, and who holds nothing else with them; held ones stay."""
    newsletter, now = services.trust.register.newsletter, services.clock()
    if not newsletter.double_opt_in:
        return Part({}, more=False)
    until, held = now - newsletter.pending.length - UNDER_WAY, 0
    while True:
        found = await services.submissions.unsettled(Case.NEWSLETTER, until, skip=held, limit=AT_ONCE)
        over = [one for one in found if _is_over(services, one, now)]
        confirmed = await _confirmed(services, over)
        await services.submissions.settle(confirmed)
        erased = await _forget(services, [one for one in over if one["_id"] not in confirmed])
        held += len(over) - len(confirmed) - erased
        if erased or confirmed or len(over) < AT_ONCE:  # else a hold keeps all of these: look behind them
            counts = {"erased": erased, "confirmed": len(confirmed), "held": held}
            return Part(counts, len(over) == AT_ONCE)


async def _forget(services: Services, subscriptions: Sequence[Document]) -> int:
    """Erase these; how many could be, for no hold keeps them."""
    by_person = _by_person(subscriptions)
    held = (await services.forgetting.forget_events(by_person)).held
    return sum(len(events) for person, events in by_person.items() if person not in held)


def _is_over(services: Services, subscription: Document, now: datetime) -> bool:
    pending = services.trust.register.newsletter.pending.length
    return end_of_period(subscription["received"], pending) + UNDER_WAY <= now


async def _confirmed(services: Services, subscriptions: Sequence[Document]) -> set[str]:
    """Those of them whose link was used in time."""
    pending = services.trust.register.newsletter.pending.length
    ends = {one["_id"]: end_of_period(one["received"], pending) for one in subscriptions}
    found = await services.confirmations.about(ends)
    return {one["about"] for one in found if one["happened"] < ends[one["about"]]}


def _by_person(subscriptions: Sequence[Document]) -> dict[str, list[str]]:
    persons: dict[str, list[str]] = {}
    for one in subscriptions:
        persons.setdefault(one["person"], []).append(one["_id"])
    return persons


def _part(chore: Callable[[Services], Awaitable[Done]]) -> Callable[[Services], Awaitable[Part]]:
    async def part(services: Services) -> Part:
        return Part(*await chore(services))

    return part


async def begin_drills(services: Services) -> Part:
    """A canary for every store; whoever keeps cases asks each about it, and has it erased again."""
    return Part({"begun": await open_drills(services)}, more=False)


CHORES: Final[Mapping[str, Callable[[Services], Awaitable[Part]]]] = {
    PARKED_LETTERS: erase_parked,
    UNCONFIRMED_SUBSCRIPTIONS: erase_unconfirmed,
    EXPIRED_VISITS: delete_expired_visits,
    EXPIRED_CONSENTS: note_expired_consents,
    RENEWALS: note_renewals_due,
    NOTICES: note_notices,
    AGGREGATES: count_visits,
    DUE_PERSONS: _part(look_at_due),
    **{shard: _part(partial(sweep, shard=shard)) for shard in SWEEPS},
    PURGE_ARCHIVE: _part(purge_archive),
    PURGE_EXPIRED: _part(purge_expired),
    PURGE_REMARKS: _part(purge_remarks),
    CANARIES: begin_drills,
    SUBSIDIARIES_RETENTION: ask_subsidiaries,
}
"""Every chore of :data:`schemas.ticks.SCHEDULE`."""
