"""R20, R21 in an office: what was refused and accepted again is written to again, in whatever order orders come."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from schemas.errors import ConfigurationError, StoreUnavailable
from schemas.fields import wire_moment
from schemas.orders import WISH
from schemas.terms import Right
from tests.workers.subsidiary.conftest import OpenOffice
from tests.workers.subsidiary.controller import RECEIVED_AT, ControllerSide, counts, entry
from tests.workers.subsidiary.kits import COLLECTIONS, Kit, SqliteKit, mapping_of
from tests.workers.subsidiary.test_serving import ANNA, BOB, fill
from workers.actors import subsidiary as actor
from workers.actors.subsidiary import serve_order
from workers.journal_replay import replay
from workers.stores.subsidiaries import open_store
from workers.stores.subsidiaries.adapter import StoreAdapter
from workers.stores.subsidiaries.mapped import MappedStore

LIFTED = COLLECTIONS.replace(
    "objection: {set: {newsletter: false, opted_out_at: now}}",
    "objection: {set: {newsletter: false, opted_out_at: now}, lift: {newsletter: true, opted_out_at: null}}",
)
ANNAS = ("Anna Muster", "Anna M.")


def at(minute: int) -> datetime:
    return RECEIVED_AT + timedelta(minutes=minute)


def no(minute: int, email: str = ANNA, **more: Any) -> dict[str, Any]:
    return entry(email, right=Right.OBJECTION, received_at=at(minute), **more)


def wish(minute: int, *, accepts: bool, refused: int, email: str = ANNA, version: int = 1) -> dict[str, Any]:
    said = {"accepts": "yes" if accepts else "no", "refused_at": wire_moment(at(refused)), "version": version}
    return entry(email, received_at=at(minute)) | {"right": WISH, **said}


async def stopped(kit: Kit) -> list[str]:
    """To whom of the customers nobody writes."""
    return [row["name"] for row in await kit.rows("customers") if row.get("opted_out_at") and not row["newsletter"]]


async def test_a_yes_takes_the_mark_away_and_a_later_no_sets_it(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(kit)
    office = await open_office(kit, mapping=mapping_of(kit, LIFTED))
    asked = [no(1), no(1, BOB), wish(2, accepts=True, refused=1), no(3)]
    seen = []
    for one in (asked[0], asked[1], asked[2], asked[2], asked[3]):
        await serve_order(office, controller.token(one))
        seen.append(await stopped(kit))
    both = ["Anna Muster", "Bob", "Anna M."]
    assert seen == [list(ANNAS), both, ["Bob"], ["Bob"], both]
    receipts = controller.receipts()
    answered = receipts.of(asked[2]["task"])
    assert [(one["outcome"], counts(one["collections"])) for one in answered] == [
        ("done", {"customers": {"matched": 2}})
    ] * 2, "and again from the journal"
    assert await kit.rows("subscribers") == [], "who was taken off a list is not put back"
    assert {"name": "subscribers", "matched": 0} in answered[0]["collections"], "and that is said"


async def test_whom_the_no_took_off_every_list_a_yes_finds_nowhere(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    """The receipt says that nothing of theirs stands; who put themselves on the list again since is counted there."""
    lists = [{"id": number, "address": email} for number, email in enumerate((ANNA, BOB), 1)]
    await sqlite_kit.insert("subscribers", *lists)
    office = await open_office(sqlite_kit, mapping=mapping_of(sqlite_kit, LIFTED))
    annas, bobs = (wish(2, accepts=True, refused=1, email=email) for email in (ANNA, BOB))
    await serve_order(office, controller.token(no(1), no(1, BOB)))
    assert await sqlite_kit.rows("subscribers") == []
    await sqlite_kit.insert("subscribers", lists[1])
    await serve_order(office, controller.token(annas, bobs))
    assert [row["address"] for row in await sqlite_kit.rows("subscribers")] == [BOB]
    receipts = controller.receipts()
    told = {email: receipts.of(one["task"])[0] for email, one in ((ANNA, annas), (BOB, bobs))}
    assert {email: one["outcome"] for email, one in told.items()} == {ANNA: "nothing-held", BOB: "done"}
    assert counts(told[BOB]["collections"])["subscribers"] == {"matched": 1}


async def test_a_no_that_was_lifted_is_answered_the_same_when_it_comes_again(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    """A newer one stands by then: of that, it is no news."""
    await fill(sqlite_kit)
    office = await open_office(sqlite_kit, mapping=mapping_of(sqlite_kit, LIFTED))
    late = no(1)
    for one in (wish(2, accepts=True, refused=1), late, no(3), late):
        await serve_order(office, controller.token(one))
    first, again = controller.receipts().of(late["task"])
    assert first["collections"] == again["collections"]
    assert await stopped(sqlite_kit) == list(ANNAS)


async def test_whatever_order_they_come_in(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide, tmp_path: Path
) -> None:
    """One "no" that the wish knows of, one that it does not, and an older wish; each order on a fresh office."""
    lifted = [wish(4, accepts=False, refused=3, version=5), wish(4, accepts=True, refused=3, version=6), no(3)]
    refused = [wish(4, accepts=True, refused=1, version=6), no(5)]
    mapping = mapping_of(sqlite_kit, LIFTED)
    for said, ends in ((lifted, []), (refused, list(ANNAS))):
        for arriving in list(itertools.permutations(said))[::2]:
            await sqlite_kit.empty()
            await fill(sqlite_kit)
            (tmp_path / "journal" / "journal.jsonl").unlink(missing_ok=True)
            office = await open_office(sqlite_kit, mapping=mapping)
            for one in (*arriving, arriving[0]):
                await serve_order(office, controller.token(one))
            assert await stopped(sqlite_kit) == ends, [one["right"] for one in arriving]


async def test_all_in_one_order_and_asked_anew(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    """A "no" that is asked again after its person accepted marks nobody, and is answered."""
    await fill(sqlite_kit)
    office = await open_office(sqlite_kit, mapping=mapping_of(sqlite_kit, LIFTED))
    asked, wished = no(1), wish(2, accepts=True, refused=1)
    await serve_order(office, controller.token(asked, wished))
    await serve_order(office, controller.token({**asked, "attempt": 2}))
    assert await stopped(sqlite_kit) == []
    first, again = controller.receipts().of(asked["task"])
    assert (first["outcome"], again["outcome"]) == ("done", "done")
    customers = counts(again["collections"])["customers"]
    assert customers.get("restricted", 0) == 0, "it says what stands"


async def test_of_two_addresses_in_one_no_the_other_is_served(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(sqlite_kit)
    office = await open_office(sqlite_kit, mapping=mapping_of(sqlite_kit, LIFTED))
    both = entry(ANNA, BOB, right=Right.OBJECTION, received_at=at(1))
    await serve_order(office, controller.token(wish(2, accepts=True, refused=1), both))
    await serve_order(office, controller.token({**both, "attempt": 2}))
    assert "Bob" in await stopped(sqlite_kit)
    await serve_order(office, controller.token(wish(2, accepts=True, refused=1, version=2)))
    assert await stopped(sqlite_kit) == ["Bob"]


async def test_only_what_the_no_marked_is_given_back(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(sqlite_kit)
    office = await open_office(sqlite_kit, mapping=mapping_of(sqlite_kit, LIFTED))
    sqlite_kit.connection.execute("UPDATE customers SET newsletter = 0, opted_out_at = NULL WHERE name = 'Anna M.'")
    await serve_order(office, controller.token(wish(2, accepts=True, refused=1)))
    assert {row["name"]: row["newsletter"] for row in await sqlite_kit.rows("customers")}["Anna M."] == 0


async def test_a_mapping_that_does_not_say_how_refuses_and_is_asked_again(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(sqlite_kit)
    asked, wished = no(1), wish(2, accepts=True, refused=1)
    office = await open_office(sqlite_kit)
    for one in (asked, wished):
        await serve_order(office, controller.token(one))
    assert await stopped(sqlite_kit) == list(ANNAS)
    office = await open_office(sqlite_kit, mapping=mapping_of(sqlite_kit, LIFTED))
    await serve_order(office, controller.token({**wished, "attempt": 2}))
    assert await stopped(sqlite_kit) == []
    told = [(one["outcome"], one.get("reason")) for one in controller.receipts().of(wished["task"])]
    assert told == [("refused", "no-acceptance"), ("done", None)]


async def test_killed_after_it_was_written_down_the_next_delivery_completes_it(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(sqlite_kit)
    office = await open_office(sqlite_kit, mapping=mapping_of(sqlite_kit, LIFTED))
    await serve_order(office, controller.token(no(1)))
    token = controller.token(wish(2, accepts=True, refused=1))

    async def gone(*_: Any) -> None:
        raise StoreUnavailable("killed")

    with monkeypatch.context() as killed:
        killed.setattr(MappedStore, "accept", gone)
        with pytest.raises(StoreUnavailable):
            await serve_order(office, token)
    assert await stopped(sqlite_kit) == list(ANNAS)
    office = await open_office(sqlite_kit, mapping=mapping_of(sqlite_kit, LIFTED))
    await serve_order(office, token)
    assert await stopped(sqlite_kit) == []


class Unable:
    """A store that knows all but this."""

    def __init__(self, store: StoreAdapter) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        if name == "accept":
            raise AttributeError(name)
        return getattr(self._store, name)


async def test_an_office_that_does_not_know_it_says_so(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker of before: no shape for it, so it is a right that nobody has heard of; and an adapter without it."""
    await fill(sqlite_kit)
    store = open_store(mapping_of(sqlite_kit, LIFTED), sqlite_kit.url)
    office = await open_office(adapter=store)
    older, unable = wish(2, accepts=True, refused=1), wish(2, accepts=True, refused=1)
    with monkeypatch.context() as before:
        before.setattr(actor, "WISH", "no such word")
        await serve_order(office, controller.token(no(1), older))
    await serve_order(await open_office(adapter=cast(StoreAdapter, Unable(store))), controller.token(unable))
    await store.close()
    receipts = controller.receipts()
    told = [(receipts.of(one["task"])[0]["outcome"], receipts.of(one["task"])[0]["reason"]) for one in (older, unable)]
    assert told == [("refused", "not-understood"), ("refused", "not-supported")]
    assert await stopped(sqlite_kit) == list(ANNAS)


