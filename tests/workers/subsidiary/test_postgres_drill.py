"""A drill on tables as PostgreSQL has them: copied by the server, from an office whose rows are only read. R26."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from schemas.errors import ConfigurationError
from schemas.party_keys import read_party
from schemas.signed import DatedKey, check_document
from tests.workers.subsidiary.controller import CODE
from tests.workers.subsidiary.kits import URL_VARIABLE, PostgresKit, everything, mapping_of, write_mapping
from tests.workers.subsidiary.postgres import PostgresServer
from tests.workers.subsidiary.test_serving import fill
from workers.drill import Drilled
from workers.journal_replay import Replayed, replay
from workers.office_drill import STATEMENT, drill, drill_office
from workers.stores.subsidiaries.adapter import StoreAdapter
from workers.stores.subsidiaries.copying import StoreCopy, copy_of
from workers.stores.subsidiaries.journal import Journal

pytestmark = pytest.mark.distro

KEY = b"k" * 32

GUESTS = """
collections:
  guests:
    source: Guest list
    found_by: [E-mail]
    fields: {E-mail: Address}
    erasure: delete
  stays:
    owned_by: {collection: guests, field: guest, parent_field: id}
    fields: {nights: Nights}
    erasure: delete
"""
TABLES = """
CREATE TYPE {0}.mood AS ENUM ('glad', 'sad');
CREATE TABLE {0}.rooms (id integer PRIMARY KEY);
CREATE TABLE {0}."Guest list" (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "E-mail" text NOT NULL UNIQUE, mood {0}.mood, "a % of:it" text,
  folded text GENERATED ALWAYS AS (lower("E-mail")) STORED, brought_by integer REFERENCES {0}."Guest list" (id),
  number serial CHECK (number > 0));
CREATE TABLE {0}.stays (
  id integer, day date, guest integer, room integer REFERENCES {0}.rooms, nights integer, PRIMARY KEY (id, day),
  FOREIGN KEY (guest) REFERENCES {0}."Guest list" (id) ON DELETE CASCADE DEFERRABLE) PARTITION BY RANGE (day);
CREATE TABLE {0}.stays_now PARTITION OF {0}.stays FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE {0}.stays_then PARTITION OF {0}.stays DEFAULT;
CREATE TABLE {0}.keys (guest integer REFERENCES {0}."Guest list" (id));
CREATE FUNCTION {0}.told() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM {0}.rooms; RETURN OLD; END';
CREATE TRIGGER tells AFTER DELETE ON {0}."Guest list" FOR EACH ROW EXECUTE FUNCTION {0}.told();
INSERT INTO {0}.rooms VALUES (7);
INSERT INTO {0}."Guest list" ("E-mail", mood, brought_by) VALUES ('Anna@example.com', 'glad', NULL),
  ('bob@example.org', 'sad', 1), ('carla@example.com', NULL, 2);
INSERT INTO {0}.stays VALUES (1, '2026-05-01', 1, 7, 2), (2, '2025-05-01', 2, 7, 1), (3, '2020-01-01', 1, NULL, 9);
"""
FOREIGN_KEYS = """
SELECT k.conrelid::regclass::text, conname, pg_get_constraintdef(k.oid) FROM pg_constraint k
JOIN pg_class t ON t.oid = confrelid WHERE contype = 'f' AND conparentid = 0 AND connamespace = $1::regnamespace
AND relname = 'Guest list' AND conrelid::regclass::text <> 'keys' ORDER BY conname
"""


@pytest.fixture
async def office(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PostgresKit]:
    """The kit's tables, filled; of each test."""
    made = PostgresKit(postgres.url, "office_drilled")
    monkeypatch.setenv(URL_VARIABLE, made.url)
    await made.create()
    await fill(made)
    yield made
    left = await made.scratch()
    await made.drop()
    assert left == []


