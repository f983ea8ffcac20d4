"""Differently kept offices with one content, each with a client independent of our code.

MongoDB, SQLite, PostgreSQL, MariaDB: one mapping serves all but for its first lines. Rows are plain dicts; every row
has an ``id``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import date, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import aiomysql
import asyncpg
from pymongo import MongoClient

from schemas.register_reading import parse_mapping as parse_yaml
from tests.workers.subsidiary.mariadb import MariaServer
from workers.stores.subsidiaries.mapping import Mapping as OfficeMapping
from workers.stores.subsidiaries.mapping import parse_mapping

Row = dict[str, Any]

URL_VARIABLE = "OFFICE_STORE_URL"

COLLECTIONS = """
collections:
  customers:
    found_by: [email, other_email]
    fresh_by: registered_at
    fields: {email: E-mail address, name: Full name, registered_at: Day of registration}
    rectification: {last_name: name}
    restriction: {set: {on_hold: true}, lift: {on_hold: false}}
    erasure: delete
    objection: {set: {newsletter: false, opted_out_at: now}}
    basis: contract
    provided: [email, name]
    withdrawal: {set: {newsletter: false}}
  invoices:
    owned_by: {collection: customers, field: customer_id, parent_field: id}
    fields: {number: Number of the invoice, issued_on: Day of issue}
    rectification: {}
    erasure: {keep: {ground: "Code de commerce L123-22", counted_from: issued_on, for: P10Y}}
    basis: legal-obligation
  visits:
    owned_by: {collection: customers, field: customer_id, parent_field: id}
    fresh_by: at
    fields: {at: Moment of the visit}
    rectification: {}
    erasure: delete
    basis: legitimate-interests
  leads:
    found_by: [email]
    fields: {email: E-mail address, name: Full name}
    rectification: {last_name: name}
    erasure: {anonymise: {email: random, name: null}}
    restriction: {set: {restricted: true}, lift: {restricted: null}}
    basis: legitimate-interests
  subscribers:
    found_by: [{field: address, letters: folded}]
    fields: {address: Subscribed address}
    rectification: {}
    erasure: delete
    objection: delete
    basis: consent
    provided: [address]
    restriction: {set: {restricted: true}, lift: {restricted: null}}
  meetings:
    mentions:
      - {found_by: guest, fields: {guest: Your address}, anonymise: {guest: null, guest_name: "text:somebody"}}
  contracts:
    mentions:
      - {found_by: signatory, fields: {signatory: Your address}, keep: {ground: "Art. 17(3)(e) GDPR"}}
"""

COLUMNS: dict[str, dict[str, str]] = {
    "customers": {
        "email": "text",
        "other_email": "text",
        "name": "text",
        "customer_no": "text",
        "registered_at": "timestamp",
        "newsletter": "boolean",
        "opted_out_at": "timestamp",
        "last_contact": "text",
        "on_hold": "boolean",
    },
    "invoices": {"customer_id": "integer REFERENCES customers (id)", "number": "text", "issued_on": "date"},
    "visits": {"customer_id": "integer REFERENCES customers (id)", "at": "timestamp"},
    "leads": {"email": "text NOT NULL UNIQUE", "name": "text", "asked_at": "timestamp", "restricted": "boolean"},
    "subscribers": {"address": "text", "restricted": "boolean"},
    "meetings": {"guest": "text", "guest_name": "text", "title": "text"},
    "contracts": {"signatory": "text", "title": "text"},
}

CHILDREN_FIRST = sorted(COLUMNS, key=lambda name: "customer_id" not in COLUMNS[name])


class Kit(Protocol):
    """An office's database, seen by somebody who is not us."""

    url: str
    store: str

    async def create(self) -> None: ...
    async def insert(self, name: str, *rows: Row) -> None: ...
    async def rows(self, name: str) -> list[Row]: ...
    async def scratch(self) -> list[str]: ...
    async def empty(self) -> None: ...
    async def drop(self) -> None: ...


def text_of(kit: Kit, collections: str = COLLECTIONS) -> str:
    """A mapping file for a kit."""
    return kit.store + collections


def mapping_of(kit: Kit, collections: str = COLLECTIONS) -> OfficeMapping:
    """The same, read."""
    return parse_mapping(*parse_yaml(text_of(kit, collections).encode()))


def write_mapping(kit: Kit, folder: Path, collections: str = COLLECTIONS) -> Path:
    """The same, as a file."""
    path = folder / "mapping.yaml"
    path.write_text(text_of(kit, collections))
    return path


async def everything(kit: Kit) -> str:
    """All that the store holds, as text: what must not be in it is looked for here."""
    return "\n".join([str(row) for name in COLUMNS for row in await kit.rows(name)])


class MongoKit:
    """One database of the test server."""

    def __init__(self, url: str, database: str) -> None:
        self.url = url
        self.store = f"store: {{kind: mongodb, url_env: {URL_VARIABLE}, database: {database}}}\n"
        self._client: MongoClient[Row] = MongoClient(url, tz_aware=True)
        self.database = self._client[database]

    async def create(self) -> None:
        for name in COLUMNS:
            self.database.create_collection(name)

    async def insert(self, name: str, *rows: Row) -> None:
        self.database[name].insert_many([{key: _as_bson(value) for key, value in row.items()} for row in rows])

    async def rows(self, name: str) -> list[Row]:
        return list(self.database[name].find({}, {"_id": False}).sort("id", 1))

    async def scratch(self) -> list[str]:
        """What drills made on the server."""
        return sorted(name for name in self._client.list_database_names() if name.startswith("drill"))

    async def empty(self) -> None:
        for name in COLUMNS:
            self.database[name].delete_many({})

    async def drop(self) -> None:
        self._client.drop_database(self.database.name)
        self._client.close()


