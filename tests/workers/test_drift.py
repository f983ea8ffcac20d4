"""Fields that tell of a person and are in no mapping are named, from a bounded sample, and no value is quoted. R25."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from sqlalchemy import event
from sqlalchemy.engine import Engine

from schemas.terms import Case, Purpose
from tests import factories
from tests.workers.bench import Bench
from tests.workers.cases.conftest import court, subsidiary_keys
from tests.workers.cases.court import Court
from tests.workers.subsidiary.conftest import KINDS, kit, mariadb, mongo_kit, postgres, sqlite_kit
from tests.workers.subsidiary.kits import COLLECTIONS, Kit, MongoKit, SqliteKit, mapping_of
from tests.workers.subsidiary.test_serving import fill
from workers.drift import Looked, look_at_office, look_at_own
from workers.rules.drift import Sampled, of_name, of_value
from workers.stores import sampling
from workers.stores.subsidiaries.mapping import parse_mapping

__all__ = ["court", "kit", "mariadb", "mongo_kit", "postgres", "sqlite_kit", "subsidiary_keys"]


@pytest.mark.parametrize(
    "name",
    ["email", "e_mail_address", "customerPhone", "LastName", "last_name", "guest.mobile", "Nachname", "prenom", "name",
     "home-street", "date_of_birth", "billing.iban", "ip"],
)  # fmt: skip
def test_names_that_say_so(name: str) -> None:
    assert of_name(name)


@pytest.mark.parametrize("name", ["id", "filename", "database_name", "created_at", "mailing_topic", "phonetic", "kind"])
def test_names_that_do_not(name: str) -> None:
    assert of_name(name) is None


@pytest.mark.parametrize(
    "value",
    ["ada@example.com", "Call Ada <ada.l+x@mail.example.org> back", "+33 1 99 00 00 01", "0199000001", "203.0.113.7",
     "FR76 3000 6000 0112 3456 7890 189"],
)  # fmt: skip
def test_values_that_look_like_it(value: str) -> None:
    assert of_value(value)


@pytest.mark.parametrize(
    "value",
    ["", "2026-11-23", "R-4F7K-9Q2M-X3TN", "1.2.3", "12345678", "a@b", "@example", 33199000001, None, b"a@b.org"],
)
def test_values_that_do_not(value: object) -> None:
    assert of_value(value) is None


def test_what_is_mapped_is_left_out_with_what_stands_under_it() -> None:
    seen = Sampled("de", "kontakte", known=("mail", "anschrift"))
    seen.add({"mail": "ada@example.com", "anschrift": {"street": "x"}, "notes": [{"by": "bo@example.com"}]})
    assert [one.field for one in seen.drifts()] == ["notes.by"]


def test_people_used_as_names_of_fields_are_not_printed() -> None:
    seen = Sampled("de", "karten", ())
    seen.add({"by_guest": {"ada@example.com": {"tables": 2}, "bo@example.com": {"email": 1}}})
    found = json.dumps([one.as_json() for one in seen.drifts()])
    assert "by_guest.*" in found
    assert "example.com" not in found


async def test_our_own_stores_hold_nobody_in_the_clear(bench: Bench, court: Court) -> None:
    whom, other = factories.someone(), factories.someone()
    await bench.send(*(factories.form(case, whom) for case in (Case.CONTACT, Case.WHITE_PAPER)))
    await bench.send(factories.contact(Case.CLIENT, whom), factories.contact(Case.PROSPECT, other))
    await bench.send(factories.form(Case.NEWSLETTER, whom), factories.agreed(whom, Purpose.EVENT_INVITATIONS))
    await bench.read(whom.email)
    reference = await court.ask("access", whom.email)
    await court.confirm(reference)
    await court.run(reference)
    looked = await look_at_own(bench.services.databases)
    assert (looked.drifts, looked.collections > 10) == ([], True)

    handle = bench.reader[f"{bench.prefix}_active"]
    handle["submissions"].update_one({}, {"$set": {"note": f"asks for {whom.email}"}})
    [found] = (await look_at_own(bench.services.databases)).drifts
    assert (found.collection, found.field, found.why) == ("submissions", "note", ("holds e-mail addresses",))
    assert whom.email not in json.dumps(found.as_json())


@pytest.mark.parametrize("kit", KINDS, indirect=True)
async def test_a_mapped_store_has_no_drift_and_what_grows_beside_it_is_named(kit: Kit) -> None:
    await fill(kit)
    unshown = COLLECTIONS.replace(", name: Full name", "").replace(", name]", "]").replace(", name: null", "")
    composed = unshown.replace("rectification: {last_name: name}", "composed: {name: {of: [first_name, last_name]}}")
    for mapping in (mapping_of(kit), mapping_of(kit, composed)):
        assert (await look_at_office("gb", mapping, kit.url)).drifts == []
    unnamed = mapping_of(kit, unshown.replace("rectification: {last_name: name}", "rectification: {}"))
    named = {one.field for one in (await look_at_office("gb", unnamed, kit.url)).drifts}
    assert named == {"name"}, "nothing else in it names that column"
    if isinstance(kit, MongoKit):
        kit.database["customers"].update_many({}, {"$set": {"remarks": "rang from +33 1 99 00 00 07"}})
        kit.database["customers"].insert_one({"id": 99, "contact": {"phone": None}})
        kit.database["export_2025"].insert_one({"who": "ada@example.com"})
        expected = {("customers", "contact.phone"), ("export_2025", "who")}
    elif isinstance(kit, SqliteKit):
        with closing(sqlite3.connect(kit.url.removeprefix("sqlite:///"))) as store, store:
            store.execute("ALTER TABLE customers ADD COLUMN mobile TEXT")
            store.execute("CREATE TABLE export_2025 (who TEXT, picture BLOB)")
            store.execute("INSERT INTO export_2025 VALUES ('ada@example.com', x'00')")
            store.execute("CREATE TABLE loose (code TEXT PRIMARY KEY, note TEXT) WITHOUT ROWID")
            store.execute('CREATE TABLE "calls :2025" ("who :at" TEXT)')
            store.execute("""INSERT INTO "calls :2025" VALUES ('ada@example.com')""")
        expected = {("customers", "mobile"), ("export_2025", "who"), ("calls :2025", "who :at")}
    else:
        return
    looked = await look_at_office("gb", mapping_of(kit), kit.url)
    assert {(one.collection, one.field) for one in looked.drifts} == expected
    assert "example.com" not in json.dumps(looked.as_json())


# ---------------------------------------------------------------------- the sample is bounded


def rows_of(file: Path, rows: int) -> None:
    """A table whose every thousandth row tells of somebody."""
    with closing(sqlite3.connect(file)) as store, store:
        store.execute("CREATE TABLE visits (id INTEGER PRIMARY KEY, page TEXT)")
        store.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            "INSERT INTO visits SELECT i, CASE i % 10 WHEN 0 THEN 'guest' || i || '@example.com' ELSE '/' END FROM n",
            (rows,),
        )


async def look_at_file(file: Path) -> tuple[Looked, list[str]]:
    """What is found, and every statement's plan."""
    people = {"found_by": ["mail"], "fields": {"mail": "address"}, "erasure": "delete"}
    mapping = parse_mapping({"store": {"kind": "sql", "url_env": "X"}, "collections": {"people": people}})
    statements: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        looked = await look_at_office("gb", mapping, f"sqlite:///{file}", 200)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    with closing(sqlite3.connect(file)) as store:
        plans = [
            str(line[3])
            for statement in statements
            if statement.startswith("SELECT") and "visits" in statement
            for line in store.execute(f"EXPLAIN QUERY PLAN {statement}", [0] * statement.count("?"))
        ]
    return looked, plans


