"""What is over in an office's store goes, what nobody can date or must not touch stays; on every kind of store. R13."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from schemas.errors import StoreUnavailable
from tests.workers.subsidiary.kits import COLLECTIONS, Kit, MariaKit, MongoKit, PostgresKit, Row, SqliteKit, mapping_of
from workers.stores.subsidiaries import decisions, disposing, open_store
from workers.stores.subsidiaries.adapter import DisposingAdapter, Period, StoreRefuses, Tally, Terms
from workers.stores.subsidiaries.decisions import Decision, Fate
from workers.stores.subsidiaries.disposing import Disposal
from workers.stores.subsidiaries.mapping import Mapping

ON = date(2026, 11, 23)
PERIODS = {"relation": Period("P3Y"), "contract": Period("P0D", "P5Y"), "visit": Period("P1Y")}
TERMS = Terms(ON, PERIODS)

RETENTION = {
    "customers": "{rule: relation, counted_from: last_contact, hold: on_hold}",
    "invoices": "{rule: contract, counted_from: issued_on, archive: true}",
    "leads": "{rule: visit, counted_from: asked_at}",
}
OVER, LIVE = "2023-11-22", "2023-11-23"
"""Of the last contact: its third year ends on the eve of the day, or on the day itself."""


def with_retention(**stated: str) -> str:
    """The mapping of all kits, with what each collection states."""
    text = COLLECTIONS
    for name, rule in stated.items():
        text = text.replace(f"\n  {name}:\n", f"\n  {name}:\n    retention: {rule}\n")
    return text.replace("counted_from: issued_on, for: P10Y", "counted_from: issued_on, for: P6Y")


def mapped(kit: Kit, **stated: str) -> Mapping:
    return mapping_of(kit, with_retention(**(stated or RETENTION)))


async def dispose(kit: Kit, *, act: bool = True, terms: Terms = TERMS, **stated: str) -> dict[str, Tally]:
    """As the worker has it done; those collections in which something was matched."""
    store = open_store(mapped(kit, **stated), kit.url)
    assert isinstance(store, DisposingAdapter)
    try:
        found = await (store.dispose(terms) if act else store.plan_disposal(terms))
    finally:
        await store.close()
    return {tally.name: tally for tally in found if tally.matched}


def customer(number: int, last_contact: object, **more: object) -> Row:
    return {"id": number, "email": f"c{number}@example.com", "last_contact": last_contact, **more}


def visit(number: int, of: int) -> Row:
    return {"id": number, "customer_id": of, "at": datetime(2022, 1, 1, tzinfo=UTC)}


def invoice(number: int, of: int, issued_on: date | None) -> Row:
    return {"id": number, "customer_id": of, "number": f"F-{number}", "issued_on": issued_on}


async def ids(kit: Kit, name: str) -> list[int]:
    return [row["id"] for row in await kit.rows(name)]


async def everything_else_stays(kit: Kit) -> None:
    """One customer is over: gone with what hangs on him. Beside him live ones, held ones and ones without a date."""
    left = [LIVE, "2026-11-01T10:00:00+01:00", None, "", "soon", "31/12/2001", "0001-01-01"]
    await kit.insert(
        "customers",
        customer(1, OVER),
        customer(2, f"{OVER} 23:59:59"),
        customer(3, OVER, on_hold=True),
        *(customer(number, value) for number, value in enumerate(left, 4)),
    )
    await kit.insert("visits", *(visit(number, number) for number in range(1, 11)))
    found = await dispose(kit)
    assert await ids(kit, "customers") == list(range(3, 11))
    assert await ids(kit, "visits") == list(range(3, 11))
    assert found["customers"] == Tally(
        "customers", matched=8, erased=2, retained=6, ground="legal hold, no readable date"
    )
    assert found["visits"] == Tally("visits", matched=2, erased=2)


async def test_what_is_over_goes_and_nothing_else(kit: Kit) -> None:
    await everything_else_stays(kit)


def guesses(entry: Any, row: Any, terms: Terms, zone: Any) -> Decision | None:
    """Takes what it cannot read for long ago."""
    left = decisions_not_over(entry, row, terms, zone)
    return None if left is not None and left.ground == decisions.UNDATED else left


def takes_held(entry: Any, row: Any, terms: Terms, zone: Any) -> Decision | None:
    """Does not look at the flag."""
    left = decisions_not_over(entry, row, terms, zone)
    return None if left is not None and left.ground == decisions.HELD else left


async def only_counts(self: Disposal, name: str, keys: Sequence[Any]) -> list[Tally]:
    """Counts, and deletes nothing."""
    self.act = False
    return await walk(self, name, keys)


decisions_not_over = decisions.not_over
walk = Disposal._walk
BROKEN: list[tuple[object, str, object]] = [
    (decisions, "not_over", guesses),
    (decisions, "not_over", takes_held),
    (Disposal, "_walk", only_counts),
]


@pytest.mark.parametrize(("where", "name", "variant"), BROKEN, ids=lambda one: getattr(one, "__name__", None))
async def test_what_deletes_too_much_or_nothing_is_noticed(
    sqlite_kit: SqliteKit, monkeypatch: pytest.MonkeyPatch, where: object, name: str, variant: object
) -> None:
    """Broken on purpose."""
    monkeypatch.setattr(where, name, variant)
    with pytest.raises(AssertionError):
        await everything_else_stays(sqlite_kit)


async def test_what_a_count_says_is_what_is_done(kit: Kit) -> None:
    await kit.insert("customers", customer(1, OVER), customer(2, None), customer(3, LIVE))
    await kit.insert("invoices", invoice(1, 1, date(2021, 1, 5)), invoice(2, 3, date(2021, 1, 5)))
    planned = await dispose(kit, act=False)
    assert (await ids(kit, "customers"), await ids(kit, "invoices")) == ([1, 2, 3], [1, 2])
    assert await dispose(kit) == planned
    assert await dispose(kit) == {**planned, "customers": Tally("customers", 2, retained=2, **KEPT)}


KEPT: dict[str, Any] = {"ground": "no readable date, Code de commerce L123-22", "until": None}


async def test_a_law_that_keeps_a_row_keeps_it_and_what_it_belongs_to(kit: Kit) -> None:
    """The group's five years are over, the office's six are not: what hangs on the parent else goes."""
    await kit.insert("customers", customer(1, OVER))
    await kit.insert("invoices", invoice(1, 1, date(2021, 1, 5)))
    await kit.insert("visits", visit(1, 1))
    found = await dispose(kit)
    assert (await ids(kit, "customers"), await ids(kit, "invoices"), await ids(kit, "visits")) == ([1], [1], [])
    kept = {"matched": 1, "retained": 1, "ground": "Code de commerce L123-22", "until": date(2027, 1, 5)}
    assert found["invoices"] == Tally("invoices", **kept)
    assert found["customers"] == Tally("customers", **kept)


async def test_what_is_not_over_keeps_what_it_belongs_to(kit: Kit) -> None:
    """It lives as long as what lives longest of it, and is no part of the count before."""
    await kit.insert("customers", customer(1, OVER))
    await kit.insert("invoices", invoice(1, 1, date(2022, 1, 5)))
    assert await dispose(kit, act=False) == {}
    assert await dispose(kit) == {}
    assert (await ids(kit, "customers"), await ids(kit, "invoices")) == ([1], [1])


async def test_children_with_a_period_of_their_own_go_before_their_parent(kit: Kit) -> None:
    await kit.insert("customers", customer(1, LIVE), customer(2, OVER))
    await kit.insert("invoices", invoice(1, 1, date(2020, 1, 5)), invoice(2, 2, date(2020, 1, 5)))
    found = await dispose(kit)
    assert (await ids(kit, "customers"), await ids(kit, "invoices")) == ([1], [])
    assert (found["invoices"].erased, found["customers"].erased) == (2, 1)


async def test_what_is_anonymised_is_so_once(kit: Kit) -> None:
    asked = datetime(2025, 11, 21, tzinfo=UTC)
    await kit.insert("leads", {"id": 1, "email": "lead@example.com", "name": "A Lead", "asked_at": asked})
    found = await dispose(kit)
    assert found == {"leads": Tally("leads", matched=1, anonymised=1)}
    (lead,) = await kit.rows("leads")
    assert lead["name"] is None
    assert lead["email"].startswith("removed-")
    assert await dispose(kit) == {}
    assert await kit.rows("leads") == [lead]


async def test_many_go_in_small_parts(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disposing, "AT_ONCE", 7)
    await kit.insert("customers", *(customer(number, OVER if number % 2 else LIVE) for number in range(1, 101)))
    await kit.insert("visits", *(visit(number, number) for number in range(1, 101)))
    found = await dispose(kit)
    assert (found["customers"].erased, found["visits"].erased) == (50, 50)
    assert await ids(kit, "customers") == await ids(kit, "visits") == list(range(2, 101, 2))


Meanwhile = Callable[[], Awaitable[None]]


def before_parts(monkeypatch: pytest.MonkeyPatch, act: Meanwhile) -> None:
    """Do something once, after a collection was read and before anything of it is disposed of."""
    real, waiting = Disposal._part, [act]

    async def part(self: Disposal, name: str, keys: Sequence[Any]) -> None:
        while waiting:
            await waiting.pop()()
        await real(self, name, keys)

    monkeypatch.setattr(Disposal, "_part", part)


async def test_a_hold_set_a_second_before_keeps_the_row_and_what_hangs_on_it(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kit.insert("customers", customer(1, OVER))
    await kit.insert("visits", visit(1, 1))

    async def hold() -> None:
        await set_to(kit, "on_hold", True)

    before_parts(monkeypatch, hold)
    found = await dispose(kit)
    assert (await ids(kit, "customers"), await ids(kit, "visits")) == ([1], [1])
    assert found == {"customers": Tally("customers", matched=1, retained=1, ground="legal hold")}


async def test_who_is_heard_of_meanwhile_stays(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    await kit.insert("customers", customer(1, OVER))
    await kit.insert("visits", visit(1, 1))

    async def writes() -> None:
        await set_to(kit, "last_contact", LIVE)

    before_parts(monkeypatch, writes)
    assert await dispose(kit) == {}
    assert (await ids(kit, "customers"), await ids(kit, "visits")) == ([1], [1])


async def set_to(kit: Kit, field: str, value: object) -> None:
    """Every customer's, by somebody who is not us."""
    if isinstance(kit, MongoKit):
        kit.database.customers.update_many({}, {"$set": {field: value}})
    elif isinstance(kit, SqliteKit):
        kit.connection.execute(f"UPDATE customers SET {field} = ?", [value])
    elif isinstance(kit, PostgresKit):
        await kit.run(f"UPDATE customers SET {field} = '{value}'")
    elif isinstance(kit, MariaKit):
        await kit.run(f"UPDATE customers SET {field} = %s", value)


