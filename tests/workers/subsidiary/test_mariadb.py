"""What only MySQL and MariaDB do: compare alike what is not, cut what is too long, lock what lies between rows.

The server is as careless as the ones offices have: `tests.workers.subsidiary.mariadb`.
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pymysql
import pytest
from sqlalchemy import ColumnElement, event
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError

from schemas.errors import StoreUnavailable
from schemas.terms import Right
from tests.workers.subsidiary.conftest import make_kit, soon
from tests.workers.subsidiary.controller import RECEIVED_AT
from tests.workers.subsidiary.kits import URL_VARIABLE, MariaKit, mapping_of
from tests.workers.subsidiary.test_serving import BOB, fill
from workers.stores.subsidiaries import links, mysql, open_store
from workers.stores.subsidiaries.adapter import StoreRefuses, Subject, Tally

pytestmark = pytest.mark.distro

JOSE = "jose@example.com"

PEOPLE = """
collections:
  people:
    found_by: [{field: email, letters: LETTERS}]
    fields: {email: Address}
    erasure: delete
  orders:
    owned_by: {collection: people, field: person, parent_field: code}
    fields: {what: What}
    erasure: delete
"""
AS_TYPED, FOLDED = PEOPLE.replace("LETTERS", "as-typed"), PEOPLE.replace("LETTERS", "folded")


@pytest.fixture
async def kit(
    request: pytest.FixtureRequest, fast_path: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[MariaKit]:
    made = make_kit(request, "mariadb", fast_path)
    assert isinstance(made, MariaKit)
    monkeypatch.setenv(URL_VARIABLE, made.url)
    await made.create()
    yield made
    await made.drop()


@asynccontextmanager
async def opened(kit: MariaKit, *collections: str, url: str | None = None) -> AsyncIterator[Any]:
    store = open_store(mapping_of(kit, *collections), url or kit.url)
    try:
        yield store
    finally:
        await store.close()


async def erase(kit: MariaKit, address: str, *collections: str) -> dict[str, Tally]:
    async with opened(kit, *collections) as store:
        return {tally.name: tally for tally in await store.erase(Subject((address,), RECEIVED_AT))}


async def people(kit: MariaKit, text: str, *addresses: str) -> None:
    """A table of people, and one of orders without a foreign key. ``text``: the type of what they are known by."""
    await kit.run(f"CREATE TABLE people (id int PRIMARY KEY AUTO_INCREMENT, email {text}, code {text}, KEY (email))")
    await kit.run(f"CREATE TABLE orders (id int PRIMARY KEY AUTO_INCREMENT, person {text}, what text, KEY (person))")
    for address in addresses:
        await kit.run("INSERT INTO people (email) VALUES (%s)", address)


async def left(kit: MariaKit, table: str, column: str) -> list[Any]:
    return [row[column] for row in await kit.rows(table)]


# ---------------------------------------------------------------------- who is meant

TEXTS = [
    "varchar(100) COLLATE utf8mb4_general_ci",
    "varchar(100) COLLATE utf8mb4_turkish_ci",
    "varchar(100) COLLATE utf8mb4_bin",
    "char(100) CHARACTER SET utf8mb3",
    "varchar(100) CHARACTER SET latin1",
    "varchar(100) CHARACTER SET latin1 COLLATE latin1_bin",
]
ALIKE = ["josé@example.com", "jose@éxample.com", "jose%@example.com", "jos_@example.com"]


@pytest.mark.parametrize("text", TEXTS)
async def test_an_address_means_the_same_however_the_column_compares(kit: MariaKit, text: str) -> None:
    hers = ["jose@example.com", "JOSE@Example.com", "jose@example.com ", " jose@EXAMPLE.com", "jOsE@eXaMpLe.CoM"]
    await people(kit, text, *hers, *ALIKE)
    found = await erase(kit, "Jose@example.com", AS_TYPED)
    assert (await left(kit, "people", "email"), found["people"].erased) == (ALIKE, len(hers))


@pytest.mark.parametrize("text", TEXTS)
async def test_where_letters_are_folded_they_are_compared_as_they_stand(kit: MariaKit, text: str) -> None:
    others = ["JOSE@example.com", *ALIKE]
    await people(kit, text, JOSE, *others)
    assert (await erase(kit, JOSE, FOLDED))["people"].erased == 1
    assert await left(kit, "people", "email") == others


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("mapping", [AS_TYPED, FOLDED])
async def test_letters_that_a_column_cannot_hold_are_nobodys(kit: MariaKit, text: str, mapping: str) -> None:
    await people(kit, text, "?@example.com", JOSE)
    for address in ("𝒥@example.com", "ÿ\u0308@example.com", "ж@example.com"):
        assert not (await erase(kit, address, mapping))["people"].matched
    assert len(await kit.rows("people")) == 2


CODES = ["K1", "k1", "K1 ", "Ḱ1"]


async def orders_of_k1(kit: MariaKit) -> list[Any]:
    """What stands after the person with the code K1 was erased: the others only look like it."""
    await people(kit, TEXTS[0], JOSE)
    await kit.run("UPDATE people SET code = 'K1'")
    for code in CODES:
        await kit.run("INSERT INTO orders (person, what) VALUES (%s, 'a book')", code)
    await erase(kit, JOSE, AS_TYPED)
    return await left(kit, "orders", "person")


async def test_what_hangs_on_a_person_is_told_letter_by_letter(kit: MariaKit) -> None:
    assert await orders_of_k1(kit) == CODES[1:]


async def test_the_variant_that_compares_as_the_server_does_takes_other_peoples(
    kit: MariaKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def alike(column: ColumnElement[Any], values: Any) -> ColumnElement[bool]:
        return column.in_(values)

    monkeypatch.setattr(mysql, "exactly", alike)
    assert await orders_of_k1(kit) == []


@pytest.mark.parametrize("text", [TEXTS[0], *TEXTS[-2:]])
async def test_the_index_serves_all_the_same(kit: MariaKit, text: str) -> None:
    await people(kit, text)
    await kit.run("INSERT INTO people (email) SELECT concat(seq, '@example.com') FROM seq_1_to_2000")
    asked: list[tuple[str, Any]] = []
    async with opened(kit, FOLDED) as store:

        def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
            asked.append((statement, parameters))

        event.listen(store._rows._links._engine.sync_engine, "before_cursor_execute", note)
        assert [one.matched for one in await store.erase(Subject(("7@example.com",), RECEIVED_AT))] == [1, 0]
    statement, parameters = next(one for one in asked if "FROM people" in one[0])
    (plan,) = await kit.run(f"EXPLAIN {statement}", *parameters)
    assert (plan["key"], int(plan["rows"])) == ("email", 1)


@pytest.mark.parametrize("address", ["' OR 1=1 --", "\\' OR 1=1 -- ", "%@example.com", 'a"@example.com', "x\\", "0"])
@pytest.mark.parametrize("scheme", ["mysql", "mariadb"])
async def test_an_address_is_a_value_whatever_it_looks_like(kit: MariaKit, address: str, scheme: str) -> None:
    await fill(kit)
    await kit.run("SET GLOBAL sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'")
    try:
        async with opened(kit, url=kit.server.url(kit.database, scheme=scheme)) as store:
            assert not any(tally.matched for tally in await store.erase(Subject((address,), RECEIVED_AT)))
    finally:
        await kit.run("SET GLOBAL sql_mode = 'ANSI_QUOTES'")
    assert len(await kit.rows("customers")) == 3


async def test_names_that_are_words_of_sql_are_names(kit: MariaKit) -> None:
    await kit.run("CREATE TABLE `order` (`group` varchar(99), `select` int, no int, part int, PRIMARY KEY (no, part))")
    await kit.run("INSERT INTO `order` SELECT %s, 0, seq DIV 750, seq MOD 750 FROM seq_1_to_1500", JOSE)
    mapping = """
