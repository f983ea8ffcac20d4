"""Who may be written to, now, for one purpose: what a mailing tool reads in the place of a list of its own.

A walk over the persons, page by page; what shuts somebody out is looked at after his record was read, so nobody is in
a page who was erased, or said no, before it was asked for. Whoever is left out is counted, with the first reason that
holds. Every page is recorded before it is given.
Source: R8, R9, R10, R24; P5, P8, P9, P10; design § 6 ``audience``.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from schemas.calendar import civil_day
from schemas.errors import GreffierError
from schemas.fields import wire_moment
from schemas.register_entries import Subsidiary
from schemas.subject import ReferenceUse
from schemas.terms import Case, Purpose
from workers.arrivals import stored_so_far
from workers.gate import Reader, ReadRefused, purpose_end
from workers.one_click import OneClickLinks
from workers.rules.erasure import Verdict, judge
from workers.rules.objections import ended
from workers.rules.retention import is_live
from workers.services import Services
from workers.stores.keys import ACTIVE, DataKey, key_id
from workers.stores.mongo import Document
from workers.stores.tombstones import of_address, of_event, of_person

PAGE: Final = 1_000
"""Persons looked at in one step."""


_NEVER: Final = datetime.max.replace(tzinfo=UTC)


class LeftOut(StrEnum):
    """Why somebody of whom something is held is not in an audience; the first that holds is counted."""

    OTHER_PURPOSE = "no_such_purpose"
    OTHER_READER = "not_for_this_reader"
    PERIOD_OVER = "period_over"
    ERASED = "erased"
    SUPPRESSED = "suppressed"


class NoTransferBasis(GreffierError):
    """The subsidiary has no live basis on which data may cross to it. The attempt is recorded. Source: R10; P8."""


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who may be written to. ``until``: when that ends; ``None`` while it is open. ``data``: as was given."""

    person: str
    case: Case
    until: datetime | None
    data: dict[str, Any] = field(repr=False)

    @property
    def email(self) -> str:
        """The address, in its normal form."""
        return str(self.data["email"])

    def as_json(self) -> dict[str, Any]:
        """As programs get it."""
        until = wire_moment(self.until) if self.until else None
        return {"person": self.person, "case": self.case.value, "until": until, **self.data}


@dataclass(frozen=True, slots=True)
class Page:
    """``after``: what the next page is asked with; ``None``: this was the last."""

    members: list[Member] = field(repr=False)
    left_out: Counter[LeftOut]
    after: str | None

    def left_out_by_reason(self) -> dict[str, int]:
        """How many of this page are no members, for each reason there is."""
        return {why.value: self.left_out[why] for why in LeftOut}


