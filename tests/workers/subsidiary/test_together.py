"""Many people served together are served as each would be alone: the same rows left, the same counts and refusals.

Source: R25; P2, P6.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from typing import Any

import pytest

from schemas.terms import Right
from tests.workers.subsidiary import crowds
from tests.workers.subsidiary.conftest import OpenOffice
from tests.workers.subsidiary.controller import RECEIVED_AT, ControllerSide, counts, entry, old
from tests.workers.subsidiary.kits import COLUMNS, Kit, MongoKit, SqliteKit, mapping_of
from workers.actors.subsidiary import serve_order
from workers.stores.subsidiaries import open_store, together
from workers.stores.subsidiaries.adapter import Counted, GroupAdapter, StoreAdapter, StoreRefuses, Subject, Tally
from workers.stores.subsidiaries.mongo import MongoRows

PEOPLE = 9
SEEDS = 4

Served = tuple[list[list[Tally]], list[list[Tally]], Any, list[list[Tally]]]
"""Planned, done, left, and what a look finds then."""


async def one_by_one(store: Any, right: Right, kit: Kit, subjects: Sequence[Subject]) -> Served:
    planned = [await store.plan(right, one) for one in subjects]
    done = []
    for subject, plan in zip(subjects, planned, strict=True):
        done.append(await (store.erase(subject, plan) if right is Right.ERASURE else store.object(subject)))
    return planned, done, await crowds.left(kit), [await store.look(right, one) for one in subjects]


async def all_at_once(store: Any, right: Right, kit: Kit, subjects: Sequence[Subject]) -> Served:
    assert isinstance(store, GroupAdapter)
    planned: Any = await store.plan_all(right, subjects)
    done: Any = await (store.erase_all(subjects, planned) if right is Right.ERASURE else store.object_all(subjects))
    return planned, done, await crowds.left(kit), list(await store.look_all(right, subjects))  # type: ignore[arg-type]


async def compare(kit: Kit, right: Right, seeds: int = SEEDS, number: int = PEOPLE, shared: float = 0.0) -> None:
    """Raises AssertionError where it makes a difference whether people are served together.

    A row that two people share counts for the one who is served first, whoever that is.
    """
    store = open_store(mapping_of(kit), kit.url)
    subjects = crowds.people(number)
    try:
        for seed in range(seeds):
            rows = crowds.crowd(random.Random(seed), subjects, shared)
            await crowds.fill(kit, rows)
            alone = await one_by_one(store, right, kit, subjects)
            await crowds.fill(kit, rows)
            served = await all_at_once(store, right, kit, subjects)
            if shared:
                alone, served = ((one[0], _gone(one[1]), *one[2:]) for one in (alone, served))  # type: ignore[assignment]
            assert served == alone, f"seed {seed}"
    finally:
        await store.close()


def _gone(done: Sequence[list[Tally]]) -> list[tuple[str, int, int]]:
    """Per collection, of everybody."""
    return [
        (same[0].name, sum(one.erased for one in same), sum(one.anonymised for one in same))
        for same in zip(*done, strict=True)
    ]


@pytest.mark.parametrize("right", [Right.ERASURE, Right.OBJECTION])
async def test_served_together_is_served_as_alone(kit: Kit, right: Right) -> None:
    await compare(kit, right)


async def test_rows_that_people_share_go_once(kit: Kit) -> None:
    await compare(kit, Right.ERASURE, shared=0.5)


async def test_a_row_that_people_share_is_marked_for_both(kit: Kit) -> None:
    await compare(kit, Right.OBJECTION, shared=0.5)


@pytest.mark.parametrize("most", [1, 4, 9])
async def test_with_more_rows_than_fit_in_memory_too(kit: Kit, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "MOST", most)
    await compare(kit, Right.ERASURE, seeds=2)
    await compare(kit, Right.ERASURE, seeds=2, shared=0.5)


async def test_a_question_names_no_more_than_a_database_takes(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "_VALUES", 3)
    await compare(kit, Right.ERASURE, seeds=2)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("right", [Right.ERASURE, Right.OBJECTION])
async def test_served_together_is_served_as_alone_at_length(kit: Kit, right: Right) -> None:
    await compare(kit, right, seeds=100, number=25)
    await compare(kit, right, seeds=100, number=25, shared=0.3)


async def test_somebody_with_very_many_rows_among_others(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    many = together.MOST + 500
    await sqlite_kit.insert(
        "customers", *({"id": one, "email": f"p{one}@example.com", "registered_at": old(9)} for one in range(5))
    )
    await sqlite_kit.insert("visits", *({"id": one, "customer_id": one % 4 // 3, "at": old(9)} for one in range(many)))
    asked = [entry(f"p{one}@example.com") for one in range(5)]
    await serve_order(await open_office(sqlite_kit), controller.token(*asked))
    receipts = controller.receipts()
    visits = [counts(receipts.of(one["task"])[0]["collections"]).get("visits", {}).get("erased", 0) for one in asked]
    assert visits == [sum(one % 4 != 3 for one in range(many)), sum(one % 4 == 3 for one in range(many)), 0, 0, 0]
    assert not await sqlite_kit.rows("visits")
    assert not await sqlite_kit.rows("customers")


async def test_one_person_s_refusal_or_fault_is_that_person_s_alone(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    """A trigger forbids one; of another a row cannot be read."""
    names = ["anna", "bad", "kept", "zoe"]
    sqlite_kit.connection.execute("ALTER TABLE customers DROP COLUMN registered_at")
    sqlite_kit.connection.execute("ALTER TABLE customers ADD COLUMN registered_at time")
    people = [{"id": place, "email": f"{one}@example.com"} for place, one in enumerate(names)]
    await sqlite_kit.insert("customers", *people)
    await sqlite_kit.insert("visits", *({"id": one, "customer_id": one, "at": old(9)} for one in range(4)))
    sqlite_kit.connection.execute("UPDATE customers SET registered_at = 'some day' WHERE id = 1")
    sqlite_kit.connection.execute(
        "CREATE TRIGGER guard BEFORE DELETE ON customers WHEN OLD.id = 2 BEGIN SELECT RAISE(ABORT, 'never'); END"
    )
    asked = [entry(f"{one}@example.com") for one in names]
    await serve_order(await open_office(sqlite_kit), controller.token(*asked))
    receipts = controller.receipts()
    told = [receipts.of(one["task"])[0] for one in asked]
    assert [one.get("reason") for one in told] == [None, "store-error", "constraint", None]
    assert [row["id"] for row in await sqlite_kit.rows("customers")] == [1, 2]
    assert [row["id"] for row in await sqlite_kit.rows("visits")] == [1, 2]


async def test_a_rule_of_the_database_for_one_document_holds_for_that_one(
    mongo_kit: MongoKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    """What went of the others, in the very call that was refused in part, is counted."""
    await mongo_kit.create()
    await mongo_kit.insert(
        "leads", *({"id": one, "email": f"p{one}@example.com", "name": f"Sample {one}"} for one in range(5))
    )
    rule = {"$or": [{"id": {"$ne": 2}}, {"name": "Sample 2"}]}
    mongo_kit.database.command("collMod", "leads", validator=rule)
    asked = [entry(f"p{one}@example.com") for one in range(5)]
    await serve_order(await open_office(mongo_kit), controller.token(*asked))
    receipts = controller.receipts()
    told = [receipts.of(one["task"])[0] for one in asked]
    assert [one.get("reason") for one in told] == [None, None, "store-rejects", None, None]
    anonymised = [counts(one["collections"]).get("leads", {}).get("anonymised") for one in told]
    assert anonymised == [1, 1, None, 1, 1]
    assert [row["name"] for row in await mongo_kit.rows("leads")] == [None, None, "Sample 2", None, None]


async def test_entries_of_one_person_are_served_in_their_order_beside_others(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    people = [f"p{one}@example.com" for one in range(4)]
    await kit.insert(
        "customers",
        *({"id": place, "email": one, "registered_at": old(9), "newsletter": True} for place, one in enumerate(people)),
    )
    objections, erasures = [entry(one, right=Right.OBJECTION) for one in people], [entry(one) for one in people]
    looks = [entry(one, ask="look") for one in people]
    await serve_order(await open_office(kit), controller.token(*objections, *erasures, *looks))
    receipts = controller.receipts()
    for asked, what in ((objections, {"matched": 1, "restricted": 1}), (erasures, {"matched": 1, "erased": 1})):
        told = [counts(receipts.of(one["task"])[0]["collections"]) for one in asked]
        assert told == [{"customers": what}] * 4
    assert [receipts.of(one["task"])[0]["outcome"] for one in looks] == ["nothing-held"] * 4


async def test_keys_that_only_the_database_holds_equal_are_found(sqlite_kit: SqliteKit) -> None:
    """A visit's customer stands there as text, with a sign and zeros that make no other number of it."""
    sqlite_kit.connection.execute("PRAGMA foreign_keys=OFF")
    sqlite_kit.connection.execute("DROP TABLE visits")
    sqlite_kit.connection.execute("CREATE TABLE visits (id integer PRIMARY KEY, customer_id real, at timestamp)")
    people = [f"p{one}@example.com" for one in range(1, 4)]
    await sqlite_kit.insert("customers", *({"id": one, "email": email} for one, email in enumerate(people, 1)))
    await sqlite_kit.insert("visits", *({"id": one, "customer_id": 1 + one % 3, "at": old(9)} for one in range(9)))
    store: Any = open_store(mapping_of(sqlite_kit), sqlite_kit.url)
    subjects = [Subject((one,), RECEIVED_AT) for one in people]
    try:
        done = await store.erase_all(subjects, [()] * 3)
    finally:
        await store.close()
    assert [one.erased for tallies in done for one in tallies if one.name == "visits"] == [3, 3, 3]