def _as_bson(value: object) -> object:
    is_day = isinstance(value, date) and not isinstance(value, datetime)
    return value.isoformat() if is_day else value  # BSON has no plain date


class SqliteKit:
    """A file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "office.sqlite"
        self.url = f"sqlite:///{self.path}"
        self.store = f"store: {{kind: sql, url_env: {URL_VARIABLE}}}\n"
        self.connection = sqlite3.connect(self.path, isolation_level=None)
        self.connection.row_factory = sqlite3.Row

    async def create(self) -> None:
        for statement in _tables("integer PRIMARY KEY"):
            self.connection.execute(statement)

    async def insert(self, name: str, *rows: Row) -> None:
        self.connection.execute("BEGIN")
        for row in rows:
            marks = ", ".join("?" for _ in row)
            values = [_as_sqlite(value) for value in row.values()]
            self.connection.execute(f"INSERT INTO {name} ({', '.join(row)}) VALUES ({marks})", values)
        self.connection.execute("COMMIT")

    async def rows(self, name: str) -> list[Row]:
        return [dict(row) for row in self.connection.execute(f"SELECT * FROM {name} ORDER BY id")]

    async def scratch(self) -> list[str]:
        """Nothing: a drill's files are in a folder of its own."""
        return []

    async def empty(self) -> None:
        for name in CHILDREN_FIRST:
            self.connection.execute(f"DELETE FROM {name}")

    async def drop(self) -> None:
        self.connection.close()


def _as_sqlite(value: object) -> object:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(sep=" ")
    return value.isoformat() if isinstance(value, date) else value


class PostgresKit:
    """A schema of its own on a real server; everything in it is named in ``schema:``."""

    def __init__(self, url: str, schema: str) -> None:
        self.url = url
        self.schema = schema
        self.store = f"store: {{kind: sql, url_env: {URL_VARIABLE}, schema: {schema}}}\n"
        self._connection: Any = None

    async def create(self) -> None:
        self._connection = await asyncpg.connect(self.url)
        await self._connection.execute(f"CREATE SCHEMA {self.schema}; SET search_path TO {self.schema}")
        for statement in _tables("serial PRIMARY KEY"):
            await self._connection.execute(statement)

    async def insert(self, name: str, *rows: Row) -> None:
        for row in rows:
            marks = ", ".join(f"${place}" for place in range(1, len(row) + 1))
            values = [_without_zone(value) for value in row.values()]
            await self._connection.execute(f"INSERT INTO {name} ({', '.join(row)}) VALUES ({marks})", *values)

    async def run(self, statement: str) -> None:
        """Anything, as the server's owner."""
        await self._connection.execute(statement)

    async def fill_visits(self, number: int) -> None:
        """So many visits of customer 1, by one statement."""
        await self._connection.execute(
            f"INSERT INTO visits SELECT n, 1, timestamp '2026-10-01' FROM generate_series(1, {number}) n"
        )

    async def rows(self, name: str) -> list[Row]:
        return [dict(row) for row in await self._connection.fetch(f"SELECT * FROM {name} ORDER BY id")]

    async def scratch(self) -> list[str]:
        """What drills made in the database."""
        found = await self._connection.fetch("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'drill%'")
        return sorted(row["nspname"] for row in found)

    async def empty(self) -> None:
        for name in CHILDREN_FIRST:
            await self._connection.execute(f"DELETE FROM {name}")

    async def drop(self) -> None:
        await self._connection.execute(f"DROP SCHEMA {self.schema} CASCADE")
        await self._connection.close()


def _without_zone(value: object) -> object:
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value


class MariaKit:
    """A database of its own on a real server, whose text is compared without letter case and accents."""

    def __init__(self, server: MariaServer, database: str) -> None:
        self.server = server
        self.database = database
        self.url = server.url(database)
        self.store = f"store: {{kind: sql, url_env: {URL_VARIABLE}}}\n"
        self._connection: Any = None

    async def create(self) -> None:
        self._connection = await self.server.connect()
        await self.run(f"CREATE DATABASE {self.database}")
        await self._connection.select_db(self.database)
        for statement in _tables("integer PRIMARY KEY AUTO_INCREMENT"):
            await self.run(statement.replace(" text", " varchar(200)").replace(" timestamp", " datetime(6)"))

    async def insert(self, name: str, *rows: Row) -> None:
        async with self._connection.cursor() as cursor:
            for columns, alike in groupby(rows, key=tuple):
                marks = ", ".join("%s" for _ in columns)
                statement = f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({marks})"
                await cursor.executemany(statement, [[_without_zone(value) for value in row.values()] for row in alike])

    async def run(self, statement: str, *values: Any) -> list[Row]:
        """Anything, as the server's owner."""
        async with self._connection.cursor(aiomysql.DictCursor) as cursor:
            await cursor.execute(statement, values or None)
            return list(await cursor.fetchall())

    async def rows(self, name: str) -> list[Row]:
        return await self.run(f"SELECT * FROM {name} ORDER BY id")

    async def scratch(self) -> list[str]:
        """Nothing: no drill copies it."""
        return []

    async def empty(self) -> None:
        for name in CHILDREN_FIRST:
            await self.run(f"DELETE FROM {name}")

    async def drop(self) -> None:
        await self.run(f"DROP DATABASE {self.database}")
        self._connection.close()


def _tables(key: str) -> list[str]:
    def columns(of: Mapping[str, str]) -> str:
        return ", ".join(f"{name} {kind}" for name, kind in of.items())

    return [f"CREATE TABLE {name} (id {key}, {columns(of)})" for name, of in COLUMNS.items()]
