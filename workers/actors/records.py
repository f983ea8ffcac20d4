"""Keeping a record of a person: the path that forms and CRM contacts share.

Write first, look at the tombstones after, acknowledge after the look. What the look finds too late is taken back; a
fresh act that ran into an erasure of the same person starts anew with a new person.
Source: R1–R3, R13, R24, R26; P2, P5, P10; design § 4 "P5 in one paragraph".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Final

from schemas.calendar import PARIS
from schemas.errors import GreffierError, InvalidMessage
from schemas.subject import ReferenceUse
from schemas.terms import Case, Purpose
from workers.actors.batches import ERASED, SUPPRESSED, Arrived, letter_of, park, refuse
from workers.preferences import no_of
from workers.rules.erasure import Verdict, judge, latest
from workers.rules.notices import notice_by
from workers.rules.objections import Noes, Rests, ended
from workers.rules.retention import active_until
from workers.services import Services
from workers.stores.keys import ACTIVE, DataKey, KeyHeld, key_id
from workers.stores.mongo import Document
from workers.stores.submissions import link_id
from workers.stores.tombstones import of_address, of_event, of_person

_ROUNDS: Final = 5
_IN_CLEAR: Final = ("country", "language", "policy_version", "collected_at")


class Unsettled(GreffierError):
    """A record met erasures of the same person over and over; tried again later as the event's own failure."""


@dataclass(slots=True)
class _Record:
    """An arrived event on its way to being a submission."""

    arrived: Arrived
    case: Case
    lookup: bytes
    address: str
    person: str = ""
    device: bytes | None = None
    no: Noes = field(default_factory=dict)
    """What whoever has this address said no to, and when last."""

    @property
    def key(self) -> str:
        return self.arrived.key

    @property
    def files(self) -> tuple[str, ...]:
        return self.arrived.files

    @property
    def own_act(self) -> bool:
        """Whether the person said it: a form has no source but its sender."""
        return "collected_at" not in self.arrived.data

    @property
    def stones(self) -> tuple[str, ...]:
        return (self.address, of_event(self.key))

    def verdict(self, stones: dict[str, datetime], services: Services) -> Verdict:
        if of_event(self.key) in stones:
            return Verdict.REFUSE
        erased_at = latest(stones, [self.address])
        return judge(self.arrived.received, erased_at, skew=services.skew, own_act=self.own_act)


async def keep_records(services: Services, arrived: Sequence[Arrived], *, linked: bool = True) -> list[str]:
    """Keep each event as a submission of its person; the keys of those that stand when this returns.

    ``linked``: whether purposes begin now; a subscription that waits for its confirmation has none yet. One that its
    person said no to does not begin, and a record that is left without any is refused; a subscription waits for its
    confirmation then.
    Raises :class:`schemas.errors.Temporary`, in which case nothing is decided and all of it may be repeated.
    """
    kept: list[str] = []
    waiting = await _wanted(services, [_begun(services, one) for one in arrived])
    for _ in range(_ROUNDS):
        if not waiting:
            return kept
        settled, waiting = await _round(services, waiting, linked)
        kept += settled
    if waiting:
        await _bury(services, waiting)
        raise Unsettled
    return kept


def _begun(services: Services, arrived: Arrived) -> _Record:
    if arrived.route.case is None:
        raise ValueError(f"{arrived.route.type} brings no record")
    references, email = services.trust.references, arrived.data["email"]
    return _Record(
        arrived=arrived,
        case=arrived.route.case,
        lookup=references.of_email(ReferenceUse.LOOKUP, email),
        address=of_address(references.of_email(ReferenceUse.TOMBSTONE, email)),
        device=references.of_device(arrived.data["device_id"]) if "device_id" in arrived.data else None,
    )


async def _wanted(services: Services, records: list[_Record]) -> list[_Record]:
    """A look at the suppression list: those that serve something still. What it does not see yet, the gate does.

    One that was kept before somebody said no stays, its message delivered again: the gate shows it for the rest.
    """
    said = await no_of(services, [record.arrived.data["email"] for record in records])
    for record in records:
        record.no = said.get(record.arrived.data["email"], {})
    refusable = [record for record in records if record.no and record.case is not Case.NEWSLETTER]
    unwanted = [record for record in refusable if not _serves(services, record)]
    if not unwanted:
        return records
    kept = await services.kept(record.key for record in unwanted)
    refused = [record for record in unwanted if record.key not in kept]
    await services.bookkeeping.refused([record.key for record in refused], SUPPRESSED, services.clock())
    await services.uploads.clear(file for record in refused for file in record.files)
    return [record for record in records if record not in refused]


def _serves(services: Services, record: _Record) -> list[Purpose]:
    """The purposes that a record begins: those of its case that its person did not say no to."""
    register, begins = services.trust.register, _begins(record)
    served = [(rule.purpose, Rests(record.case, rule.basis, begins)) for rule in register.links_for(record.case)]
    return [purpose for purpose, how in served if not ended(register, how, purpose, record.no)]