async def test_killed_half_way_the_next_goes_on(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disposing, "AT_ONCE", 2)
    await kit.insert("customers", *(customer(number, OVER) for number in range(1, 8)))
    real, parts = Disposal._part, []

    async def part(self: Disposal, name: str, keys: Sequence[Any]) -> None:
        parts.append(keys)
        if len(parts) == 3:
            raise StoreUnavailable("the power went")
        await real(self, name, keys)

    with monkeypatch.context() as broken:
        broken.setattr(Disposal, "_part", part)
        with pytest.raises(StoreUnavailable):
            await dispose(kit)
    assert len(await ids(kit, "customers")) == 3
    assert (await dispose(kit))["customers"].erased == 3
    assert await ids(kit, "customers") == []


async def test_what_the_store_does_not_let_go_stays_alone(sqlite_kit: SqliteKit) -> None:
    """A table that nobody mapped points at one of them."""
    sqlite_kit.connection.execute("CREATE TABLE parcels (id integer PRIMARY KEY, of integer REFERENCES customers (id))")
    await sqlite_kit.insert("customers", *(customer(number, OVER) for number in range(1, 8)))
    sqlite_kit.connection.execute("INSERT INTO parcels VALUES (1, 5)")
    found = await dispose(sqlite_kit)
    assert await ids(sqlite_kit, "customers") == [5]
    assert found["customers"] == Tally(
        "customers", matched=7, erased=6, retained=1, ground="the store refuses: constraint"
    )


