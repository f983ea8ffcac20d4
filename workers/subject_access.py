"""What our own store holds of a data subject, for that subject: every record, whatever it was kept for; and of it what
they may take elsewhere.

The one read that names no purpose but the right itself; it is recorded like any other.
Source: R9, R17; GDPR Arts 15, 20.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from itertools import product
from typing import Any, Final

from schemas.fields import wire_moment
from schemas.orders import CONTROLLER
from schemas.subject import ReferenceUse, clean_email
from schemas.terms import Case, FieldName, Origin, Right
from workers.cases.weighing import served_by
from workers.gate import purpose_end
from workers.retention.evidence import archived, of_the_subject, opened
from workers.rules.decisions import PORTABLE
from workers.services import Services
from workers.stores.keys import ACTIVE, ARCHIVE, key_id
from workers.stores.mongo import Document

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


async def portable_copy_of(services: Services, emails: Iterable[str]) -> dict[str, Any]:
    """What the person gave us, as far as it is held on consent or for a contract: the fields of their own forms.

    Not what the CRM said of them, nor what we made of it. As :func:`copy_of`. Source: GDPR Art. 20(1).
    """
    records = []
    for email in map(clean_email, emails):
        held = await _held(services, email, Right.PORTABILITY.value)
        served = await served_by(services, {one["person"] for one, _ in held})
        portable = {one.submission for one in served if one.use.basis in PORTABLE}
        records += [
            {"case": one["case"], "received": wire_moment(one["received"]), **_given(data)}
            for one, data in held
            if one["_id"] in portable and Case(one["case"]).origin is Origin.FORM
        ]
    meanings = {name: _MEANINGS[name] for name in ("case", "received")}
    return {
        "store": CONTROLLER,
        "collections": [{"name": "submissions", "fields": meanings, "records": records}] if records else [],
    }


def _given(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name.value: data[name] for name in FieldName if name in data}


async def files_of(services: Services, emails: Iterable[str], copy: Mapping[str, Any]) -> AsyncIterator[bytes]:
    """The content of each file that a copy of our own store names, in use or in the archive."""
    named = {file["file"] for one in copy["collections"] for record in one["records"] for file in files_in(record)}
    if not named:
        return
    addresses = [clean_email(email) for email in emails]
    persons = set((await services.people.find(_ref(services, email) for email in addresses)).values())
    persons |= {one.document["person"] for one in await archived(services, addresses)}
    keys = await services.keys.read(key_id(person, use) for person in persons for use in (ACTIVE, ARCHIVE))
    for use, files in ((ACTIVE, services.files), (ARCHIVE, services.archive.files)):
        for person, file in product(sorted(persons), sorted(named)):
            key = keys.get(key_id(person, use))
            content = await files.read(file, person, key) if key is not None else None
            if content is not None:
                yield content


def files_in(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a record of our own store says of files, see :data:`schemas.submissions.STORED_FILE`."""
    return [value for value in record.values() if isinstance(value, Mapping) and {"file", "sha256"} <= value.keys()]


async def _agreements(services: Services, email: str) -> list[dict[str, Any]]:
    found = await services.submissions.agreements.about([_ref(services, email)])
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
    found = await of_the_subject(services, emails, Right.ACCESS)
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
    held = await _held(services, email, "access")
    purposes = await _purposes(services, held[0][0]["person"], _ref(services, email)) if held else {}
    return [
        {
            "case": one["case"],
            "received": wire_moment(one["received"]),
            "origin": one["source"],
            **data,
            "purposes": purposes.get(one["_id"], []),
        }
        for one, data in held
    ]


def _ref(services: Services, email: str) -> bytes:
    return services.trust.references.of_email(ReferenceUse.LOOKUP, email)


async def _held(services: Services, email: str, right: str) -> list[tuple[Document, dict[str, Any]]]:
    """The records of whoever has this address, opened; the read is recorded."""
    ref = _ref(services, email)
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
        purpose=right,
        person=person,
        shown=len(found),
        outcome="shown",
        at=services.clock(),
    )
    return [(one, json.loads(key.open(f"submissions/{one['_id']}", bytes(one["sealed"])))) for one in found]


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
