"""A rectification in our own store: each record of the person, field by field, where what they saw still stands.

A body is read, corrected and written back only if nobody wrote it meanwhile; else it is read again. What was erased is
not there to be written, so nobody comes back by a correction. Each field counts its versions. The archive is corrected
like what is in use: a wrong name is no better evidence for being old. It is read after what is in use, and again after
each write there, so a record on its way into it is met in one of the two, or its copy follows
(:mod:`workers.retention.moving`). The ledger knows the case, not what was said.
Source: R18; P5; GDPR Art. 16; design § 5.3.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.errors import StoreUnavailable
from schemas.subject import ReferenceUse, clean_email
from schemas.terms import Case, Right
from workers.cases.desk import Desk
from workers.retention.evidence import of_the_subject
from workers.rules.corrections import Judged, Patch, judged
from workers.services import Services
from workers.stores.keys import ACTIVE, ARCHIVE, DataKey, key_id
from workers.stores.mongo import Document

_TRIES: Final = 10
_IN_CLEAR: Final = ("country", "language")

_Sealed = tuple[str, Document, DataKey]
"""Collection, record, and the key that opens it."""


@dataclass(frozen=True, slots=True)
class _Open:
    """A record, opened, under the patches that its case has fields for. ``collection``: as the receipt names it."""

    collection: str
    document: Document = field(repr=False)
    data: dict[str, Any] = field(repr=False)
    judged: Judged
    key: DataKey = field(repr=False)


async def concerned(desk: Desk, case: Document, person: Mapping[str, Any]) -> dict[str, int]:
    """How many records hold, or are to hold, one of the fields."""
    return dict(Counter(one.collection for one in await _records(desk.services, case, person)))


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
    return [
        _counted(name, [one.judged for one in found if one.collection == name])
        for name in dict.fromkeys(one.collection for one in found)
    ]


def _counted(name: str, found: Sequence[Judged]) -> dict[str, Any]:
    conflicting = sum(one.conflicts for one in found)
    corrected = sum(not one.conflicts and not one.sets for one in found)
    counts = {kind: count for kind, count in (("corrected", corrected), ("conflicting", conflicting)) if count}
    return {"name": name, "matched": len(found), **counts}


async def _records(services: Services, case: Document, person: Mapping[str, Any]) -> list[_Open]:
    """Of what the person handed in until they asked: a later act says something of its own."""
    patches = [Patch.of(one) for one in person.get("patches", ())]
    in_use = await _in_use(services, person["emails"])
    # After what is in use: what left it meanwhile stands here by now.
    kept = await _archived(services, person["emails"])
    opened = []
    for collection, document, key in (*in_use, *kept):
        if document["received"] > case["received_at"]:
            continue
        body = key.open(f"{collection}/{document['_id']}", bytes(document["sealed"]))
        data: dict[str, Any] = json.loads(body)
        found = _Open(collection, document, data, judged(_stands(services, document, data, patches)), key)
        opened += [found] if found.judged.concerned else []
    return opened


async def _in_use(services: Services, emails: Iterable[str]) -> list[_Sealed]:
    refs = [services.trust.references.of_email(ReferenceUse.LOOKUP, clean_email(email)) for email in emails]
    persons = set((await services.people.find(refs)).values())
    keys = await services.keys.read(key_id(one, ACTIVE) for one in persons)
    return [
        ("submissions", document, keys[key])
        for document in await services.submissions.of(persons)
        if (key := key_id(document["person"], ACTIVE)) in keys
    ]


async def _archived(services: Services, emails: Iterable[str]) -> list[_Sealed]:
    """What an access copy shows of the archive too; the read is recorded like that one's."""
    found = await of_the_subject(services, emails, Right.RECTIFICATION)
    keys = await services.keys.read(key_id(one.document["person"], ARCHIVE) for one in found)
    return [
        ("archive", one.document, keys[key])
        for one in found
        if (key := key_id(one.document["person"], ARCHIVE)) in keys
    ]


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
    event, before = one.document["_id"], one.document["sealed"]
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    sealed = one.key.seal(f"{one.collection}/{event}", body)
    if one.collection == "archive":
        await services.archive.rewrite(event, before, sealed, names)
    else:
        clear: Document = {name: data[name] for name in _IN_CLEAR if name in names}
        await services.submissions.rewrite(event, before, sealed, clear, names)
