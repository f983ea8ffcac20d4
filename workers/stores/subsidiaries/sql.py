"""The rows of any SQL database, through SQLAlchemy Core over tables as they are.

Names come from the reflected schema, values are bound parameters: nothing of a mapping, an order or a row ever becomes
the text of a statement. Rows to be changed are locked while they are read (SQLite locks as a whole). One transaction
serves one person, unless the person has so many rows that it is committed on the way: children are gone before their
parents, so what is left after a crash is found again and completed.
Source: R28; design § 5.5.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, date, datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    MetaData,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    event,
    func,
    inspect,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from schemas.errors import ConfigurationError, Fault, StoreUnavailable
from workers.stores.subsidiaries import decisions
from workers.stores.subsidiaries.adapter import StoreRefuses
from workers.stores.subsidiaries.mapping import Collection as Entry
from workers.stores.subsidiaries.mapping import Constant, Identifier, Letters
from workers.stores.subsidiaries.mapping import Mapping as OfficeMapping
from workers.stores.subsidiaries.rows import PAGE, ByAddress, ByOwner, Row, Session, Where

_CONNECT_S: Final = 5.0
_STATEMENT_S: Final = 30.0
_COMMIT_EVERY: Final = 5_000
"""Rows changed in one transaction; a person with more is served in several."""
_PASSING_STATES: Final = ("08", "40", "53", "55P03", "57", "58")
"""SQLSTATE beginnings that speak of the server or of a conflict, not of the statement."""
_ASYNC_DRIVERS: Final = {"postgresql": "asyncpg", "sqlite": "aiosqlite", "mysql": "aiomysql", "mariadb": "aiomysql"}


class SqlRows:
    """One database; its tables are read from it at the first use."""

    def __init__(self, mapping: OfficeMapping, url: str) -> None:
        self._mapping = mapping
        self._engine = _engine(url)
        self._tables: dict[str, Table] | None = None
        self._reflecting = asyncio.Lock()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Session]:
        async with self._connection(writes=False) as connection:
            yield SqlSession(connection, await self._reflected(connection))

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Session]:
        async with self._connection(writes=True) as connection:
            yield SqlSession(connection, await self._reflected(connection), locks=True)
            with _answering():
                await connection.commit()

    async def ping(self) -> None:
        async with self._connection(writes=False) as connection:
            with _answering():
                await connection.execute(text("SELECT 1"))

    async def check(self) -> list[Fault]:
        async with self._connection(writes=False) as connection:
            with _answering():
                tables = await connection.run_sync(self._reflect)
        return _faults(self._mapping, tables)

    async def close(self) -> None:
        await self._engine.dispose()

    @asynccontextmanager
    async def _connection(self, *, writes: bool) -> AsyncIterator[AsyncConnection]:
        with _answering():
            async with asyncio.timeout(_CONNECT_S * 2):
                connection = await self._engine.connect()
            connection = await connection.execution_options(greffier_writes=writes)
        try:
            yield connection
        finally:
            with _answering():
                await connection.close()  # rolls back what was not committed

    async def _reflected(self, connection: AsyncConnection) -> dict[str, Table]:
        async with self._reflecting:
            if self._tables is None:
                with _answering():
                    tables = await connection.run_sync(self._reflect)
                if _faults(self._mapping, tables):
                    raise StoreRefuses("schema-mismatch")  # `--check` names what; here nobody reads it
                self._tables = tables
        return self._tables

    def _reflect(self, connection: Any) -> dict[str, Table]:
        schema = self._mapping.store.schema_name
        there = set(inspect(connection).get_table_names(schema=schema))
        wanted = {name: self._mapping.source(name) for name in self._mapping.collections}
        metadata = MetaData(schema=schema)
        metadata.reflect(connection, only=sorted(there & set(wanted.values())), resolve_fks=False)
        found = {table.name: table for table in metadata.tables.values()}
        return {name: found[source] for name, source in wanted.items() if source in found}


class SqlSession:
    """One connection, in one transaction or several in a row."""

    def __init__(self, connection: AsyncConnection, tables: Mapping[str, Table], *, locks: bool = False) -> None:
        self._connection = connection
        self._tables = tables
        self._locks = locks
        self._changed = 0

    async def pages(self, name: str, where: Where, fields: Collection[str]) -> AsyncIterator[list[Row]]:
        table = self._tables[name]
        keys = list(table.primary_key.columns)
        wanted = sorted(fields)
        statement = select(*keys, *(table.c[field] for field in wanted)).where(_condition(table, where)).order_by(*keys)
        last: tuple[Any, ...] | None = None
        while True:
            rows = [tuple(row) for row in await self._fetch(_after(statement, keys, last))]
            if rows:
                last = rows[-1][: len(keys)]
                yield [Row(row[: len(keys)], dict(zip(wanted, row[len(keys) :], strict=True))) for row in rows]
            if len(rows) < PAGE:
                return

    async def delete(self, name: str, rows: Sequence[Row]) -> int:
        table = self._tables[name]
        await self._execute(delete(table).where(_is_row(table)), [_named(row) for row in rows])
        return await self._done(len(rows))

    async def update(self, name: str, rows: Sequence[Row], settings: Mapping[str, Constant], where: Where) -> int:
        table, now = self._tables[name], datetime.now(UTC)
        statement = update(table).where(_is_row(table)).values({field: bindparam(f"to_{field}") for field in settings})
        changes = [
            _named(row) | {f"to_{field}": _fit(table.c[field], one, now) for field, one in settings.items()}
            for row in rows
        ]
        await self._execute(statement, changes)
        return await self._done(len(rows))

    async def values(self, name: str, path: str) -> AsyncIterator[list[str]]:
        table = self._tables[name]
        keys = list(table.primary_key.columns)
        statement = select(*keys, table.c[path]).where(table.c[path].is_not(None)).order_by(*keys)
        last: tuple[Any, ...] | None = None
        while True:
            rows = [tuple(row) for row in await self._fetch(_after(statement, keys, last))]
            if rows:
                last = rows[-1][: len(keys)]
                yield [row[-1] for row in rows if isinstance(row[-1], str)]
            if len(rows) < PAGE:
                return

    async def _fetch(self, statement: Select[Any]) -> Sequence[Any]:
        if self._locks:
            statement = statement.with_for_update()
        with _answering():
            async with asyncio.timeout(_STATEMENT_S):
                found: Sequence[Any] = (await self._connection.execute(statement)).all()
        return found

    async def _execute(self, statement: Any, parameters: list[dict[str, Any]]) -> None:
        with _answering():
            async with asyncio.timeout(_STATEMENT_S):
                await self._connection.execute(statement, parameters)

    async def _done(self, rows: int) -> int:
        # Rows read are locked until the transaction ends, so all of them were there to be changed.
        self._changed += rows
        if self._changed >= _COMMIT_EVERY:
            with _answering():
                await self._connection.commit()
            self._changed = 0
        return rows


def _engine(url: str) -> AsyncEngine:
    try:
        target = make_url(url)
        backend = target.get_backend_name()
        if "+" not in target.drivername and backend in _ASYNC_DRIVERS:
            target = target.set(drivername=f"{backend}+{_ASYNC_DRIVERS[backend]}")
        if backend == "sqlite":  # one writer at a time: a pool would only make them wait inside the database
            engine = create_async_engine(target, pool_size=1, max_overflow=0, connect_args={"timeout": _CONNECT_S})
            _lock_sqlite_at_once(engine)
            return engine
        return create_async_engine(target, pool_size=5, max_overflow=0, pool_timeout=_CONNECT_S, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError, TypeError, ValueError):
        raise ConfigurationError("mapping", Fault("store", "the URL is not a database URL")) from None
    except ModuleNotFoundError as error:
        raise ConfigurationError("mapping", Fault("store", f"its driver is not installed: {error.name}")) from None


def _lock_sqlite_at_once(engine: AsyncEngine) -> None:
    """The driver would begin a transaction at the first write only: after the rows were read."""

    @event.listens_for(engine.sync_engine, "connect")
    def _on_connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine.sync_engine, "begin")
    def _on_begin(connection: Any) -> None:
        writes = connection.get_execution_options().get("greffier_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _answering() -> Iterator[None]:
    """A driver's error as ours, without its text, which may quote a row."""
    try:
        yield
    except (TimeoutError, OSError, PoolTimeout, InterfaceError, OperationalError) as error:
        raise StoreUnavailable(type(error).__name__) from None
    except IntegrityError:
        raise StoreRefuses("constraint") from None
    except DBAPIError as error:
        state = str(getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None) or "")
        if error.connection_invalidated or state.startswith(_PASSING_STATES):
            raise StoreUnavailable(type(error).__name__) from None
        raise StoreRefuses("store-forbids" if state == "42501" else "store-rejects") from None
    except SQLAlchemyError:
        raise StoreRefuses("store-rejects") from None


