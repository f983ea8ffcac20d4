"""Keeping what is said about somebody's record: anchors of retention, notices, express agreements.

Write first, look at the tombstones after, acknowledge after the look: what is about an erased person or event is turned
away. A remark may come before the record that it is about.
Source: R8, R13, R26; P2, P5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from schemas.envelope import event_key
from schemas.fields import read_moment
from schemas.routes import APPLICATION_DECIDED, form_source
from schemas.subject import ReferenceUse
from schemas.terms import Case
from workers.actors.batches import ERASED, Arrived, letter_of, park, refuse
from workers.rules.erasure import Verdict, judge, latest
from workers.services import Services
from workers.stores.mongo import Document
from workers.stores.remarks import Remarks
from workers.stores.tombstones import of_address, of_event

Written = Callable[[Services, Arrived], Document]
"""An event as it is kept: :func:`remark` and what its kind adds."""


async def keep_remarks(
    services: Services, remarks: Remarks, arrived: Sequence[Arrived], written: Written, *, own_act: bool = False
) -> list[Document]:
    """Keep these remarks of one kind; those that stand when this returns, as they are kept.

    ``own_act``: whether the person said it. About an erased person nothing else is believed without staff.
    """
    named = [one for one in arrived if ("email" in one.data) != ("about" in one.data)]
    nameless = [one for one in arrived if one not in named]
    await park(services, [letter_of(services, one, "email_or_about") for one in nameless])
    if not named:
        return []
    documents = {one.key: written(services, one) for one in named}
    inserted = await remarks.insert(list(documents.values()))
    conflicting = [one for one in named if one.key in inserted.conflicting]
    await park(services, [letter_of(services, one, "same_id_other_body") for one in conflicting])
    stones = await services.tombstones.look(stone for one in named for stone in _stones(services, one))
    ours = [one for one in named if one not in conflicting]
    verdicts = {one.key: _verdict(services, one, stones, own_act=own_act) for one in ours}
    late = [one for one in ours if verdicts[one.key] is Verdict.REFUSE]
    doubtful = [one for one in ours if verdicts[one.key] is Verdict.PARK]
    await refuse(services, [one.key for one in late], ERASED)
    await park(services, [letter_of(services, one, ERASED) for one in doubtful])
    await remarks.undo(one.key for one in late + doubtful)
    return [documents[one.key] for one in ours if verdicts[one.key] is Verdict.KEEP]


def remark(services: Services, one: Arrived) -> Document:
    """What every remark keeps: whom or what it is about, and the identity of its event."""
    document: Document = {"_id": one.key, "event_id": one.event.id, "received": one.received, "digest": one.digest}
    about = about_event(one)
    if about:
        return document | {"about": about}
    return document | {"refs": [services.trust.references.of_email(ReferenceUse.LOOKUP, one.data["email"])]}


def happened(one: Arrived) -> datetime:
    """The moment a remark tells of, never later than its arrival."""
    return min(read_moment(one.data["at"]), one.received)


def about_event(one: Arrived) -> str | None:
    """The submission a remark is about: one of the same source, or, of an application, the site's form."""
    if "about" not in one.data:
        return None
    decided = one.event.type == APPLICATION_DECIDED
    return event_key(form_source(Case.JOB_APPLICATION) if decided else one.event.source, one.data["about"])


def _verdict(services: Services, one: Arrived, stones: Mapping[str, datetime], *, own_act: bool) -> Verdict:
    return judge(one.received, latest(stones, _stones(services, one)), skew=services.skew, own_act=own_act)


def _stones(services: Services, one: Arrived) -> list[str]:
    about = about_event(one)
    if about:
        return [of_event(one.key), of_event(about)]
    return [
        of_event(one.key),
        of_address(services.trust.references.of_email(ReferenceUse.TOMBSTONE, one.data["email"])),
    ]
