"""The core of erasure in the controller's own store: tombstone, then keys, then delete, files included.

Each step is acknowledged by a majority before the next begins. The order is the promise: whoever writes about the
person at the same moment looks at the tombstones after his write, so one of the two sees the other. An erasure that
broke off anywhere can be run again and finishes: the address's tombstone remembers whom it was about.
Source: P5; R19, R26; design § 4; reliability § 7 (the other orders were measured: they resurrect people).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from schemas.subject import References, ReferenceUse, clean_email
from workers.stores.archive import Archive
from workers.stores.confirmations import Confirmations
from workers.stores.consents import Consents
from workers.stores.files import Files
from workers.stores.keys import ACTIVE, ARCHIVE, Keys, key_id
from workers.stores.parked import Parked
from workers.stores.people import People
from workers.stores.submissions import Submissions
from workers.stores.tombstones import Tombstones, of_address, of_device, of_event, of_person


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What an erasure did: collection → documents deleted. All zeros: nothing was held.

    ``held``: persons of whom a legal hold keeps everything.
    """

    deleted: dict[str, int]
    held: frozenset[str] = frozenset()

    @property
    def anything(self) -> bool:
        return any(self.deleted.values())


@dataclass(frozen=True, slots=True)
class Kept:
    """What an erasure must leave where it is, behind the tombstones. ``links``: the purposes that it is kept for.

    ``archived``: events whose record stays in the archive; their owners' archive keys stay with them.
    """

    submissions: frozenset[str] = frozenset()
    links: frozenset[str] = frozenset()
    archived: frozenset[str] = frozenset()


Keep = Callable[[Sequence[str]], Awaitable[Kept]]
"""Says of these persons what must be left, and holds their keys. Asked once nothing new can come in about them.

The persons are those in use and those who are in the archive alone.
"""


async def keep_nothing(_: Sequence[str]) -> Kept:
    """Everything goes."""
    return Kept()


