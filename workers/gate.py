"""The one gate for reads of personal data: who reads, for which purpose, and whether that is live at this moment.

A read names its reader and its purpose. The gate shows a record only while a link for that purpose is live, nobody
objected, and no tombstone stands; dates are folded now, so a record past its date is not shown whether or not a sweep
has run, and a write that is about to be undone is never seen. A purpose that visits serve shows the records whose
device agrees to it now, with its visits. Every read is recorded before it is answered.

What decides stands in pure functions at the end, which the audience, this gate for many at once, uses too.
Source: R5, R8, R9, R13, R26; P5, P9, P10; design § 4 "One gate for reads".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from schemas.consent import Choice
from schemas.errors import GreffierError
from schemas.register import Register
from schemas.subject import ReferenceUse, clean_email
from schemas.terms import Case, Department, Purpose, Right
from workers.preferences import no_of
from workers.rules.consent import agreed
from workers.rules.erasure import Verdict, judge
from workers.rules.objections import Noes, Rests, ended
from workers.rules.retention import AnchorEvent, active_until, is_live, later
from workers.services import Services
from workers.stores.keys import ACTIVE, key_id
from workers.stores.mongo import Document
from workers.stores.tombstones import of_address, of_event, of_person
from workers.visits import DeviceVisits, Visit, together


class ReadRefused(GreffierError):
    """The reader's department may not read for this purpose. The attempt is recorded. Source: R8, R9."""


@dataclass(frozen=True, slots=True)
class Reader:
    """``name``: an account of staff or of a process, not a person's data."""

    name: str
    department: Department


@dataclass(frozen=True, slots=True)
class Record:
    """One submission as a reader may see it. ``until``: when this purpose ends; ``None`` while it is open."""

    submission: str
    case: Case
    received: datetime
    until: datetime | None
    data: dict[str, Any]
    visits: tuple[Visit, ...] = ()
    """What its person read, where the purpose rests on that."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A purpose as one department may read for it, by the register of today. What decides about a link stands here.

    ``readable``: the cases whose records serve it; ``lent``: those that may be read where their person agrees to it.
    ``bearing``: what a link says by which a record serves it: the purpose itself; where visits serve it, the case of
    the records that name their device. Source: R5, R8, R9.
    """

    register: Register
    purpose: Purpose
    readable: frozenset[Case]
    lent: frozenset[Case]
    bearing: tuple[str, str]

    @classmethod
    def by(cls, register: Register, department: Department, purpose: Purpose) -> Asked:
        """Both without any case: the department may not read for this purpose."""
        readable = frozenset(case for case in Case if register.may_read(department, purpose, case))
        lent = frozenset(case for case in Case if register.may_read_agreed(department, purpose, case))
        use = register.visit_use(purpose)
        bearing = ("case", str(use.case)) if use else ("purpose", str(purpose))
        return cls(register, purpose, readable, lent, bearing)

    @property
    def refused(self) -> bool:
        return not self.readable and not self.lent

    def served_by(self, link: Document) -> bool:
        """Whether a record serves this purpose by this link, for this department, while the link is live."""
        name, word = self.bearing
        return link["case"] in self.readable and link[name] == word

    def lent_by(self, link: Document) -> bool:
        """Whether a record may be read for it by this link, of another purpose, while its person expressly agrees."""
        return link["case"] in self.lent and not self.served_by(link)

    def ended(self, link: Document, no: Noes, *, lent: bool = False) -> bool:
        """Whether its person has said no to what a record serves by this link, to this purpose, or to any use for now.

        ``lent``: it is read by an express agreement, any "no" to the purpose that stands ends that.
        """
        if not no:
            return False
        if Right.RESTRICTION in no:  # stored, and on no read path (Art. 18(2))
            return True
        served = Rests.of(link)
        if ended(self.register, served, Purpose(link["purpose"]), no):
            return True
        return self.purpose in no if lent else ended(self.register, served, self.purpose, no)