async def asked(kit: PostgresKit, statement: str, *values: Any, schema: str = "public") -> list[tuple[Any, ...]]:
    """What a client of its own sees, from a schema."""
    connection = await asyncpg.connect(kit.url, server_settings={"search_path": schema})
    try:
        return [tuple(row) for row in await connection.fetch(statement, *values)]
    finally:
        await connection.close()


async def test_tables_of_every_make_are_copied_and_what_is_not_is_told(office: PostgresKit) -> None:
    await office.run(TABLES.format(office.schema))
    tables = ("rooms", '"Guest list"', "stays", "keys")

    async def rows() -> list[Any]:
        return [await asked(office, f"SELECT * FROM {office.schema}.{name} ORDER BY 1") for name in tables]

    async def looks(store: StoreAdapter, journal: Journal) -> Replayed:
        """The scratch is like the office, and hangs on nothing of it."""
        [copy, _] = await office.scratch()
        keys = [await asked(office, FOREIGN_KEYS, schema, schema=schema) for schema in (office.schema, copy)]
        assert keys[0] == keys[1]
        assert len(keys[0]) == 2
        copied = [await asked(office, f"SELECT * FROM {schema}.stays ORDER BY 1") for schema in (office.schema, copy)]
        assert copied[0] == copied[1]
        guests = [await asked(office, f'SELECT * FROM {schema}."Guest list"') for schema in (office.schema, copy)]
        assert guests[0] == guests[1]
        defaults = "SELECT 1 FROM information_schema.columns WHERE table_schema = $1 AND column_default IS NOT NULL"
        logged = "SELECT 1 FROM pg_class WHERE relnamespace::regnamespace::text ~ '^drill' AND relpersistence = 'p'"
        assert await asked(office, defaults, copy) == await asked(office, logged) == []
        return await replay(store, journal)

    before = await rows()
    drilled = await drill("gb", mapping_of(office, GUESTS), office.url, KEY, replayed_by=looks)
    # Who brought somebody is not erased before them: the key of the table on itself stands in the copy too.
    assert (drilled.people, drilled.back, drilled.left) == (1, 1, 0)
    assert drilled.without == (
        "Guest list: trigger tells",
        "stays: its partitions, as one table",
        "stays: foreign key to rooms",
        "Guest list: foreign key of keys",
    )
    assert await rows() == before


