"""The one gate for reads of personal data: who reads, for which purpose, and whether that is live at this moment.

A read names its reader and its purpose. The gate shows a record only while a link for that purpose is live, nobody
objected, and no tombstone stands; dates are folded now, so a record past its date is not shown whether or not a sweep
has run, and a write that is about to be undone is never seen. Every read is recorded before it is answered.
Source: R8, R9, R13, R26; P5, P9, P10; design § 4 "One gate for reads".
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas.consent import Choice
from schemas.errors import GreffierError
from schemas.register import Register
from schemas.subject import ReferenceUse, clean_email
from schemas.terms import Anchor, Case, Department, Purpose
from workers.rules.consent import agreed
from workers.rules.erasure import Verdict, judge, latest
from workers.rules.objections import ended
from workers.rules.retention import AnchorEvent, active_until, is_live, later
from workers.services import Services
from workers.stores.keys import ACTIVE, key_id
from workers.stores.mongo import Document
from workers.stores.tombstones import of_address, of_event, of_person


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


@dataclass(frozen=True, slots=True)
class _Asked:
    """A purpose, the cases that serve it and may be read, and those that may be where the person agreed to it."""

    purpose: Purpose
    readable: frozenset[Case]
    agreed: frozenset[Case]


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
        readable, agreed = self._readable_cases(reader, purpose), self._readable_agreed(reader, purpose)
        if not readable | agreed:
            await self._record(reader, purpose, None, 0, "refused")
            raise ReadRefused(f"{reader.department} may not read for {purpose}")
        ref = self.services.trust.references.of_email(ReferenceUse.LOOKUP, address)
        person = (await self.services.people.find([ref])).get(ref)
        if person is None:
            await self._record(reader, purpose, None, 0, "nothing held")
            return []
        records = await self._visible(person, ref, address, _Asked(purpose, readable, agreed))
        await self._record(reader, purpose, person, len(records), "shown")
        return records

    def _readable_cases(self, reader: Reader, purpose: Purpose) -> frozenset[Case]:
        may_read = self.services.trust.register.may_read
        return frozenset(case for case in Case if may_read(reader.department, purpose, case))

    def _readable_agreed(self, reader: Reader, purpose: Purpose) -> frozenset[Case]:
        may_read = self.services.trust.register.may_read_agreed
        return frozenset(case for case in Case if may_read(reader.department, purpose, case))

    async def _visible(self, person: str, ref: bytes, address: str, asked: _Asked) -> list[Record]:
        until = await self._live(person, ref, address, asked)
        # Of this person: between the two reads an act may have started anew, and stand under his successor.
        found = await self.services.submissions.find({"_id": {"$in": list(until)}, "person": person})
        opened = await self._opened(person, found)
        # Last of all, after everything was read: whoever is erased by now is not shown.
        standing = await self._not_erased(person, address, found)
        return [
            Record(one["_id"], Case(one["case"]), one["received"], until[one["_id"]], opened[one["_id"]])
            for one in found
            if one["_id"] in standing and one["_id"] in opened
        ]

    async def _live(self, person: str, ref: bytes, address: str, asked: _Asked) -> dict[str, datetime | None]:
        """Submission → end of this purpose, for those whose link is live now and who did not say no.

        By an express agreement, those that are live for anything, until the last of it ends.
        """
        services = self.services
        links = await services.submissions.links_of(person)
        anchors = await services.submissions.anchors_about([ref], [link["submission"] for link in links])
        agreed = agrees(await services.submissions.agreements.about([ref]), asked.purpose)
        no = await services.suppressions.of(address)  # after the links: a "no" of this moment is seen
        now, served, lent = services.clock(), dict[str, datetime | None](), dict[str, datetime | None]()
        for link in links:
            case, purpose = Case(link["case"]), Purpose(link["purpose"])
            end = purpose_end(services.trust.register, link, anchors)
            if not is_live(end, now) or ended(case, purpose, link.get("confirmed"), no):
                continue
            if purpose is asked.purpose and case in asked.readable:
                served[link["submission"]] = end
            elif agreed and asked.purpose not in no and case in asked.agreed:
                lent[link["submission"]] = later(end, lent.get(link["submission"], end))
        return lent | served

    async def _opened(self, person: str, found: list[Document]) -> dict[str, dict[str, Any]]:
        """Submission → its fields; empty when the person's key was destroyed."""
        key = (await self.services.keys.read([key_id(person, ACTIVE)])).get(key_id(person, ACTIVE))
        if key is None:
            return {}
        return {one["_id"]: json.loads(key.open(f"submissions/{one['_id']}", bytes(one["sealed"]))) for one in found}

    async def _not_erased(self, person: str, address: str, found: list[Document]) -> frozenset[str]:
        stone = of_address(self.services.trust.references.of_email(ReferenceUse.TOMBSTONE, address))
        events = {one["_id"]: of_event(one["_id"]) for one in found}
        stones = await self.services.tombstones.look([stone, of_person(person), *events.values()])
        if of_person(person) in stones:
            return frozenset()
        erased_at = latest(stones, [stone])
        return frozenset(
            one["_id"]
            for one in found
            if events[one["_id"]] not in stones
            and judge(one["received"], erased_at, skew=self.services.skew, own_act="collected_at" not in one)
            is Verdict.KEEP
        )

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
    rules = register.links_for(Case(link["case"]))
    active = next((rule.active for rule in rules if rule.purpose == link["purpose"]), None)
    since: datetime = link["since"]
    if active is None:  # the register no longer has this purpose for this case: nothing may be read for it
        return since
    about = [
        AnchorEvent(Anchor(event["anchor"]), event["at"])
        for event in anchors
        if event.get("about", link["submission"]) == link["submission"]
    ]
    return active_until(Anchor(link["anchor"]), since, active, about)
