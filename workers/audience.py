"""Who may be written to, now, for one purpose: what a mailing tool reads in the place of a list of its own.

A walk over the persons, page by page; what shuts somebody out is looked at after his record was read, so nobody is in
a page who was erased, or said no, before it was asked for. Whoever is left out is counted, with the first reason that
holds. Every page is recorded before it is given. What decides is the gate's own; here it is asked for many at once.
Source: R5, R8, R9, R10, R24; P5, P8, P9, P10; design § 6 ``audience``.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from pydantic_core import from_json

from schemas.calendar import civil_day
from schemas.errors import GreffierError
from schemas.register_entries import Subsidiary
from schemas.routes import NOT_YET_CHOSEN, NOT_YET_NO
from schemas.subject import ReferenceUse
from schemas.terms import Case, Purpose
from workers.arrivals import stored_so_far
from workers.gate import Asked, Reader, ReadRefused, agrees, purpose_end, stands
from workers.members import LeftOut, Member, Page
from workers.preferences import no_of
from workers.rules.objections import Noes
from workers.rules.retention import is_live
from workers.services import Services
from workers.stores.keys import ACTIVE, DataKey
from workers.stores.mongo import Document
from workers.stores.tombstones import of_address, of_event
from workers.visits import DeviceVisits, Joined, together

PAGE: Final = 1_000
"""Persons looked at in one page, where nobody says otherwise."""

_STEP: Final = 10_000
"""Persons looked at in one page of a walk over all of them: a call costs as much as a hundred of them do."""

_AHEAD: Final = 1
"""Pages of such a walk that are read while one is used."""

_CASES: Final = {case.value: case for case in Case}

_NEVER: Final = datetime.max.replace(tzinfo=UTC)


class NoTransferBasis(GreffierError):
    """The subsidiary has no live basis on which data may cross to it. The attempt is recorded. Source: R10; P8."""


@dataclass(frozen=True, slots=True)
class Audience:
    """One purpose, read by somebody. ``subsidiary``: for whose use; ``None``: the controller's own."""

    services: Services
    reader: Reader
    purpose: Purpose
    subsidiary: str | None = None

    async def pages(self, after: str = "", last: str = "") -> AsyncIterator[Page]:
        """All of it, each page read while the ones before it are used, and looked at when it is asked for.

        ``after``, ``last``: only the persons beyond the one and up to the other.

        Raises like :meth:`page`.
        """
        ahead: deque[asyncio.Task[_Read]] = deque()
        people, asked = self.services.people, await self.asked()
        step = PAGE if self._visits.wanted else _STEP  # of what they read there is far more than of who they are
        persons = await people.page(after, step, last=last)
        try:
            while persons or ahead:
                while persons and len(ahead) <= _AHEAD:
                    ahead.append(asyncio.create_task(self._read(asked, persons)))
                    persons = await people.page(persons[-1]["_id"], step, last=last) if len(persons) == step else []
                yield await self._page(await ahead.popleft(), None)
        finally:
            for reading in ahead:
                reading.cancel()

    async def page(self, after: str = "", size: int = PAGE) -> Page:
        """The next ``size`` persons at most, and who of them is a member.

        Raises :class:`ReadRefused`, :class:`NoTransferBasis`, KeyError for a subsidiary that there is none of, and
        :class:`schemas.errors.StoreUnavailable`.
        """
        persons = await self.services.people.page(after, size)
        read = await self._read(await self.asked(), persons)
        return await self._page(read, persons[-1]["_id"] if len(persons) == size else None)

    async def _page(self, read: _Read, after: str | None) -> Page:
        """Who of these may be written to at this moment."""
        asked = await self.asked()
        visits = self._visits.wanted
        await stored_so_far(self.services.uploads.client, NOT_YET_NO + NOT_YET_CHOSEN if visits else NOT_YET_NO)
        members = await self._standing(asked, read)
        await self._record([member.person for member in members], "shown")
        return Page(members, read.left_out, after)

    @property
    def _visits(self) -> DeviceVisits:
        return DeviceVisits(self.services, self.purpose)

    async def asked(self) -> Asked:
        """What this reader may read for this purpose, at this moment. Raises like :meth:`page`; that is recorded."""
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

    async def _read(self, asked: Asked, persons: Sequence[Document]) -> _Read:
        """What is held of these persons for this purpose, the best record of each opened."""
        left_out: Counter[LeftOut] = Counter()
        if not persons:
            return _Read("", "", {}, {}, left_out, {})
        owner: dict[bytes, str] = {ref: person["_id"] for person in persons for ref in person["refs"]}
        first, last = persons[0]["_id"], persons[-1]["_id"]
        submissions = self.services.submissions
        links, held, keys, lenders = await asyncio.gather(
            submissions.links_between(first, last, asked.bearing),
            submissions.between(first, last, asked.readable),
            self.services.keys.between(first, last, ACTIVE),
            self._agreeing(owner),
        )
        if lenders:
            agreeing = set(lenders.values())
            links += [link for link in await submissions.links_of_all(agreeing) if asked.lent_by(link)]
            held += await submissions.of(agreeing)
        live = await self._live(asked, owner, links, left_out)
        found = self._opened(live, {one["_id"]: one for one in held}, keys, asked if lenders else None)
        if len(found) < len(live):
            left_out[LeftOut.ERASED] += len(live) - len(found)
        visits = await self._visits.read(one.submission for records in found.values() for one in records.best)
        return _Read(first, last, found, visits, left_out, lenders)

    async def _agreeing(self, owner: Mapping[bytes, str]) -> dict[bytes, str]:
        """Those of these references, and persons, who expressly agree to the purpose. Source: R8."""
        said: dict[bytes, list[Document]] = {}
        for agreement in await self.services.submissions.agreements.about(owner):
            for ref in agreement["refs"]:
                said.setdefault(ref, []).append(agreement)
        return {ref: owner[ref] for ref in said if ref in owner and agrees(said[ref], self.purpose)}

    async def _live(
        self,
        asked: Asked,
        owner: Mapping[bytes, str],
        links: Sequence[Document],
        left_out: Counter[LeftOut],
    ) -> dict[str, list[_Link]]:
        """Person → the links by which this purpose is live for this reader; who has none is counted.

        ``owner``: the person of each reference.
        """
        anchors, now = await self._anchors(owner, links), self.services.clock()
        why, live = dict.fromkeys(owner.values(), LeftOut.OTHER_PURPOSE), dict[str, list[_Link]]()
        for link in links:
            person = link["person"]
            if person not in why:  # erased between the two reads
                continue
            if link["case"] not in asked.readable and not asked.lent_by(link):
                if why[person] is LeftOut.OTHER_PURPOSE:
                    why[person] = LeftOut.OTHER_READER
                continue
            end = purpose_end(asked.register, link, anchors.get(person, ()))
            if is_live(end, now):
                live.setdefault(person, []).append(_Link(end, link))
            else:
                why[person] = LeftOut.PERIOD_OVER
        left_out.update(why[person] for person in why.keys() - live.keys())
        return live

    async def _anchors(self, owner: Mapping[bytes, str], links: Iterable[Document]) -> dict[str, list[Document]]:
        """Person → the anchor events that may date his links."""
        about = {link["submission"]: link["person"] for link in links}
        found: dict[str, list[Document]] = {}
        for anchor in await self.services.submissions.anchors_about(owner, about):
            named = [owner.get(ref) for ref in anchor.get("refs", ())] + [about.get(anchor.get("about", ""))]
            for person in {person for person in named if person is not None}:
                found.setdefault(person, []).append(anchor)
        return found

    def _opened(
        self,
        live: Mapping[str, Sequence[_Link]],
        held: Mapping[str, Document],
        keys: Mapping[str, Document],
        lending: Asked | None,
    ) -> dict[str, _Records]:
        """Person → the records of these links; who has none, or no key any more, is not there.

        ``lending``: what is asked, where some of them may be lent to it.
        """
        of_email, opened = self.services.trust.references.of_email, self.services.keys.open
        found = {}
        for person, links in live.items():
            # Of this person: between the two reads an act may have started anew, and stand under his successor.
            best = [
                _Record(lending is not None and lending.lent_by(link), until, link, submission)
                for until, link in links
                if (submission := held.get(link["submission"])) is not None and submission["person"] == person
            ]
            key = opened(keys[person]) if best and person in keys else None
            if key is None:
                continue
            if len(best) > 1:
                best.sort(key=_lasts_longest, reverse=True)
            data = _open(best[0].submission, key)
            found[person] = _Records(best, key, data, of_address(of_email(ReferenceUse.TOMBSTONE, data["email"])))
        return found

    # ------------------------------------------------------------------ by what was said since

    async def _standing(self, asked: Asked, read: _Read) -> list[Member]:
        """Who of these is a member, each by the best record that stands; the others are counted."""
        # Last of all, after everything was read: whoever was erased, said no or withdrew by now is not shown.
        tombstones = self.services.tombstones
        stones, of_persons, said, joined, agreeing = await asyncio.gather(
            tombstones.look(_stones(read.found)),
            tombstones.of_persons(read.first, read.last),
            no_of(self.services, [records.data["email"] for records in read.found.values()]),
            self._visits.judged(read.visits),
            self._agreeing(read.lenders),
        )
        since = _Said(
            self.services.clock(),
            stones | of_persons,
            joined if self._visits.wanted else None,
            frozenset(agreeing.values()),
        )
        members = []
        for records in read.found.values():
            found = self._member(asked, records, since, said.get(records.data["email"]))
            if isinstance(found, Member):
                members.append(found)
            else:
                read.left_out[found] += 1
        return members

    def _member(self, asked: Asked, records: _Records, said: _Said, no: Noes | None) -> Member | LeftOut:
        standing: Sequence[_Record] = [one for one in records.best if is_live(one.until, said.now)]
        if not standing:  # over since it was read
            return LeftOut.PERIOD_OVER
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
        if said.joined is not None:
            theirs = together((one.submission for one in standing), said.joined)
            if theirs.apart is not None:
                return LeftOut(theirs.apart)
            visits = theirs.visits
        best = standing[0]
        data = records.data if best is records.best[0] else _open(best.submission, records.key)
        case, notice_by = _CASES[best.submission["case"]], best.submission.get("notice_by")
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
    """What the last look found, when: tombstones, devices where the purpose rests on visits, who expressly agrees."""

    now: datetime
    stones: Mapping[str, datetime]
    joined: Mapping[bytes, Joined] | None
    agreeing: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Read:
    """A page before the last look, of the persons from ``first`` to ``last``.

    ``found``: those of them with live links and what they rest on; ``visits``: by device.

    ``lenders``: the persons who expressly agreed when it was read, by reference.
    """

    first: str
    last: str
    found: dict[str, _Records] = field(repr=False)
    visits: Mapping[bytes, Sequence[Document]] = field(repr=False)
    left_out: Counter[LeftOut]
    lenders: Mapping[bytes, str] = field(repr=False)


def _lasts_longest(record: _Record) -> tuple[bool, datetime, datetime]:
    """What serves the purpose by itself comes before what is lent to it."""
    return (not record.lent, record.until or _NEVER, record.link["since"])


def _open(submission: Document, key: DataKey) -> dict[str, Any]:
    data: dict[str, Any] = from_json(key.open(f"submissions/{submission['_id']}", submission["sealed"]))
    return data


def _stones(found: Mapping[str, _Records]) -> list[str]:
    """The tombstones that may speak against these, beside those of persons."""
    stones = [of_event(one.submission["_id"]) for records in found.values() for one in records.best]
    stones += [records.stone for records in found.values()]
    return stones