async def test_a_restored_backup_is_held_against_what_is_wished(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(sqlite_kit)
    office = await open_office(sqlite_kit, mapping=mapping_of(sqlite_kit, LIFTED))
    bobs = wish(4, accepts=False, refused=3, email=BOB)
    await serve_order(office, controller.token(no(1), wish(2, accepts=True, refused=1), bobs))
    sqlite_kit.connection.execute("UPDATE customers SET newsletter = 0, opted_out_at = '2026-11-01 10:00:00'")
    sqlite_kit.connection.execute("UPDATE customers SET newsletter = 1, opted_out_at = NULL WHERE name = 'Bob'")
    office = await open_office(sqlite_kit, mapping=mapping_of(sqlite_kit, LIFTED))
    await replay(office.store, office.journal)
    assert await stopped(sqlite_kit) == ["Bob"]
    sqlite_kit.connection.execute("UPDATE customers SET newsletter = 0, opted_out_at = '2026-11-01 10:00:00'")
    office = await open_office(sqlite_kit)  # which does not say how any more
    assert (await replay(office.store, office.journal)).refused == {"no-acceptance": 1}


async def test_a_worker_that_takes_the_last_order_for_the_last_word_is_caught(
    sqlite_kit: SqliteKit,
    open_office: OpenOffice,
    controller: ControllerSide,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Broken on purpose: a "no" that was lifted meanwhile is served all the same."""
    monkeypatch.setattr(actor, "lifted_meanwhile", lambda *_: None)
    with pytest.raises(AssertionError):
        await test_whatever_order_they_come_in(sqlite_kit, open_office, controller, tmp_path)


def test_what_is_given_back_was_taken(sqlite_kit: SqliteKit) -> None:
    with pytest.raises(ConfigurationError) as refused:
        mapping_of(sqlite_kit, LIFTED.replace("lift: {newsletter: true,", "lift: {customer_no: null,", 1))
    assert "collections.customers.objection.lift" in str(refused.value)
