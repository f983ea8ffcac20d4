"""The statements that read rows of a table, each made once: to make one costs more than to run it.

Names come from the reflected table; whatever varies is a bound parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Delete, Select, String, Table, and_, bindparam, delete, func, or_, select, tuple_

from workers.stores.subsidiaries.mapping import Identifier, Letters
from workers.stores.subsidiaries.rows import PAGE, ByAddress, ByOwner, Where


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

    def first(self, name: str, where: Where | Everything, fields: tuple[str, ...]) -> Select[Any]:
        """Of the first page: primary key, then ``fields``. Takes the parameters :func:`given` gives."""
        key = (name, _kind(where), fields)
        if key not in self._made:
            self._made[key] = self._make(self.tables[name], where, fields)
        return self._made[key]

    def next(self, name: str, where: Where | Everything, fields: tuple[str, ...]) -> Select[Any]:
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

    def _make(self, table: Table, where: Where | Everything, fields: tuple[str, ...]) -> Select[Any]:
        keys = list(table.primary_key.columns)
        columns = [*keys, *(table.c[field] for field in fields)]
        statement = select(*columns).where(_condition(table, where)).order_by(*keys).limit(PAGE)
        return statement.with_for_update() if self._locks else statement


def is_row(table: Table) -> ColumnElement[bool]:
    """The row whose primary key is ``key_0``, ``key_1`` and so on."""
    keys = table.primary_key.columns
    return and_(*(column == bindparam(f"key_{place}") for place, column in enumerate(keys)))


def given(where: Where | Everything) -> dict[str, Any]:
    """The parameters of a statement for ``where``."""
    match where:
        case ByAddress():
            return {"written": sorted(where.written)}
        case ByOwner():
            return {"values": list(where.values)}
        case Everything():
            return {}


def _kind(where: Where | Everything) -> Any:
    return where.identifiers if isinstance(where, ByAddress) else (type(where), where.path)


def _condition(table: Table, where: Where | Everything) -> ColumnElement[bool]:
    match where:
        case ByAddress():
            return or_(*(_holds_address(table, one) for one in where.identifiers))
        case ByOwner():
            column = table.c[where.path]
            return column.in_(bindparam("values", expanding=True, type_=column.type))
        case Everything():
            return table.c[where.path].is_not(None)


def _holds_address(table: Table, identifier: Identifier) -> ColumnElement[bool]:
    column = table.c[identifier.field]
    folded = column if identifier.letters is Letters.FOLDED else func.lower(func.trim(column))
    return folded.in_(bindparam("written", expanding=True, type_=String()))