async def test_keys_of_several_columns_are_keys(sqlite_kit: SqliteKit) -> None:
    sqlite_kit.connection.execute("DROP TABLE leads")
    sqlite_kit.connection.execute(
        "CREATE TABLE leads (a int, b text, email text, name text, asked_at date, restricted boolean,"
        " PRIMARY KEY (a, b))"
    )
    rows = [(1, "x", "2020-01-01"), (1, "y", "2026-01-01"), (2, "x", "sometime"), (2, "y", "2020-01-01")]
    for number, (a, b, asked) in enumerate(rows):
        sqlite_kit.connection.execute(
            "INSERT INTO leads VALUES (?, ?, ?, 'Lead', ?, false)", [a, b, f"l{number}@example.com", asked]
        )
    found = await dispose(sqlite_kit, leads=RETENTION["leads"])
    left = {(a, b) for a, b, name in sqlite_kit.connection.execute("SELECT a, b, name FROM leads") if name}
    assert left == {(1, "y"), (2, "x")}
    assert found["leads"] == Tally("leads", matched=3, anonymised=2, retained=1, ground="no readable date")


async def test_without_a_rule_or_a_period_nothing_is_touched(kit: Kit) -> None:
    await kit.insert("customers", customer(1, OVER))
    store = open_store(mapping_of(kit), kit.url)
    assert isinstance(store, DisposingAdapter)
    with pytest.raises(StoreRefuses, match="no-retention"):
        await store.dispose(TERMS)
    await store.close()
    with pytest.raises(StoreRefuses, match="unknown-rule"):
        await dispose(kit, customers="{rule: prospects, counted_from: last_contact}")
    assert await ids(kit, "customers") == [1]


