"""The statements that read rows of a table, each made once: to make one costs more than to run it.

Names come from the reflected table; whatever varies is a bound parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Date,
    DateTime,
    Delete,
    Dialect,
    Select,
    String,
    Table,
    TypeDecorator,
    and_,
    bindparam,
    delete,
    or_,
    select,
    true,
    tuple_,
    type_coerce,
)

from workers.stores.subsidiaries import mysql
from workers.stores.subsidiaries.mapping import Identifier, Letters
from workers.stores.subsidiaries.rows import PAGE, AllRows, AnyWhere, ByAddress, ByKey, ByOwner


@dataclass(frozen=True, slots=True)
class Everything:
    """Rows that have anything in a column."""

    path: str


class Statements:
    """For tables as they are, by the mapping's names. ``locks``: the rows read stay as they are until the end."""

    def __init__(self, tables: Mapping[str, Table], *, locks: bool) -> None:
        self.tables = tables
        self._locks = locks
        self._made: dict[Any, Select[Any]] = {}
        self._deletes: dict[str, Delete] = {}

    def first(self, name: str, where: AnyWhere | Everything, fields: tuple[str, ...]) -> Select[Any]:
        """Of the first page: primary key, then ``fields``. Takes the parameters :func:`given` gives."""
        key = (name, _kind(where), fields)
        if key not in self._made:
            self._made[key] = self._make(self.tables[name], where, fields)
        return self._made[key]

    def next(self, name: str, where: AnyWhere | Everything, fields: tuple[str, ...]) -> Select[Any]:
        """Of a later page: keys beyond ``after_0``, ``after_1``…; rows deleted meanwhile move nothing."""
        key = (name, _kind(where), fields, "next")
        if key not in self._made:
            keys = list(self.tables[name].primary_key.columns)
            last = [bindparam(f"after_{place}", type_=column.type) for place, column in enumerate(keys)]
            later = keys[0] > last[0] if len(keys) == 1 else tuple_(*keys) > tuple_(*last)
            self._made[key] = self.first(name, where, fields).where(later)
        return self._made[key]

    def delete(self, name: str) -> Delete:
        """The statement that deletes one row. Takes ``key_0``, ``key_1`` and so on."""
        if name not in self._deletes:
            self._deletes[name] = delete(self.tables[name]).where(is_row(self.tables[name]))
        return self._deletes[name]

    def delete_all(self, name: str) -> Delete:
        """The statement that deletes the rows of a page. Takes the parameters :func:`given` gives for their keys."""
        return delete(self.tables[name]).where(_condition(self.tables[name], ByKey(())))

    def _make(self, table: Table, where: AnyWhere | Everything, fields: tuple[str, ...]) -> Select[Any]:
        keys = list(table.primary_key.columns)
        columns = [*keys, *(_readable(table.c[field]) for field in fields)]
        statement = select(*columns).where(_condition(table, where)).order_by(*keys).limit(PAGE)
        return statement.with_for_update() if self._locks else statement


class KeptAsText(TypeDecorator[Any]):
    """A moment or a day in a database that takes any text for one; what is none is given as it stands."""

    impl = String
    cache_ok = True

    def __init__(self, kind: type[date]) -> None:
        super().__init__()
        self.kind = kind

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        try:
            return self.kind.fromisoformat(value)
        except (ValueError, TypeError):
            return value


def mark_dates(table: Table) -> None:
    """Have the moments and days of a table of SQLite read as text: one that is none makes no page unreadable."""
    for column in table.columns:
        if isinstance(column.type, DateTime | Date):
            column.info[KeptAsText] = KeptAsText(column.type.python_type)


def _readable(column: ColumnElement[Any]) -> ColumnElement[Any]:
    kept_as = column.info.get(KeptAsText) if isinstance(column, Column) else None
    return column if kept_as is None else type_coerce(column, kept_as)


def is_row(table: Table) -> ColumnElement[bool]:
    """The row whose primary key is ``key_0``, ``key_1`` and so on."""
    keys = table.primary_key.columns
    return and_(*(column == bindparam(f"key_{place}") for place, column in enumerate(keys)))


def given(where: AnyWhere | Everything) -> dict[str, Any]:
    """The parameters of a statement for ``where``."""
    match where:
        case ByAddress():
            return {"written": sorted(where.written)}
        case ByOwner():
            return {"values": list(where.values)}
        case ByKey():
            # A key of one column is compared as it is: not every database takes tuples of one.
            return {"keys": [key[0] if len(key) == 1 else tuple(key) for key in where.keys]}
        case Everything() | AllRows():
            return {}


def _kind(where: AnyWhere | Everything) -> Any:
    match where:
        case ByAddress():
            return where.identifiers
        case ByKey() | AllRows():
            return type(where)
        case ByOwner() | Everything():
            return type(where), where.path


def _condition(table: Table, where: AnyWhere | Everything) -> ColumnElement[bool]:
    match where:
        case ByAddress():
            return or_(*(_holds_address(table, one) for one in where.identifiers))
        case ByOwner():
            column = table.c[where.path]
            return mysql.exactly(column, bindparam("values", expanding=True, type_=column.type))
        case ByKey():
            keys = list(table.primary_key.columns)
            if len(keys) == 1:
                return keys[0].in_(bindparam("keys", expanding=True, type_=keys[0].type))
            return tuple_(*keys).in_(bindparam("keys", expanding=True))
        case AllRows():
            return true()
        case Everything():
            return table.c[where.path].is_not(None)


def _holds_address(table: Table, identifier: Identifier) -> ColumnElement[bool]:
    column = table.c[identifier.field]
    written = bindparam("written", expanding=True, type_=String())
    return mysql.exactly(column, written) if identifier.letters is Letters.FOLDED else mysql.folded(column).in_(written)
