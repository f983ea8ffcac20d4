"""The core of erasure in the controller's own store: tombstone, then keys, then delete, files included.

Each step is acknowledged by a majority before the next begins. The order is the promise: whoever writes about the
person at the same moment looks at the tombstones after his write, so one of the two sees the other. An erasure that
broke off anywhere can be run again and finishes: the address's tombstone remembers whom it was about.
Source: P5; R19, R26; design § 4; reliability § 7 (the other orders were measured: they resurrect people).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from schemas.subject import References, ReferenceUse, clean_email
from workers.stores.confirmations import Confirmations
from workers.stores.consents import Consents
from workers.stores.files import Files
from workers.stores.keys import ACTIVE, KeyHeld, Keys, key_id
from workers.stores.parked import Parked
from workers.stores.people import People
from workers.stores.submissions import Submissions
from workers.stores.tombstones import Tombstones, of_address, of_device, of_event, of_person


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What an erasure did: collection → documents deleted. All zeros: nothing was held."""

    deleted: dict[str, int]

    @property
    def anything(self) -> bool:
        return any(self.deleted.values())


@dataclass(frozen=True, slots=True)
class Kept:
    """What an erasure must leave where it is, behind the tombstones. ``links``: the purposes that it is kept for."""

    submissions: frozenset[str] = frozenset()
    links: frozenset[str] = frozenset()


Keep = Callable[[Sequence[str]], Awaitable[Kept]]
"""Says of these persons what must be left, and holds their keys. Asked once nothing new can come in about them."""


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
        persons = list(dict.fromkeys([*standing, *named]))
        events, devices = await self._linked(persons, erased_at)
        kept = await keep(persons)
        keepers = await self._owners(kept)

        await self.tombstones.name_persons(stone, persons)
        await self.tombstones.write([*map(of_person, persons), *map(of_event, events), *map(of_device, devices)])
        await self.keys.destroy(key_id(person, ACTIVE) for person in persons if person not in keepers)
        # What is kept is dated by what happened with this address.
        refs = [] if keepers else [ref]
        doomed = [event for event in events if event not in kept.submissions]
        return await self._delete(_Doomed(persons, refs, [parked_ref], doomed, devices, kept, keepers), erased_at)

    async def forget_events(self, person: str, doomed: Collection[str]) -> Forgotten:
        """Erase these events of a person, and him with them where he holds nothing else. May be repeated.

        Raises :class:`StoreUnavailable`, and :class:`workers.stores.keys.KeyHeld` when a legal hold keeps the person's
        key: then nothing is deleted.
        """
        if await self.keys.held([key_id(person, ACTIVE)]):
            raise KeyHeld("a legal hold keeps a key")
        await self.tombstones.write(map(of_event, doomed))
        letters = {"parked": await self.parked.erase_of(doomed)}
        erased_at = await self._left_alone(person, doomed)
        if erased_at is not None:
            try:
                await self.keys.destroy([key_id(person, ACTIVE)])
            finally:
                # No address's tombstone names him: before the submissions, which do, and though a hold came just now,
                # or whoever writes from this address would find him for ever.
                retired = await self.people.retire(person, erased_at)
            gone = await self._delete(_Doomed([person], [], [], list(doomed), []), erased_at)
            return Forgotten(gone.deleted | letters | {"persons": int(retired)})
        held = await self.submissions.find({"_id": {"$in": list(doomed)}}, "files")
        confirmations = await self.confirmations.erase(doomed)
        await self.files.undo([file for one in held for file in one.get("files", ())], person)
        await self.submissions.undo_said_about(doomed)
        await self.submissions.undo(doomed, [person])
        return Forgotten({"confirmations": confirmations, "submissions": len(held), **letters})

    async def _left_alone(self, person: str, doomed: Collection[str]) -> datetime | None:
        """The moment of the person's tombstone, set where he holds nothing but these events; else ``None``.

        It is proposed before the look: what is written after the look finds it, what was written before is seen.
        """
        if await self._holds_more(person, doomed):
            return None
        token = await self.tombstones.propose(of_person(person))
        if token is None:  # he was erased, or is being erased: the rest is that erasure's, or an earlier run's
            return (await self.tombstones.look([of_person(person)])).get(of_person(person))
        if await self._holds_more(person, doomed):
            await self.tombstones.withdraw(of_person(person), token)
            return None
        settled = await self.tombstones.settle(of_person(person), token)
        return settled or await self._left_alone(person, doomed)  # another run of the same was at it

    async def _holds_more(self, person: str, doomed: Collection[str]) -> bool:
        return any(one["_id"] not in doomed for one in await self.submissions.of([person], "_id"))

    async def complete(self, person: str) -> Forgotten | None:
        """Finish the erasure of a person whom a hold kept until now; ``None`` where no erasure of his stands.

        Raises :class:`StoreUnavailable`, and :class:`workers.stores.keys.KeyHeld` while another hold stands.
        """
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
        deleted["persons"] = sum([await self.people.retire(person, erased_at) for person in retiring])
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
