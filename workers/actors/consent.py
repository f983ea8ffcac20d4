"""The queue ``consent``: choices about cookies, and the visits that they cover.

Consents of a batch are kept before its visits. A visit not covered is tried once more later, since its consent may be
on its way, then counted and dropped. A refusal judges the device's stored visits again, whenever it arrives.
Source: R4, R15, R16; P2, P10; design § 4 "Consent is a stream of events".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from schemas.calendar import end_of_period
from schemas.consent import Choice
from schemas.fields import read_moment
from schemas.routes import COOKIE_CONSENT
from workers.actors.batches import ERASED, Arrived, letter_of, park, refuse
from workers.actors.work import Keep
from workers.rules.consent import covers, valid_until
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
        await _keep_choices(services, [one for one in arrived if one.event.type == COOKIE_CONSENT])
        uncovered = await _keep_visits(services, [one for one in arrived if one.event.type != COOKIE_CONSENT])
        if uncovered and try_again:
            await try_again([one.position for one in uncovered])
        elif uncovered:
            await services.bookkeeping.refused((one.key for one in uncovered), NOT_COVERED, services.clock())

    return keep


async def _keep_choices(services: Services, arrived: Sequence[Arrived]) -> None:
    if not arrived:
        return
    known = frozenset(map(str, services.trust.register.cookies))
    foreign = [one for one in arrived if not known.issuperset(one.data["choices"])]
    await park(services, [letter_of(services, one, "unknown_purpose") for one in foreign])
    choices = [one for one in arrived if one not in foreign] if foreign else arrived
    documents = [_consent(services, one) for one in choices]
    inserted = await services.consents.insert(documents)
    conflicting = [one for one in choices if one.key in inserted.conflicting]
    await park(services, [letter_of(services, one, "same_id_other_body") for one in conflicting])
    kept = [document for document in documents if document["_id"] not in inserted.conflicting]
    await _judge_again(services, _refusals(services, kept))


def _refusals(services: Services, consents: Sequence[Document]) -> dict[bytes, datetime]:
    """Device → the first moment at which it refuses, in these, to have its visits kept."""
    measured = services.trust.register.covers_visits
    first: dict[bytes, datetime] = {}
    for consent in consents:
        if consent["choices"].get(measured) is False:
            device, happened = consent["device"], consent["happened"]
            first[device] = min(happened, first.get(device, happened))
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
        "digest": one.digest,
    }


async def _judge_again(services: Services, since: dict[bytes, datetime]) -> None:
    """Delete the stored visits that a refusal, however late it arrived, no longer covers."""
    if since:
        visits = await services.consents.visits_since(since)
        await services.consents.delete_visits([visit["_id"] for visit in await _not_covered(services, visits)])


async def _not_covered(services: Services, visits: Sequence[Document]) -> list[Document]:
    choices = await services.consents.choices(bytes(visit["device"]) for visit in visits)
    return [visit for visit in visits if not _is_covered(services, choices.get(bytes(visit["device"]), []), visit)]


def _is_covered(services: Services, choices: Sequence[Choice], visit: Document) -> bool:
    register = services.trust.register
    return covers(choices, register.covers_visits, visit["happened"], register)


async def _keep_visits(services: Services, arrived: Sequence[Arrived]) -> list[Arrived]:
    """Keep what is covered; the events that are not (yet) come back."""
    if not arrived:
        return []
    by_key = {one.key: one for one in arrived}
    visits = [_visit(services, one) for one in arrived]
    uncovered = await _not_covered(services, visits)
    left_out = {visit["_id"] for visit in uncovered}
    covered = [visit for visit in visits if visit["_id"] not in left_out]
    inserted = await services.consents.insert_visits(covered)
    conflicting = [by_key[key] for key in inserted.conflicting]
    await park(services, [letter_of(services, one, "same_id_other_body") for one in conflicting])
    written = [visit for visit in covered if visit["_id"] not in inserted.conflicting]
    # A refusal may have come between the first judgement and the write: look again after it, as for tombstones.
    await services.consents.delete_visits([visit["_id"] for visit in await _not_covered(services, written)])
    await _look_after(services, [by_key[visit["_id"]] for visit in written])
    return [by_key[key] for key in by_key if key in left_out]


def _visit(services: Services, one: Arrived) -> Document:
    happened = _happened(one)
    register = services.trust.register
    document: Document = {
        "_id": one.key,
        "event_id": one.event.id,
        "device": services.trust.references.of_device(one.data["device_id"]),
        "happened": happened,
        "received": one.received,
        "digest": one.digest,
        "expires": max(end_of_period(happened, rule.active) for rule in register.visit_links()),
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
