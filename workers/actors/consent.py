"""The queue ``consent``: choices about cookies, and the visits that they cover.

Consents of a batch are kept before its visits. A visit not covered is tried once more later, since its consent may be
on its way, then counted and dropped. A visit stays while the consent that it rests on does: a refusal, whenever it
arrives, deletes what was kept under the yes before it, and a yes that runs out is seen when ``expires`` has come.
Source: R4, R14, R15, R16; P2, P9, P10; design § 4 "Consent is a stream of events".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence, Set
from datetime import datetime
from typing import NamedTuple

from schemas.calendar import end_of_period
from schemas.fields import read_moment
from schemas.routes import COOKIE_CONSENT
from workers.actors.batches import ERASED, Arrived, letter_of, park, refuse
from workers.actors.work import Keep
from workers.retention.holding import held_devices
from workers.rules.consent import asks_again, refused_since, rests_until, valid_until
from workers.rules.erasure import Verdict, judge, latest
from workers.services import Services
from workers.stores.mongo import Document
from workers.stores.tombstones import of_device, of_event

TryAgain = Callable[[list[int]], Awaitable[None]]
"""Puts the same batch back for later, for these positions only."""

NOT_COVERED = "not_covered"


def keep_consents(try_again: TryAgain | None) -> Keep:
    """What keeps choices and visits. Without ``try_again`` this is the second try: what is uncovered is dropped."""

    async def keep(services: Services, arrived: Sequence[Arrived]) -> None:
        last = try_again is None
        choices = [one for one in arrived if one.event.type == COOKIE_CONSENT]
        doubtful = await _keep_choices(services, choices, last=last)
        uncovered = await _keep_visits(services, [one for one in arrived if one.event.type != COOKIE_CONSENT])
        if try_again and (doubtful or uncovered):
            await try_again([one.position for one in (*doubtful, *uncovered)])
        elif uncovered:
            await services.bookkeeping.refused((one.key for one in uncovered), NOT_COVERED, services.clock())

    return keep


async def _keep_choices(services: Services, arrived: Sequence[Arrived], *, last: bool) -> list[Arrived]:
    """Keep choices; the refusals that leave visits uncovered of which a yes on its way may yet say otherwise."""
    if not arrived:
        return []
    known = frozenset(map(str, services.trust.register.cookies))
    foreign = [one for one in arrived if not known.issuperset(one.data["choices"])]
    await park(services, [letter_of(services, one, "unknown_purpose") for one in foreign])
    choices = [one for one in arrived if one not in foreign] if foreign else arrived
    documents = [_consent(services, one) for one in choices]
    inserted = await services.consents.insert(documents)
    conflicting = [one for one in choices if one.key in inserted.conflicting]
    await park(services, [letter_of(services, one, "same_id_other_body") for one in conflicting])
    kept = [document for document in documents if document["_id"] not in inserted.conflicting]
    refusals = _refusals(services, kept)
    devices = await _judge_again(services, refusals, inserted.repeated, last=last)
    doubtful = {refusals[device]["_id"] for device in devices}
    return [one for one in choices if one.key in doubtful]


def _refusals(services: Services, consents: Sequence[Document]) -> dict[bytes, Document]:
    """Device → the first choice, of these, by which it refuses to have its visits kept."""
    measured = services.trust.register.covers_visits
    first: dict[bytes, Document] = {}
    for consent in consents:
        if consent["choices"].get(measured) is False:
            known = first.setdefault(consent["device"], consent)
            if consent["happened"] < known["happened"]:
                first[consent["device"]] = consent
    return first


def _happened(one: Arrived) -> datetime:
    """The choice's own time, never later than its arrival."""
    said = one.data["at"]
    return one.happened if said == one.event.time else min(read_moment(said), one.happened)


def _consent(services: Services, one: Arrived) -> Document:
    register, data, happened = services.trust.register, one.data, _happened(one)
    return {
        "_id": one.key,
        "event_id": one.event.id,
        "device": services.trust.references.of_device(data["device_id"]),
        "happened": happened,
        "received": one.received,
        "choices": data["choices"],
        "policy_version": data["policy_version"],
        "notice_sha256": data["notice_sha256"],
        "notice_known": register.notice_known(data["policy_version"], data["notice_sha256"]),
        "language": data["language"],
        "valid_until": valid_until(data["choices"], happened, register),
        "asks_again": asks_again(data["choices"], happened, register),
        "digest": one.digest,
    }


async def _judge_again(
    services: Services, refusals: dict[bytes, Document], repeated: Set[str], *, last: bool
) -> set[bytes]:
    """Delete the stored visits that rested on what is refused now, however late it arrived, and note how long it took.

    A visit of after the refusal, kept under a yes before it, may be covered by one that is on its way: its device is
    returned, and the last time it is dropped like any that nothing covers.
    ``repeated``: choices that were kept before; the attempt that kept them may have died before it deleted anything.
    """
    if not refusals:
        return set()
    visits = await services.consents.visits_of(refusals)
    judged = await _judged(services, visits)
    await _withdraw(services, refusals, [visit for visit in visits if judged[visit["_id"]].refused], repeated)
    doubtful = [visit for visit in visits if judged[visit["_id"]].doubtful]
    if last and doubtful:
        keys = [visit["_id"] for visit in doubtful]
        await services.consents.delete_visits(keys)
        await services.bookkeeping.refused(keys, NOT_COVERED, services.clock())
    return {bytes(visit["device"]) for visit in doubtful}


