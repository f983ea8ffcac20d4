"""Forgetting one person in the controller's own store: everything goes, nobody else is touched. R19, R26; P5."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest

from schemas.errors import InvalidMessage
from schemas.terms import Case, Purpose
from tests import factories
from tests.factories import NOON
from tests.workers.bench import Bench, Document
from workers.actors import records
from workers.actors.work import SomeFailed
from workers.services import utc_now
from workers.stores.keys import KeyHeld, Keys
from workers.stores.tombstones import Tombstones, of_person

OWNED = (
    "persons",
    "submissions",
    "links",
    "anchors",
    "notices",
    "agreements",
    "confirmations",
    "visits",
    "files.files",
    "files.chunks",
    "parked",
)


async def _everything_about(bench: Bench, whom: factories.Someone, device: str) -> list[Document]:
    """Something of each kind, and the messages that brought it."""
    cv, news = factories.file(), factories.form(Case.NEWSLETTER, whom)
    applied = factories.form(Case.JOB_APPLICATION, whom, cv=cv.field, device_id=device)
    await bench.upload(cv, applied)
    return [
        await bench.send(factories.choice(device), factories.visit(device)),
        await bench.send(applied, factories.contact(Case.CLIENT, whom), factories.interacted(NOON, email=whom.email)),
        await bench.send(factories.informed(NOON, email=whom.email)),
        await bench.send(factories.decided(NOON, about=applied.id)),
        await bench.send(news, factories.confirmed(news, NOON), factories.agreed(whom, Purpose.EVENT_INVITATIONS)),
        await bench.send(factories.form(Case.JOB_APPLICATION, whom, event_id=applied.id)),
        await bench.send(factories.form(Case.CONTACT, whom)),
    ]


async def test_everything_goes_and_nobody_else_is_touched(bench: Bench) -> None:
    whom, other = factories.someone(), factories.someone()
    await _everything_about(bench, other, "device-2")
    others = {name: bench.collection(name) for name in OWNED}
    await _everything_about(bench, whom, "device-1")
    forgotten = await bench.services.forgetting.forget(whom.email)
    assert {name: bench.collection(name) for name in OWNED} == others
    assert {name for name, count in forgotten.deleted.items() if not count} == {"archive", "archive.files"}
    assert await bench.read(whom.email) == []
    assert len(await bench.read(other.email)) == 2


async def test_it_may_be_repeated_and_finds_nothing_then(bench: Bench) -> None:
    whom = factories.someone()
    await _everything_about(bench, whom, "device-1")
    assert (await bench.services.forgetting.forget(whom.email)).anything
    assert not (await bench.services.forgetting.forget(whom.email.upper())).anything


async def test_who_was_never_held_is_forgotten_all_the_same(bench: Bench) -> None:
    whom = factories.someone()
    late = factories.form(Case.CONTACT, whom)
    assert not (await bench.services.forgetting.forget(whom.email)).anything
    await bench.send(late)
    assert bench.collection("submissions") == bench.collection("persons") == []


async def test_what_was_on_its_way_does_not_bring_them_back(bench: Bench) -> None:
    """Replays of the queue, in whatever order. Source: R26."""
    whom = factories.someone()
    wires = await _everything_about(bench, whom, "device-1")
    await bench.services.forgetting.forget(whom.email)
    for wire in reversed(wires):
        await bench.deliver(wire, _queue_of(wire))
    left = {name: bench.collection(name) for name in OWNED}
    assert {name: documents for name, documents in left.items() if documents} == {}
    refused = {outcome["reason"] for outcome in bench.collection("outcomes", "evidence")}
    assert refused == {"erased"}


async def test_evidence_keeps_references_and_nothing_else(bench: Bench) -> None:
    whom = factories.someone()
    await _everything_about(bench, whom, "device-1")
    await bench.services.forgetting.forget(whom.email)
    text = str(bench.dump())
    assert not [canary for canary in (*whom.canaries, "device-1") if canary in text]


async def test_a_hold_stops_it_before_anything_is_deleted(bench: Bench) -> None:
    """Source: R11."""
    whom = factories.someone()
    await _everything_about(bench, whom, "device-1")
    bench.reader[f"{bench.prefix}_keys"]["keys"].update_many(
        {"_id": {"$regex": "/active$"}}, {"$set": {"hold": "court order 12"}}
    )
    before = {name: bench.collection(name) for name in OWNED}
    with pytest.raises(KeyHeld):
        await bench.services.forgetting.forget(whom.email)
    assert {name: bench.collection(name) for name in OWNED} == before
    assert await bench.read(whom.email) == []


async def test_who_comes_back_is_somebody_new(bench: Bench) -> None:
    whom = factories.someone()
    await bench.send(factories.form(Case.CONTACT, whom))
    (old,) = bench.collection("persons")
    await bench.services.forgetting.forget(whom.email)
    await bench.send(factories.form(Case.CONTACT, whom, received=NOON.replace(year=2030)))
    (new,) = bench.collection("persons")
    assert new["_id"] != old["_id"]
    assert len(await bench.read(whom.email, Purpose.PROVIDE_SERVICES)) == 1


@pytest.mark.parametrize("told_when_it_began", [True, False])
async def test_an_erasure_done_again_leaves_who_came_back_since(bench: Bench, told_when_it_began: bool) -> None:
    """A worker that was paused, or a redelivery. Without its beginning it is another erasure, and takes them too."""
    whom, erase = factories.someone(), bench.services.forgetting.forget
    await bench.send(factories.form(Case.CONTACT, whom))
    began = await bench.services.tombstones.now()
    await erase(whom.email, began=began)
    await bench.send(factories.form(Case.CONTACT, whom, received=utc_now() + timedelta(minutes=1)))
    again = await erase(whom.email, began=began if told_when_it_began else None)
    assert len(await bench.read(whom.email)) == (1 if told_when_it_began else 0)
    assert again.anything is not told_when_it_began


async def test_what_is_not_its_own_tombstone_moves(bench: Bench) -> None:
    """The erasure of a second case takes what came after the first."""
    whom, tombstones = factories.someone(), bench.services.tombstones
    await bench.services.forgetting.forget(whom.email)
    await bench.send(factories.form(Case.CONTACT, whom, received=utc_now() + timedelta(minutes=1)))
    assert (await bench.services.forgetting.forget(whom.email, began=await tombstones.now())).anything
    assert await bench.read(whom.email) == []


async def test_whom_a_later_erasure_meets_goes_whole(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """He came back after this erasure's moment and before that of another, whose intake has just named him."""
    whom, services = factories.someone(), bench.services
    set_tombstone = Tombstones.write_address

    async def overtaken(self: Tombstones, stone: str, began: datetime | None = None) -> datetime:
        await set_tombstone(self, stone, began)
        long_ago = NOON - timedelta(days=1)
        bench.reader[f"{bench.prefix}_evidence"]["tombstones"].update_one({"_id": stone}, {"$set": {"at": long_ago}})
        await _everything_about(bench, whom, "device-1")
        [person] = bench.collection("persons")
        await set_tombstone(self, stone)  # the other erasure
        await self.name_persons(stone, [person["_id"]])
        await services.people.retire({person["_id"]: utc_now()})
        return long_ago

    monkeypatch.setattr(Tombstones, "write_address", overtaken)
    await services.forgetting.forget(whom.email)
    assert {name: found for name in OWNED if (found := bench.collection(name))} == {}


