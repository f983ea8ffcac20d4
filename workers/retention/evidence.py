"""What the archive holds of somebody: how long each record may stay, what an erasure leaves of it, and its one read.

No other path opens the archive. A read names reader, department and a reason, is recorded before it is answered, and
shows what is kept for a purpose that the department may read for, as long as it is.
Source: R9, R13, R17, R19; design § 4; retention-defaults § 1 (one-off, justified access).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from schemas.calendar import civil_day
from schemas.evidence import GROUND
from schemas.fields import wire_moment
from schemas.register import Register
from schemas.shapes import Shape
from schemas.subject import ReferenceUse, clean_email
from schemas.terms import Case, LawfulBasis, Purpose, Right
from workers.gate import Reader, ReadRefused
from workers.rules.decisions import Keeping, KeepingGround, Use, decide
from workers.rules.retention import archive_until
from workers.services import Services
from workers.stores.archive import place
from workers.stores.keys import ARCHIVE, DataKey, key_id
from workers.stores.mongo import Document

RETAINED_ON: Final = "legal claims, GDPR Art. 17(3)(e)"
"""The ground on which an erasure leaves what is archived: evidence against a claim is what the archive is for."""

_OVER: Final = datetime.min.replace(tzinfo=UTC)
_REASON: Final = Shape("archive.reason", required={"reason": GROUND})


@dataclass(frozen=True, slots=True)
class Archived:
    """A record of the archive. ``until``: the instant at which it is purged, by the register of today."""

    document: Document = field(repr=False)
    until: datetime

    @property
    def event(self) -> str:
        return str(self.document["_id"])

    @property
    def last_day(self) -> date:
        return civil_day(self.until - timedelta(milliseconds=1))

    @property
    def uses(self) -> list[Use]:
        """The purposes it is kept for."""
        return [Use(Purpose(one["purpose"]), LawfulBasis(one["basis"])) for one in self.document["ended"]]


def kept_until(register: Register, document: Document) -> datetime:
    """When a record of the archive is purged; at once where the register archives none of its purposes any more."""
    case, periods = Case(document["case"]), register.archive_periods
    known = [(one["at"], periods.get((case, Purpose(one["purpose"])))) for one in document["ended"]]
    return max((archive_until(at, period) for at, period in known if period is not None), default=_OVER)


async def archived(services: Services, emails: Iterable[str]) -> list[Archived]:
    """What is kept of these addresses now; what is past its date does not count, purged or not."""
    lookup = services.trust.references.of_email
    found = await services.archive.of([lookup(ReferenceUse.LOOKUP, clean_email(email)) for email in emails])
    return _standing(services, found)


async def archived_of(services: Services, persons: Iterable[str]) -> list[Archived]:
    """The same of persons."""
    return _standing(services, await services.archive.of_persons(persons))


async def of_the_subject(services: Services, emails: Iterable[str], right: Right) -> list[Archived]:
    """What is kept of these addresses now, for the data subject's own right. The read is recorded."""
    found = await archived(services, emails)
    if found:
        await services.reads.record(
            reader="rights",
            department="data-subject",
            purpose=right.value,
            person=list(dict.fromkeys(one.document["person"] for one in found)),
            shown=len(found),
            outcome="shown",
            at=services.clock(),
        )
    return found


def retained(found: Iterable[Archived], on: date) -> list[Archived]:
    """What an erasure leaves of the archive: what the table keeps against a legal claim, until its last day."""
    return [one for one in found if not _given_up(one, on)]


def _given_up(one: Archived, on: date) -> bool:
    claims = Keeping(KeepingGround.LEGAL_CLAIMS, one.last_day)
    return decide(Right.ERASURE, one.uses, [claims], on=on).may_erase(one.uses)


def _standing(services: Services, found: Iterable[Document]) -> list[Archived]:
    register, now = services.trust.register, services.clock()
    known = [Archived(one, kept_until(register, one)) for one in found]
    return [one for one in known if now < one.until]


async def opened(services: Services, found: Iterable[Archived]) -> dict[str, dict[str, Any]]:
    """Event → what was given, of those whose key lives. Who calls this has recorded the read."""
    wanted = list(found)
    keys = await services.keys.read(_key(one) for one in wanted)
    return {one.event: _body(one, keys[_key(one)]) for one in wanted if _key(one) in keys}


def _key(one: Archived) -> str:
    return key_id(one.document["person"], ARCHIVE)


def _body(one: Archived, key: DataKey) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(key.open(place(one.event), bytes(one.document["sealed"])))
    return body


@dataclass(frozen=True, slots=True)
class Evidence:
    """One record as an entitled reader sees it. ``purposes``: those of his department that it is kept for."""

    case: Case
    received: datetime
    last_day: date
    purposes: tuple[Purpose, ...]
    data: Mapping[str, Any] = field(repr=False)

    def as_json(self) -> dict[str, Any]:
        """As programs get it."""
        kept = {"last_day": self.last_day.isoformat(), "purposes": [one.value for one in self.purposes]}
        return {"case": self.case.value, "received": wire_moment(self.received), **kept, **self.data}


async def read_archive(services: Services, reader: Reader, email: str, reason: str) -> list[Evidence]:
    """What the archive keeps of this address for what the reader's department may read. Nothing is no error.

    Raises :class:`ReadRefused` for a department that may read nothing of what an archive is for, and where the use of
    somebody's data is restricted,
    :class:`schemas.errors.InvalidMessage` for what is no address or no reason (1 to 120 plain letters, digits or
    ``().,:/-``, kept for ever and so without a word about the person), and :class:`schemas.errors.StoreUnavailable`.
    """
    address = clean_email(email)
    _REASON.check({"reason": reason})
    may_read, periods = services.trust.register.may_read, services.trust.register.archive_periods
    readable = {(case, purpose) for case, purpose in periods if may_read(reader.department, purpose, case)}
    if not readable:
        await _record(services, reader, reason, [], "refused")
        raise ReadRefused(f"{reader.department} may not read the archive")
    found = [
        (one, purposes)
        for one in await archived(services, [address])
        if (purposes := tuple(use.purpose for use in one.uses if (one.document["case"], use.purpose) in readable))
    ]
    data = await opened(services, [one for one, _ in found])
    if Right.RESTRICTION in await services.suppressions.of(address):  # after it was read: one of this moment is seen
        await _record(services, reader, reason, [], "restricted")
        raise ReadRefused("its use is restricted")
    await _record(services, reader, reason, [one for one, _ in found], "shown" if found else "nothing held")
    return [
        Evidence(Case(one.document["case"]), one.document["received"], one.last_day, purposes, data[one.event])
        for one, purposes in found
        if one.event in data
    ]


async def _record(services: Services, reader: Reader, reason: str, found: list[Archived], outcome: str) -> None:
    await services.reads.record_of_archive(
        reader=reader.name,
        department=reader.department,
        reason=reason,
        persons=list(dict.fromkeys(one.document["person"] for one in found)),
        outcome=outcome,
        at=services.clock(),
    )
