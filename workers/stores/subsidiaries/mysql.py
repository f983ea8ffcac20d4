"""What MySQL and MariaDB do otherwise than others, where it would touch the wrong person or say what is not so.

| by default there | here |
| --- | --- |
| text is compared without letter case, accents and trailing spaces | compared letter by letter, :func:`exactly` |
| lower case by the rules of the column's language (Turkish: I, ı) | by those of Unicode, :func:`folded` |
| what is too long is cut, what has no place set to nothing, where the server is lax | refused |
| who locks rows waits for all that are gone through, and keeps others out of what lies between | each row by itself |
| a TIMESTAMP is shown by the clock of the session | is a moment, in UTC |
| errors have numbers, few of them a state | :data:`PASSING`, :func:`reason` |
| warnings quote what they are about, and the driver prints them | the server keeps none |

Source: R25, R28; design § 5.5; reliability § 8.8.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import (
    TIMESTAMP,
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    String,
    Table,
    TypeDecorator,
    and_,
    bindparam,
    cast,
    func,
    text,
)
from sqlalchemy.dialects.mysql import BINARY, CHAR

from schemas.errors import Fault
from workers.stores.subsidiaries.mapping import Collection as Entry
from workers.stores.subsidiaries.mapping import Mapping as OfficeMapping

BACKENDS: Final = ("mysql", "mariadb")
ISOLATION: Final = "READ COMMITTED"
PASSING: Final = frozenset(
    {
        *(1020, 1205, 1213, 1317),  # a conflict with somebody else's work
        *(1021, 1040, 1041, 1053, 1114, 1129, 1135, 1203, 1226),  # the server has no room, or ends
        *(1047, 1290, 1792, 1836, 1927, 1969, 3024, 4031),  # a replica, a connection or a statement that was ended
        *(1152, 1153, 1154, 1155, 1156, 1157, 1158, 1159, 1160, 1161),  # the line
        *range(2000, 3000),  # whatever the driver itself has to tell
    }
)
"""Errors that speak of the server or of a conflict, not of the statement."""
_NO_RIGHT: Final = frozenset({1044, 1045, 1142, 1143, 1227, 1370, 1698})
_CONSTRAINT: Final = frozenset({1048, 1062, 1216, 1217, 1451, 1452, 1557, 1761, 1762, 3819, 4025})
_DRIVER: Final = "pymysql"  # its errors are aiomysql's too

_KINDS: Final = {str: "text", bytes: "bytes", **dict.fromkeys((int, float, Decimal, bool), "a number")}
_OURS: Final = "greffier_mysql"
_LETTERS: Final = "greffier_letters"
"""A column's character set and collation."""
_BY_EVERY_CHANGE: Final = "greffier_by_every_change"
_NOT_IN_ONE_PIECE: Final = "greffier_not_in_one_piece"
_KEEPS_ALL: Final = "greffier_keeps_all"


def settings(wait_s: int) -> dict[str, Any]:
    """What a connection is opened with. ``wait_s``: how long it waits for a lock."""
    told = {
        "sql_mode": "'STRICT_ALL_TABLES'",  # and with it no other way of quoting
        "time_zone": "'+00:00'",
        "innodb_lock_wait_timeout": wait_s,
        "max_error_count": 0,
    }
    command = "SET " + ", ".join(f"SESSION {name} = {value}" for name, value in told.items())
    return {"charset": "utf8mb4", "init_command": command}


def number_of(error: object) -> int | None:
    """The server's or the driver's number for an error; None for an error of another database."""
    said = getattr(error, "args", ())[:1]
    is_theirs = type(error).__module__.partition(".")[0] == _DRIVER
    return said[0] if is_theirs and said and isinstance(said[0], int) else None


def reason(number: int) -> str:
    """Why an order is refused, by an error that will not pass."""
    return "constraint" if number in _CONSTRAINT else "store-forbids" if number in _NO_RIGHT else "store-rejects"


class Moment(TypeDecorator[datetime]):
    """A TIMESTAMP: a moment, whatever the session's clock. What is none (a date of zeros) is given as it stands."""

    impl = TIMESTAMP
    cache_ok = True
    timezone = True
    python_type = datetime

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) and value.tzinfo else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


def mark(connection: Connection, tables: Mapping[str, Table], schema: str | None) -> None:
    """Note on the reflected tables what is special about them. ``tables``: by their name in the store."""
    for table in tables.values():
        table.info[_OURS] = True
        for column in table.columns:
            if isinstance(column.type, TIMESTAMP):
                column.type = Moment()
    where = {"schema": schema}
    for name, kind, transactions in connection.execute(_TABLES, where):
        if name in tables and transactions != "YES":
            tables[name].info[_NOT_IN_ONE_PIECE] = True
        if name in tables and kind == "SYSTEM VERSIONED":
            tables[name].info[_KEEPS_ALL] = True
    for name, field, extra, *letters in connection.execute(_COLUMNS, where):
        if name not in tables or field not in tables[name].c:
            continue
        info = tables[name].c[field].info
        if letters[0] is not None:
            info[_LETTERS] = tuple(letters)
        if "on update" in extra.lower():
            info[_BY_EVERY_CHANGE] = True


