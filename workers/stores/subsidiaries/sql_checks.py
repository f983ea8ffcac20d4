"""What of a mapping the live tables do not have: told with its place, before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlalchemy import Table

from schemas.errors import Fault
from workers.stores.subsidiaries import mysql
from workers.stores.subsidiaries.mapping import Collection as Entry
from workers.stores.subsidiaries.mapping import Mapping as OfficeMapping


def faults(mapping: OfficeMapping, tables: Mapping[str, Table]) -> list[Fault]:
    """Tables, columns and primary keys that are missing, and tables that an order could not be served on as it says.

    ``tables``: as reflected, by the entry's name.
    """
    found = []
    for name, entry in mapping.collections.items():
        table = tables.get(name)
        if table is None:
            found.append(Fault(f"collections.{name}", "no such table in the store"))
            continue
        if not table.primary_key.columns:
            found.append(Fault(f"collections.{name}", "the table has no primary key to tell its rows apart"))
        found += [
            Fault(f"collections.{name}{place}", f"no column {field} in the table")
            for place, field in _named_fields(entry)
            if field not in table.c
        ]
    return [*found, *_parents_without_field(mapping, tables), *mysql.faults(mapping, tables)]


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
    if entry.retention is not None:
        yield ".retention.counted_from", entry.retention.counted_from
        if entry.retention.hold is not None:
            yield ".retention.hold", entry.retention.hold
    for right in ("objection", "withdrawal", "restriction"):
        mark = getattr(entry, right)
        yield from ((f".{right}.set.{name}", name) for name in (mark.set if mark is not None else None) or ())
    if entry.objection is not None:
        yield from ((f".objection.lift.{name}", name) for name in entry.objection.lift or ())
    if entry.restriction is not None:
        yield from ((f".restriction.lift.{name}", name) for name in entry.restriction.lift)
    yield from ((f".rectification.{name}", column) for name, column in (entry.rectification or {}).items())
    yield from ((f".composed.{name}", name) for name in entry.composed or ())
    yield from ((f".canary.{name}", name) for name in entry.canary or ())
    for place, mention in enumerate(entry.mentions):
        at = f".mentions.{place}"
        yield f"{at}.found_by", mention.found_by.field
        yield from ((f"{at}.fields.{name}", name) for name in mention.fields)
        yield from ((f"{at}.anonymise.{name}", name) for name in mention.anonymise or ())
        if mention.keep is not None and mention.keep.counted_from is not None:
            yield f"{at}.keep.counted_from", mention.keep.counted_from
