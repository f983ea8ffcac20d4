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
from workers.retention.evidence import archived, opened
from workers.services import Services
from workers.stores.keys import ACTIVE, key_id

_MEANINGS: Final = {
    "case": "occasion on which the data was collected",
    "received": "when it was received",
    "origin": "who gave it",
    "purposes": "what it is used for, on which lawful basis, and until when",
}

_AGREED: Final = {
    "purpose": "what you expressly agreed to, or agree to no longer",
    "at": "when it was said",
    "origin": "by which way",
    "policy_version": "the version of the policy that was shown",
}


async def copy_of(services: Services, emails: Iterable[str]) -> dict[str, Any]:
    """The access copy of our own store; ``collections`` is empty when nothing is held."""
    addresses = [clean_email(email) for email in emails]
    records = [record for email in addresses for record in await _records(services, email)]
    agreements = [agreement for email in addresses for agreement in await _agreements(services, email)]
    collections = (
        ("submissions", _MEANINGS, records),
        ("archive", _MEANINGS, await _archived(services, addresses)),
        ("agreements", _AGREED, agreements),
    )
    return {
        "store": CONTROLLER,
        "collections": [
            {"name": name, "fields": dict(fields), "records": found} for name, fields, found in collections if found
        ],
    }


async def _agreements(services: Services, email: str) -> list[dict[str, Any]]:
    ref = services.trust.references.of_email(ReferenceUse.LOOKUP, email)
    found = await services.submissions.agreements.about([ref])
    return [
        {
            "purpose": one["purpose"],
            "agreed": "yes" if one["given"] else "no",
            "at": wire_moment(one["happened"]),
            "origin": one["source"],
            **{name: one[name] for name in ("policy_version", "notice_sha256", "language") if name in one},
        }
        for one in sorted(found, key=lambda one: (one["happened"], not one["given"]))
    ]


async def _archived(services: Services, emails: Iterable[str]) -> list[dict[str, Any]]:
    """What is out of use and kept as evidence."""
    found = await archived(services, emails)
    if not found:
        return []
    await services.reads.record(
        reader="rights",
        department="data-subject",
        purpose="access",
        person=list(dict.fromkeys(one.document["person"] for one in found)),
        shown=len(found),
        outcome="shown",
        at=services.clock(),
    )
    data = await opened(services, found)
    return [
        {
            "case": one.document["case"],
            "received": wire_moment(one.document["received"]),
            "origin": one.document["source"],
            **data[one.event],
            "purposes": [
                {"purpose": use.purpose.value, "lawful_basis": use.basis.value, "until": wire_moment(one.until)}
                for use in one.uses
            ],
        }
        for one in found
        if one.event in data
    ]


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
