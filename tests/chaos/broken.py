"""Erasure and intake as they must not be: each variant breaks one rule, and the explorer must find it.

Source: reliability § 7 (the wrong orders, measured), § 9.5 (a checker is trusted only if it catches what is broken).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from schemas.subject import ReferenceUse, clean_email
from workers import services as services_module
from workers.actors import records
from workers.stores.files import Files
from workers.stores.forgetting import Forgetting, Forgotten, Keep, keep_nothing
from workers.stores.keys import ACTIVE, DataKey, Keys, key_id
from workers.stores.people import People
from workers.stores.submissions import Submissions
from workers.stores.tombstones import Proposal, Tombstones, of_address, of_event, of_person

_NEVER = datetime.max.replace(tzinfo=UTC)

Variant = Callable[[pytest.MonkeyPatch], None]


class DeletesFirst(Forgetting):
    """Keys, then deletion, and the tombstones last."""

    async def forget(self, email: str, keep: Keep = keep_nothing) -> Forgotten:
        ref = self.references.of_email(ReferenceUse.LOOKUP, clean_email(email))
        stone = of_address(self.references.of_email(ReferenceUse.TOMBSTONE, clean_email(email)))
        persons = list((await self.people.find([ref])).values())
        events = [one["_id"] for one in await self.submissions.find({"person": {"$in": persons}}, "device")]
        await self.keys.destroy(key_id(person, ACTIVE) for person in persons)
        await self.files.erase(persons)
        deleted = await self.submissions.erase(persons, [ref], events)
        await self.people.retire(dict.fromkeys(persons, _NEVER))
        await self.tombstones.write_address(stone)
        await self.tombstones.name_persons(stone, persons)
        await self.tombstones.write([*map(of_person, persons), *map(of_event, events)])
        return Forgotten(deleted)


def tombstone_after_deletion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services_module, "Forgetting", DeletesFirst)


def look_only_before_the_write(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_look(services: Any, written: list[Any]) -> tuple[list[Any], list[Any]]:
        return written, []

    monkeypatch.setattr(records, "_look_after", no_look)


def key_minted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ensure = Keys.ensure

    async def mint(self: Keys, ids: Iterable[str]) -> dict[str, DataKey]:
        wanted = list(ids)
        await self._keys.delete_many({"_id": {"$in": wanted}, "destroyed_at": {"$exists": True}})
        return await ensure(self, wanted)

    monkeypatch.setattr(Keys, "ensure", mint)


def person_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes back is taken for whom he was before."""

    async def nobody(services: Any, fresh: list[Any], stones: Any) -> list[Any]:
        return []

    monkeypatch.setattr(records, "_rootless", nobody)


def dead_attempt_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A redelivery that is refused does not look for what the attempt before it wrote."""
    before = records._not_erased

    async def leave(services: Any, refused: list[Any]) -> None:
        return None

    async def look_before(services: Any, waiting: list[Any]) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(records, "_take_back", leave)
            return await before(services, waiting)

    monkeypatch.setattr(records, "_not_erased", look_before)


def fresh_act_gets_a_tombstone(monkeypatch: pytest.MonkeyPatch) -> None:
    """An erasure sets a stone for every event it finds, also for one that came after it."""
    of = Submissions.of

    async def undated(self: Submissions, persons: Any, *fields: str) -> list[Any]:
        found = await of(self, persons, *fields)
        long_ago = datetime.min.replace(tzinfo=UTC)
        return [{**one, "received": long_ago} for one in found]

    monkeypatch.setattr(Submissions, "of", undated)


def moved_person_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is moved out of the way of his successor is not named with the tombstone: the erasure misses his data."""

    async def unnamed(self: Tombstones, stone: str, persons: Iterable[str]) -> None:
        return None

    monkeypatch.setattr(Tombstones, "name_persons", unnamed)


def younger_person_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """An erasure takes whoever stands under the address, also a successor who came after it."""

    async def anybody(self: People, ref: bytes, erased_at: datetime) -> list[str]:
        return list((await self.find([ref])).values())

    monkeypatch.setattr(People, "of_before", anybody)


def files_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    async def leave(self: Files, file_ids: Iterable[str], person: str | None = None) -> None:
        return None

    monkeypatch.setattr(Files, "undo", leave)


VARIANTS: Final[tuple[Variant, ...]] = (
    tombstone_after_deletion,
    look_only_before_the_write,
    key_minted_again,
    person_not_replaced,
    dead_attempt_left_behind,
    fresh_act_gets_a_tombstone,
    moved_person_not_named,
    younger_person_not_known,
    files_left_behind,
)


# ---------------------------------------------------------------------- a period's end


def nobody_looks_who_holds_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever held nothing else goes, without a look after the tombstone was proposed."""

    async def nobody(*_: Any) -> set[str]:
        return set()

    monkeypatch.setattr(Forgetting, "_holding_more", nobody)


def nothing_is_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look alone, and no tombstone before it."""

    async def silent(self: Tombstones, ids: Iterable[str]) -> Proposal:
        return Proposal(secrets.token_hex(8), await self.now(), contested=False)

    monkeypatch.setattr(Tombstones, "propose", silent)


OF_ENDINGS: Final[tuple[Variant, ...]] = (nobody_looks_who_holds_more, nothing_is_proposed)