def rows(members: Iterable[Member], links: OneClickLinks | None, now: datetime) -> list[dict[str, Any]]:
    """Members as a mailing tool gets them. ``headers``: the one-click headers of a mail to each, as they are.

    ``None`` where no links can be made: a tool that mails without them takes the one click from people.
    """
    return [
        {**one.as_json(), "headers": links.headers(one.email, one.person, now) if links else None} for one in members
    ]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A record by which somebody might be written to."""

    link: Document = field(repr=False)
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Audience:
    """One purpose, read by somebody. ``subsidiary``: for whose use; ``None``: the controller's own."""

    services: Services
    reader: Reader
    purpose: Purpose
    subsidiary: str | None = None

    async def pages(self) -> AsyncIterator[Page]:
        """All of it, each page read while the one before it is used, and looked at when it is asked for.

        Raises like :meth:`page`.
        """
        reading: asyncio.Task[_Read] | None = asyncio.create_task(self._read("", PAGE))
        try:
            while reading is not None:
                read = await reading
                reading = None if read.after is None else asyncio.create_task(self._read(read.after, PAGE))
                yield await self._page(read)
        finally:
            if reading is not None:
                reading.cancel()

    async def page(self, after: str = "", size: int = PAGE) -> Page:
        """The next ``size`` persons at most, and who of them is a member.

        Raises :class:`ReadRefused`, :class:`NoTransferBasis`, KeyError for a subsidiary that there is none of, and
        :class:`schemas.errors.StoreUnavailable`.
        """
        return await self._page(await self._read(after, size))

    async def _read(self, after: str, size: int) -> _Read:
        """What is held of the next persons for this purpose, opened."""
        readable = await self._readable()
        persons = await self.services.people.page(after, size)
        left_out: Counter[LeftOut] = Counter()
        candidates = await self._candidates(persons, readable, left_out)
        last = str(persons[-1]["_id"]) if len(persons) == size else None
        return _Read(list(candidates), await self._opened(candidates), left_out, last)

    async def _page(self, read: _Read) -> Page:
        """Who of these may be written to at this moment."""
        await self._readable()
        await stored_so_far(self.services.uploads.client)
        members = await self._standing(read)
        await self._record([member.person for member in members], "shown")
        return Page(members, read.left_out, read.after)

    async def _readable(self) -> frozenset[Case]:
        """The cases whose records this reader may read for this purpose."""
        register = self.services.trust.register
        readable = frozenset(case for case in Case if register.may_read(self.reader.department, self.purpose, case))
        if not readable:
            await self._record([], "refused")
            raise ReadRefused(f"{self.reader.department} may not read for {self.purpose}")
        if self.subsidiary is not None:
            await self._may_cross(register.subsidiary(self.subsidiary))
        return readable

    async def _may_cross(self, subsidiary: Subsidiary) -> None:
        if self.purpose not in subsidiary.purposes:
            await self._record([], "refused")
            raise ReadRefused(f"{self.subsidiary} may not use data for {self.purpose}")
        if not subsidiary.transfer.live(civil_day(self.services.clock())):
            await self._record([], "no transfer basis")
            raise NoTransferBasis(self.subsidiary)

    # ------------------------------------------------------------------ by the links and their dates

    async def _candidates(
        self, persons: Iterable[Document], readable: frozenset[Case], left_out: Counter[LeftOut]
    ) -> dict[str, list[_Candidate]]:
        """Person → the records by which this purpose is live, the one that ends last first."""
        refs = {person["_id"]: list(map(bytes, person["refs"])) for person in persons}
        links: dict[str, list[Document]] = {person: [] for person in refs}
        for link in await self.services.submissions.links_for(refs, self.purpose):
            links[link["person"]].append(link)
        anchors = await self._anchors(refs, links)
        found = {person: self._live(ones, readable, anchors[person]) for person, ones in links.items()}
        for person, ones in links.items():
            if not found[person]:
                left_out[_why_not(ones, readable)] += 1
        return {person: candidates for person, candidates in found.items() if candidates}

    async def _anchors(
        self, refs: Mapping[str, list[bytes]], links: Mapping[str, list[Document]]
    ) -> dict[str, list[Document]]:
        """Person → the anchor events that may date his links."""
        owner: dict[Any, str] = {ref: person for person, ones in refs.items() for ref in ones}
        about = {link["submission"]: person for person, ones in links.items() for link in ones}
        found: dict[str, list[Document]] = {person: [] for person in refs}
        for anchor in await self.services.submissions.anchors_about(owner, about):
            named = [owner.get(bytes(ref)) for ref in anchor.get("refs", ())] + [about.get(anchor.get("about", ""))]
            for person in {person for person in named if person is not None}:
                found[person].append(anchor)
        return found

    def _live(self, links: Iterable[Document], readable: frozenset[Case], anchors: list[Document]) -> list[_Candidate]:
        register, now = self.services.trust.register, self.services.clock()
        ends = [(link, purpose_end(register, link, anchors)) for link in links if link["case"] in readable]
        live = [_Candidate(link, end) for link, end in ends if is_live(end, now)]
        return sorted(live, key=lambda one: (one.until or _NEVER, one.link["since"]), reverse=True)

    # ------------------------------------------------------------------ by what was said since

    async def _standing(self, read: _Read) -> list[Member]:
        """Who of these is a member, each by the best record that stands."""
        emails = {person: records[0].member.email for person, records in read.opened.items()}
        # Last of all, after everything was read: whoever was erased or said no by now is not shown.
        stones, said = await asyncio.gather(
            self.services.tombstones.look(
                stone for records in read.opened.values() for record in records for stone in record.stones
            ),
            self.services.suppressions.of_all(emails.values()),
        )
        members = []
        for person in read.candidates:
            standing = [record for record in read.opened.get(person, ()) if self._stands(record, stones)]
            wanted = [record.member for record in standing if not self._ended(record, said[emails[person]])]
            if not standing:
                read.left_out[LeftOut.ERASED] += 1
            elif not wanted:
                read.left_out[LeftOut.SUPPRESSED] += 1
            else:
                members.append(wanted[0])
        return members

    async def _opened(self, candidates: Mapping[str, list[_Candidate]]) -> dict[str, list[_Opened]]:
        """Person → the candidates' records, read and opened; who has no key any more is not there."""
        wanted = {one.link["submission"]: one for ones in candidates.values() for one in ones}
        submissions, keys = await asyncio.gather(
            self.services.submissions.by_key(wanted),
            self.services.keys.read(key_id(person, ACTIVE) for person in candidates),
        )
        found = {one["_id"]: one for one in submissions}
        opened: dict[str, list[_Opened]] = {}
        for event, candidate in wanted.items():
            person, submission = candidate.link["person"], found.get(event)
            key = keys.get(key_id(person, ACTIVE))
            # Of this person: between the two reads an act may have started anew, and stand under his successor.
            if key is not None and submission is not None and submission["person"] == person:
                opened.setdefault(person, []).append(self._open(candidate, submission, key))
        return opened

    def _open(self, candidate: _Candidate, submission: Document, key: DataKey) -> _Opened:
        event = submission["_id"]
        data = json.loads(key.open(f"submissions/{event}", bytes(submission["sealed"])).decode())
        member = Member(submission["person"], Case(submission["case"]), candidate.until, data)
        address = of_address(self.services.trust.references.of_email(ReferenceUse.TOMBSTONE, member.email))
        own_act, confirmed = "collected_at" not in submission, candidate.link.get("confirmed")
        return _Opened(member, submission["received"], own_act, of_event(event), address, confirmed)

    def _stands(self, record: _Opened, stones: Mapping[str, datetime]) -> bool:
        if of_person(record.member.person) in stones or record.event in stones:
            return False
        erased_at = stones.get(record.address)
        return judge(record.received, erased_at, skew=self.services.skew, own_act=record.own_act) is Verdict.KEEP

    def _ended(self, record: _Opened, no: Mapping[Purpose, datetime]) -> bool:
        return ended(record.member.case, self.purpose, record.confirmed, no)

    async def _record(self, persons: list[str], outcome: str) -> None:
        await self.services.reads.record(
            reader=self.reader.name,
            department=self.reader.department,
            purpose=self.purpose,
            person=persons or None,
            shown=len(persons),
            outcome=outcome,
            at=self.services.clock(),
        )


@dataclass(frozen=True, slots=True)
class _Opened:
    """A record and what may speak against it."""

    member: Member
    received: datetime
    own_act: bool
    event: str
    address: str
    confirmed: datetime | None

    @property
    def stones(self) -> tuple[str, str, str]:
        return (of_person(self.member.person), self.event, self.address)


@dataclass(frozen=True, slots=True)
class _Read:
    """A page before the last look. ``candidates``: persons; ``opened``: by person, the best record first."""

    candidates: list[str]
    opened: dict[str, list[_Opened]] = field(repr=False)
    left_out: Counter[LeftOut]
    after: str | None


def _why_not(links: list[Document], readable: frozenset[Case]) -> LeftOut:
    """Why none of a person's links for a purpose is live for a reader."""
    if not links:
        return LeftOut.OTHER_PURPOSE
    return LeftOut.PERIOD_OVER if any(link["case"] in readable for link in links) else LeftOut.OTHER_READER
