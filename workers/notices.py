"""Telling people whose data came from elsewhere: what is due, what is overdue, what was done.

A notice given and an act of the person move the dates, each in any order with the record that they are about; a daily
chore records what comes near and what is late. Nothing here sends anything: who informs says so by an event.
Source: R2; GDPR Art. 14; P11.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from schemas.calendar import civil_day
from schemas.terms import Anchor
from workers.rules.notices import due_soon_until, informed_at, notice_by
from workers.services import Services
from workers.stores.mongo import Document
from workers.stores.notice_dates import DUE_SOON, OVERDUE

SHOWN = 1_000
"""Contacts that are listed at most; all are counted."""


@dataclass(frozen=True, slots=True)
class NoticeState:
    """How many notices are due soon, and how many overdue."""

    due_soon: int
    overdue: int


async def date_arrived(services: Services, refs: Iterable[bytes], events: Sequence[str]) -> None:
    """Date these contacts anew, which have just arrived, where something that was said about them came first."""
    named = list(refs)
    said = [*await services.submissions.notices.about(named, events), *await _acts(services, named, events)]
    if said:
        await _date(services, await services.notice_dates.of(events))


async def date_said_about(services: Services, remarks: Sequence[Document]) -> None:
    """Date the contacts anew that these notices and acts of people are about."""
    telling = [one for one in remarks if one.get("anchor", Anchor.LAST_CONTACT) == Anchor.LAST_CONTACT]
    if telling:
        found = await services.people.find(bytes(ref) for one in telling for ref in one.get("refs", ()))
        events = [one["about"] for one in telling if "about" in one]
        await _date(services, await services.notice_dates.of(events, found.values()))


async def note_due(services: Services, limit: int) -> tuple[dict[str, int], bool]:
    """Record of each contact, once, that its notice is overdue, or due soon; how many, and whether there is more."""
    now, counts = services.clock(), {OVERDUE: 0, DUE_SOON: 0}
    for standing, moment in ((OVERDUE, now), (DUE_SOON, due_soon_until(now))):
        found = await services.notice_dates.late(moment, unnoted=standing, limit=limit)
        await _date(services, found)
        again = {one["_id"]: one for one in await services.notice_dates.of(one["_id"] for one in found)}
        late = [one for key in again if "notice_by" in (one := again[key]) and one["notice_by"] <= moment]
        await services.notice_dates.note(late, standing, now)
        counts[standing] += len(late)
        if len(found) == limit:  # what is overdue is recorded as such before anything is as near
            return counts, True
    return counts, False


async def look_at_notices(services: Services) -> NoticeState:
    """How many are near and late at this moment, noted or not. Raises :class:`StoreUnavailable`."""
    now = services.clock()
    overdue = await services.notice_dates.count_late(now)
    return NoticeState(await services.notice_dates.count_late(due_soon_until(now)) - overdue, overdue)


async def listed(services: Services, limit: int = SHOWN) -> list[dict[str, str]]:
    """The contacts whose notice is near or late, the oldest first: the event's key, its last day, how it stands."""
    now = services.clock()
    found = await services.notice_dates.late(due_soon_until(now), limit=limit)
    return [
        {
            "event": one["_id"],
            "due_on": civil_day(one["notice_by"] - timedelta(seconds=1)).isoformat(),
            "standing": OVERDUE if one["notice_by"] <= now else DUE_SOON,
        }
        for one in found
    ]


async def _date(services: Services, contacts: Sequence[Document]) -> None:
    """Fold from all that is known until when each contact's person must be told, or when they were."""
    events = [one["_id"] for one in contacts]
    refs = await services.people.refs_of_all(one["person"] for one in contacts)
    named = [ref for ones in refs.values() for ref in ones]
    notices = _by_whom(await services.submissions.notices.about(named, events))
    acts = _by_whom(await _acts(services, named, events))
    due: dict[str, datetime] = {}
    informed: dict[str, datetime] = {}
    for one in contacts:
        whom: list[object] = [one["_id"], *refs.get(one["person"], ())]
        collected_on = date.fromisoformat(one["collected_at"])
        told = informed_at(collected_on, [at for which in whom for at in notices.get(which, ())])
        if told is not None:
            informed[one["_id"]] = told
        else:
            due[one["_id"]] = notice_by(collected_on, [at for which in whom for at in acts.get(which, ())])
    await services.notice_dates.set(due, informed)


async def _acts(services: Services, refs: Iterable[bytes], events: Iterable[str]) -> list[Document]:
    """Acts of these people towards us: whoever replies was written to."""
    anchors = await services.submissions.anchors_about(refs, events)
    return [one for one in anchors if one["anchor"] == Anchor.LAST_CONTACT]


def _by_whom(remarks: Iterable[Document]) -> Mapping[object, list[datetime]]:
    """Event or reference → the moments of what is said about it."""
    moments: defaultdict[object, list[datetime]] = defaultdict(list)
    for one in remarks:
        for whom in [one["about"]] if "about" in one else map(bytes, one["refs"]):
            moments[whom].append(one["at"])
    return moments
