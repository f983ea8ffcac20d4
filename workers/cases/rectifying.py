"""A rectification in our own store: each record of the person, field by field, where what they saw still stands.

A body is read, corrected and written back only if nobody wrote it meanwhile; else it is read again. What was erased is
not there to be written, so nobody comes back by a correction. Each field counts its versions. What is in the archive is
evidence of what was, and stays as it was. The ledger knows the case, not what was said.
Source: R18; P5; GDPR Art. 16; design § 5.3.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.errors import StoreUnavailable
from schemas.subject import ReferenceUse, clean_email
from schemas.terms import Case
from workers.cases.desk import Desk
from workers.rules.corrections import Judged, Patch, judged
from workers.services import Services
from workers.stores.keys import ACTIVE, DataKey, key_id
from workers.stores.mongo import Document

_TRIES: Final = 10
_IN_CLEAR: Final = ("country", "language")


@dataclass(frozen=True, slots=True)
class _Open:
    """A record, opened, under the patches that its case has fields for."""

    document: Document = field(repr=False)
    data: dict[str, Any] = field(repr=False)
    judged: Judged
    key: DataKey = field(repr=False)


async def concerned(desk: Desk, case: Document, person: Mapping[str, Any]) -> dict[str, int]:
    """How many records hold, or are to hold, one of the fields."""
    found = await _records(desk.services, case, person)
    return {"submissions": len(found)} if found else {}


async def rectify(desk: Desk, case: Document, person: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Correct what can be; what stands afterwards. May be repeated.

    Raises :class:`schemas.errors.StoreUnavailable`, also where records change faster than they can be corrected.
    """
    for _ in range(_TRIES):
        wrong = [one for one in await _records(desk.services, case, person) if one.judged.sets]
        if not wrong:
            return await standing(desk, case, person)
        for one in wrong:
            await _correct(desk.services, one)
    raise StoreUnavailable("records keep changing")


async def standing(desk: Desk, case: Document, person: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What stands now: ``corrected`` where it holds what the person says, ``conflicting`` where something else does."""
    found = await _records(desk.services, case, person)
    conflicting = sum(one.judged.conflicts for one in found)
    corrected = sum(not one.judged.conflicts and not one.judged.sets for one in found)
    counts = {name: count for name, count in (("corrected", corrected), ("conflicting", conflicting)) if count}
    return [{"name": "submissions", "matched": len(found), **counts}] if found else []


async def _records(services: Services, case: Document, person: Mapping[str, Any]) -> list[_Open]:
    """Of what the person handed in until they asked: a later act says something of its own."""
    patches = [Patch.of(one) for one in person.get("patches", ())]
    refs = [services.trust.references.of_email(ReferenceUse.LOOKUP, clean_email(email)) for email in person["emails"]]
    persons = set((await services.people.find(refs)).values())
    keys = await services.keys.read(key_id(one, ACTIVE) for one in persons)
    opened = []
    for document in await services.submissions.of(persons):
        key = keys.get(key_id(document["person"], ACTIVE))
        if key is None or document["received"] > case["received_at"]:
            continue
        data: dict[str, Any] = json.loads(key.open(f"submissions/{document['_id']}", bytes(document["sealed"])))
        found = _Open(document, data, judged(_stands(services, document, data, patches)), key)
        opened += [found] if found.judged.concerned else []
    return opened


def _stands(
    services: Services, document: Document, data: Mapping[str, Any], patches: Sequence[Patch]
) -> Iterator[tuple[Patch, Any]]:
    accepted = services.trust.register.case(Case(document["case"])).accepts
    for patch in patches:
        field, _, part = patch.name.partition(".")
        if field in accepted:
            yield patch, (data.get(field) or {}).get(part) if part else data.get(field)


async def _correct(services: Services, one: _Open) -> None:
    data = dict(one.data)
    for patch in one.judged.sets:
        field, _, part = patch.name.partition(".")
        data[field] = {**(data.get(field) or {}), part: patch.to} if part else patch.to
    names = [patch.name for patch in one.judged.sets]
    event = one.document["_id"]
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    sealed = one.key.seal(f"submissions/{event}", body)
    clear: Document = {name: data[name] for name in _IN_CLEAR if name in names}
    await services.submissions.rewrite(event, one.document["sealed"], sealed, clear, names)
