"""Did each effect happen once, to whom it was asked for, and to nobody else? Row by row, in the offices' own stores."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from schemas.terms import Right
from tests.chaos.checker import Faults
from tests.chaos.group import Group, Person
from tests.workers.subsidiary.kits import COLUMNS, everything

Row = dict[str, Any]
Tables = Mapping[str, Sequence[Row]]

SPECIMENS: Final = re.compile(r"specimen-\d+@example\.org")

_OBJECTION_SETS: Final = {"newsletter", "opted_out_at"}


@dataclass(frozen=True)
class Told:
    """What a task's receipt tells: its collections."""

    state: str
    collections: Sequence[Mapping[str, Any]]


async def read_rows(group: Group) -> dict[str, dict[str, list[Row]]]:
    """Office → table → rows, as an independent client sees them."""
    return {code: {table: await kit.rows(table) for table in COLUMNS} for code, kit in group.kits.items()}


async def check_rows(
    findings: Faults,
    group: Group,
    everybody: Sequence[Person],
    before: Mapping[str, Tables],
    told: Mapping[tuple[int, str], Sequence[Told]],
) -> int:
    """How many rows were erased or anonymised."""
    after = await read_rows(group)
    effects = 0
    for code, kit in group.kits.items():
        then, now = _by_owner(before[code]), _by_owner(after[code])
        named = set(SPECIMENS.findall((await everything(kit)).lower()))
        for one in everybody:
            theirs, left = then.get(one.number, {}), now.get(one.number, {})
            wrong = [f"{one.email} at {code}: {what}" for what in _wrong(one, theirs, left)]
            if one.right is not None:
                signed = _sums(told.get((one.number, code), ()))
                seen = _seen(theirs, left)
                effects += sum(count for (_, what), count in seen.items() if what in ("erased", "anonymised"))
                wrong += _miscounted(one, code, signed, seen)
            if one.right is Right.ERASURE and "invoices" not in theirs and one.email in named:
                wrong.append(f"{one.email} at {code}: named in the store")
            findings.blame("effects that are not as asked or as told", wrong)
    return effects


def _by_owner(tables: Tables) -> dict[int, dict[str, dict[int, Row]]]:
    """Person → table → id → row: every id says whose it is."""
    found: dict[int, dict[str, dict[int, Row]]] = {}
    for table, rows in tables.items():
        for row in rows:
            owner = row["id"] // 10 if table == "visits" else row["id"]
            found.setdefault(owner, {}).setdefault(table, {})[row["id"]] = row
    return found


def _wrong(one: Person, before: Mapping[str, Mapping[int, Row]], after: Mapping[str, Mapping[int, Row]]) -> list[str]:
    """What is there and should not be, or is not as it should be."""
    match one.right:
        case None | Right.ACCESS:
            return [] if before == after else ["touched, and nothing was to be changed"]
        case Right.OBJECTION:
            kept = {table: rows for table, rows in before.items() if table != "subscribers"}
            return [] if _without_marks(kept) == _without_marks(after) else ["more than the list was touched"]
        case Right.ERASURE:
            kept_tables = {"invoices", "customers"} if "invoices" in before else set()
            left = {table for table, rows in after.items() if any(not _anonymous(row) for row in rows.values())}
            return [] if left == kept_tables else [f"left: {sorted(left)}, to be kept: {sorted(kept_tables)}"]


def _without_marks(tables: Mapping[str, Mapping[int, Row]]) -> dict[str, dict[int, Row]]:
    return {
        table: {key: {name: row[name] for name in row if name not in _OBJECTION_SETS} for key, row in rows.items()}
        for table, rows in tables.items()
    }


def _anonymous(row: Row) -> bool:
    return str(row.get("email", "")).startswith("removed-") and row.get("name") is None


def _seen(before: Mapping[str, Mapping[int, Row]], after: Mapping[str, Mapping[int, Row]]) -> Counter[tuple[str, str]]:
    """(Table, what) → of how many rows, as the rows show it."""
    seen: Counter[tuple[str, str]] = Counter()
    for table, rows in before.items():
        left = after.get(table, {})
        seen[table, "erased"] += sum(key not in left for key in rows)
        seen[table, "anonymised"] += sum(_anonymous(left[key]) for key in rows if key in left)
    return +seen


def _sums(told: Sequence[Told]) -> Counter[tuple[str, str]]:
    """The same, as the receipts tell it."""
    signed: Counter[tuple[str, str]] = Counter()
    for task in told:
        for one in task.collections:
            for what in ("erased", "anonymised"):
                signed[one["name"], what] += one.get(what, 0)
    return +signed


def _miscounted(one: Person, code: str, signed: Counter[tuple[str, str]], seen: Counter[tuple[str, str]]) -> list[str]:
    return [] if signed == seen else [f"{one.email} at {code}: signed {dict(signed)}, seen {dict(seen)}"]