async def test_what_the_copy_was_without_is_signed(
    office: PostgresKit, parties: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.run("CREATE RULE kept AS ON DELETE TO leads DO INSTEAD NOTHING")
    monkeypatch.setenv("GREFFIER_KEYS", str(parties / CODE))
    drilled, signed = await asyncio.to_thread(drill_office, CODE, write_mapping(office, tmp_path))
    statement = json.loads(json.dumps(signed))
    signing = read_party(parties / CODE).signing
    check_document(statement, STATEMENT, {str(signing.kid): DatedKey(signing, "2026-01-01T00:00:00.000Z")})
    assert (statement["body"]["without"], drilled.passed) == (["leads: rule kept"], True)


async def test_who_may_only_read_the_tables_may_drill_once_it_may_make_schemas(office: PostgresKit) -> None:
    url = office.url.replace("nobody@", "drills@")
    before = await everything(office)
    await office.run("CREATE ROLE drills LOGIN; GRANT USAGE ON SCHEMA office_drilled TO drills")
    await office.run("GRANT SELECT ON ALL TABLES IN SCHEMA office_drilled TO drills; REVOKE ALL ON leads FROM drills")
    try:
        with pytest.raises(ConfigurationError) as refused:
            await drill("gb", mapping_of(office), url, KEY)
        assert [fault.path for fault in refused.value.faults] == ["store", "collections.leads"]
        assert ["GRANT CREATE ON DATABASE" in str(refused.value), "GRANT SELECT ON" in str(refused.value)] == [True] * 2
        await office.run("GRANT CREATE ON DATABASE postgres TO drills; GRANT SELECT ON leads TO drills")
        assert (await drill("gb", mapping_of(office), url, KEY)).passed
    finally:
        await office.run("DROP OWNED BY drills; DROP ROLE drills")
    assert await everything(office) == before


async def test_what_would_be_another_store_is_refused_by_name_all_at_once(office: PostgresKit) -> None:
    await office.run(
        "CREATE VIEW guests AS SELECT * FROM customers; CREATE TABLE old_leads () INHERITS (leads);"
        "CREATE MATERIALIZED VIEW summed AS SELECT * FROM customers; ALTER TABLE visits "
        "DROP CONSTRAINT visits_customer_id_fkey, ALTER customer_id SET DEFAULT 1, "
        "ADD CONSTRAINT falls FOREIGN KEY (customer_id) REFERENCES customers ON DELETE SET DEFAULT"
    )
    entry = "{found_by: [email], fields: {email: Address}, erasure: delete}"
    visits = (
        "{owned_by: {collection: customers, field: customer_id, parent_field: id}, fields: {at: At}, erasure: delete}"
    )
    names = ("customers", "guests", "summed", "leads", "old_leads", "nothing")
    mapped = "collections:\n" + "".join(f"  {name}: {entry}\n" for name in names) + f"  visits: {visits}\n"
    with pytest.raises(ConfigurationError) as refused:
        await drill("gb", mapping_of(office, mapped), office.url, KEY)
    faults = {fault.path.removeprefix("collections."): fault.problem for fault in refused.value.faults}
    assert faults.keys() == {"guests", "summed", "leads", "old_leads", "nothing", "store"}
    assert "a view" in faults["guests"]
    assert "inherit" in faults["leads"]
    assert "falls of visits" in faults["store"]


async def test_a_replay_that_skips_fails_it_and_its_schemas_go_when_it_breaks(office: PostgresKit) -> None:
    async def skips(_: StoreAdapter, __: Journal) -> Replayed:
        return Replayed()

    async def breaks(_: StoreAdapter, __: Journal) -> Replayed:
        assert len(await office.scratch()) == 2
        raise RuntimeError("broken off")

    drilled = await drill("gb", mapping_of(office), office.url, KEY, replayed_by=skips)
    assert (drilled.people, drilled.left, drilled.passed) == (2, 2, False)
    with pytest.raises(RuntimeError, match="broken off"):
        await drill("gb", mapping_of(office), office.url, KEY, replayed_by=breaks)


async def test_a_copy_that_shares_the_tables_is_seen_in_the_office(
    office: PostgresKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the look at the office's own rows is for."""

    def shared(*given: Any) -> StoreCopy:
        copy = copy_of(*given)
        copy.mapping = given[0]
        return copy

    before = await everything(office)
    monkeypatch.setattr("workers.office_drill.copy_of", shared)
    await drill("gb", mapping_of(office), office.url, KEY)
    assert await everything(office) != before


async def test_two_drills_at_once_leave_each_other_alone_and_what_is_dead_goes(office: PostgresKit) -> None:
    inner: list[Drilled] = []
    await office.run("CREATE SCHEMA drill_20260101000000_0a0a0a; CREATE SCHEMA drill_20260101000000_0a0a0a_backup")
    await office.run("CREATE SCHEMA drill_of_the_fire_brigade")  # not ours, whatever it is

    async def drills(store: StoreAdapter, journal: Journal) -> Replayed:
        inner.append(await drill("gb", mapping_of(office), office.url, KEY))
        return await replay(store, journal)

    try:
        outer = await asyncio.wait_for(drill("gb", mapping_of(office), office.url, KEY, replayed_by=drills), 60)
        assert [one.passed for one in (outer, *inner)] == [True, True]
        assert await office.scratch() == ["drill_of_the_fire_brigade"]
    finally:
        await office.run("DROP SCHEMA drill_of_the_fire_brigade")