collections:
  "order":
    found_by: [group]
    fields: {group: Address, select: A number}
    erasure: {anonymise: {group: "text:x'); DROP TABLE people; -- \\\\", select: 7}}
"""
    assert (await erase(kit, JOSE, mapping))["order"].anonymised == 1500
    assert await kit.run("SELECT DISTINCT `group`, `select` FROM `order`") == [
        {"group": "x'); DROP TABLE people; -- \\", "select": 7}
    ]


# ---------------------------------------------------------------------- tables that are refused by name


async def problems(kit: MariaKit, collections: str) -> dict[str, str]:
    """What `--check` says, and that no order is served in spite of it."""
    async with opened(kit, collections) as store:
        found = {fault.path: fault.problem for fault in await store.check()}
        if found:
            with pytest.raises(StoreRefuses, match="schema-mismatch"):
                await store.erase(Subject((JOSE,), RECEIVED_AT))
    return found


async def test_a_table_that_cannot_be_changed_in_one_piece_is_refused(kit: MariaKit) -> None:
    await people(kit, TEXTS[0], JOSE)
    assert await problems(kit, AS_TYPED) == {}
    await kit.run("ALTER TABLE orders ENGINE = MyISAM")
    found = await problems(kit, AS_TYPED)
    assert list(found) == ["collections.orders"]
    assert "in one piece" in found["collections.orders"]
    assert await left(kit, "people", "email") == [JOSE]


async def test_a_table_that_keeps_what_is_deleted_is_refused(kit: MariaKit) -> None:
    """A receipt would say that it is gone, and it stands in the table's history."""
    await people(kit, TEXTS[0], JOSE)
    await kit.run("ALTER TABLE people ADD SYSTEM VERSIONING")
    found = await problems(kit, AS_TYPED)
    assert (list(found), "keeps whatever" in found["collections.people"]) == (["collections.people"], True)