async def _withdraw(
    services: Services, refusals: dict[bytes, Document], over: Sequence[Document], repeated: Set[str]
) -> None:
    """Delete what rested on a consent that is no more; how long that took is known, however often it breaks off.

    What a legal hold keeps waits for its end; from now on nothing reads it.
    """
    spared = set(await held_devices(services)) if over else set()
    held = {visit["_id"]: services.clock() for visit in over if bytes(visit["device"]) in spared}
    await services.consents.visits_last(held)
    over = [visit for visit in over if visit["_id"] not in held]
    ended = Counter(bytes(visit["device"]) for visit in over)
    begun = [
        {"_id": no["_id"], "said_at": no["happened"], "received_at": no["received"], "visits": ended[device]}
        for device, no in refusals.items()
        if ended[device]
    ]
    await services.consents.begin_withdrawals(begun)
    await services.consents.delete_visits(visit["_id"] for visit in over)
    keys = [no["_id"] for no in refusals.values()]
    if begun or not repeated.isdisjoint(keys):
        await services.consents.end_withdrawals(keys, services.clock())


class _Judged(NamedTuple):
    """``until``: when a visit's consent ends, as far as is known; ``None`` where nothing covers it.

    ``refused``: and nothing on its way will.
    """

    until: datetime | None
    refused: bool

    @property
    def doubtful(self) -> bool:
        return self.until is None and not self.refused


async def _judged(services: Services, visits: Sequence[Document]) -> dict[str, _Judged]:
    """How each visit stands by all that its device is known to have said."""
    register = services.trust.register
    purpose, judged = register.covers_visits, {}
    choices = await services.consents.choices(bytes(visit["device"]) for visit in visits)
    for visit in visits:
        said, since = choices.get(bytes(visit["device"]), []), visit["happened"]
        judged[visit["_id"]] = _Judged(rests_until(said, purpose, since, register), refused_since(said, purpose, since))
    return judged


def _retained_until(services: Services, visit: Document) -> datetime:
    """When the last of the purposes that visits serve ends by its retention rule."""
    return max(end_of_period(visit["happened"], rule.active) for rule in services.trust.register.visit_links())


async def expire_visits(services: Services, limit: int) -> tuple[dict[str, int], bool]:
    """Delete visits that nothing lets be kept any more: their time is over, or the consent they rest on has run out.

    ``limit`` are looked at; what was done, and whether there may be more. One whose device has said yes again in time
    is given its new end. Of people under a legal hold they stay, and are used for nothing.
    """
    now, spared = services.clock(), await held_devices(services)
    visits = await services.consents.visits_over(now, spared, limit=limit)
    judged = await _judged(services, visits)
    ends = {visit["_id"]: min(judged[visit["_id"]].until or now, _retained_until(services, visit)) for visit in visits}
    await services.consents.visits_last({key: end for key, end in ends.items() if end > now})
    deleted = await services.consents.delete_visits(key for key, end in ends.items() if end <= now)
    held = await services.consents.count_over(now, spared) if spared and len(visits) < limit else 0
    return {"deleted": deleted, "held": held}, len(visits) == limit


async def _keep_visits(services: Services, arrived: Sequence[Arrived]) -> list[Arrived]:
    """Keep what is covered; the events that are not (yet) come back."""
    if not arrived:
        return []
    by_key = {one.key: one for one in arrived}
    visits = [_visit(services, one) for one in arrived]
    covered, left_out = await _covered(services, visits)
    inserted = await services.consents.insert_visits(covered)
    conflicting = [by_key[key] for key in inserted.conflicting]
    await park(services, [letter_of(services, one, "same_id_other_body") for one in conflicting])
    written = [visit for visit in covered if visit["_id"] not in inserted.conflicting]
    # A refusal may have come between the first judgement and the write: look again after it, as for tombstones.
    _, overtaken = await _covered(services, written)
    await services.consents.delete_visits(overtaken)
    left_out |= overtaken
    await _look_after(services, [by_key[visit["_id"]] for visit in written if visit["_id"] not in overtaken])
    return [by_key[key] for key in by_key if key in left_out]


async def _covered(services: Services, visits: Sequence[Document]) -> tuple[list[Document], set[str]]:
    """Those that rest on a consent at this moment, each with its end as far as is known; the keys of the others."""
    now, judged = services.clock(), await _judged(services, visits)
    covered = []
    for visit in visits:
        end = judged[visit["_id"]].until
        if end is not None and end > now:
            covered.append(visit | {"expires": min(end, _retained_until(services, visit))})
    return covered, judged.keys() - {visit["_id"] for visit in covered}


def _visit(services: Services, one: Arrived) -> Document:
    document: Document = {
        "_id": one.key,
        "event_id": one.event.id,
        "device": services.trust.references.of_device(one.data["device_id"]),
        "happened": _happened(one),
        "received": one.received,
        "digest": one.digest,
    }
    document.update({name: one.data[name] for name in ("url", "user_agent", "language", "network") if name in one.data})
    return document


async def _look_after(services: Services, visits: Sequence[Arrived]) -> None:
    """Take back the visits of a device that was linked to a person erased meanwhile."""
    references = services.trust.references
    stones_of = {one.key: [of_event(one.key), of_device(references.of_device(one.data["device_id"]))] for one in visits}
    stones = await services.tombstones.look(stone for ids in stones_of.values() for stone in ids)
    if not stones:
        return
    late = [
        one.key
        for one in visits
        if judge(_happened(one), latest(stones, stones_of[one.key]), skew=services.skew, own_act=True)
        is not Verdict.KEEP
    ]
    await refuse(services, late, ERASED)
    await services.consents.delete_visits(late)
