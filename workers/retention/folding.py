"""What becomes of each record at a moment: its purposes, dates and whatever its person said, folded page by page.

Nothing is remembered between two looks, so an anchor that arrives late, a "no", or a register that has changed cannot
be missed. Whoever said "no" is known by address, and an address stands in a sealed body alone: where it can change the
outcome one body of each person is opened.
Source: R13, R14, R20; P9; design § 4 "Purpose links".
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from pydantic_core import from_json

from schemas.calendar import end_of_period
from schemas.register import Register
from schemas.terms import Case, Purpose
from workers.gate import purpose_end
from workers.preferences import no_of
from workers.rules.objections import Noes, Rests, ended
from workers.rules.retention import DELETED, STAYS, Becomes, Fate, ServedPurpose, fate_of
from workers.services import Services
from workers.stores.disposals import Disposed
from workers.stores.keys import ACTIVE, DataKey, key_id
from workers.stores.mongo import Document

UNDER_WAY: Final = timedelta(days=1)
"""How long after its last day a subscription is left: its confirmation may have been given then and be on its way."""

ARRIVING: Final = timedelta(minutes=1)
"""So long a record is left alone: whoever stores it may not be done with its links."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record and what becomes of it. ``key``: its person's; ``email``: his address, where it had to be known.

    ``body``: what was given, where it had to be opened.
    """

    person: Document = field(repr=False)
    document: Document = field(repr=False)
    links: Sequence[Document] = field(repr=False)
    served: Sequence[ServedPurpose]
    fate: Fate
    key: DataKey = field(repr=False)
    email: str = field(default="", repr=False)
    body: bytes | None = field(default=None, repr=False)

    @property
    def event(self) -> str:
        return str(self.document["_id"])

    @property
    def disposed(self) -> list[Disposed]:
        """What is counted when it goes: one line for each purpose that it served, or is archived for."""
        case = self.document["case"]
        if self.fate.becomes is Becomes.ARCHIVED:
            return [Disposed("archived", case, one.purpose, one.rule) for one in self.fate.by]
        lines = [Disposed("said_no" if one.said_no else "deleted", case, one.purpose, one.rule) for one in self.served]
        return lines or [Disposed("deleted", case, "none", "none")]


@dataclass(frozen=True, slots=True)
class Folded:
    """A page. ``held``: records that would go if no legal hold kept them; ``empty``: persons of whom there are none."""

    records: Sequence[Record] = field(repr=False)
    held: Sequence[Record] = field(repr=False)
    empty: frozenset[str]

    @property
    def going(self) -> list[Record]:
        return [one for one in self.records if one.fate.becomes is not Becomes.STAYS]


async def fold(services: Services, persons: Sequence[Document], moment: datetime) -> Folded:
    """What becomes at ``moment`` of each record of these persons, as :meth:`People.page` gives them.

    Whose key was destroyed is left out: that erasure is on its way. Raises :class:`StoreUnavailable`.
    """
    by_id = {person["_id"]: person for person in persons}
    names = {key_id(person, ACTIVE): person for person in by_id}
    documents, links, (keys, held) = await asyncio.gather(
        services.submissions.of(by_id), services.submissions.links_of_all(by_id), services.keys.read_whole(names)
    )
    owned = {names[name]: key for name, key in keys.items()}
    empty = by_id.keys() - {one["person"] for one in documents}
    documents = [one for one in documents if one["person"] in owned]
    served = await _served(services.trust.register, services, by_id, documents, links)
    bodies = _opened(documents, served, owned, moment)
    emails = {one["person"]: _email(bodies[one["_id"]]) for one in documents if one["_id"] in bodies}
    said = await no_of(services, emails.values())
    records = []
    for one in documents:
        person = one["person"]
        email = emails.get(person, "")
        mine = served[one["_id"]]
        purposes = [_judged(services.trust.register, link, purpose, said.get(email, {})) for link, purpose in mine]
        fate = _fate(services.trust.register, one, purposes, moment)
        links_of_it, body = [link for link, _ in mine], bodies.get(one["_id"])
        records.append(Record(by_id[person], one, links_of_it, purposes, fate, owned[person], email, body))
    kept = {names[name] for name in held}
    return Folded(
        [one for one in records if one.fate.becomes is Becomes.STAYS or one.person["_id"] not in kept],
        [one for one in records if one.fate.becomes is not Becomes.STAYS and one.person["_id"] in kept],
        frozenset(empty),
    )


async def _served(
    register: Register,
    services: Services,
    persons: Mapping[str, Document],
    documents: Iterable[Document],
    links: Iterable[Document],
) -> dict[str, list[tuple[Document, ServedPurpose]]]:
    """Submission → its links, with what each serves by its dates alone."""
    owners = {one["_id"]: one["person"] for one in documents}
    mine = [link for link in links if owners.get(link["submission"]) == link["person"]]
    refs = {bytes(ref): person for person in persons.values() for ref in person["refs"]}
    by_event: defaultdict[str, list[Document]] = defaultdict(list)
    by_person: defaultdict[str, list[Document]] = defaultdict(list)
    for anchor in await services.submissions.anchors_about(refs, owners):
        if "about" in anchor:
            by_event[anchor["about"]].append(anchor)
        for ref in anchor.get("refs", ()):
            if bytes(ref) in refs:
                by_person[refs[bytes(ref)]["_id"]].append(anchor)
    archives = register.archive_periods
    served: dict[str, list[tuple[Document, ServedPurpose]]] = {event: [] for event in owners}
    for link in mine:
        anchors = [*by_event[link["submission"]], *by_person[link["person"]]]
        purpose = Purpose(link["purpose"])
        period = archives.get((Case(link["case"]), purpose))
        end = purpose_end(register, link, anchors)
        served[link["submission"]].append((link, ServedPurpose(purpose, link["rule"], end, archive=period)))
    return served


def _opened(
    documents: Iterable[Document],
    served: Mapping[str, list[tuple[Document, ServedPurpose]]],
    keys: Mapping[str, DataKey],
    moment: datetime,
) -> dict[str, bytes]:
    """One body of each with whom a "no" makes a difference; what is past its date for good goes anyway."""
    found: dict[str, bytes] = {}
    known = set[str]()
    undecided = {
        one["person"]
        for one in documents
        if any(purpose.archive is not None or purpose.lives(moment) for _, purpose in served[one["_id"]])
    }
    for one in documents:
        if one["person"] in undecided and one["person"] not in known:
            known.add(one["person"])
            found[one["_id"]] = body_of(one, keys[one["person"]])
    return found


def body_of(document: Document, key: DataKey) -> bytes:
    """The body of a record in use. Raises :class:`workers.stores.keys.Unreadable`."""
    return key.open(f"submissions/{document['_id']}", bytes(document["sealed"]))


def _email(body: bytes) -> str:
    return str(from_json(body)["email"])


def _judged(register: Register, link: Document, purpose: ServedPurpose, no: Noes) -> ServedPurpose:
    if not no:
        return purpose
    said_no = ended(register, Rests.of(link), purpose.purpose, no)
    return ServedPurpose(purpose.purpose, purpose.rule, purpose.until, said_no, purpose.archive)


def _fate(register: Register, document: Document, purposes: Sequence[ServedPurpose], moment: datetime) -> Fate:
    if moment - document["received"] < ARRIVING:
        return STAYS
    return fate_of(purposes, moment) if purposes else _of_none(register, document, moment)


def _of_none(register: Register, document: Document, moment: datetime) -> Fate:
    """A record that serves nothing: it waits for the mailed link, or whoever was storing it will come back."""
    if document["case"] == Case.NEWSLETTER and register.newsletter.double_opt_in:
        return STAYS  # a chore of its own looks at its confirmation
    over = end_of_period(document["received"], register.newsletter.pending.length) + UNDER_WAY
    return STAYS if moment < over else DELETED
