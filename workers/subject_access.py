"""What our own store holds of a data subject, for that subject: every record, whatever it was kept for.

The one read that names no purpose but the right itself; it is recorded like any other.
Source: R9, R17; GDPR Art. 15.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from schemas.fields import wire_moment
from schemas.orders import CONTROLLER
from schemas.subject import ReferenceUse, clean_email
from workers.gate import purpose_end
from workers.services import Services
from workers.stores.keys import ACTIVE, key_id

_MEANINGS: Final = {
    "case": "occasion on which the data was collected",
    "received": "when it was received",
    "origin": "who gave it",
    "purposes": "what it is used for, on which lawful basis, and until when",
}


async def copy_of(services: Services, emails: Iterable[str]) -> dict[str, Any]:
    """The access copy of our own store; ``collections`` is empty when nothing is held."""
    records = [record for email in emails for record in await _records(services, clean_email(email))]
    if not records:
        return {"store": CONTROLLER, "collections": []}
    return {
        "store": CONTROLLER,
        "collections": [{"name": "submissions", "fields": dict(_MEANINGS), "records": records}],
    }


async def _records(services: Services, email: str) -> list[dict[str, Any]]:
    ref = services.trust.references.of_email(ReferenceUse.LOOKUP, email)
    person = (await services.people.find([ref])).get(ref)
    if person is None:
        return []
    found = await services.submissions.find({"person": person})
    key = (await services.keys.read([key_id(person, ACTIVE)])).get(key_id(person, ACTIVE))
    if key is None:
        return []
    await services.reads.record(
        reader="rights",
        department="data-subject",
        purpose="access",
        person=person,
        shown=len(found),
        outcome="shown",
        at=services.clock(),
    )
    purposes = await _purposes(services, person, ref)
    return [
        {
            "case": one["case"],
            "received": wire_moment(one["received"]),
            "origin": one["source"],
            **json.loads(key.open(f"submissions/{one['_id']}", bytes(one["sealed"]))),
            "purposes": purposes.get(one["_id"], []),
        }
        for one in found
    ]


async def _purposes(services: Services, person: str, ref: bytes) -> dict[str, list[dict[str, str]]]:
    """Submission → its purposes with lawful basis and end."""
    links = await services.submissions.links_of(person)
    anchors = await services.submissions.anchors_about([ref], {link["submission"] for link in links})
    found: dict[str, list[dict[str, str]]] = {}
    for link in links:
        end = purpose_end(services.trust.register, link, anchors)
        until = wire_moment(end) if end else f"open until {link['anchor']}"
        told = {"purpose": link["purpose"], "lawful_basis": link["basis"], "until": until}
        found.setdefault(link["submission"], []).append(told)
    return found
