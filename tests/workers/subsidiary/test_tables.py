"""What only tables have: statements that must never be made of values, types, compound keys, zones, locks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.errors import StoreUnavailable
from schemas.terms import Right
from tests.workers.subsidiary.conftest import OpenOffice
from tests.workers.subsidiary.controller import RECEIVED_AT, ControllerSide, counts, entry
from tests.workers.subsidiary.kits import URL_VARIABLE, PostgresKit, SqliteKit, mapping_of
from tests.workers.subsidiary.test_serving import fill
from workers.actors.subsidiary import serve_order
from workers.stores.subsidiaries import open_store
from workers.stores.subsidiaries.adapter import StoreRefuses, Subject

ANNA = "anna@example.com"

ODD = """
collections:
  "order":
    found_by: [group]
    fields: {group: Address, select: A number}
    erasure: {anonymise: {group: "text:x'); DROP TABLE customers; --", select: 7, flag: false, seen: now, day: now}}
    objection: {set: {flag: true, select: 9}}
  lines:
    owned_by: {collection: "order", field: no, parent_field: no}
    fields: {amount: Amount}
    erasure: delete
"""


async def test_odd_names_hostile_constants_and_compound_keys(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    run = sqlite_kit.connection.execute
    run(
        'CREATE TABLE "order" ("group" text, "select" text, flag boolean, seen timestamp, day date, '
        "no integer, part integer, PRIMARY KEY (no, part))"
    )
    run("CREATE TABLE lines (no integer, line text, amount numeric, PRIMARY KEY (no, line))")
    for part in range(1500):
        run('INSERT INTO "order" ("group", no, part) VALUES (?, ?, ?)', (ANNA, part // 750, part % 750))
        run("INSERT INTO lines VALUES (?, ?, 1.5)", (part // 750, f"l{part}"))
    run("INSERT INTO lines VALUES (99, 'x', 1)")
    office = await open_office(sqlite_kit, mapping=mapping_of(sqlite_kit, ODD))
    objected, erased = entry(ANNA, right=Right.OBJECTION), entry(ANNA)
    await serve_order(office, controller.token(objected, erased))
    receipts = controller.receipts()
    assert counts(receipts.of(objected["task"])[0]["collections"]) == {"order": {"matched": 1500, "restricted": 1500}}
    assert counts(receipts.of(erased["task"])[0]["collections"]) == {
        "order": {"matched": 1500, "anonymised": 1500},
        "lines": {"matched": 1500, "erased": 1500},
    }
    row = dict(run('SELECT * FROM "order" LIMIT 1').fetchone())
    assert row["group"] == "x'); DROP TABLE customers; --"
    assert (row["select"], row["flag"]) == ("7", 0)  # a number fits itself into a text column
    assert row["day"] == datetime.now(UTC).date().isoformat()
    assert run("SELECT count(*) FROM lines").fetchone()[0] == 1
    assert run("SELECT count(*) FROM customers").fetchone()[0] == 0  # and it is there


@pytest.mark.parametrize(
    "address",
    ["' OR 1=1 --", "anna@example.com' OR 'a'='a", "%@example.com", "_nna@example.com", 'a"@example.com'],
)
async def test_an_address_is_a_value_whatever_it_looks_like(address: str, sqlite_kit: SqliteKit) -> None:
    await fill(sqlite_kit)
    store = open_store(mapping_of(sqlite_kit), sqlite_kit.url)
    try:
        tallies = await store.erase(Subject((address,), RECEIVED_AT))
    finally:
        await store.close()
    assert not any(tally.matched for tally in tallies)
    assert len(await sqlite_kit.rows("customers")) == 3


async def test_a_writer_of_the_office_is_waited_for_then_the_store_counts_as_away(sqlite_kit: SqliteKit) -> None:
    await fill(sqlite_kit)
    store = open_store(mapping_of(sqlite_kit), sqlite_kit.url)
    sqlite_kit.connection.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreUnavailable):
            await store.erase(Subject((ANNA,), RECEIVED_AT))
        sqlite_kit.connection.execute("ROLLBACK")
        assert any(tally.erased for tally in await store.erase(Subject((ANNA,), RECEIVED_AT)))
    finally:
        await store.close()


async def test_a_transaction_that_fails_leaves_nothing_half_done(sqlite_kit: SqliteKit) -> None:
    """The last table's constraint undoes the first table's deletions."""
    await fill(sqlite_kit)
    sqlite_kit.connection.execute(
        "CREATE TRIGGER guard BEFORE UPDATE ON meetings BEGIN SELECT RAISE(ABORT, 'anna@example.com'); END"
    )
    store = open_store(mapping_of(sqlite_kit), sqlite_kit.url)
    try:
        with pytest.raises(StoreRefuses) as caught:
            await store.erase(Subject((ANNA,), RECEIVED_AT))
    finally:
        await store.close()
    assert "anna" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert len(await sqlite_kit.rows("visits")) == 3
    assert len(await sqlite_kit.rows("subscribers")) == 2


async def test_columns_that_went_after_the_start_are_told(sqlite_kit: SqliteKit, open_office: OpenOffice) -> None:
    sqlite_kit.connection.execute("DROP TABLE contracts")
    store = open_store(mapping_of(sqlite_kit), sqlite_kit.url)
    try:
        with pytest.raises(StoreRefuses, match="schema-mismatch"):
            await store.erase(Subject((ANNA,), RECEIVED_AT))
    finally:
        await store.close()


async def test_a_store_that_is_no_database_is_away_or_refused(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "office.sqlite").write_bytes(b"no database at all" * 100)
    monkeypatch.setenv(URL_VARIABLE, "x")
    kit = SqliteKit.__new__(SqliteKit)
    kit.store = f"store: {{kind: sql, url_env: {URL_VARIABLE}}}\n"
    store = open_store(mapping_of(kit), f"sqlite:///{tmp_path / 'office.sqlite'}")
    try:
        with pytest.raises((StoreUnavailable, StoreRefuses)):
            await store.check()
    finally:
        await store.close()


@pytest.mark.distro
async def test_a_server_that_is_away_is_waited_for(postgres: Any) -> None:
    kit = PostgresKit(postgres.url.replace(str(postgres.port), "1"), "public")
    store = open_store(mapping_of(kit), kit.url)
    try:
        with pytest.raises(StoreUnavailable):
            await store.ping()
    finally:
        await store.close()


@pytest.mark.distro
async def test_a_user_without_rights_is_told_so(postgres: Any) -> None:
    kit = PostgresKit(postgres.url, "office_rights")
    await kit.create()
    try:
        await kit.insert("subscribers", {"id": 1, "address": ANNA})
        await kit.run(
            "CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA office_rights TO reader; "
            "GRANT SELECT ON ALL TABLES IN SCHEMA office_rights TO reader"
        )
        store = open_store(mapping_of(kit), kit.url.replace("nobody@", "reader@"))
        try:
            with pytest.raises(StoreRefuses, match="store-forbids"):
                await store.erase(Subject((ANNA,), RECEIVED_AT))
        finally:
            await store.close()
    finally:
        await kit.run("DROP OWNED BY reader; DROP ROLE reader")
        await kit.drop()
