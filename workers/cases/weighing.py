"""What a right is worth for each purpose that our own store serves, and what of the store stays for it.

The facts are the live purpose links of the person and the holds on his key; the decision is the table's. An erasure
leaves a record only where one of its purposes was not given up, and of its links only those of such purposes.

An objection comes unconfirmed (R20), so it is the absolute one, against prospecting; any other use of his data a person
weighs with the one who objects. Whether a running contract still needs somebody's data is staff's to say, by a hold.
Source: R11, R17, R19, R20; design § 5.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from schemas.calendar import civil_day
from schemas.register import Register
from schemas.subject import ReferenceUse, clean_email
from schemas.terms import LawfulBasis, Purpose, Right
from workers.gate import purpose_end
from workers.rules.decisions import (
    Decision,
    ErasureGround,
    Keeping,
    KeepingGround,
    PurposeDecision,
    Use,
    Verdict,
    decide,
)
from workers.rules.retention import is_live
from workers.services import Services
from workers.stores.forgetting import Kept
from workers.stores.keys import ACTIVE, Hold, key_id
from workers.stores.mongo import Document

_CLAIMS: Final = KeepingGround.LEGAL_CLAIMS
"""What a hold rests on whose words name no other exception."""


@dataclass(frozen=True, slots=True)
class Served:
    """One purpose that a record serves now, ``since`` when. ``until``: the instant it ends; None while that is open."""

    person: str
    submission: str
    link: str
    use: Use
    until: datetime | None
    since: datetime


@dataclass(frozen=True, slots=True)
class Staying:
    """What an erasure leaves, and whose it is. ``ground``, ``until`` (last day): as a receipt tells them."""

    persons: tuple[str, ...]
    kept: Kept
    ground: str
    until: date | None


async def persons_of(services: Services, emails: Iterable[str]) -> list[str]:
    """Whoever has these addresses, in use or in the archive alone."""
    refs = [services.trust.references.of_email(ReferenceUse.LOOKUP, clean_email(email)) for email in emails]
    archived = [one["person"] for one in await services.archive.of(refs, "person")]
    return list(dict.fromkeys([*(await services.people.find(refs)).values(), *archived]))


async def served_by(services: Services, persons: Iterable[str]) -> list[Served]:
    """Every purpose that is live for these persons, record by record."""
    register, now = services.trust.register, services.clock()
    found = []
    for person in persons:
        links = await services.submissions.links_of(person)
        about = {link["submission"] for link in links}
        anchors = await services.submissions.anchors_about(await services.people.refs_of(person), about)
        for link in links:
            end = purpose_end(register, link, anchors)
            if is_live(end, now):
                use = _use(register, link["purpose"], link["basis"])
                found.append(Served(person, link["submission"], link["_id"], use, end, link["since"]))
    return found


async def holds_on(services: Services, persons: Iterable[str]) -> list[Hold]:
    """What keeps these persons' keys, the hold that ends last first."""
    return await services.keys.holds(key_id(person, ACTIVE) for person in persons)


def _use(register: Register, purpose: str, basis: str) -> Use:
    return Use(Purpose(purpose), LawfulBasis(basis), prospecting=purpose in register.prospecting)


def weighed(case: Document, used: Iterable[Use], holds: Iterable[Hold], on: date) -> Decision:
    """The table's decision on a case, each purpose and basis once. ``on``: the day of it."""
    right = Right(case["right"])
    uses = dict.fromkeys(use for use in used if right is not Right.OBJECTION or use.prospecting)
    ground = ErasureGround(case["ground"]) if "ground" in case else None
    return decide(right, list(uses), [_keeping(hold) for hold in holds], on=on, ground=ground)


def _keeping(hold: Hold) -> Keeping:
    ground = next((one for one in KeepingGround if one.article in hold.ground), _CLAIMS)
    return Keeping(ground, hold.until, hold=hold.name)


def staying(decision: Decision, served: Sequence[Served]) -> Staying | None:
    """What an erasure leaves of these records; ``None``: nothing."""
    records: dict[str, list[Served]] = {}
    for one in served:
        records.setdefault(one.submission, []).append(one)
    stay = {event: ones for event, ones in records.items() if not decision.may_erase([one.use for one in ones])}
    by_use = {(one.use.purpose, one.use.basis): one for one in decision.purposes}
    left = [
        (one, by_use[one.use.purpose, one.use.basis])
        for ones in stay.values()
        for one in ones
        if by_use[one.use.purpose, one.use.basis].verdict is not Verdict.GRANTED
    ]
    if not left:
        return None
    return Staying(
        persons=tuple(dict.fromkeys(one.person for one, _ in left)),
        kept=Kept(frozenset(stay), frozenset(one.link for one, _ in left)),
        ground=", ".join(dict.fromkeys(_ground(why) for _, why in left)),
        until=_last_day([one for one, _ in left]),
    )


def _ground(why: PurposeDecision) -> str:
    """Such as ``legal obligation, GDPR Art. 17(3)(b)``."""
    reason = why.reason or why.verdict
    return f"{reason.value.replace('_', ' ')}, GDPR Art. {why.article}"


def _last_day(left: Sequence[Served]) -> date | None:
    known = [one.until for one in left if one.until is not None]
    return civil_day(max(known) - timedelta(milliseconds=1)) if len(known) == len(left) else None


def remembered(served: Iterable[Served], holds: Iterable[Hold], on: date) -> dict[str, Any]:
    """What a task keeps of the facts that its decision rests on: :func:`recalled` decides the same again."""
    uses = dict.fromkeys((one.use.purpose.value, one.use.basis.value) for one in served)
    held = [[one.name, one.ground, one.until and one.until.isoformat()] for one in holds]
    return {"on": on.isoformat(), "uses": [list(use) for use in uses], "holds": held}


def recalled(register: Register, case: Document, facts: Mapping[str, Any]) -> Decision:
    """The decision that :func:`remembered` facts rest under."""
    holds = [Hold(name, ground, until and date.fromisoformat(until)) for name, ground, until in facts["holds"]]
    uses = [_use(register, purpose, basis) for purpose, basis in facts["uses"]]
    return weighed(case, uses, holds, date.fromisoformat(facts["on"]))
