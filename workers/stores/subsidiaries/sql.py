"""The rows of any SQL database, through SQLAlchemy Core over tables as they are.

Names come from the reflected schema, values are bound parameters: nothing of a mapping, an order or a row ever becomes
the text of a statement. Rows to be changed are locked while they are read (SQLite locks as a whole). One transaction
serves one person, or several together, unless one person has so many rows that it is committed on the way: children are
gone before their parents, so what is left after a crash is found again and completed.
Source: R28; design § 5.5.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, MetaData, Table, bindparam, insert, inspect, text, update
from sqlalchemy.exc import SAWarning

from schemas.errors import Fault
from workers.stores.subsidiaries import decisions, mysql
from workers.stores.subsidiaries.adapter import StoreRefuses
from workers.stores.subsidiaries.links import Link, open_links
from workers.stores.subsidiaries.mapping import Constant, Special
from workers.stores.subsidiaries.mapping import Mapping as OfficeMapping
from workers.stores.subsidiaries.rows import PAGE, AnyWhere, ByAddress, ByKey, OpenSession, Row, Where
from workers.stores.subsidiaries.sql_checks import faults
from workers.stores.subsidiaries.statements import Everything, Statements, given, is_row, mark_dates

_COMMIT_EVERY: Final = 5_000
"""Rows changed in one transaction; a person with more is served in several."""


class SqlRows:
    """One database; its tables are read from it at the first use."""

    undoes = True

    def __init__(self, mapping: OfficeMapping, url: str) -> None:
        self._mapping = mapping
        self._links = open_links(url)
        self._statements: tuple[Statements, Statements] | None = None
        """For reading, and for writing."""
        self._reflecting = asyncio.Lock()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[OpenSession]:
        async with self._links.open(writes=False) as link:
            reading, _ = await self._reflected(link)
            yield SqlSession(link, reading, self._mapping.store.zone)

    @asynccontextmanager
    async def writing(self, *, at_once: bool = False) -> AsyncIterator[OpenSession]:
        async with self._links.open(writes=True) as link:
            reading, writing = await self._reflected(link)
            yield SqlSession(link, writing, self._mapping.store.zone, at_once=at_once, finding=reading)
            await link.call(Connection.commit)

    async def ping(self) -> None:
        async with self._links.open(writes=False) as link:
            await link.call(lambda connection: connection.execute(text("SELECT 1")).all())

    async def check(self) -> list[Fault]:
        async with self._links.open(writes=False) as link:
            return faults(self._mapping, await link.call(self._reflect))

    async def close(self) -> None:
        await self._links.close()

    async def _reflected(self, link: Link) -> tuple[Statements, Statements]:
        async with self._reflecting:
            if self._statements is None:
                tables = await link.call(self._reflect)
                if faults(self._mapping, tables):
                    raise StoreRefuses("schema-mismatch")  # `--check` names what; here nobody reads it
                self._statements = Statements(tables, locks=False), Statements(tables, locks=True)
        return self._statements

    def _reflect(self, connection: Connection) -> dict[str, Table]:
        schema = self._mapping.store.schema_name
        there = set(inspect(connection).get_table_names(schema=schema))
        wanted = {name: self._mapping.source(name) for name in self._mapping.collections}
        metadata = MetaData(schema=schema)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SAWarning)  # of indexes and types that we do not ask about
            metadata.reflect(connection, only=sorted(there & set(wanted.values())), resolve_fks=False)
        found = {table.name: table for table in metadata.tables.values()}
        if connection.dialect.name == "sqlite":
            for table in found.values():
                mark_dates(table)
        if connection.dialect.name in mysql.BACKENDS:
            mysql.mark(connection, found, schema)
        return {name: found[source] for name, source in wanted.items() if source in found}


class SqlSession:
    """One connection, in one transaction or several in a row. ``finding``: of a session that locks, what does not."""

    def __init__(
        self,
        link: Link,
        statements: Statements,
        zone: ZoneInfo,
        *,
        at_once: bool = False,
        finding: Statements | None = None,
    ) -> None:
        self._link = link
        self._finding = finding
        self._at_once = at_once
        self._zone = zone
        self._statements = statements
        self._tables = statements.tables
        self._changed = 0

    async def pages(
        self, name: str, where: AnyWhere | Everything, fields: Collection[str]
    ) -> AsyncGenerator[list[Row], None]:
        wanted = tuple(sorted(fields))
        if self._finding is None or not isinstance(where, ByAddress) or not mysql.finds_first(self._tables[name]):
            async for page in self._pages(self._statements, name, where, wanted):
                yield page
            return
        async for found in self._pages(self._finding, name, where, ()):
            # Whose they are is asked again of every row that comes by its address.
            async for page in self._pages(self._statements, name, _these(found), wanted):
                yield page

    async def _pages(
        self, statements: Statements, name: str, where: AnyWhere | Everything, wanted: tuple[str, ...]
    ) -> AsyncGenerator[list[Row], None]:
        width = len(self._tables[name].primary_key.columns)
        parameters = given(where)
        rows = await self._fetch(statements.first(name, where, wanted), parameters)
        while rows:
            yield [Row(row[:width], dict(zip(wanted, row[width:], strict=True))) for row in rows]
            if len(rows) < PAGE:
                return
            after = {f"after_{place}": part for place, part in enumerate(rows[-1][:width])}
            rows = await self._fetch(statements.next(name, where, wanted), parameters | after)

    async def delete(self, name: str, rows: Sequence[Row]) -> int:
        if mysql.is_one(self._tables[name]):  # its driver sends many changes one after another
            return await self._change(self._statements.delete_all(name), [given(_these(rows))], len(rows))
        return await self._change(self._statements.delete(name), [_named(row) for row in rows], len(rows))

    async def update(self, name: str, rows: Sequence[Row], settings: Mapping[str, Constant], where: Where) -> int:
        table, now = self._tables[name], datetime.now(UTC).astimezone(self._zone)
        statement = update(table).where(is_row(table)).values({field: bindparam(f"to_{field}") for field in settings})
        changes = [
            _named(row) | {f"to_{field}": _fit(table.c[field], one, now) for field, one in settings.items()}
            for row in rows
        ]
        return await self._change(statement, changes, len(changes))

    async def insert(self, name: str, settings: Mapping[str, Constant]) -> None:
        table, now = self._tables[name], datetime.now(UTC).astimezone(self._zone)
        values = {field: _fit(table.c[field], one, now) for field, one in settings.items()}
        await self._change(insert(table), [values], 1)

    async def missed(
        self, name: str, rows: Sequence[Row], settings: Mapping[str, Constant] | None, since: datetime
    ) -> AbstractSet[Hashable]:
        return frozenset()  # see `_change`

    async def values(self, name: str, path: str) -> AsyncIterator[list[str]]:
        async for page in self.pages(name, Everything(path), [path]):
            yield [row.values[path] for row in page if isinstance(row.values[path], str)]

    async def _fetch(self, statement: Any, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        return await self._link.call(
            lambda connection: [tuple(row) for row in connection.execute(statement, dict(parameters))]
        )

    async def _change(self, statement: Any, parameters: list[dict[str, Any]], rows: int) -> int:
        """Rows read are locked until the transaction ends, so all of them are there to be changed."""
        self._changed += rows
        commits = self._changed >= _COMMIT_EVERY and not self._at_once
        if commits:
            self._changed = 0

        def change(connection: Connection) -> None:
            connection.execute(statement, parameters)
            if commits:
                connection.commit()

        await self._link.call(change)
        return rows


def _these(rows: Sequence[Row]) -> ByKey:
    return ByKey([row.key for row in rows])


def _named(row: Row) -> dict[str, Any]:
    return {f"key_{place}": part for place, part in enumerate(row.key)}


def _fit(column: Any, constant: Constant, now: datetime) -> Any:
    """A constant in the column's own type: text for a text column, whatever it looks like in the mapping."""
    value = now if constant.value is Special.NOW else decisions.value_of(constant, now)
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
