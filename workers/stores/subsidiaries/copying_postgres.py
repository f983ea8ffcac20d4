"""A copy of an office's tables in PostgreSQL, for a drill: two scratch schemas of the same database.

``drill_…_backup`` holds the rows as they stood in one moment; ``drill_…`` tables like the office's, with their keys,
indexes, checks and the foreign keys among them, filled from it. The server does all of it, each step in one
transaction: no program of PostgreSQL's is needed, and what dies on the way leaves nothing half. Unlogged: what they
hold goes into no replica and no archive of the log. The office's own tables are only read.

What of the store may meet an erasure and is not in the copy is told: a trigger, which could write elsewhere; a foreign
key of a table that is not mapped; and so on. What would make the copy another store is refused.
Source: R26; reliability § 7 (8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, text

from schemas.errors import ConfigurationError, Fault
from workers.stores.subsidiaries.adapter import StoreRefuses
from workers.stores.subsidiaries.links import Link, open_links
from workers.stores.subsidiaries.mapping import Mapping
from workers.stores.subsidiaries.scratch import BACKUP, drills, new_name, number_of

_LOCKS: Final = 1_735_550_310
"""The advisory locks of drills. A drill that lives holds its own; what belongs to none that lives is left behind."""
_NOT_COPIED: Final = {
    "v": "a view: map the tables that it shows",
    "m": "a materialised view: map the tables that it shows",
    "f": "a foreign table: its rows stand in another database",
}

_TABLES: Final = text("""
SELECT c.relname, n.nspname, CAST(c.relkind AS text) AS kind, has_table_privilege(c.oid, 'SELECT') AS readable,
  EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid OR i.inhparent = c.oid AND c.relkind = 'r') AS shares,
  (SELECT array_agg(CAST(a.attname AS text) ORDER BY a.attnum) FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname IN :names AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND pg_table_is_visible(c.oid)
""").bindparams(bindparam("names", expanding=True))

_FOREIGN_KEYS: Final = text("""
SELECT of.relname, k.conname, pg_get_constraintdef(k.oid) AS definition, 'd' IN (k.confdeltype, k.confupdtype) AS sets,
  of.relname IN :names AND pg_table_is_visible(of.oid) AS is_of, target.relname AS target,
  target.relname IN :names AND pg_table_is_visible(target.oid) AS is_to
FROM pg_constraint k JOIN pg_class of ON of.oid = k.conrelid JOIN pg_class target ON target.oid = k.confrelid
WHERE k.contype = 'f' AND k.conparentid = 0 AND (of.relname IN :names OR target.relname IN :names)
ORDER BY of.relname, k.conname
""").bindparams(bindparam("names", expanding=True))

_MEETS_ERASURES: Final = text("""
SELECT c.relname, 'trigger ' || t.tgname AS what FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND c.relname IN :names AND pg_table_is_visible(c.oid)
UNION ALL SELECT c.relname, 'rule ' || r.rulename FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
WHERE c.relkind IN ('r', 'p') AND c.relname IN :names AND pg_table_is_visible(c.oid)
UNION ALL SELECT c.relname, 'row security' FROM pg_class c
WHERE c.relrowsecurity AND c.relname IN :names AND pg_table_is_visible(c.oid)
ORDER BY 1, 2
""").bindparams(bindparam("names", expanding=True))


@dataclass(frozen=True, slots=True)
class _Table:
    """One of the office's. ``columns``: those that hold what was written, and not what is worked out from it."""

    schema: str
    name: str
    columns: Sequence[str]


@dataclass(frozen=True, slots=True)
class _ForeignKey:
    """Of a mapped table to a mapped one. ``definition``: names both without their schema."""

    table: str
    name: str
    definition: str


class PostgresCopy:
    """See :class:`workers.stores.subsidiaries.copying.StoreCopy`. Made in the event loop that uses it."""

    def __init__(self, mapping: Mapping, url: str) -> None:
        self._copy = new_name()
        self._backup = self._copy + BACKUP
        self._office = mapping
        self.mapping = mapping.model_copy(
            update={"store": mapping.store.model_copy(update={"schema_name": self._copy})}
        )
        self.url = url
        self.without: tuple[str, ...] = ()
        self._tables: list[_Table] = []
        self._foreign_keys: list[_ForeignKey] = []
        self._links = open_links(url, statement_s=None)
        self._alive = AsyncExitStack()

    async def take(self) -> None:
        """Also drops what killed drills left behind. Raises ConfigurationError, StoreUnavailable."""
        link = await self._alive.enter_async_context(self._links.open(writes=True))
        await _told(link, lambda connection: _outlive(connection, self._copy))
        await self._do(self._look, self._back_up)
        await self.put_back()

    async def put_back(self) -> None:
        """Raises as ``take``."""
        await self._do(self._fill)

    async def drop(self) -> None:
        """Raises as ``take``."""
        try:
            await self._do(lambda connection: _drop(connection, self._copy))
        finally:
            await self._alive.aclose()
            await self._links.close()

    async def _do(self, *steps: Callable[[Connection], None]) -> None:
        """All of it or nothing: PostgreSQL undoes tables as it does rows."""

        def do(connection: Connection) -> None:
            connection.execution_options(isolation_level="REPEATABLE READ")
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            for step in steps:
                step(connection)
            connection.commit()

        async with self._links.open(writes=True) as link:
            await _told(link, do)

    def _look(self, connection: Connection) -> None:
        """What there is to copy. Raises ConfigurationError with everything that stands in the way of it."""
        schema = self._office.store.schema_name
        if schema is not None:  # then the office's tables are the visible ones, and are named without it
            connection.exec_driver_sql(f"SET LOCAL search_path TO {_quoted(connection, schema)}")
        names = {"names": [self._office.source(name) for name in self._office.collections]}
        found = {row.relname: row for row in connection.execute(_TABLES, names)}
        keys = connection.execute(_FOREIGN_KEYS, names).all()
        faults = [*_no_right(connection), *_not_copied(self._office, found), *_set_defaults(keys)]
        if faults:
            raise ConfigurationError("restore drill", *faults)
        self._tables = [_Table(row.nspname, row.relname, row.columns) for row in found.values()]
        self._foreign_keys = [_ForeignKey(key.relname, key.conname, key.definition) for key in keys if _both(key)]
        rows = connection.execute(_MEETS_ERASURES, names)
        self.without = (
            *(f"{row.relname}: {row.what}" for row in rows),
            *(f"{row.relname}: its partitions, as one table" for row in found.values() if row.kind == "p"),
            *(f"{key.relname}: foreign key to {key.target}" for key in keys if key.is_of and not key.is_to),
            *(f"{key.target}: foreign key of {key.relname}" for key in keys if key.is_to and not key.is_of),
        )

    def _back_up(self, connection: Connection) -> None:
        connection.exec_driver_sql(f"CREATE SCHEMA {_quoted(connection, self._backup)}")
        for table in self._tables:
            columns = _listed(connection, table.columns)
            rows = f"SELECT {columns} FROM {_quoted(connection, table.schema, table.name)}"  # noqa: S608  # see _quoted
            backup = _quoted(connection, self._backup, table.name)
            connection.exec_driver_sql(f"CREATE UNLOGGED TABLE {backup} AS {rows}")

    def _fill(self, connection: Connection) -> None:
        """Foreign keys last, as a restore does it: whatever the order of the tables, every row finds its parent.

        Without defaults: the one of a serial column would be the office's own sequence.
        """
        scratch = _quoted(connection, self._copy)
        connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {scratch} CASCADE")
        connection.exec_driver_sql(f"CREATE SCHEMA {scratch}")
        for table in self._tables:
            columns = _listed(connection, table.columns)
            copy = _quoted(connection, self._copy, table.name)
            like = _quoted(connection, table.schema, table.name)
            connection.exec_driver_sql(f"CREATE UNLOGGED TABLE {copy} (LIKE {like} INCLUDING ALL EXCLUDING DEFAULTS)")
            rows = f"SELECT {columns} FROM {_quoted(connection, self._backup, table.name)}"  # noqa: S608  # see _quoted
            # The numbers of identity columns too, as they stood.
            connection.exec_driver_sql(f"INSERT INTO {copy} ({columns}) OVERRIDING SYSTEM VALUE {rows}")
        connection.exec_driver_sql(f"SET LOCAL search_path TO {scratch}")
        for key in self._foreign_keys:
            table_name, name = _quoted(connection, key.table), _quoted(connection, key.name)
            connection.exec_driver_sql(f"ALTER TABLE {table_name} ADD CONSTRAINT {name} {key.definition}")


async def _told(link: Link, work: Callable[[Connection], None]) -> None:
    try:
        await link.call(work)
    except StoreRefuses as error:
        problem = f"the database does not let it be copied ({error.reason})"
        raise ConfigurationError("restore drill", Fault("store", problem)) from None


def _outlive(connection: Connection, name: str) -> None:
    """Hold the lock of this drill until the connection ends, and drop what belongs to none that lives."""
    own = text("SELECT nspname FROM pg_namespace WHERE pg_get_userbyid(nspowner) = current_user")
    for one in [name, *drills(connection.execute(own).scalars())]:
        lock = {"kind": _LOCKS, "number": number_of(one)}
        if connection.execute(text("SELECT pg_try_advisory_lock(:kind, :number)"), lock).scalar() and one != name:
            _drop(connection, one)
            connection.execute(text("SELECT pg_advisory_unlock(:kind, :number)"), lock)
    connection.commit()


def _drop(connection: Connection, name: str) -> None:
    for one in (name, name + BACKUP):
        connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {_quoted(connection, one)} CASCADE")


def _no_right(connection: Connection) -> Iterator[Fault]:
    if not connection.scalar(text("SELECT has_database_privilege(current_database(), 'CREATE')")):
        yield Fault("store", "its user may not make schemas in this database: GRANT CREATE ON DATABASE … TO …")


def _not_copied(mapping: Mapping, found: dict[str, Any]) -> Iterator[Fault]:
    for name in mapping.collections:
        place, table = f"collections.{name}", found.get(mapping.source(name))
        if table is None:
            yield Fault(place, "no such table in the store")
        elif table.kind in _NOT_COPIED:
            yield Fault(place, f"not copied: {_NOT_COPIED[table.kind]}")
        elif table.shares:
            yield Fault(
                place, "not copied: it inherits from another table, is a part of one, or others inherit from it"
            )
        elif not table.readable:
            yield Fault(place, "its user may not read the whole table: GRANT SELECT ON … TO …")


def _set_defaults(keys: Sequence[Any]) -> Iterator[Fault]:
    for key in filter(_both, keys):
        if key.sets:
            yield Fault("store", f"not copied: foreign key {key.conname} of {key.relname} sets defaults")


def _both(key: Any) -> bool:
    return bool(key.is_of and key.is_to)


def _listed(connection: Connection, names: Sequence[str]) -> str:
    return ", ".join(_quoted(connection, name) for name in names)


def _quoted(connection: Connection, *names: str) -> str:
    """A name of the live store. Beside such, only the server's own words of a foreign key get into a statement."""
    return ".".join(map(connection.dialect.identifier_preparer.quote_identifier, names))