def _condition(table: Table, where: Where) -> ColumnElement[bool]:
    if isinstance(where, ByOwner):
        return table.c[where.path].in_(where.values)
    return or_(*(_holds_address(table, one, where) for one in where.identifiers))


def _holds_address(table: Table, identifier: Identifier, where: ByAddress) -> ColumnElement[bool]:
    column = table.c[identifier.field]
    if identifier.letters is Letters.FOLDED:
        return column.in_(sorted(where.written))
    return func.lower(func.trim(column)).in_(sorted(where.written))


def _after(statement: Select[Any], keys: list[Any], last: tuple[Any, ...] | None) -> Select[Any]:
    """The next page: keys after the last one seen, so that rows deleted meanwhile move nothing."""
    if last is not None:
        statement = statement.where(keys[0] > last[0] if len(keys) == 1 else tuple_(*keys) > tuple_(*last))
    return statement.limit(PAGE)


def _is_row(table: Table) -> ColumnElement[bool]:
    keys = table.primary_key.columns
    return and_(*(column == bindparam(f"key_{place}") for place, column in enumerate(keys)))


def _named(row: Row) -> dict[str, Any]:
    return {f"key_{place}": part for place, part in enumerate(row.key)}


def _fit(column: Any, constant: Constant, now: datetime) -> Any:
    """A constant in the column's own type: text for a text column, whatever it looks like in the mapping."""
    value = decisions.value_of(constant, now)
    try:
        kind = column.type.python_type
    except NotImplementedError:
        return value
    if isinstance(value, datetime):
        return _moment(value, column, kind)
    return kind(value) if value is not None and kind in (str, bool, int) else value