async def _round(services: Services, records: list[_Record], linked: bool) -> tuple[list[str], list[_Record]]:
    """One attempt: the keys that are settled as kept, and the records that must start anew."""
    willing, stones = await _not_erased(services, records)
    keys = await _persons_and_keys(services, willing, stones)
    orphans = [record for record in willing if record.person not in keys]  # an erasure destroyed the key just now
    await _uproot(services, orphans)
    sealable = await _with_files(services, [record for record in willing if record.person in keys], keys)
    inserted = await services.submissions.insert([_submission(record, keys[record.person]) for record in sealable])
    conflicting = [record for record in sealable if record.key in inserted.conflicting]
    await park(services, [letter_of(services, record.arrived, "same_id_other_body") for record in conflicting])
    written = [record for record in sealable if record.key not in inserted.conflicting]
    for record in written:  # the look is about what stands, and an earlier attempt may have put it under another person
        record.person = inserted.owners.get(record.key, record.person)
    for record in written:
        if record.address in stones:  # who comes back after an erasure takes over what a dead attempt linked
            await services.submissions.undo_links_of_others(record.key, record.person)
    if linked:
        await services.submissions.insert_links([link for record in written for link in _links(services, record)])
    kept, again = await _look_after(services, written)
    await services.uploads.clear(file for record in kept for file in record.files)
    return [record.key for record in kept], orphans + again


async def _not_erased(services: Services, records: list[_Record]) -> tuple[list[_Record], dict[str, datetime]]:
    """A look before: those that may go on, and the tombstones that stand.

    It spares the work and the trace; the promise rests on the look after the write, not on this one.
    """
    stones = await services.tombstones.look(stone for record in records for stone in record.stones)
    if not stones:
        return records, stones
    return (await _turn_away(services, records, stones))[Verdict.KEEP], stones


async def _turn_away(
    services: Services, records: list[_Record], stones: dict[str, datetime]
) -> dict[Verdict, list[_Record]]:
    sorted_out: dict[Verdict, list[_Record]] = {verdict: [] for verdict in Verdict}
    for record in records:
        sorted_out[record.verdict(stones, services)].append(record)
    refused, parked = sorted_out[Verdict.REFUSE], sorted_out[Verdict.PARK]
    await refuse(services, [record.key for record in refused], ERASED)
    await services.uploads.clear(file for record in refused for file in record.files)
    held = await _held(services, refused)
    gone = [record for record in refused if record.key not in held]
    await _forget_said_about(services, [record.key for record in gone])
    await _take_back(services, gone + parked)  # also what an earlier attempt wrote that did not live to look
    await park(
        services,
        [letter_of(services, record.arrived, "erased_just_before" if record.own_act else ERASED) for record in parked],
    )
    return sorted_out


async def _held(services: Services, records: list[_Record]) -> set[str]:
    """The events of these records whose submission a hold keeps: a repeat of its message must not remove it."""
    found = await services.submissions.find({"_id": {"$in": [record.key for record in records]}}, "person")
    keys = {one["_id"]: key_id(one["person"], ACTIVE) for one in found}
    held = await services.keys.held(set(keys.values()))
    return {event for event, key in keys.items() if key in held}


async def _forget_said_about(services: Services, keys: list[str]) -> None:
    """Events about a refused one go with it: those that come later find its tombstone."""
    if keys:
        await services.confirmations.erase(keys)
        await services.submissions.undo_said_about(keys)


async def _persons_and_keys(
    services: Services, records: list[_Record], stones: dict[str, datetime]
) -> dict[str, DataKey]:
    """Name each record's person; person → data key, for those whose key lives."""
    after = {record.lookup: stones[record.address] for record in records if record.address in stones}
    persons = await services.people.resolve([record.lookup for record in records], services.clock(), after)
    for record in records:
        record.person = persons.get(record.lookup, "")  # nobody: an erasure took him between two steps of ours
    keys = await services.keys.ensure(key_id(person, ACTIVE) for person in persons.values())
    return {person: keys[key_id(person, ACTIVE)] for person in persons.values() if key_id(person, ACTIVE) in keys}


async def _with_files(services: Services, records: list[_Record], keys: dict[str, DataKey]) -> list[_Record]:
    """Bring uploaded files over, each before the submission that names it; a record whose file fails is parked."""
    whole: list[_Record] = []
    for record in records:
        try:
            await _bring_files(services, record, keys[record.person])
        except InvalidMessage as fault:
            if await services.kept([record.key]):  # by another worker, who cleared the file: go on to the look
                whole.append(record)
                continue
            await park(services, [letter_of(services, record.arrived, fault.code)])
            await _uproot(services, [record])  # created for this event alone, he would be left behind empty
        else:
            whole.append(record)
    return whole


async def _bring_files(services: Services, record: _Record, key: DataKey) -> None:
    for file_id in record.files:
        if not await services.files.stands(file_id, record.person):
            content = await services.uploads.read(file_id, record.key)
            await services.files.put(
                file_id, content, key, person=record.person, event=record.key, now=services.clock()
            )