@dataclass(frozen=True, slots=True)
class Forgetting:
    """Erases one person from the controller's own store."""

    references: References
    people: People
    submissions: Submissions
    confirmations: Confirmations
    consents: Consents
    files: Files
    parked: Parked
    keys: Keys
    tombstones: Tombstones
    archive: Archive

    async def forget(self, email: str, keep: Keep = keep_nothing, *, began: datetime | None = None) -> Forgotten:
        """Erase whoever has this address, but for what ``keep`` says. May be repeated, also after it broke off.

        Each time it is an erasure of its own, unless it is said when it ``began`` (by :meth:`Tombstones.now`): then who
        came back since its tombstone was set is left alone.

        Raises :class:`schemas.errors.InvalidMessage` for what is no address, :class:`StoreUnavailable`, and
        :class:`workers.stores.keys.KeyHeld` when a legal hold keeps the person's key: then nothing was deleted.
        """
        address = clean_email(email)
        ref = self.references.of_email(ReferenceUse.LOOKUP, address)
        stone = of_address(self.references.of_email(ReferenceUse.TOMBSTONE, address))
        parked_ref = self.references.of_email(ReferenceUse.PARKED, address)
        erased_at = await self.tombstones.write_address(stone, began)
        # In this order: an intake that moves a person out of the way names him with the tombstone first.
        standing = await self.people.of_before(ref, erased_at)
        # Whom an intake names since another erasure moved the tombstone is judged by that one's moment: what he had
        # received by then goes with him here, for once he is gone nothing names it any more.
        named, erased_at = await self.tombstones.named_with(stone)
        archived = [one["person"] for one in await self.archive.of([ref], "person")]
        persons = list(dict.fromkeys([*standing, *archived, *named]))
        events, devices = await self._linked(persons, erased_at)
        kept = await keep(persons)
        keepers = await self._owners(kept)

        await self.tombstones.name_persons(stone, persons)
        await self.tombstones.write([*map(of_person, persons), *map(of_event, events), *map(of_device, devices)])
        archivists = await self._archivists(kept)
        await self.keys.destroy(
            [
                *(key_id(person, ACTIVE) for person in persons if person not in keepers),
                *(key_id(person, ARCHIVE) for person in persons if person not in archivists),
            ]
        )
        # What is kept is dated by what happened with this address.
        refs = [] if keepers else [ref]
        doomed = [event for event in events if event not in kept.submissions]
        gone = await self._delete(_Doomed(persons, refs, [parked_ref], doomed, devices, kept, keepers), erased_at)
        return Forgotten(gone.deleted | await self.archive.erase(persons, kept.archived))

    async def forget_events(
        self, doomed: Mapping[str, Collection[str]], more: Collection[str] | None = None
    ) -> Forgotten:
        """Erase these events, by person, and with them whoever holds nothing else. May be repeated, by several at once.

        ``more``: who is known to hold something else; who does without being named costs a detour, and nothing else.
        Of whom a legal hold keeps nothing is deleted: they come back with what was done. What was archived stays.
        Raises :class:`StoreUnavailable`.
        """
        held = await self._held(doomed)
        going = {person: frozenset(events) for person, events in doomed.items() if person not in held}
        events = [event for ones in going.values() for event in ones]
        _, alone = await asyncio.gather(self.tombstones.set(map(of_event, events)), self._left_alone(going, more))
        kept = await self.keys.destroy_all(key_id(person, ACTIVE) for person in alone)
        held |= {person for person in alone if key_id(person, ACTIVE) in kept}
        gone = {person: ones for person, ones in going.items() if person not in held}
        return Forgotten(await self._delete_events(gone, alone, held), frozenset(held))

    async def _held(self, persons: Iterable[str]) -> set[str]:
        keys = {key_id(person, ACTIVE): person for person in persons}
        return {keys[held] for held in await self.keys.held(keys)}

    async def _delete_events(
        self, doomed: Mapping[str, Collection[str]], alone: Mapping[str, datetime], held: Collection[str]
    ) -> dict[str, int]:
        """``alone``: of whom nothing else is held, and the moments of their tombstones."""
        events = [event for ones in doomed.values() for event in ones]
        whole = [person for person in alone if person not in held]
        parts = {person: doomed[person] for person in doomed.keys() - set(whole)}
        of_parts = [event for ones in parts.values() for event in ones]
        # No address's tombstone names the persons: their documents before the submissions, which do, and also of those
        # whom a hold keeps since this moment, or whoever writes from their address would find them for ever.
        persons, parked, confirmations, files, *_ = await asyncio.gather(
            self.people.retire(alone),
            self.parked.erase_of(events),
            self.confirmations.erase(events),
            self.files.erase(whole),
            self.submissions.undo_said_about(events),
            self.submissions.erase_links(whole),
        )
        await self._erase_files(of_parts)
        # After these: the submissions are what names the events above, should this be run again.
        submissions = await self.submissions.undo(of_parts, parts)
        submissions += await self.submissions.erase_all(whole)
        deleted = {"confirmations": confirmations, "files": files, "parked": parked, "submissions": submissions}
        return deleted | {"persons": persons}

    async def _erase_files(self, events: list[str]) -> None:
        """The files of these events alone."""
        if events:
            with_files = {"_id": {"$in": events}, "files": {"$exists": True}}
            for one in await self.submissions.find(with_files, "person", "files"):
                await self.files.undo(one["files"], one["person"])

    async def _left_alone(
        self, doomed: Mapping[str, Collection[str]], more: Collection[str] | None
    ) -> dict[str, datetime]:
        """Who holds nothing but these events, with the moment of his tombstone, which stands then.

        It is proposed before the look: what is written after the look finds it, what was written before is seen.
        Who is known to hold more may have been proposed by a run that died before its look was followed.
        """
        alone: dict[str, datetime] = {}
        staying = doomed.keys() & (await self._holding_more(doomed, doomed) if more is None else set(more))
        await self.tombstones.drop_proposed(map(of_person, staying))
        asked = doomed.keys() - staying
        while asked:
            proposal = await self.tombstones.propose(map(of_person, asked))
            holding = await self._holding_more(asked, doomed)
            if holding:
                await self.tombstones.withdraw(map(of_person, holding), proposal)
                asked = asked - holding
            # Where an erasure stands, the rest is that erasure's, or an earlier run's; where another run of the same
            # was at it, once more.
            stones = await self.tombstones.settle(map(of_person, asked), proposal)
            alone |= {person: stones[of_person(person)] for person in asked if of_person(person) in stones}
            asked = asked - alone.keys()
        return alone

    async def _holding_more(self, persons: Iterable[str], doomed: Mapping[str, Collection[str]]) -> set[str]:
        held = await self.submissions.of(persons, "_id")
        return {one["person"] for one in held if one["_id"] not in doomed[one["person"]]}

    async def forget_letters(self, email: str) -> int:
        """Erase what is parked of whoever has this address and was received before its erasure; how many letters.

        The rest of an erasure that a hold kept: :meth:`complete` knows a person, and letters are about an address.
        """
        address = clean_email(email)
        stone = of_address(self.references.of_email(ReferenceUse.TOMBSTONE, address))
        erased_at = (await self.tombstones.look([stone])).get(stone)
        if erased_at is None:
            return 0
        return await self.parked.erase_about([self.references.of_email(ReferenceUse.PARKED, address)], erased_at)

    async def complete(self, person: str) -> Forgotten | None:
        """Finish the erasure of a person whom a hold kept until now; ``None`` where no erasure of his stands.

        Raises :class:`StoreUnavailable`, and :class:`workers.stores.keys.KeyHeld` while another hold stands.
        """
        await self.tombstones.drop_proposed([of_person(person)])
        erased_at = (await self.tombstones.look([of_person(person)])).get(of_person(person))
        if erased_at is None:
            return None
        refs = await self.people.refs_of(person)
        events, devices = await self._linked([person], erased_at)
        await self.keys.destroy([key_id(person, ACTIVE)])
        return await self._delete(_Doomed([person], refs, [], events, devices), erased_at)

    async def _linked(self, persons: list[str], erased_at: datetime) -> tuple[list[str], list[bytes]]:
        """The events that brought these persons' data, and the devices that were linked to them."""
        held = await self.submissions.of(persons, "device", "received")
        # What came after the erasure and stands under the old person for a moment is about to start anew: no stone.
        events = [submission["_id"] for submission in held if submission["received"] <= erased_at]
        return events, [bytes(submission["device"]) for submission in held if "device" in submission]

    async def _owners(self, kept: Kept) -> frozenset[str]:
        """Whose the kept submissions are."""
        if not kept.submissions:
            return frozenset()
        held = await self.submissions.find({"_id": {"$in": list(kept.submissions)}}, "person")
        return frozenset(one["person"] for one in held)

    async def _archivists(self, kept: Kept) -> frozenset[str]:
        """Whose the records are that stay in the archive."""
        return frozenset(one["person"] for one in await self.archive.by_key(kept.archived, "person"))

    async def _delete(self, doomed: _Doomed, erased_at: datetime) -> Forgotten:
        kept = doomed.kept
        deleted = {
            "visits": await self.consents.erase_visits(doomed.devices),
            "confirmations": await self.confirmations.erase(doomed.events),
            "files": await self.files.erase(doomed.persons, kept.submissions),
            "parked": await self.parked.erase_about(doomed.parked_refs, erased_at),
            # After these: the submissions are what names the devices and events above, should this be run again.
            **await self.submissions.erase(doomed.persons, doomed.refs, doomed.events, kept.submissions, kept.links),
        }
        retiring = [person for person in doomed.persons if person not in doomed.keepers]
        deleted["persons"] = await self.people.retire(dict.fromkeys(retiring, erased_at))
        return Forgotten(deleted)


@dataclass(frozen=True, slots=True)
class _Doomed:
    """What one erasure deletes. ``kept``: but for this; ``keepers``: whose that is."""

    persons: list[str]
    refs: list[bytes]
    parked_refs: list[bytes]
    events: list[str]
    devices: list[bytes]
    kept: Kept = Kept()
    keepers: frozenset[str] = frozenset()
