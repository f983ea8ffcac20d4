"""The queue ``submissions``: forms, CRM contacts, and the events that retention is counted from.

Source: R1, R2, R13; design § 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from schemas.envelope import event_key
from schemas.fields import read_moment
from schemas.routes import (
    APPLICATION_DECIDED,
    CONTACT_ENDED,
    CONTACT_INTERACTED,
    form_source,
)
from schemas.subject import ReferenceUse
from schemas.terms import Anchor, Case
from workers.actors.batches import ERASED, Arrived, letter_of, park, refuse
from workers.actors.records import keep_records
from workers.rules.erasure import Verdict, judge, latest
from workers.services import Services
from workers.stores.mongo import Document
from workers.stores.tombstones import of_address, of_event

_ANCHORS: Final = {
    CONTACT_INTERACTED: Anchor.LAST_CONTACT,
    CONTACT_ENDED: Anchor.CONTRACT_ENDED,
    APPLICATION_DECIDED: Anchor.APPLICATION_DECIDED,
}


async def keep_submissions(services: Services, arrived: Sequence[Arrived]) -> None:
    """Keep records and anchor events; each that cannot be kept is parked or refused by itself."""
    records = [one for one in arrived if one.route.case]
    anchors = [one for one in arrived if not one.route.case]
    await keep_records(services, records)
    await keep_anchors(services, anchors)


async def keep_anchors(services: Services, arrived: Sequence[Arrived]) -> None:
    """Keep anchor events; one about an erased person or event is turned away. They may come before what they date."""
    named = [one for one in arrived if ("email" in one.data) != ("about" in one.data)]
    nameless = [one for one in arrived if one not in named]
    await park(services, [letter_of(services, one, "email_or_about") for one in nameless])
    if not named:
        return
    inserted = await services.submissions.insert_anchors([_anchor(services, one) for one in named])
    conflicting = [one for one in named if one.key in inserted.conflicting]
    await park(services, [letter_of(services, one, "same_id_other_body") for one in conflicting])
    stones = await services.tombstones.look(stone for one in named for stone in _stones(services, one))
    verdicts = {one.key: _verdict(services, one, stones) for one in named if one not in conflicting}
    late = [one for one in named if verdicts.get(one.key) is Verdict.REFUSE]
    doubtful = [one for one in named if verdicts.get(one.key) is Verdict.PARK]
    await refuse(services, [one.key for one in late], ERASED)
    await park(services, [letter_of(services, one, ERASED) for one in doubtful])
    await services.submissions.undo_anchors(one.key for one in late + doubtful)


def _verdict(services: Services, one: Arrived, stones: dict[str, Any]) -> Verdict:
    erased_at = latest(stones, _stones(services, one))
    return judge(one.received, erased_at, skew=services.skew, own_act=False)


def _about(one: Arrived) -> str | None:
    """The submission an anchor event is about: one of the same source, or, of an application, the site's form."""
    if "about" not in one.data:
        return None
    decided = one.event.type == APPLICATION_DECIDED
    return event_key(form_source(Case.JOB_APPLICATION) if decided else one.event.source, one.data["about"])


def _stones(services: Services, one: Arrived) -> list[str]:
    about = _about(one)
    if about:
        return [of_event(one.key), of_event(about)]
    return [
        of_event(one.key),
        of_address(services.trust.references.of_email(ReferenceUse.TOMBSTONE, one.data["email"])),
    ]


def _anchor(services: Services, one: Arrived) -> Document:
    happened = min(read_moment(one.data["at"]), one.received)
    document: Document = {
        "_id": one.key,
        "event_id": one.event.id,
        "anchor": _ANCHORS[one.event.type].value,
        "at": happened,
        "received": one.received,
        "digest": one.digest,
    }
    about = _about(one)
    if about:
        return document | {"about": about}
    return document | {"refs": [services.trust.references.of_email(ReferenceUse.LOOKUP, one.data["email"])]}