def _submission(record: _Record, key: DataKey) -> Document:
    arrived, data = record.arrived, record.arrived.data
    document: Document = {
        "_id": record.key,
        "event_id": arrived.event.id,
        "source": arrived.event.source,
        "type": arrived.event.type,
        "case": record.case.value,
        "person": record.person,
        "received": arrived.received,
        "digest": arrived.digest,
        "sealed": key.seal(f"submissions/{record.key}", arrived.event.body),
    }
    document.update({name: data[name] for name in _IN_CLEAR if name in data})
    if "collected_at" in data:
        document["notice_by"] = notice_by(date.fromisoformat(data["collected_at"]))
    if "consents" in data:
        document["consents"] = data["consents"]
    if record.files:
        document["files"] = list(record.files)
    if record.device:
        document["device"] = record.device
    return document


def _links(services: Services, record: _Record) -> list[Document]:
    links = purpose_links(services, record.key, record.case, record.person, _begins(record))
    if not record.no:  # as most: the look costs nothing then
        return links
    wanted = _serves(services, record)
    return [link for link in links if link["purpose"] in wanted]


def purpose_links(services: Services, submission: str, case: Case, person: str, since: datetime) -> list[Document]:
    """The links of a submission: one per purpose of its case, from ``since`` on, each with the rule that dates it."""
    register = services.trust.register
    return [
        {
            "_id": link_id(submission, rule.purpose),
            "submission": submission,
            "person": person,
            "case": case.value,
            "purpose": rule.purpose.value,
            "basis": rule.basis.value,
            "anchor": rule.anchor.value,
            "rule": rule.rule_id,
            "since": since,
            "expires": active_until(rule.anchor, since, rule.active, ()),
        }
        for rule in register.links_for(case)
    ]


def _begins(record: _Record) -> datetime:
    """From when periods count: the day of collection for what was not given by the person, never after arrival."""
    collected = record.arrived.data.get("collected_at")
    if collected is None:
        return record.arrived.received
    return min(datetime.combine(date.fromisoformat(collected), time.min, PARIS), record.arrived.received)


async def _look_after(services: Services, records: list[_Record]) -> tuple[list[_Record], list[_Record]]:
    """The look that the promise rests on: kept, and to start anew. Everything else is taken back here."""
    if not records:
        return [], []
    stones = await services.tombstones.look(
        stone for record in records for stone in (*record.stones, of_person(record.person))
    )
    if not stones:
        return records, []
    late = [record for record in records if record.verdict(stones, services) is not Verdict.KEEP]
    fresh = [record for record in records if record not in late]
    rootless = await _rootless(services, fresh, stones)
    await _turn_away(services, late, stones)
    for record in rootless:  # another worker may have kept the same event under the new person: that stays
        await services.files.undo(record.files, record.person)
        await services.submissions.undo([record.key], [record.person])
    await _uproot(services, rootless)
    kept = [record for record in fresh if record not in rootless]
    for record in kept:  # an attempt for whom its sender was before the erasure may have died after storing this
        await services.files.undo_others(record.files, record.person)
    return kept, rootless


async def _rootless(services: Services, fresh: list[_Record], stones: dict[str, datetime]) -> list[_Record]:
    """Fresh acts whose person is not known to be younger than the erasure they came after."""
    after_erasure = [record for record in fresh if record.address in stones]
    rootless = [record for record in fresh if of_person(record.person) in stones]
    for record in after_erasure:
        if record not in rootless and not await services.people.younger([record.person], stones[record.address]):
            rootless.append(record)
    return rootless


async def _take_back(services: Services, records: list[_Record]) -> None:
    """Remove whatever these events wrote, under whomever, and whoever was created for them.

    What stands under the same id with another body is not theirs, and stays.
    """
    if records:
        await services.files.undo(file for record in records for file in record.files)
        await services.submissions.undo_own({record.key: record.arrived.digest for record in records})
        await _uproot(services, records, coming_back=False)


async def _bury(services: Services, records: list[_Record]) -> None:
    """Finish what once disposed of these records' persons and broke off: who holds nothing is then in nobody's way."""
    await services.forgetting.forget_events({record.person: () for record in records if record.person})


async def _uproot(services: Services, records: list[_Record], *, coming_back: bool = True) -> None:
    """Move persons older than their address's erasure out of the way of whoever comes back.

    The tombstone names each first: an erasure under way then still finds what is his. Where nobody comes back, who is
    held stays where he is found.
    """
    stones = await services.tombstones.look(record.address for record in records)
    for lookup, address in {(record.lookup, record.address) for record in records if record.address in stones}:
        persons = await services.people.of_before(lookup, stones[address])
        await services.tombstones.name_persons(address, persons)
        for person in persons:
            # The key first: who goes on being found is found again, should this break off in between.
            try:
                await services.keys.destroy([key_id(person, ACTIVE)])
            except KeyHeld:  # a held person's data stays where it is, behind the tombstone
                if not coming_back:
                    continue
            await services.people.retire({person: stones[address]})