def _moment(value: datetime, column: Any, kind: type) -> Any:
    if kind is date:
        return value.date()
    if kind is str:
        return value.isoformat()
    return value if getattr(column.type, "timezone", False) else value.replace(tzinfo=None)


def _faults(mapping: OfficeMapping, tables: Mapping[str, Table]) -> list[Fault]:
    faults = []
    for name, entry in mapping.collections.items():
        table = tables.get(name)
        if table is None:
            faults.append(Fault(f"collections.{name}", "no such table in the store"))
            continue
        if not table.primary_key.columns:
            faults.append(Fault(f"collections.{name}", "the table has no primary key to tell its rows apart"))
        faults += [
            Fault(f"collections.{name}{place}", f"no column {field} in the table")
            for place, field in _named_fields(entry)
            if field not in table.c
        ]
    return faults + _parents_without_field(mapping, tables)


def _parents_without_field(mapping: OfficeMapping, tables: Mapping[str, Table]) -> list[Fault]:
    return [
        Fault(f"collections.{name}.owned_by.parent_field", f"no column {owner.parent_field} in {owner.collection}")
        for name, entry in mapping.collections.items()
        if (owner := entry.owned_by) is not None
        and owner.collection in tables
        and owner.parent_field not in tables[owner.collection].c
    ]


def _named_fields(entry: Entry) -> Iterator[tuple[str, str]]:
    """Every column a collection's entry names, with its place."""
    yield from ((f".found_by.{place}", one.field) for place, one in enumerate(entry.found_by))
    if entry.owned_by is not None:
        yield ".owned_by.field", entry.owned_by.field
    for name in ("one_person_by", "fresh_by"):
        if getattr(entry, name) is not None:
            yield f".{name}", getattr(entry, name)
    yield from ((f".fields.{name}", name) for name in entry.fields or ())
    if entry.erasure is not None:
        yield from ((f".erasure.anonymise.{name}", name) for name in entry.erasure.anonymise or ())
        if entry.erasure.keep is not None and entry.erasure.keep.counted_from is not None:
            yield ".erasure.keep.counted_from", entry.erasure.keep.counted_from
    if entry.objection is not None:
        yield from ((f".objection.set.{name}", name) for name in entry.objection.set or ())
    for place, mention in enumerate(entry.mentions):
        at = f".mentions.{place}"
        yield f"{at}.found_by", mention.found_by.field
        yield from ((f"{at}.fields.{name}", name) for name in mention.fields)
        yield from ((f"{at}.anonymise.{name}", name) for name in mention.anonymise or ())
        if mention.keep is not None and mention.keep.counted_from is not None:
            yield f"{at}.keep.counted_from", mention.keep.counted_from
