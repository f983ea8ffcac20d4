"""Who may be written to, now, for one purpose: what a mailing tool reads in the place of a list of its own.

A walk over the persons, page by page; what shuts somebody out is looked at after his record was read, so nobody is in
a page who was erased, or said no, before it was asked for. Whoever is left out is counted, with the first reason that
holds. Every page is recorded before it is given. What decides is the gate's own; here it is asked for many at once.
Source: R5, R8, R9, R10, R24; P5, P8, P9, P10; design § 6 ``audience``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

from pydantic_core import from_json

from schemas.calendar import civil_day
from schemas.errors import GreffierError
from schemas.fields import wire_moment
from schemas.register_entries import Subsidiary
from schemas.routes import NOT_YET_CHOSEN, NOT_YET_NO
from schemas.subject import ReferenceUse
from schemas.terms import Case, Purpose
from workers.arrivals import stored_so_far
from workers.gate import Asked, Reader, ReadRefused, agrees, purpose_end, stands
from workers.one_click import OneClickLinks
from workers.rules.joining import Apart
from workers.rules.retention import is_live
from workers.services import Services
from workers.stores.keys import ACTIVE, DataKey, key_id
from workers.stores.mongo import Document
from workers.stores.tombstones import of_address, of_event, of_person
from workers.visits import DeviceVisits, Joined, Visit, together

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
    NO_DEVICE = Apart.NO_DEVICE
    DEVICE_SHARED = Apart.SHARED
    CONSENT_UNKNOWN = Apart.UNKNOWN
    CONSENT_REFUSED = Apart.REFUSED
    CONSENT_EXPIRED = Apart.EXPIRED


class NoTransferBasis(GreffierError):
    """The subsidiary has no live basis on which data may cross to it. The attempt is recorded. Source: R10; P8."""


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who may be written to. ``until``: when that ends; ``None`` while it is open. ``data``: as was given.

    ``visits``: what they read, the newest first, of a purpose that rests on that; ``None`` of any other.
    ``notice_by``: until when they must be told where their data is from, which nobody has done yet (Art. 14).
    """

    person: str
    case: Case
    until: datetime | None
    data: dict[str, Any] = field(repr=False)
    visits: tuple[Visit, ...] | None = field(default=None, repr=False)
    notice_by: datetime | None = None

    @property
    def email(self) -> str:
        """The address, in its normal form."""
        return str(self.data["email"])

    def as_json(self) -> dict[str, Any]:
        """As programs get it."""
        until = wire_moment(self.until) if self.until else None
        visits = {} if self.visits is None else {"visits": [visit.as_json() for visit in self.visits]}
        notice = {"notice_by": wire_moment(self.notice_by)} if self.notice_by else {}
        return {"person": self.person, "case": self.case.value, "until": until, **self.data, **visits, **notice}


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

    async def _page(self, read: _Read) -> Page:
        """Who of these may be written to at this moment."""
        asked = await self._asked()
        visits = self._visits.wanted
        await stored_so_far(self.services.uploads.client, NOT_YET_NO + NOT_YET_CHOSEN if visits else NOT_YET_NO)
        members = await self._standing(asked, read)
        await self._record([member.person for member in members], "shown")
        return Page(members, read.left_out, read.after)

    @property
    def _visits(self) -> DeviceVisits:
        return DeviceVisits(self.services, self.purpose)

    async def _asked(self) -> Asked:
        """What this reader may read for this purpose, at this moment."""
        register = self.services.trust.register
        asked = Asked.by(register, self.reader.department, self.purpose)
        if asked.refused:
            await self._record([], "refused")
            raise ReadRefused(f"{self.reader.department} may not read for {self.purpose}")
        if self.subsidiary is not None:
            await self._may_cross(register.subsidiary(self.subsidiary))
        return asked

    async def _may_cross(self, subsidiary: Subsidiary) -> None:
        if self.purpose not in subsidiary.purposes:
            await self._record([], "refused")
            raise ReadRefused(f"{self.subsidiary} may not use data for {self.purpose}")
        if not subsidiary.transfer.live(civil_day(self.services.clock())):
            await self._record([], "no transfer basis")
            raise NoTransferBasis(self.subsidiary)

    # ------------------------------------------------------------------ by the links and their dates

    async def _read(self, after: str, size: int) -> _Read:
        """What is held of the next persons for this purpose, the record of each that lasts longest opened."""
        asked = await self._asked()
        persons = await self.services.people.page(after, size)
        left_out: Counter[LeftOut] = Counter()
        if not persons:
            return _Read([], {}, {}, left_out, None)
        refs: dict[str, list[bytes]] = {person["_id"]: list(map(bytes, person["refs"])) for person in persons}
        last, submissions = next(reversed(refs)), self.services.submissions
        links, held, agreeing = await asyncio.gather(
            submissions.links_between(after, last, asked.bearing),
            submissions.between(after, last, asked.readable),
            self._agreeing(refs),
        )
        if agreeing:
            links += [link for link in await submissions.links_of_all(agreeing) if asked.lent_by(link)]
            held += await submissions.of(agreeing)
        live = await self._live(asked, refs, links, left_out)
        found = await self._opened(asked, live, {one["_id"]: one for one in held})
        visits = await self._visits.read(one.submission for records in found.values() for one in records.best)
        lenders = {person: refs[person] for person in agreeing if person in live}
        return _Read(list(live), found, visits, left_out, last if len(persons) == size else None, lenders)

    async def _agreeing(self, refs: Mapping[str, Iterable[bytes]]) -> list[str]:
        """Who of these persons expressly agrees to the purpose. Source: R8."""
        said: dict[str, list[Document]] = {}
        owner = {ref: person for person, ones in refs.items() for ref in ones}
        for agreement in await self.services.submissions.agreements.about(owner):
            for person in {owner[ref] for ref in map(bytes, agreement["refs"]) if ref in owner}:
                said.setdefault(person, []).append(agreement)
        return [person for person, agreements in said.items() if agrees(agreements, self.purpose)]

    async def _live(
        self, asked: Asked, refs: Mapping[str, Sequence[bytes]], links: Iterable[Document], left_out: Counter[LeftOut]
    ) -> dict[str, list[_Link]]:
        """Person → the links by which this purpose is live for this reader."""
        by_person: dict[str, list[Document]] = {person: [] for person in refs}
        for link in links:
            if link["person"] in by_person:
                by_person[link["person"]].append(link)
        anchors = await self._anchors(refs, by_person)
        now = self.services.clock()
        live: dict[str, list[_Link]] = {}
        for person, ones in by_person.items():
            mine = anchors.get(person, ())
            readable = [one for one in ones if one["case"] in asked.readable or asked.lent_by(one)]
            ends = [_Link(purpose_end(asked.register, one, mine), one) for one in readable]
            standing = [one for one in ends if is_live(one.until, now)]
            if standing:
                live[person] = standing
            else:
                left_out[_why_not(ones, readable)] += 1
        return live

    async def _anchors(
        self, refs: Mapping[str, Sequence[bytes]], links: Mapping[str, Sequence[Document]]
    ) -> dict[str, list[Document]]:
        """Person → the anchor events that may date his links."""
        owner = {ref: person for person, ones in refs.items() for ref in ones}
        about = {link["submission"]: person for person, ones in links.items() for link in ones}
        found: dict[str, list[Document]] = {}
        for anchor in await self.services.submissions.anchors_about(owner, about):
            named = [owner.get(bytes(ref)) for ref in anchor.get("refs", ())] + [about.get(anchor.get("about", ""))]
            for person in {person for person in named if person is not None}:
                found.setdefault(person, []).append(anchor)
        return found

    async def _opened(
        self, asked: Asked, live: Mapping[str, list[_Link]], held: Mapping[str, Document]
    ) -> dict[str, _Records]:
        """Person → the records of these links; who has none, or no key any more, is not there."""
        names = {person: key_id(person, ACTIVE) for person in live}
        keys = await self.services.keys.read(names.values())
        of_email = self.services.trust.references.of_email
        found = {}
        for person, links in live.items():
            # Of this person: between the two reads an act may have started anew, and stand under his successor.
            best = [
                _Record(not asked.served_by(one.link), one.until, one.link, submission)
                for one in links
                if (submission := held.get(one.link["submission"])) is not None and submission["person"] == person
            ]
            if best and names[person] in keys:
                if len(best) > 1:
                    best.sort(key=_lasts_longest, reverse=True)
                data = _open(best[0].submission, keys[names[person]])
                stone = of_address(of_email(ReferenceUse.TOMBSTONE, data["email"]))
                found[person] = _Records(best, keys[names[person]], data, stone)
        return found

    # ------------------------------------------------------------------ by what was said since

    async def _standing(self, asked: Asked, read: _Read) -> list[Member]:
        """Who of these is a member, each by the best record that stands; the others are counted."""
        emails = {person: str(records.data["email"]) for person, records in read.found.items()}
        # Last of all, after everything was read: whoever was erased, said no or withdrew by now is not shown.
        stones, said, joined, agreeing = await asyncio.gather(
            self.services.tombstones.look(_stones(read.found)),
            self.services.suppressions.of_all(emails.values()),
            self._visits.judged(read.visits),
            self._agreeing(read.lenders),
        )
        said_since = _Said(stones, joined, frozenset(agreeing))
        members = []
        for person in read.live:
            records = read.found.get(person)
            found = self._member(asked, records, said_since, said[emails[person]]) if records else LeftOut.ERASED
            if isinstance(found, Member):
                members.append(found)
            else:
                read.left_out[found] += 1
        return members

    def _member(self, asked: Asked, records: _Records, said: _Said, no: Mapping[Purpose, datetime]) -> Member | LeftOut:
        standing: Sequence[_Record] = records.best
        if said.stones:
            skew = self.services.skew
            standing = [one for one in standing if stands(one.submission, records.stone, said.stones, skew)]
            if not standing:
                return LeftOut.ERASED
        person = standing[0].submission["person"]
        if standing[-1].lent and person not in said.agreeing:  # what is lent comes last
            standing = [one for one in standing if not one.lent]
            if not standing:
                return LeftOut.OTHER_PURPOSE
        if no:
            standing = [one for one in standing if not asked.ended(one.link, no, lent=one.lent)]
            if not standing:
                return LeftOut.SUPPRESSED
        visits = None
        if self._visits.wanted:
            theirs = together((one.submission for one in standing), said.joined)
            if theirs.apart is not None:
                return LeftOut(theirs.apart)
            visits = theirs.visits
        best = standing[0]
        data = records.data if best is records.best[0] else _open(best.submission, records.key)
        case, notice_by = Case(best.submission["case"]), best.submission.get("notice_by")
        return Member(person, case, best.until, data, visits, notice_by)

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