# ---------------------------------------------------------------------- killed, or changed in the very moment


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("deaths", [1, 2, 3])
async def test_a_group_cut_off_in_the_middle_is_completed_and_counted_whole(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide, deaths: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = crowds.crowd(random.Random(7), crowds.people(PEOPLE))
    asked = [entry(*one.emails) for one in crowds.people(PEOPLE)]
    told = []
    for dying in (False, True):
        await crowds.fill(kit, rows)
        if dying:
            asked = [{**one, "task": f"D-{one['task']}"} for one in asked]
            with monkeypatch.context() as broken:
                broken.setattr(together.Together, "_apply", dies_at(deaths))
                with pytest.raises(Killed):
                    await serve_order(await open_office(kit), controller.token(*asked))
        await serve_order(await open_office(kit), controller.token(*asked))
        receipts = controller.receipts()
        told.append([counts(receipts.of(one["task"])[-1]["collections"]) for one in asked])
    assert told[0] == told[1]


def dies_at(number: int) -> Callable[..., Any]:
    whole, done = together.Together._apply, 0

    async def apply(self: Any, *given: Any) -> int:
        nonlocal done
        done += 1
        if done == number:
            raise Killed
        return await whole(self, *given)

    return apply


async def given_away(mongo_kit: MongoKit) -> tuple[list[Counted], list[Any]]:
    """Five people erased together, while one's subscription and another's lead are given to Bob."""
    await mongo_kit.empty()
    people = [f"p{one}@example.com" for one in range(5)]
    await mongo_kit.insert("subscribers", *({"id": place, "address": one} for place, one in enumerate(people)))
    await mongo_kit.insert("leads", *({"id": place, "email": one, "name": "S"} for place, one in enumerate(people)))
    store: Any = open_store(mapping_of(mongo_kit), mongo_kit.url)
    whole_delete, whole_update = store._rows.delete, store._rows.update

    async def delete(name: str, rows: Sequence[Any]) -> int:
        mongo_kit.database[name].update_one({"id": 2}, {"$set": {"address": "bob@example.org"}})
        return int(await whole_delete(name, rows))

    async def update(name: str, *given: Any) -> int:
        mongo_kit.database[name].update_one({"id": 3}, {"$set": {"email": "bob@example.org"}})
        return int(await whole_update(name, *given))

    store._rows.delete, store._rows.update = delete, update
    subjects = [Subject((one,), RECEIVED_AT) for one in people]
    try:
        done = await store.erase_all(subjects, [()] * 5)
    finally:
        await store.close()
    return done, [await mongo_kit.rows("subscribers"), await mongo_kit.rows("leads")]


def erased_and_anonymised(done: Sequence[Any]) -> list[tuple[int, int]]:
    return [(sum(one.erased for one in tallies), sum(one.anonymised for one in tallies)) for tallies in done]


async def test_rows_that_change_hands_in_the_very_moment_stay_and_are_counted_for_nobody(mongo_kit: MongoKit) -> None:
    done, (subscribers, leads) = await given_away(mongo_kit)
    assert erased_and_anonymised(done) == [(1, 1), (1, 1), (0, 1), (1, 0), (1, 1)]
    assert [row["address"] for row in subscribers] == ["bob@example.org"]
    assert [row["name"] for row in leads] == [None, None, None, "S", None]


class Meddler:
    """Somebody of the office at work in between: before any operation a row may change hands, become new, or come."""

    def __init__(self, kit: MongoKit, rng: random.Random) -> None:
        self._database = kit.database
        self._rng = rng
        self.inserted: set[tuple[str, int]] = set()

    def beside(self, rows: Any) -> None:
        """From here on, whenever these rows are asked for something."""
        for name in ("pages", "delete", "update", "missed"):
            setattr(rows, name, self._before(getattr(rows, name)))

    def _before(self, whole: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            self._meddle()
            return whole(*given)

        return call

    def _meddle(self) -> None:
        name, field = self._rng.choice((("leads", "email"), ("subscribers", "address"), ("customers", "email")))
        number = 1_000 + len(self.inserted)
        match self._rng.randrange(4):
            case 0:
                given = {field: f"bob{self._rng.random()}@example.net", "other_email": None}
                whose = {field: {"$not": {"$regex": "removed"}}}
                self._database[name].update_one(whose, {"$set": given})
            case 1:
                customer = {"customer_id": self._rng.randrange(9)}
                self._database["visits"].update_many(customer, {"$set": {"at": crowds.LATER}})
            case 2:
                self._database[name].insert_one({"id": number, field: f"p{self._rng.randrange(PEOPLE)}@example.com"})
                self.inserted.add((name, number))


async def counted_and_gone(kit: MongoKit, seed: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows erased and anonymised: as two attempts count them, the second in peace, and as the store shows."""
    rng, subjects = random.Random(seed), crowds.people(PEOPLE)
    await crowds.fill(kit, crowds.crowd(rng, subjects))
    before = {(name, row["id"]) for name in COLUMNS for row in await kit.rows(name)}
    store: Any = open_store(mapping_of(kit), kit.url)
    meddler = Meddler(kit, rng)
    whole = dict(vars(store._rows))
    try:
        meddler.beside(store._rows)
        done = await store.erase_all(subjects, [()] * PEOPLE)
        vars(store._rows).clear()
        vars(store._rows).update(whole)
        done += await store.erase_all(subjects, [()] * PEOPLE)
        looked = await store.look_all(Right.ERASURE, subjects)
    finally:
        await store.close()
    assert not any(one.matched - one.retained for tallies in looked for one in tallies)
    after = {(name, row["id"]): row for name in COLUMNS for row in await kit.rows(name)}
    gone = len((before | meddler.inserted) - after.keys())
    removed = sum(str(row.get("email")).startswith("removed-") for row in after.values())
    meetings = sum(row.get("guest_name") == "somebody" for row in after.values())
    counted = [one for tallies in done for one in tallies]
    return (sum(one.erased for one in counted), sum(one.anonymised for one in counted)), (gone, removed + meetings)


async def meddled_with(mongo_kit: MongoKit, seeds: int) -> None:
    """Raises AssertionError where counts are not what went."""
    await mongo_kit.create()
    for seed in range(seeds):
        counted, gone = await counted_and_gone(mongo_kit, seed)
        assert counted == gone, f"seed {seed}"


async def test_whatever_somebody_changes_in_between_what_is_counted_is_what_went(mongo_kit: MongoKit) -> None:
    await meddled_with(mongo_kit, 8)


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_whatever_somebody_changes_in_between_at_length(mongo_kit: MongoKit) -> None:
    await meddled_with(mongo_kit, 200)


# ---------------------------------------------------------------------- broken variants, which the tests above catch


async def nothing(*_: Any) -> Collection[Any]:
    return ()


async def test_without_looking_at_what_was_missed_the_counts_are_wrong(
    mongo_kit: MongoKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MongoRows, "missed", nothing)
    with pytest.raises(AssertionError):
        await meddled_with(mongo_kit, 40)
    done, _ = await given_away(mongo_kit)
    assert erased_and_anonymised(done) == [(1, 1)] * 5


def everything_as_read(self: Any, question: Any) -> list[Any]:
    return list(question.rows)


def each_row_to_the_first(questions: Sequence[Any]) -> Callable[[Any], Collection[int]]:
    return lambda _: (0,)


def only_as_written(questions: Sequence[Any]) -> Callable[[Any], Collection[int]]:
    places = {one: place for place, question in enumerate(questions) for one in question.values}
    path = questions[0].paths[0]
    return lambda row: [places[row.values[path]]] if row.values[path] in places else []


@pytest.mark.parametrize(
    ("of", "name", "broken"),
    [
        (together.Together, "_still_as_read", everything_as_read),
        (together, "_by_address", each_row_to_the_first),
        (together, "_by_address", only_as_written),
        (together, "_by_owner", each_row_to_the_first),
    ],
)
async def test_a_group_that_mixes_people_up_is_caught(
    sqlite_kit: SqliteKit, of: Any, name: str, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of, name, broken)
    with pytest.raises((AssertionError, StoreRefuses)):
        await compare(sqlite_kit, Right.ERASURE, seeds=40, shared=0.5)


def test_the_shipped_store_serves_groups(sqlite_kit: SqliteKit) -> None:
    store: StoreAdapter = open_store(mapping_of(sqlite_kit), sqlite_kit.url)
    assert isinstance(store, GroupAdapter)
