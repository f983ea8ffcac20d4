"""A withdrawal of consent in our own store: what rested only on it goes, what serves something else stops serving it.

The "no" comes first, so that nothing which rests on a consent is used from then on, nor taken in late; then the records
go that rest on nothing else, and the agreements end. What a hold keeps goes when that ends, without being asked for
again. What was given after the withdrawal is a consent of its own, and stays. Choices about cookies are a browser's,
made and withdrawn there (:mod:`workers.actors.consent`).
Source: R8, R14; GDPR Art. 7(3), 17(1)(b); design § 5.3.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from schemas.subject import ReferenceUse, clean_email
from schemas.terms import Case, Channel, LawfulBasis, Purpose
from workers.cases.desk import Desk
from workers.cases.held import hold_on, keeps, partly
from workers.cases.weighing import Served, served_by
from workers.gate import agrees
from workers.services import Services
from workers.stores.mongo import Document
from workers.stores.tombstones import of_address
from workers.suppressing import withdraw_consent

_RECORDS: Final = "submissions"
_PURPOSES: Final = "links"
_AGREED: Final = "agreements"


@dataclass(frozen=True, slots=True)
class Resting:
    """What rests on consents given until a moment. ``whole``: person → records that rest on nothing else; ``links``:
    how many purposes; ``agreed``: to what somebody expressly agrees, each with its reference.
    """

    whole: Mapping[str, frozenset[str]]
    links: int
    agreed: Sequence[tuple[bytes, Purpose]]

    @property
    def counted(self) -> dict[str, int]:
        """Collection → how many documents; those with none are left out."""
        found = {_RECORDS: sum(map(len, self.whole.values())), _PURPOSES: self.links, _AGREED: len(self.agreed)}
        return {name: count for name, count in found.items() if count}


async def resting(services: Services, emails: Iterable[str], until: datetime) -> Resting:
    """What rests, for these addresses, on consents that were given until then."""
    refs = [services.trust.references.of_email(ReferenceUse.LOOKUP, clean_email(email)) for email in emails]
    persons = list(dict.fromkeys((await services.people.find(refs)).values()))
    served: defaultdict[str, list[Served]] = defaultdict(list)
    for one in await served_by(services, persons):
        served[one.submission].append(one)
    whole: defaultdict[str, set[str]] = defaultdict(set)
    for record in await services.submissions.of(persons, "case", "received"):
        if _goes(services, record, served[record["_id"]], until):
            whole[record["person"]].add(record["_id"])
    links = sum(_rests(one, until) for ones in served.values() for one in ones)
    said = await services.submissions.agreements.about(refs)
    return Resting({person: frozenset(ones) for person, ones in whole.items()}, links, _agreed(refs, said, until))


def _rests(one: Served, until: datetime) -> bool:
    return one.use.basis is LawfulBasis.CONSENT and one.since <= until


def _goes(services: Services, record: Document, served: Sequence[Served], until: datetime) -> bool:
    """Whether nothing but consent keeps a record; one that serves nothing yet would rest on what its case rests on."""
    if served:
        return all(_rests(one, until) for one in served)
    rules = services.trust.register.links_for(Case(record["case"]))
    return bool(record["received"] <= until) and all(rule.basis is LawfulBasis.CONSENT for rule in rules)


def _agreed(refs: Iterable[bytes], said: Sequence[Document], until: datetime) -> list[tuple[bytes, Purpose]]:
    found = []
    for ref in refs:
        own = [one for one in said if ref in map(bytes, one.get("refs", ())) and one["happened"] <= until]
        purposes = dict.fromkeys(Purpose(one["purpose"]) for one in own)
        found += [(ref, purpose) for purpose in purposes if agrees(own, purpose)]
    return found


def withdrawn_at(case: Document, now: datetime) -> datetime:
    """From when the time to the last receipt counts: from the click that confirmed it, or, of what did not come by the
    website, from when it reached us.
    """
    received: datetime = case["received_at"]
    return now if case["channel"] == Channel.WEBSITE else received


def took_ms(case: Document, tasks: Iterable[Document]) -> int:
    """How long it took from the withdrawal to the last store's answer. Source: R14."""
    answered = [task["answered_at"] for task in tasks if "answered_at" in task]
    since: datetime = case["withdrawn_at"]
    return int(max(timedelta(0), max(answered, default=since) - since) / timedelta(milliseconds=1))


async def concerned(desk: Desk, case: Document, person: Mapping[str, Any]) -> dict[str, int]:
    """What a case is about, counted, before anything is done."""
    return (await resting(desk.services, person["emails"], case["received_at"])).counted


async def withdraw(desk: Desk, case: Document, task: Document, person: Mapping[str, Any]) -> list[dict[str, Any]]:
    """End all of it; what became of what was found. May be repeated.

    A record may be kept, by a legal hold alone; a purpose, or an agreement, ends where it stands.
    """
    services, emails, until = desk.services, person["emails"], case["received_at"]
    await withdraw_consent(services, emails, until)
    found = await resting(services, emails, until)
    await services.forgetting.forget_events(found.whole)
    await _end_agreements(services, case["_id"], emails, found.agreed, until)
    left = await concerned(desk, case, person)
    if left.get(_RECORDS) and not await keeps(desk, task, emails):  # lifted this very moment
        await services.forgetting.forget_events((await resting(services, emails, until)).whole)
        left = await concerned(desk, case, person)
    why = await hold_on(services, emails[0]) if left.get(_RECORDS) else {}
    return [_became(one, min(one["matched"], left.get(one["name"], 0)), why) for one in task["found"]]


def _became(one: dict[str, Any], left: int, why: Mapping[str, str]) -> dict[str, Any]:
    if one["name"] == _RECORDS:
        return partly(one, left, why)
    ended = one["matched"] if one["name"] == _AGREED else left
    return {**one, "erased": one["matched"] - ended, **({"restricted": ended} if ended else {})}


async def left(desk: Desk, case: Document, person: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What stands now: ``restricted``, where the list says that it serves nothing any more."""
    said = await desk.services.suppressions.of_all(person["emails"])
    moments = [said.get(email, {}).get(LawfulBasis.CONSENT) for email in person["emails"]]
    ended = all(at is not None and at >= case["received_at"] for at in moments)
    return [
        {"name": name, "matched": count, **({"restricted": count} if ended and name == _PURPOSES else {})}
        for name, count in (await concerned(desk, case, person)).items()
    ]


async def _end_agreements(
    services: Services, reference: str, emails: Iterable[str], agreed: Sequence[tuple[bytes, Purpose]], until: datetime
) -> None:
    """Say in each stream that it was withdrawn; a look at the tombstones after it, as for whatever is written."""
    ends: list[dict[str, Any]] = [
        {
            "_id": f"{reference}/{ref.hex()}/{purpose}",
            "event_id": reference,
            "received": services.clock(),
            "digest": b"",
            "refs": [ref],
            "source": "/rights",
            "purpose": purpose.value,
            "given": False,
            "happened": until,
        }
        for ref, purpose in agreed
    ]
    if not ends:
        return
    await services.submissions.agreements.insert(ends)
    of_email = services.trust.references.of_email
    addresses = [of_address(of_email(ReferenceUse.TOMBSTONE, clean_email(email))) for email in emails]
    stones = await services.tombstones.look(addresses)
    if any(at >= ends[0]["received"] for at in stones.values()):  # an erasure that did not see them
        await services.submissions.agreements.undo(one["_id"] for one in ends)
