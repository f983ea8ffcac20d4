"""Killed anywhere between order and receipt: the next delivery completes it, with one effect and one honest account.

Each step of the way is a breakpoint: a collaborator that dies there as a killed process does, after which the office is
opened anew over the same store and the same journal.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from schemas.errors import StoreUnavailable
from schemas.terms import Right
from tests.workers.subsidiary.bad_adapters import Wrapped
from tests.workers.subsidiary.conftest import OpenOffice, soon
from tests.workers.subsidiary.controller import ControllerSide, counts, entry, old
from tests.workers.subsidiary.kits import Kit, PostgresKit, SqliteKit, mapping_of
from tests.workers.subsidiary.test_serving import fill
from workers.actors.subsidiary import serve_order
from workers.office import Office
from workers.stores.subsidiaries import open_store
from workers.stores.subsidiaries.adapter import StoreAdapter, Subject, Tally

ANNA = "anna@example.com"


class Killed(BaseException):
    """The process is gone. No `except Exception` catches it, as none catches SIGKILL."""


class Dying:
    """A collaborator that dies before or after one of its calls."""

    def __init__(self, inner: Any, call: str, *, after: bool) -> None:
        self._inner = inner
        self._call = call
        self._after = after
        self.armed = True

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name != self._call or not self.armed:
            return found
        if name in ("begin", "finish", "post"):
            return self._plain(found)
        return self._awaited(found)

    def _plain(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def dying(*args: Any) -> None:
            given = [list(arg) if hasattr(arg, "__next__") else arg for arg in args]
            if self._after:
                call(*given)
            raise Killed

        return dying

    def _awaited(self, call: Callable[..., Any]) -> Callable[..., Any]:
        async def dying(*args: Any) -> None:
            if self._after:
                await call(*args)
            raise Killed

        return dying

    def __len__(self) -> int:
        return len(self._inner)


STEPS = [
    ("store", "plan", False),
    ("store", "plan", True),
    ("journal", "begin", False),
    ("journal", "begin", True),
    ("store", "erase", False),
    ("store", "erase", True),
    ("journal", "finish", False),
    ("journal", "finish", True),
    ("outbox", "post", False),
    ("outbox", "post", True),
]


def dying(office: Office, part: str, call: str, *, after: bool) -> Office:
    """The same office with one collaborator that dies."""
    return replace(office, **{part: Dying(getattr(office, part), call, after=after)})


@pytest.mark.parametrize(("part", "call", "after"), STEPS)
async def test_killed_at_any_step_the_account_is_the_same(
    part: str, call: str, after: bool, kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(kit)
    asked = entry(ANNA)
    token = controller.token(asked)
    with pytest.raises(Killed):
        await serve_order(dying(await open_office(kit), part, call, after=after), token)
    await serve_order(await open_office(kit), token)
    answers = controller.receipts().of(asked["task"])
    assert all(counts(one["collections"]) == EXPECTED for one in answers)
    assert len(answers) == (2 if (call, after) == ("post", True) else 1)
    assert all(one == answers[0] for one in answers)
    assert len(await kit.rows("visits")) == 1


KEPT = {"ground": "Code de commerce L123-22", "until": "2030-03-01"}
EXPECTED = {
    "customers": {"matched": 2, "erased": 1, "retained": 1, **KEPT},
    "invoices": {"matched": 2, "erased": 1, "retained": 1, **KEPT},
    "visits": {"matched": 2, "erased": 2},
    "leads": {"matched": 1, "anonymised": 1},
    "subscribers": {"matched": 1, "erased": 1},
    "meetings": {"matched": 1, "anonymised": 1},
    "contracts": {"matched": 1, "retained": 1, "ground": "Art. 17(3)(e) GDPR"},
}


async def test_a_store_that_erases_half_and_dies_is_completed_and_counted_whole(
    mongo_kit: Any, open_office: OpenOffice, controller: ControllerSide
) -> None:
    """Documents know no transaction over collections: what was deleted before the kill is gone, and counted."""
    await mongo_kit.create()
    await fill(mongo_kit)
    asked = entry(ANNA)
    token = controller.token(asked)
    office = await open_office(mongo_kit)
    rows = office.store._rows  # type: ignore[attr-defined]
    whole, done = rows.delete, 0

    async def die_at_the_second(name: str, given: Sequence[Any]) -> int:
        nonlocal done
        done += 1
        if done == 2:
            raise Killed
        return int(await whole(name, given))

    rows.delete = die_at_the_second
    with pytest.raises(Killed):
        await serve_order(office, token)
    await serve_order(await open_office(mongo_kit), token)
    (answer,) = controller.receipts().of(asked["task"])
    assert counts(answer["collections"]) == EXPECTED


async def test_a_later_attempt_takes_what_came_back_and_tells_both(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    asked = entry(ANNA)
    await kit.insert("subscribers", {"id": 1, "address": ANNA})
    await serve_order(await open_office(kit), controller.token(asked))
    await kit.insert("subscribers", {"id": 2, "address": ANNA})
    again = {**asked, "attempt": 2}
    await serve_order(await open_office(kit), controller.token(again))
    await serve_order(await open_office(kit), controller.token(again))
    first, second, third = controller.receipts().of(asked["task"])
    assert counts(first["collections"]) == {"subscribers": {"matched": 1, "erased": 1}}
    assert counts(second["collections"]) == {"subscribers": {"matched": 2, "erased": 2}}
    assert third == second
    assert not await kit.rows("subscribers")


async def test_a_later_attempt_that_finds_nothing_new_answers_the_same(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(kit)
    asked = entry(ANNA)
    for attempt in (1, 2, 3):
        await serve_order(await open_office(kit), controller.token({**asked, "attempt": attempt}))
    answers = controller.receipts().of(asked["task"])
    assert [one["attempt"] for one in answers] == [1, 2, 3]
    assert all(counts(one["collections"]) == EXPECTED for one in answers)


async def test_an_older_attempt_that_comes_late_is_answered_and_does_nothing(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    asked = entry(ANNA)
    office = await open_office(sqlite_kit)
    await serve_order(office, controller.token({**asked, "attempt": 5}))
    await sqlite_kit.insert("subscribers", {"id": 1, "address": ANNA})
    await serve_order(office, controller.token(asked))
    assert [one["outcome"] for one in controller.receipts().entries] == ["nothing-held"] * 2
    assert len(await sqlite_kit.rows("subscribers")) == 1


class Away(Wrapped):
    """A store that is there for so many erasures, then away; it serves person by person."""

    def __init__(self, inner: StoreAdapter, erasures: int) -> None:
        super().__init__(inner)
        self.left = erasures

    async def erase(self, subject: Subject, planned: Sequence[Tally] = ()) -> list[Tally]:
        if not self.left:
            raise StoreUnavailable("away")
        self.left -= 1
        return await super().erase(subject, planned)


async def test_a_store_that_goes_away_in_the_middle_answers_nothing_and_forgets_nothing(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    people = [f"p{number}@example.com" for number in range(3)]
    await sqlite_kit.insert("subscribers", *({"id": i, "address": one} for i, one in enumerate(people)))
    inner = open_store(mapping_of(sqlite_kit), sqlite_kit.url)
    away = Away(inner, erasures=2)
    office = await open_office(adapter=away)
    token = controller.token(*map(entry, people))
    with pytest.raises(StoreUnavailable):
        await serve_order(office, token)
    assert not controller.receipts().entries
    away.left = 9
    await serve_order(office, token)
    await inner.close()
    answers = controller.receipts().entries
    assert [counts(one["collections"])["subscribers"]["erased"] for one in answers] == [1, 1, 1]
    assert away.left == 8  # only the third was done now


async def test_two_rights_of_one_person_in_one_order_and_two_orders_at_once(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(kit)
    office = await open_office(kit)
    asked = entry(ANNA)
    both = controller.token(entry(ANNA, right=Right.OBJECTION), asked)
    await soon(serve_order(office, both), serve_order(office, both), serve_order(office, controller.token(asked)))
    answers = controller.receipts().of(asked["task"])
    assert len(answers) == 3
    assert all(one == answers[0] for one in answers)
    assert counts(answers[0]["collections"])["visits"] == {"matched": 2, "erased": 2}


async def test_a_fault_of_the_adapter_is_told_and_the_neighbours_are_served(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    class Faulty(Away):
        async def erase(self, subject: Subject, planned: Sequence[Tally] = ()) -> list[Tally]:
            if "faulty" in subject.emails[0]:
                raise KeyError("anna@example.com")  # a text that must go nowhere
            return await super().erase(subject, planned)

    await sqlite_kit.insert("subscribers", {"id": 1, "address": "faulty@example.com"})
    inner = open_store(mapping_of(sqlite_kit), sqlite_kit.url)
    office = await open_office(adapter=Faulty(inner, 9))
    bad, good = entry("faulty@example.com"), entry(ANNA)
    await serve_order(office, controller.token(bad, good))
    await inner.close()
    receipts = controller.receipts()
    assert receipts.of(bad["task"])[0]["reason"] == "store-error"
    assert receipts.of(good["task"])[0]["outcome"] == "nothing-held"


MANY = pytest.mark.parametrize("records", [50_000, pytest.param(100_000, marks=pytest.mark.slow)])
"""Of one person: many parts of what goes at a time, and of a copy. All the way to the download: `test_many_records`."""


async def give_visits(kit: Kit, number: int) -> None:
    """One customer with so many visits."""
    await kit.insert("customers", {"id": 1, "email": ANNA, "name": "Anna", "registered_at": old(9)})
    if isinstance(kit, PostgresKit):
        await kit.fill_visits(number)
    else:
        await kit.insert("visits", *({"id": n, "customer_id": 1, "at": old(9)} for n in range(number)))


@MANY
async def test_a_person_with_many_records_is_erased(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide, records: int
) -> None:
    await give_visits(kit, records)
    asked = entry(ANNA)
    await serve_order(await open_office(kit), controller.token(asked))
    (answer,) = controller.receipts().of(asked["task"])
    assert counts(answer["collections"])["visits"] == {"matched": records, "erased": records}
    assert not await kit.rows("visits")


@MANY
async def test_a_person_with_many_records_is_shown_all_of_them(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide, records: int
) -> None:
    """The copy comes in parts, each small enough for a queue; joined they are what the receipt signs for."""
    await give_visits(kit, records)
    asked = entry(ANNA, right=Right.ACCESS)
    await serve_order(await open_office(kit), controller.token(asked))
    receipts = controller.receipts()
    assert len(receipts.parts) > 1
    assert [len(one["records"]) for one in receipts.copies[asked["task"]]["collections"]] == [1, records]


async def test_memory_does_not_grow_with_a_persons_records(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    async def peak(records: int) -> int:
        await give_visits(sqlite_kit, records)
        office = await open_office(sqlite_kit)
        tracemalloc.start()
        try:
            await serve_order(office, controller.token(entry(ANNA)))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    await peak(10)  # what is loaded once
    assert await peak(8_000) < 1.5 * await peak(2_000)


# ---------------------------------------------------------------------- broken variants, which the tests above catch


class Forgetful:
    """A journal that writes no beginnings down."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def begin(self, *_: Any) -> None:
        """Nothing."""


async def test_without_a_beginning_on_disk_a_kill_loses_the_account(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(sqlite_kit)
    asked = entry(ANNA)
    token = controller.token(asked)
    office = await open_office(sqlite_kit)
    broken = replace(office, journal=Forgetful(office.journal))  # type: ignore[arg-type]
    with pytest.raises(Killed):
        await serve_order(dying(broken, "store", "erase", after=True), token)
    await serve_order(await open_office(sqlite_kit), token)
    (answer,) = controller.receipts().of(asked["task"])
    assert counts(answer["collections"]) != EXPECTED


async def test_without_an_end_on_disk_a_replayed_order_erases_who_came_back(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    class Amnesiac(Forgetful):
        def finish(self, *_: Any) -> None:
            """Nothing."""

    token = controller.token(entry(ANNA))
    office = await open_office(sqlite_kit)
    broken = replace(office, journal=Amnesiac(office.journal))  # type: ignore[arg-type]
    await serve_order(broken, token)
    await sqlite_kit.insert("subscribers", {"id": 1, "address": ANNA})
    await serve_order(broken, token)
    assert not await sqlite_kit.rows("subscribers")