async def test_a_number_that_text_would_be_taken_for_is_refused(kit: MariaKit) -> None:
    await people(kit, TEXTS[0], JOSE)
    await kit.run("ALTER TABLE orders MODIFY person int")
    assert list(await problems(kit, AS_TYPED)) == ["collections.orders.owned_by"]


async def test_an_address_in_bytes_is_refused(kit: MariaKit) -> None:
    """In bytes no letter has a case: who is there would not be found."""
    await people(kit, "varbinary(100)", JOSE)
    assert list(await problems(kit, AS_TYPED)) == ["collections.people.found_by.0"]


async def test_a_date_that_every_change_sets_decides_nothing(kit: MariaKit) -> None:
    await people(kit, TEXTS[0], JOSE)
    moved = "timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp()"
    await kit.run(f"ALTER TABLE people ADD touched {moved}, ADD seen datetime ON UPDATE current_timestamp()")
    fresh = AS_TYPED.replace("erasure: delete", "fresh_by: touched\n    erasure: delete", 1)
    kept = fresh.replace("erasure: delete", "erasure: {keep: {ground: Law, counted_from: seen, for: P1Y}}", 1)
    assert list(await problems(kit, fresh)) == ["collections.people.fresh_by"]
    assert len(await problems(kit, kept)) == 2
    assert await problems(kit, AS_TYPED) == {}


# ---------------------------------------------------------------------- values