# ---------------------------------------------------------------------- one row

LONDON = ZoneInfo("Europe/London")


@pytest.mark.parametrize(
    ("stored", "fate"),
    [
        (date(2023, 11, 22), None),
        (date(2023, 11, 23), Fate.FRESH),
        (datetime(2023, 11, 22, 23, 59, 59), None),  # noqa: DTZ001  as a database gives it
        (datetime(2023, 11, 22, 23, 59, 59, tzinfo=UTC), None),
        (datetime(2023, 11, 23, tzinfo=ZoneInfo("Asia/Tokyo")), None),
        ("2023-11-22", None),
        ("2023-11-22T23:59:59Z", None),
        ("2023-11-22T23:59:59-03:00", Fate.FRESH),
        ("2024-02-29", Fate.FRESH),
        (datetime.max.replace(tzinfo=UTC), Fate.FRESH),
        (datetime.min.replace(tzinfo=UTC), Fate.KEEP),
        (date.max, Fate.FRESH),
        *[
            (one, Fate.KEEP)
            for one in (None, "", " ", "n/a", 0, 1700000000, 2023.5, [], ["2001-01-01"], {}, b"2001-01-01")
        ],
    ],
)
def test_when_a_row_is_over(sqlite_kit: SqliteKit, stored: object, fate: Fate | None) -> None:
    entry = mapped(sqlite_kit).collections["customers"]
    left = decisions.not_over(entry, {"last_contact": stored}, TERMS, LONDON)
    assert (left and left.fate) == fate


@pytest.mark.parametrize(
    ("first", "on", "over"),
    [
        ("2024-02-29", "2027-02-28", False),
        ("2024-02-29", "2027-03-01", True),
        ("2023-12-31", "2026-12-31", False),
        ("2023-12-31", "2027-01-01", True),
    ],
)
def test_a_period_ends_with_its_last_civil_day(sqlite_kit: SqliteKit, first: str, on: str, over: bool) -> None:
    entry = mapped(sqlite_kit).collections["customers"]
    terms = Terms(date.fromisoformat(on), PERIODS)
    assert (decisions.not_over(entry, {"last_contact": first}, terms, LONDON) is None) is over


def test_an_archive_keeps_until_the_end_of_the_archive(sqlite_kit: SqliteKit) -> None:
    row, used = {"issued_on": date(2022, 1, 5)}, "{rule: contract, counted_from: issued_on}"
    archive = mapped(sqlite_kit).collections["invoices"]
    in_use = mapped(sqlite_kit, invoices=used).collections["invoices"]
    left = decisions.not_over(archive, row, TERMS, LONDON)
    assert left is not None
    assert left.fate is Fate.FRESH
    assert decisions.not_over(in_use, row, TERMS, LONDON) is None


@pytest.mark.parametrize("flag", [True, 1, "yes", "on hold since May", "true", "2026-01-01", b"\x01", [1]])
def test_whatever_is_no_plain_no_is_a_hold(sqlite_kit: SqliteKit, flag: object) -> None:
    entry = mapped(sqlite_kit).collections["customers"]
    left = decisions.not_over(entry, {"last_contact": OVER, "on_hold": flag}, TERMS, LONDON)
    assert left == Decision(Fate.KEEP, "legal hold")


@pytest.mark.parametrize("flag", [None, False, 0, "", " ", "no", "False", "0", "N", b"\x00", b"", []])
def test_a_plain_no_is_none(sqlite_kit: SqliteKit, flag: object) -> None:
    entry = mapped(sqlite_kit).collections["customers"]
    assert decisions.not_over(entry, {"last_contact": OVER, "on_hold": flag}, TERMS, LONDON) is None
