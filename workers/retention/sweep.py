"""The sweep: every day a walk over all persons, every few minutes those who said "no", by one way of disposing.

The walk is cut in shards, one chore each, so that several workers share it; how far each has come is kept, and a worker
that dies is followed by another from there. A part that is done twice, or by two at once, is done once.
Source: R13, R14; P9; design § 4.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Final

from schemas.calendar import civil_day
from schemas.fields import wire_moment
from schemas.ticks import DUE_PERSONS, SWEEPS
from workers.retention.folding import Folded, Record, fold
from workers.retention.moving import archive
from workers.rules.retention import Becomes
from workers.services import Services
from workers.stores.disposals import Walk
from workers.stores.mongo import Document
from workers.stores.tombstones import of_event

PERSONS_AT_ONCE: Final = 2_000
STALE: Final = timedelta(days=1)
"""A walk that has not come to its end after so long begins anew: what it passed may have ended since."""

_HEX: Final = "0123456789abcdef"
ENDINGS: Final = {
    shard: _HEX[at * len(_HEX) // len(SWEEPS) : (at + 1) * len(_HEX) // len(SWEEPS)] for at, shard in enumerate(SWEEPS)
}
"""Shard → how its persons' ids end; the ends of ids are random."""

Done = tuple[Mapping[str, int], bool]
"""What was done, and whether there is more."""


async def sweep(services: Services, shard: str) -> Done:
    """The next part of a shard's walk. Raises :class:`StoreUnavailable`."""
    now = services.clock()
    walk = await services.disposals.walk(shard, now, now - STALE)
    await _finish(services, shard, walk)
    persons = await services.people.page(walk.after, PERSONS_AT_ONCE, ENDINGS[shard])
    counts = await _dispose_of(services, shard, walk, persons) if persons else Counter[str]()
    more = len(persons) == PERSONS_AT_ONCE
    await services.disposals.advance(shard, walk, persons[-1]["_id"] if persons else walk.after, counts)
    if not more:
        await services.disposals.end(shard, walk, services.clock())
    return counts, more


async def look_at_due(services: Services) -> Done:
    """Those who said "no" or withdrew: what that ended goes now, and how long it took is kept."""
    now = services.clock()
    walk = await services.disposals.walk(DUE_PERSONS, now, now - STALE)
    await _finish(services, DUE_PERSONS, walk)
    waiting = await services.due.take(PERSONS_AT_ONCE)
    if not waiting:
        return {}, False
    since = {one.person: one.since for one in waiting}
    counts, gone = await _dispose(services, DUE_PERSONS, walk, await services.people.by_id(since))
    said_no = {one.person["_id"] for one in gone if any(purpose.said_no for purpose in one.served)}
    for person in sorted(said_no, key=lambda one: since[one], reverse=True):
        await services.disposals.took((services.clock() - since[person]).total_seconds())
    await services.disposals.advance(DUE_PERSONS, walk, "", {})
    await services.due.settle(waiting)
    return counts, len(waiting) == PERSONS_AT_ONCE


async def _dispose_of(services: Services, name: str, walk: Walk, persons: Sequence[Document]) -> Counter[str]:
    return (await _dispose(services, name, walk, persons))[0]


async def _dispose(
    services: Services, name: str, walk: Walk, persons: Sequence[Document]
) -> tuple[Counter[str], list[Record]]:
    """Archive or delete what has no live purpose left; the counts, and the records that went."""
    now = services.clock()
    folded = await fold(services, persons, now)
    part = f"{name}/{wire_moment(walk.began)}/{walk.part}"
    ending = folded.going
    moved = [one for one in ending if one.fate.becomes is Becomes.ARCHIVED]
    _, left = await asyncio.gather(
        services.disposals.take_in_hand(name, walk, folded.empty | {one.person["_id"] for one in ending}),
        archive(services, moved),
    )
    going = [one for one in ending if one.event not in left]
    disposed = Counter(line for one in going for line in one.disposed)
    await services.disposals.count(part, civil_day(now), disposed)
    going_events = {one.event for one in going}
    more = {one.person["_id"] for one in folded.records if one.event not in going_events}
    # The copy of what a hold keeps stays too: another worker may have deleted the original before the hold came.
    held = await _forget(services, going, more, folded.empty)
    gone = [one for one in going if one.person["_id"] not in held]
    return _counts(folded, gone, len(going) - len(gone)), gone


async def _forget(
    services: Services, going: Sequence[Record], more: Collection[str], empty: Iterable[str]
) -> frozenset[str]:
    """Delete these from active; of whom a hold that came just now keeps them. ``more``: who holds something else.

    ``empty``: what brought them never came to be kept, or went when a worker died; they go too.
    """
    doomed: defaultdict[str, list[str]] = defaultdict(list, {person: [] for person in empty})
    for one in going:
        doomed[one.person["_id"]].append(one.event)
    return (await services.forgetting.forget_events(doomed, more)).held if doomed else frozenset()


async def _finish(services: Services, name: str, walk: Walk) -> None:
    """Finish what a worker had in hand that died, or has in hand now: of that, the events whose tombstone stands."""
    for part in walk.in_hand.values():
        await services.forgetting.forget_events(await _begun(services, part))
    if walk.in_hand:
        await services.disposals.out_of_hand(name, list(walk.in_hand))


async def _begun(services: Services, persons: Sequence[str]) -> dict[str, list[str]]:
    """Person → those of his events that still stand behind a tombstone; none where only his own was proposed."""
    events = {one["_id"]: one["person"] for one in await services.submissions.of(persons, "_id")}
    stones = await services.tombstones.look(map(of_event, events))
    begun: dict[str, list[str]] = {person: [] for person in persons}
    for event, person in events.items():
        if of_event(event) in stones:
            begun[person].append(event)
    return begun


def _counts(folded: Folded, gone: Sequence[Record], held: int) -> Counter[str]:
    counted = Counter(one.fate.becomes.value for one in gone)
    counted["held"] = len(folded.held) + held
    counted["open"] = sum(any(purpose.until is None for purpose in one.served) for one in folded.records)
    return counted