async def test_a_moment_is_one_whatever_the_servers_clock(kit: MariaKit) -> None:
    """The server is 5:45 ahead: read by its clock, an act of before the request would be one of after it."""
    await people(kit, TEXTS[0], *[JOSE] * 3)
    await kit.run("ALTER TABLE people ADD at timestamp(6) NULL, ADD left_at timestamp NULL")
    before, after = (RECEIVED_AT.timestamp() + seconds for seconds in (-1, 1))
    for number, moment in enumerate((before, after), 1):
        await kit.run("UPDATE people SET at = from_unixtime(%s) WHERE id = %s", moment, number)
    fresh = AS_TYPED.replace(
        "erasure: delete", "fresh_by: at\n    erasure: delete\n    objection: {set: {left_at: now}}", 1
    )
    in_kathmandu = kit.store.replace("}\n", ", time_zone: Asia/Kathmandu}\n")
    for store_of in (kit.store, in_kathmandu):
        kit.store = store_of
        async with opened(kit, fresh) as store:
            planned = {tally.name: tally for tally in await store.plan(Right.ERASURE, Subject((JOSE,), RECEIVED_AT))}
            await store.object(Subject((JOSE,), RECEIVED_AT))
        assert planned["people"].matched == 2
        said = await kit.run(
            "SELECT id, abs(unix_timestamp(left_at) - %s) AS off FROM people", datetime.now(UTC).timestamp()
        )
        assert [row["id"] for row in said if row["off"] is not None and row["off"] < 600] == [1, 3]
        await kit.run("UPDATE people SET left_at = NULL")
    await erase(kit, JOSE, fresh)
    assert await left(kit, "people", "id") == [2]


async def test_a_date_of_zeros_is_none(kit: MariaKit) -> None:
    await fill(kit)
    await kit.run("SET SESSION sql_mode = ''")
    await kit.run("UPDATE invoices SET issued_on = '0000-00-00'")
    await kit.run("UPDATE customers SET registered_at = '2020-00-00 00:00:00'")
    found = await erase(kit, "anna@example.com")
    assert (found["invoices"].retained, found["customers"].retained) == (2, 2)
    assert len(await kit.rows("visits")) == 1


async def test_what_has_no_room_is_refused_and_nothing_is_cut(kit: MariaKit) -> None:
    """The server would cut it; two people's would be the same then, or none be meant."""
    await fill(kit)
    await kit.run("ALTER TABLE leads MODIFY email varchar(20) NOT NULL")
    before = await kit.rows("leads")
    with pytest.raises(StoreRefuses, match="store-rejects"):
        await erase(kit, "anna@example.com")
    assert (await kit.rows("leads"), len(await kit.rows("visits"))) == (before, 3)
    await kit.run("ALTER TABLE leads MODIFY email varchar(99) NOT NULL, MODIFY name varchar(99) NOT NULL")
    with pytest.raises(StoreRefuses, match="constraint"):
        await erase(kit, "anna@example.com")
    assert len(await kit.rows("visits")) == 3


async def test_nothing_is_printed_that_quotes_a_row(kit: MariaKit) -> None:
    await people(kit, TEXTS[0], JOSE, "5 a")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        async with opened(kit, AS_TYPED) as store, store._rows._links.open(writes=False) as link:
            await link.call(lambda one: one.exec_driver_sql("SELECT * FROM people WHERE email = 5").all())
    assert said == []


# ---------------------------------------------------------------------- faults by number

NUMBERS = {
    **dict.fromkeys([1205, 1213, 1040, 1053, 1290, 1927, 2003, 2006, 2013, 3024], "passes"),
    **dict.fromkeys([1044, 1142, 1143, 1227], "store-forbids"),
    **dict.fromkeys([1048, 1062, 1451, 3819, 4025], "constraint"),
    **dict.fromkeys([1366, 1406, 1644, 1665], "store-rejects"),
}


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("kind", [OperationalError, IntegrityError, DataError])
def test_what_passes_is_told_from_what_does_not_by_its_number(number: int, kind: type[DBAPIError]) -> None:
    """The driver calls nearly everything an operational error."""
    with pytest.raises((StoreUnavailable, StoreRefuses)) as caught, links.answering():
        raise kind("SELECT", None, pymysql.err.OperationalError(number, "Duplicate entry 'anna@example.com'"))
    passes = isinstance(caught.value, StoreUnavailable)
    assert ("passes" if passes else caught.value.reason) == NUMBERS[number]
    assert "anna" not in str(caught.value)


