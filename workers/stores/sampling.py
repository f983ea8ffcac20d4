"""A few rows of each collection or table of a store, drawn at random, and never by a walk over all of it.

============ ==========================================================================================
MongoDB      ``$sample``: above twenty times the sample the server takes random places of the storage
PostgreSQL   ``TABLESAMPLE SYSTEM`` of so many pages as the statistics say are needed
one integer  a few random places between the smallest and the largest key, and the rows after each
key, SQLite
any other    the first rows: bounded, and said to be no chance sample
============ ==========================================================================================

Source: R12; reliability § 8.8 (errors without the driver's text).
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorDatabase
from sqlalchemy import Connection, inspect, text
from sqlalchemy.types import Integer, LargeBinary

from workers.stores.mongo import Databases, Document, available
from workers.stores.subsidiaries.links import open_links
from workers.stores.subsidiaries.mapping import Mapping as OfficeMapping
from workers.stores.subsidiaries.mapping import StoreKind

_PLACES: Final = 20
_MAX_MS: Final = 30_000


@dataclass(frozen=True, slots=True)
class Sample:
    """Some rows of one collection. ``columns``: named whether or not there are rows; ``random``: drawn by chance."""

    store: str
    collection: str
    rows: Sequence[Mapping[str, Any]] = field(repr=False)
    columns: Sequence[str] = ()
    random: bool = True


async def own_samples(databases: Databases, size: int) -> AsyncIterator[Sample]:
    """Of the controller's four databases. Raises :class:`schemas.errors.StoreUnavailable`."""
    for name in ("active", "archive", "evidence", "keys"):
        async for sample in _of_mongo(name, getattr(databases, name), size):
            yield sample


async def office_samples(code: str, mapping: OfficeMapping, url: str, size: int) -> AsyncIterator[Sample]:
    """Of every collection or table of an office's store, mapped or not.

    Raises :class:`schemas.errors.StoreUnavailable`, :class:`workers.stores.subsidiaries.adapter.StoreRefuses`.
    """
    if mapping.store.kind is StoreKind.MONGODB:
        client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(url, serverSelectionTimeoutMS=5000, tz_aware=True)
        try:
            async for sample in _of_mongo(code, client[str(mapping.store.database)], size):
                yield sample
        finally:
            client.close()
        return
    links, schema = open_links(url), mapping.store.schema_name
    try:
        async with links.open(writes=False) as link:
            for table in await link.call(lambda connection: inspect(connection).get_table_names(schema=schema)):
                yield await link.call(partial(_of_table, code, table, schema, size))
    finally:
        await links.close()


async def _of_mongo(store: str, database: AsyncIOMotorDatabase[Document], size: int) -> AsyncIterator[Sample]:
    with available():
        names = await database.list_collection_names(filter={"type": "collection"})
    for name in sorted(names):
        if name.startswith("system.") or name.endswith(".chunks"):
            continue
        with available():
            found = database[name].aggregate([{"$sample": {"size": size}}], maxTimeMS=_MAX_MS)
            yield Sample(store, name, await found.to_list(None))


def _of_table(store: str, table: str, schema: str | None, size: int, connection: Connection) -> Sample:
    inspector = inspect(connection)
    columns = inspector.get_columns(table, schema=schema)
    shown = [one["name"] for one in columns if not isinstance(one["type"], LargeBinary)]
    names = [one["name"] for one in columns]
    quote = partial(_quoted, connection)
    source = quote(table) if schema is None else f"{quote(schema)}.{quote(table)}"
    what = f"SELECT {', '.join(map(quote, shown))} FROM {source}"  # noqa: S608  # names of the live store, quoted
    if not shown:
        return Sample(store, table, [], names)
    if connection.dialect.name == "postgresql":
        return Sample(store, table, _by_pages(connection, what, source, size), names)
    key = _key(connection, inspector, table, schema)
    if key is None:
        rows = connection.execute(text(f"{what} LIMIT {size:d}")).mappings().all()
        return Sample(store, table, [dict(row) for row in rows], names, random=len(rows) < size)
    return Sample(store, table, _by_places(connection, what, source, key, size), names)


def _quoted(connection: Connection, name: str) -> str:
    """A name of the live store for a statement: a colon in it begins no parameter."""
    return str(connection.dialect.identifier_preparer.quote(name)).replace(":", r"\:")


def _key(connection: Connection, inspector: Any, table: str, schema: str | None) -> str | None:
    """An integer by which the rows of a table are ordered; ``None`` where there is none."""
    keys = inspector.get_pk_constraint(table, schema=schema)["constrained_columns"]
    types = {one["name"]: one["type"] for one in inspector.get_columns(table, schema=schema)}
    if len(keys) == 1 and isinstance(types[keys[0]], Integer):
        return _quoted(connection, keys[0])
    if connection.dialect.name != "sqlite":
        return None
    made = connection.execute(text("SELECT sql FROM sqlite_master WHERE name = :name"), {"name": table}).scalar()
    return None if "WITHOUT ROWID" in str(made).upper() else "rowid"


def _by_places(connection: Connection, what: str, source: str, key: str, size: int) -> list[dict[str, Any]]:
    ends = f"SELECT (SELECT min({key}) FROM {source}), (SELECT max({key}) FROM {source})"  # noqa: S608  # as above
    first, last = connection.execute(text(ends)).one()
    if first is None:
        return []
    each = max(1, size // _PLACES)
    statement = text(f"{what} WHERE {key} >= :place ORDER BY {key} LIMIT {each:d}")
    found: list[dict[str, Any]] = []
    for place in {first, *(random.randint(first, last) for _ in range(_PLACES))}:  # no secret
        found += [dict(row) for row in connection.execute(statement, {"place": place}).mappings()]
    return found[: size + each]


def _by_pages(connection: Connection, what: str, source: str, size: int) -> list[dict[str, Any]]:
    named = {"t": source.replace(r"\:", ":")}  # as a value it is no part of the statement
    known = connection.execute(text("SELECT reltuples FROM pg_class WHERE oid = CAST(:t AS regclass)"), named)
    rows = float(known.scalar() or 0)
    share = 100.0 if rows < 20 * size else 100.0 * 5 * size / rows
    sampled = text(f"{what} TABLESAMPLE SYSTEM ({share:.6f}) LIMIT {size:d}")
    return [dict(row) for row in connection.execute(sampled).mappings()]