class _Link(NamedTuple):
    """A purpose link that is live. ``until``: when it ends."""

    until: datetime | None
    link: Document


class _Record(NamedTuple):
    """A record by which somebody might be written to. ``lent``: only while they expressly agree to it."""

    lent: bool
    until: datetime | None
    link: Document
    submission: Document


class _Records(NamedTuple):
    """One person's records, what lasts longest first. ``data``: that one's, opened; ``stone``: of its address."""

    best: list[_Record]
    key: DataKey
    data: dict[str, Any]
    stone: str


class _Said(NamedTuple):
    """What the last look found: tombstones, devices, and who expressly agrees."""

    stones: Mapping[str, datetime]
    joined: Mapping[bytes, Joined]
    agreeing: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Read:
    """A page before the last look. ``live``: the persons with live links; ``visits``: by device.

    ``lenders``: the references of those who expressly agreed, as far as is known.
    """

    live: Sequence[str]
    found: dict[str, _Records] = field(repr=False)
    visits: Mapping[bytes, Sequence[Document]] = field(repr=False)
    left_out: Counter[LeftOut]
    after: str | None
    lenders: Mapping[str, Sequence[bytes]] = field(default_factory=dict, repr=False)


def _why_not(links: Sequence[Document], readable: Sequence[Document]) -> LeftOut:
    """Why none of a person's links for a purpose is live for a reader. ``readable``: those that are for this reader."""
    if not links:
        return LeftOut.OTHER_PURPOSE
    return LeftOut.PERIOD_OVER if readable else LeftOut.OTHER_READER


def _lasts_longest(record: _Record) -> tuple[bool, datetime, datetime]:
    """What serves the purpose by itself comes before what is lent to it."""
    return (not record.lent, record.until or _NEVER, record.link["since"])


def _open(submission: Document, key: DataKey) -> dict[str, Any]:
    data: dict[str, Any] = from_json(key.open(f"submissions/{submission['_id']}", submission["sealed"]))
    return data


def _stones(found: Mapping[str, _Records]) -> list[str]:
    """The tombstones that may speak against these."""
    stones = [of_event(one.submission["_id"]) for records in found.values() for one in records.best]
    stones += map(of_person, found)
    stones += [records.stone for records in found.values()]
    return stones
