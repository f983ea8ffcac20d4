"""What is past all its periods goes for good: of the archive, of proofs of consent, of our own bookkeeping.

The archive is walked over whole, page by page, and judged by the register of today, like what is in use. What a legal
hold keeps stays and is counted. Each part may be repeated, broken off anywhere, and done by two at once.
Source: R11, R13, R15; P9; retention-defaults § 2, § 5, § 6.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from dateutil.relativedelta import relativedelta

from schemas.calendar import civil_day
from schemas.fields import wire_moment
from schemas.ticks import PURGE_ARCHIVE, PURGE_REMARKS, SCHEDULE
from workers.retention.evidence import Archived, kept_until
from workers.retention.folding import fold
from workers.retention.holding import held_devices
from workers.retention.sweep import STALE, Done
from workers.rules.retention import Becomes
from workers.services import Services
from workers.stores.disposals import Disposed
from workers.stores.keys import ARCHIVE, key_id
from workers.stores.mongo import Document
from workers.stores.remarks import REMARKS

AT_ONCE: Final = 5_000
TICKS_KEPT: Final = relativedelta(years=1)
"""How long it stays known which chore ran when: as logs do. Source: retention-defaults § 6 (CNIL 2021-122)."""

_LEFT_BEHIND: Final = timedelta(days=1)
"""After so long a copy whose record stays in use is what a move left that did not live to finish."""


async def purge_archive(services: Services) -> Done:
    """The next page of the archive: what is past its last period goes, its key with whom it was the last of."""
    now = services.clock()
    walk = await services.disposals.walk(PURGE_ARCHIVE, now, now - STALE)
    page = await services.archive.page(walk.after, AT_ONCE)
    left = await _left_behind(services, page, now)
    await _undo(services, left)
    undone = {one["_id"] for one in left}
    known = [Archived(one, kept_until(services.trust.register, one)) for one in page if one["_id"] not in undone]
    over = [one.document for one in known if one.until <= now]
    held, last = await asyncio.gather(services.keys.held({_key(one) for one in over}), _last_keys(services, over))
    going = [one for one in over if _key(one) not in held]
    part = f"{PURGE_ARCHIVE}/{wire_moment(walk.began)}/{walk.part}"
    await services.disposals.count(part, civil_day(now), _disposed(going))
    kept = await services.keys.destroy_all(last - held)
    gone = [one for one in going if _key(one) not in kept]
    await _undo(services, gone)
    counts = {"purged": len(gone), "held": len(over) - len(gone), "left_behind": len(left)}
    more = len(page) == AT_ONCE
    await services.disposals.advance(PURGE_ARCHIVE, walk, page[-1]["_id"] if page else walk.after, counts)
    if not more:
        await services.disposals.end(PURGE_ARCHIVE, walk, services.clock())
    return counts, more


async def purge_expired(services: Services) -> Done:
    """Proofs of consent past their time, ticks of a year ago. Devices of people under a hold are spared."""
    now, period = services.clock(), services.trust.register.consent_proof.length
    spared = await held_devices(services)
    proofs = await services.consents.purge_proofs(now, period, spared, limit=AT_ONCE)
    ticks = await services.ticks.purge(SCHEDULE, now - TICKS_KEPT)
    held = await services.consents.proofs_over(now, period, spared) if spared else 0
    return {"proofs": proofs, "ticks": ticks, "held": held}, proofs == AT_ONCE


async def purge_remarks(services: Services) -> Done:
    """Anchors, notices and agreements about nothing: it went, or never came within the time of a parked letter.

    An agreement is a proof as well, and stays as long as one.
    """
    now, register = services.clock(), services.trust.register
    walk = await services.disposals.walk(PURGE_REMARKS, now, now - STALE)
    kind, _, after = walk.after.partition(":")
    kind = kind or REMARKS[0]
    remarks = services.submissions.remarks[kind]
    page = await remarks.page(after, AT_ONCE)
    kept_for = register.consent_proof if kind == "agreements" else register.parked
    idle = await _about_nothing(services, [one for one in page if one["received"] <= now - kept_for.length])
    await remarks.undo(idle)
    counts, next_kind = {kind: len(idle)}, REMARKS[REMARKS.index(kind) + 1 :][:1]
    if len(page) == AT_ONCE:
        await services.disposals.advance(PURGE_REMARKS, walk, f"{kind}:{page[-1]['_id']}", counts)
        return counts, True
    await services.disposals.advance(PURGE_REMARKS, walk, f"{next_kind[0]}:" if next_kind else "", counts)
    if not next_kind:
        await services.disposals.end(PURGE_REMARKS, walk, services.clock())
    return counts, bool(next_kind)


async def _about_nothing(services: Services, old: Sequence[Document]) -> list[str]:
    known = await services.people.find(bytes(ref) for one in old for ref in one.get("refs", ()))
    standing = {one["_id"] for one in await services.submissions.by_key(one["about"] for one in old if "about" in one)}
    return [
        one["_id"]
        for one in old
        if one.get("about") not in standing and not any(bytes(ref) in known for ref in one.get("refs", ()))
    ]


# ---------------------------------------------------------------------- the archive


def _key(one: Document) -> str:
    return key_id(one["person"], ARCHIVE)


async def _undo(services: Services, gone: Sequence[Document]) -> None:
    await services.archive.undo({one["_id"]: one["person"] for one in gone})


def _disposed(gone: Sequence[Document]) -> Mapping[Disposed, int]:
    lines = (Disposed("purged", one["case"], use["purpose"], use["rule"]) for one in gone for use in one["ended"])
    return Counter(lines)


async def _last_keys(services: Services, going: Sequence[Document]) -> frozenset[str]:
    """The keys of whom nothing is left: neither in the archive, nor in use, from where more may come."""
    if not going:
        return frozenset()
    events, persons = {one["_id"] for one in going}, {one["person"] for one in going}
    others, in_use = await asyncio.gather(services.archive.of_persons(persons, "_id"), services.people.by_id(persons))
    staying = {one["person"] for one in others if one["_id"] not in events} | {one["_id"] for one in in_use}
    return frozenset(key_id(person, ARCHIVE) for person in persons - staying)


async def _left_behind(services: Services, page: Sequence[Document], now: datetime) -> list[Document]:
    """Copies of moves that did not live to their look: their person was erased, or the record is not to be moved."""
    young = [one for one in page if now - one["moved_at"] <= 3 * _LEFT_BEHIND]
    if not young:
        return []
    keys, held = await services.keys.read_whole({_key(one) for one in young})
    settled = {one["_id"] for one in young if now - one["moved_at"] > _LEFT_BEHIND}
    doubled = await _staying(services, settled)
    return [one for one in young if _key(one) not in held and (_key(one) not in keys or one["_id"] in doubled)]


async def _staying(services: Services, events: Iterable[str]) -> set[str]:
    """Which of these records are in use and not on their way here.

    Of one that is, the move is done again, perhaps at this moment: its copy stands already, and the original goes next.
    """
    doubled = {one["_id"]: one["person"] for one in await services.submissions.by_key(events)}
    if not doubled:
        return set()
    folded = await fold(services, await services.people.by_id(doubled.values()), services.clock())
    coming = {one.event for one in (*folded.records, *folded.held) if one.fate.becomes is Becomes.ARCHIVED}
    return doubled.keys() - coming
