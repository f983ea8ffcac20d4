"""The queue ``submissions``: forms, CRM contacts, the events that retention is counted from, and notices given.

Source: R1, R2, R13; GDPR Art. 14; design § 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from schemas.routes import APPLICATION_DECIDED, CONTACT_ENDED, CONTACT_INFORMED, CONTACT_INTERACTED
from schemas.subject import ReferenceUse
from schemas.terms import Anchor
from workers.actors.batches import Arrived
from workers.actors.records import keep_records
from workers.actors.remarks import happened, keep_remarks, remark
from workers.notices import date_arrived, date_said_about
from workers.services import Services
from workers.stores.mongo import Document

_ANCHORS: Final = {
    CONTACT_INTERACTED: Anchor.LAST_CONTACT,
    CONTACT_ENDED: Anchor.CONTRACT_ENDED,
    APPLICATION_DECIDED: Anchor.APPLICATION_DECIDED,
}


async def keep_submissions(services: Services, arrived: Sequence[Arrived]) -> None:
    """Keep records and what is said about them; each that cannot be kept is parked or refused by itself."""
    records = [one for one in arrived if one.route.case]
    anchors = [one for one in arrived if one.event.type in _ANCHORS]
    informed = [one for one in arrived if one.event.type == CONTACT_INFORMED]
    kept = set(await keep_records(services, records))
    said = await keep_remarks(services, services.submissions.anchors, anchors, _anchor)
    said += await keep_remarks(services, services.submissions.notices, informed, _notice)
    contacts = [one for one in records if one.key in kept and "collected_at" in one.data]
    await date_arrived(services, [_reference(services, one) for one in contacts], [one.key for one in contacts])
    await date_said_about(services, said)


def _anchor(services: Services, one: Arrived) -> Document:
    return remark(services, one) | {"anchor": _ANCHORS[one.event.type].value, "at": happened(one)}


def _reference(services: Services, one: Arrived) -> bytes:
    return services.trust.references.of_email(ReferenceUse.LOOKUP, one.data["email"])


def _notice(services: Services, one: Arrived) -> Document:
    return remark(services, one) | {"at": happened(one), "means": one.data["means"]}