async def test_a_right_that_is_missing_is_told(kit: MariaKit) -> None:
    await kit.insert("subscribers", {"id": 1, "address": JOSE})
    await kit.run("CREATE USER reader")
    try:
        await kit.run(f"GRANT SELECT ON {kit.database}.* TO reader")
        async with opened(kit, url=kit.server.url(kit.database, user="reader")) as store:
            with pytest.raises(StoreRefuses, match="store-forbids"):
                await store.erase(Subject((JOSE,), RECEIVED_AT))
    finally:
        await kit.run("DROP USER reader")


async def test_a_trigger_that_says_no_is_a_refusal_without_its_text(kit: MariaKit) -> None:
    await fill(kit)
    await kit.run(
        "CREATE TRIGGER guard BEFORE UPDATE ON meetings FOR EACH ROW"
        " SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'anna@example.com'"
    )
    with pytest.raises(StoreRefuses, match="store-rejects") as caught:
        await erase(kit, "anna@example.com")
    assert ("anna" in str(caught.value), caught.value.__cause__) == (False, None)
    assert (len(await kit.rows("visits")), len(await kit.rows("subscribers"))) == (3, 2)


async def test_a_row_that_the_office_has_in_hand_is_waited_for_then_the_store_is_away(
    kit: MariaKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "_WAIT_S", 1)
    await fill(kit)
    await kit.run("BEGIN")
    await kit.run("UPDATE subscribers SET restricted = false WHERE id = 1")
    with pytest.raises(StoreUnavailable):
        await erase(kit, "anna@example.com")
    await kit.run("ROLLBACK")
    assert len(await kit.rows("visits")) == 3
    assert (await erase(kit, "anna@example.com"))["subscribers"].erased == 1


async def test_a_connection_that_was_ended_is_a_store_that_is_away(kit: MariaKit) -> None:
    await fill(kit)
    async with opened(kit) as store:
        await store.ping()
        own = "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()"
        for row in await kit.run(own):
            await kit.run(f"KILL {row['id']}")
        with pytest.raises(StoreUnavailable):
            await store.ping()
        await store.ping()


async def test_nobody_is_kept_out_of_what_lies_between_the_rows(kit: MariaKit) -> None:
    """While an order has its rows in hand the office goes on with others, and adds new ones."""
    await fill(kit)
    async with opened(kit) as store, store._rows.writing() as session:
        where = store._finder(session, Subject(("anna@example.com",), RECEIVED_AT))
        assert [row async for page in where.own_rows("customers") for row in page]
        await kit.run("SET SESSION innodb_lock_wait_timeout = 1")
        await kit.insert("customers", {"id": 4, "email": JOSE, "name": "José"})
        await kit.run("UPDATE customers SET name = 'Robert' WHERE id = 2")


async def test_what_the_office_has_in_hand_of_others_is_not_waited_for(
    kit: MariaKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "_WAIT_S", 1)
    await fill(kit)
    await kit.run("BEGIN")
    await kit.run("UPDATE customers SET name = 'Robert' WHERE id = 2")
    with monkeypatch.context() as variant:
        variant.setattr(mysql, "finds_first", lambda _: False)
        with pytest.raises(StoreUnavailable):
            await erase(kit, "anna@example.com")
    found = await erase(kit, "anna@example.com")
    await kit.run("COMMIT")
    assert (found["customers"].erased, await left(kit, "customers", "name")) == (1, ["Anna Muster", "Robert"])


async def test_two_workers_end_whatever_crosses(kit: MariaKit) -> None:
    """One of two that wait for each other is given back, and served when it comes again."""
    await fill(kit)

    async def until_served(store: Any, address: str) -> None:
        for _ in range(10):
            try:
                await store.erase(Subject((address,), RECEIVED_AT))
                return
            except StoreUnavailable:
                continue
        raise AssertionError("never served")

    async with opened(kit) as one, opened(kit) as other:
        await soon(until_served(one, "anna@example.com"), until_served(other, BOB))
    assert await left(kit, "subscribers", "id") == []