async def test_a_large_table_is_never_walked(tmp_path: Path) -> None:
    rows_of(tmp_path / "large.sqlite", 50_000)
    looked, plans = await look_at_file(tmp_path / "large.sqlite")
    assert [(one.field, 100 < one.sampled <= 210, one.seen > 0) for one in looked.drifts] == [("page", True, True)]
    assert plans
    assert not [plan for plan in plans if plan.startswith("SCAN visits")]


def random_cursor(client: MongoClient[Any], database: str, name: str, size: int) -> bool:
    """Whether the server draws a sample by chance, by its own account."""
    pipeline = [{"$sample": {"size": size}}]
    explained = client[database].command("explain", {"aggregate": name, "pipeline": pipeline, "cursor": {}})
    return "COLLSCAN" not in json.dumps(explained, default=str)


async def test_a_large_collection_is_never_walked(
    mongo_kit: MongoKit, mongo_reader: MongoClient[dict[str, Any]]
) -> None:
    mongo_kit.database["customers"].insert_many({"page": "/", "n": n} for n in range(20_000))
    assert random_cursor(mongo_reader, mongo_kit.database.name, "customers", 200)
    assert (await look_at_office("gb", mapping_of(mongo_kit), mongo_kit.url, 200)).drifts == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_ten_million_rows_and_documents(
    tmp_path: Path, mongo_kit: MongoKit, mongo_reader: MongoClient[Any]
) -> None:
    rows_of(tmp_path / "large.sqlite", 10_000_000)
    looked, plans = await look_at_file(tmp_path / "large.sqlite")
    assert [one.field for one in looked.drifts] == ["page"]
    assert not [plan for plan in plans if plan.startswith("SCAN visits")]

    collection = mongo_kit.database["customers"]
    collection.insert_many({"_id": n} for n in range(1_000))
    guest = {"$concat": ["guest", {"$toString": "$$this"}, "@example.com"]}
    thousand = {"$map": {"input": {"$range": [0, 10_000]}, "in": guest}}
    mongo_kit.database["customers"].aggregate(
        [{"$project": {"_id": 0, "who": thousand}}, {"$unwind": "$who"}, {"$out": "export_2025"}]
    )
    assert mongo_kit.database["export_2025"].estimated_document_count() == 10_000_000
    assert random_cursor(mongo_reader, mongo_kit.database.name, "export_2025", 200)
    found = (await look_at_office("gb", mapping_of(mongo_kit), mongo_kit.url, 200)).drifts
    assert [(one.collection, one.field) for one in found] == [("export_2025", "who")]


async def test_the_variant_that_reads_on_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk over all of it would be found out by its plan."""

    def walks(connection: Any, what: str, source: str, key: str, size: int) -> list[dict[str, Any]]:
        rows = connection.exec_driver_sql(f"{what} ORDER BY random() LIMIT {size}").mappings()
        return [dict(row) for row in rows]

    rows_of(tmp_path / "large.sqlite", 1_000)
    monkeypatch.setattr(sampling, "_by_places", walks)
    _, plans = await look_at_file(tmp_path / "large.sqlite")
    assert [plan for plan in plans if plan.startswith("SCAN visits")]