@dataclass(frozen=True, slots=True)
class Gate:
    """Reads of the active database."""

    services: Services

    async def read(self, reader: Reader, purpose: Purpose, email: str) -> list[Record]:
        """What may be seen of whoever has this address, for this purpose, now. Nothing is no error.

        While the person expressly agrees to the purpose, whatever is held of them alive may be.

        Raises :class:`ReadRefused`, :class:`schemas.errors.InvalidMessage` for what is no address, and
        :class:`schemas.errors.StoreUnavailable`: a gate that cannot look does not open.
        """
        address = clean_email(email)
        asked = Asked.by(self.services.trust.register, reader.department, purpose)
        if asked.refused:
            await self._record(reader, purpose, None, 0, "refused")
            raise ReadRefused(f"{reader.department} may not read for {purpose}")
        ref = self.services.trust.references.of_email(ReferenceUse.LOOKUP, address)
        person = (await self.services.people.find([ref])).get(ref)
        if person is None:
            await self._record(reader, purpose, None, 0, "nothing held")
            return []
        records = await self._visible(person, ref, address, asked)
        await self._record(reader, purpose, person, len(records), "shown")
        return records

    async def _visible(self, person: str, ref: bytes, address: str, asked: Asked) -> list[Record]:
        until = await self._live(person, ref, address, asked)
        # Of this person: between the two reads an act may have started anew, and stand under his successor.
        found = await self.services.submissions.find({"_id": {"$in": list(until)}, "person": person})
        opened = await self._opened(person, found)
        devices = DeviceVisits(self.services, asked.purpose)
        visits = await devices.read(found)
        # Last of all, after everything was read: whoever is erased by now, or has withdrawn consent, is not shown.
        standing = await self._not_erased(person, address, found)
        judged = await devices.judged(visits)
        joined = {one["_id"]: together([one], judged) for one in found}
        return [
            Record(
                submission=event,
                case=Case(one["case"]),
                received=one["received"],
                until=until[event],
                data=opened[event],
                visits=joined[event].visits,
            )
            for one in found
            if (event := one["_id"]) in standing and event in opened
            if not (devices.wanted and joined[event].apart)
        ]

    async def _live(self, person: str, ref: bytes, address: str, asked: Asked) -> dict[str, datetime | None]:
        """Submission → end of this purpose, for those whose link is live now and who did not say no.

        By an express agreement, those that are live for anything, until the last of it ends.
        """
        services = self.services
        links = await services.submissions.links_of(person)
        anchors = await services.submissions.anchors_about([ref], [link["submission"] for link in links])
        agreed = agrees(await services.submissions.agreements.about([ref]), asked.purpose)
        no = (await no_of(services, [address])).get(address, {})  # after the links: a "no" of this moment is seen
        now, served, lent = services.clock(), dict[str, datetime | None](), dict[str, datetime | None]()
        for link in links:
            event, end = link["submission"], purpose_end(asked.register, link, anchors)
            if not is_live(end, now):
                continue
            if asked.served_by(link) and not asked.ended(link, no):
                served[event] = later(end, served.get(event, end))
            elif agreed and asked.lent_by(link) and not asked.ended(link, no, lent=True):
                lent[event] = later(end, lent.get(event, end))
        return lent | served

    async def _opened(self, person: str, found: list[Document]) -> dict[str, dict[str, Any]]:
        """Submission → its fields; empty when the person's key was destroyed."""
        key = (await self.services.keys.read([key_id(person, ACTIVE)])).get(key_id(person, ACTIVE))
        if key is None:
            return {}
        return {one["_id"]: json.loads(key.open(f"submissions/{one['_id']}", bytes(one["sealed"]))) for one in found}

    async def _not_erased(self, person: str, address: str, found: list[Document]) -> frozenset[str]:
        stone = of_address(self.services.trust.references.of_email(ReferenceUse.TOMBSTONE, address))
        asked = [stone, of_person(person), *(of_event(one["_id"]) for one in found)]
        stones = await self.services.tombstones.look(asked)
        return frozenset(one["_id"] for one in found if stands(one, stone, stones, self.services.skew))

    async def _record(self, reader: Reader, purpose: Purpose, person: str | None, shown: int, outcome: str) -> None:
        await self.services.reads.record(
            reader=reader.name,
            department=reader.department,
            purpose=purpose,
            person=person,
            shown=shown,
            outcome=outcome,
            at=self.services.clock(),
        )


def agrees(agreements: Iterable[Document], purpose: Purpose) -> bool:
    """Whether a person expressly agrees to a purpose, by the agreements that were given from their address."""
    return agreed((Choice(one["happened"], {one["purpose"]: one["given"]}) for one in agreements), purpose)


def purpose_end(register: Register, link: Document, anchors: Iterable[Document]) -> datetime | None:
    """When a purpose link ends, folded from its own facts, the anchor events and the register's period of today.

    ``None`` while it is open. So to shorten a period in the register shortens what is held.
    """
    rule = register.rule_of(link["case"], link["purpose"])
    since: datetime = link["since"]
    if rule is None:  # the register no longer has this purpose for this case: nothing may be read for it
        return since
    about = [
        AnchorEvent(event["anchor"], event["at"])
        for event in anchors
        if event.get("about", link["submission"]) == link["submission"]
    ]
    return active_until(link["anchor"], since, rule.active, about)


def stands(submission: Document, address: str, stones: Mapping[str, datetime], skew: timedelta) -> bool:
    """Whether no erasure has taken a record. ``address``: its person's tombstone; ``stones``: those that stand."""
    if of_person(submission["person"]) in stones or of_event(submission["_id"]) in stones:
        return False
    own_act = "collected_at" not in submission
    return judge(submission["received"], stones.get(address), skew=skew, own_act=own_act) is Verdict.KEEP