_TABLES: Final = text(
    "SELECT t.table_name, t.table_type, coalesce(e.transactions, 'NO') FROM information_schema.tables t"
    " LEFT JOIN information_schema.engines e ON e.engine = t.engine"
    " WHERE t.table_schema = coalesce(:schema, database())"
)
_COLUMNS: Final = text(
    "SELECT table_name, column_name, coalesce(extra, ''), character_set_name, collation_name"
    " FROM information_schema.columns WHERE table_schema = coalesce(:schema, database())"
)


def folded(column: Column[Any]) -> ColumnElement[Any]:
    """A text as addresses are compared: in lower case, without spaces around it."""
    if _LETTERS not in column.info:
        return func.lower(func.trim(column))
    return func.lower(cast(func.trim(column), CHAR(charset="utf8mb4")).collate("utf8mb4_bin"))


def exactly(column: Column[Any], values: BindParameter[Any]) -> ColumnElement[bool]:
    """A column that holds one of these, letter by letter; found through its index all the same."""
    if _LETTERS not in column.info:
        return column.in_(values)
    alike = column.in_(bindparam(values.key, expanding=True, type_=Spelt(*column.info[_LETTERS])))
    return and_(alike, cast(cast(column, CHAR(charset="utf8mb4")), BINARY()).in_(values))


def is_one(table: Table) -> bool:
    """Whether a table is of MySQL or MariaDB."""
    return _OURS in table.info


def finds_first(table: Table) -> bool:
    """Whether rows are to be found first, and locked by their keys.

    What is gone through with a lock is waited for there, row by row: an order would wait for everybody else's.
    """
    return is_one(table)


class Spelt(TypeDecorator[str]):
    """A text in the letters of a column, compared by its rules; one that they cannot spell gets question marks."""

    impl = String
    cache_ok = True

    def __init__(self, charset: str, collation: str) -> None:
        super().__init__()
        self.charset = charset
        self.collation = collation

    def bind_expression(self, bindparam: BindParameter[str]) -> ColumnElement[str]:
        return cast(bindparam, CHAR(charset=self.charset)).collate(self.collation)


def faults(mapping: OfficeMapping, tables: Mapping[str, Table]) -> Iterator[Fault]:
    """What of the live tables would have an order do something else than its receipt says. ``tables``: by entry."""
    for name, table in tables.items():
        entry = mapping.collections[name]
        for place, problem in _of_table(entry, table) if _OURS in table.info else ():
            yield Fault(f"collections.{name}{place}", problem)
        owner = entry.owned_by
        parent = tables.get(owner.collection) if owner is not None and _OURS in table.info else None
        if owner is not None and parent is not None and owner.field in table.c and owner.parent_field in parent.c:
            kinds = {_kind(table.c[owner.field]), _kind(parent.c[owner.parent_field])}
            if len(kinds) > 1:
                both = f"{owner.collection}.{owner.parent_field} are of two kinds ({' and '.join(sorted(kinds))})"
                yield Fault(f"collections.{name}.owned_by", f"{owner.field} and {both}: '5 a' would be 5")


def _of_table(entry: Entry, table: Table) -> Iterator[tuple[str, str]]:
    if _NOT_IN_ONE_PIECE in table.info:
        yield "", "the table has no transactions (MyISAM?): it cannot be changed in one piece. Make it InnoDB"
    if _KEEPS_ALL in table.info:
        yield "", "the table is system versioned: it keeps whatever is deleted from it"
    found_by = {f".found_by.{place}": one.field for place, one in enumerate(entry.found_by)}
    found_by |= {f".mentions.{place}.found_by": one.found_by.field for place, one in enumerate(entry.mentions)}
    for place, field in found_by.items():
        if field in table.c and _kind(table.c[field]) != "text":
            yield place, f"{field} holds {_kind(table.c[field])}, and an address is text"
    for place, decides in _dates(entry):
        if decides is not None and decides in table.c and _BY_EVERY_CHANGE in table.c[decides].info:
            yield place, f"{decides} is set by every change (ON UPDATE), ours included: it is no date to decide by"


def _dates(entry: Entry) -> Iterator[tuple[str, str | None]]:
    """The columns whose date decides what becomes of a row."""
    keeps = {f".mentions.{place}.keep": one.keep for place, one in enumerate(entry.mentions)}
    keeps[".erasure.keep"] = None if entry.erasure is None else entry.erasure.keep
    yield ".fresh_by", entry.fresh_by
    yield from ((f"{place}.counted_from", keep.counted_from) for place, keep in keeps.items() if keep is not None)
    yield ".retention.counted_from", None if entry.retention is None else entry.retention.counted_from


def _kind(column: Column[Any]) -> str:
    """What a column holds, so far as comparisons tell it apart."""
    try:
        kind = column.type.python_type
    except NotImplementedError:
        return "something of its own"
    return _KINDS.get(kind, kind.__name__)