async def test_what_is_no_address_forgets_nobody(bench: Bench) -> None:
    with pytest.raises(InvalidMessage):
        await bench.services.forgetting.forget("*")


def _queue_of(wire: Document) -> str:
    return factories.ROUTES[wire["events"][0]["type"]].queue


class Killed(Exception):
    """The worker is gone."""


async def _left_half_gone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> factories.Someone:
    """Whose last record a dead worker was disposing of, until a repeat of its message took it back."""
    whom = factories.someone()
    last = factories.form(Case.CONTACT, whom)
    again = await bench.send(last)
    [person] = bench.collection("persons")
    destroy = Keys.destroy_all

    async def die(self: Keys, ids: Iterable[str]) -> None:
        await destroy(self, ids)
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(Keys, "destroy_all", die)
        with pytest.raises(Killed):
            await bench.services.forgetting.forget_events({person["_id"]: [last.key]})
    await bench.deliver(again)
    assert bench.collection("submissions") == []
    return whom


async def test_whom_a_dead_worker_left_half_gone_may_come_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    whom = await _left_half_gone(bench, monkeypatch)
    wire = bench.seal(factories.form(Case.CONTACT, whom))
    with pytest.raises(SomeFailed):
        await bench.deliver(wire)
    await bench.deliver(wire)  # as the queue does
    assert len(await bench.read(whom.email)) == 1
    assert len(bench.collection("persons")) == 1


async def test_leaving_them_in_the_way_is_noticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken on purpose: whoever finds them tries for ever."""

    async def leave(*_: object) -> None:
        return None

    monkeypatch.setattr(records, "_bury", leave)
    with pytest.raises(SomeFailed):
        await test_whom_a_dead_worker_left_half_gone_may_come_back(bench, monkeypatch)


# ---------------------------------------------------------------------- proposed by a worker that died


async def _proposed(bench: Bench) -> tuple[factories.Someone, str]:
    """Somebody who holds a record, and whose tombstone was proposed by a worker that did not live to take it back."""
    whom = factories.someone()
    await bench.send(factories.form(Case.CONTACT, whom))
    [person] = bench.collection("persons")
    await bench.services.tombstones.propose([of_person(person["_id"])])
    assert await bench.read(whom.email) == []
    return whom, person["_id"]


async def test_whose_tombstone_was_only_proposed_is_shown_again_when_they_write(bench: Bench) -> None:
    whom, _ = await _proposed(bench)
    wire = bench.seal(factories.form(Case.CONTACT, whom))
    with pytest.raises(SomeFailed):
        await bench.deliver(wire)
    await bench.deliver(wire)  # as the queue does
    assert len(await bench.read(whom.email)) == 2


async def test_whose_tombstone_was_only_proposed_is_shown_again_when_one_record_ends(bench: Bench) -> None:
    whom, person = await _proposed(bench)
    [record] = bench.collection("submissions")
    assert not (await bench.services.forgetting.forget_events({person: ["another"]})).anything
    assert [one.submission for one in await bench.read(whom.email)] == [record["_id"]]


async def test_whose_tombstone_was_only_proposed_is_not_erased_when_a_hold_ends(bench: Bench) -> None:
    whom, person = await _proposed(bench)
    assert await bench.services.forgetting.complete(person) is None
    assert len(await bench.read(whom.email)) == 1
