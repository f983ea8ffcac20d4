"""Stores full of people, made by luck from a seed; and what is left of them, comparable.

People may share rows, came back after their request, and must in part be kept.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from tests.workers.subsidiary.controller import RECEIVED_AT, old
from tests.workers.subsidiary.kits import CHILDREN_FIRST, COLUMNS, Kit, Row
from workers.stores.subsidiaries.adapter import Subject

LATER = datetime(2026, 11, 10, tzinfo=UTC)

Rows = dict[str, list[Row]]


def people(number: int) -> list[Subject]:
    """Some have two addresses; nobody has another's."""
    return [
        Subject((f"p{one}@example.com", f"Second{one}@example.org")[: 1 + one % 2], RECEIVED_AT)
        for one in range(number)
    ]


def crowd(rng: random.Random, subjects: Sequence[Subject], shared: float = 0.0, strangers: int = 3) -> Rows:
    """A store that holds most of these people, and strangers beside them.

    ``shared``: how likely a customer has a second address, of whomever.
    """
    everybody = [*subjects, *(Subject((f"stranger{one}@example.net",), RECEIVED_AT) for one in range(strangers))]
    rows: Rows = {name: [] for name in COLUMNS}

    def add(name: str, /, **values: Any) -> int:
        rows[name].append({"id": len(rows[name]) + 1, **values})
        return len(rows[name])

    def address(subject: Subject) -> str:
        spelt = rng.choice(subject.emails)
        return rng.choice((spelt, spelt.lower(), spelt.upper()))

    def moment() -> datetime:
        return LATER if rng.random() < 0.2 else old(rng.randrange(5, 500))

    def customer(subject: Subject) -> int:
        other = address(rng.choice(everybody)) if rng.random() < shared else None
        told = {"registered_at": moment(), "newsletter": rng.random() < 0.7, "opted_out_at": None}
        return add("customers", email=address(subject), other_email=other, name="Sample", **told)

    for subject in everybody:
        for _ in range(rng.choice((0, 1, 1, 2))):
            number = customer(subject)
            for _ in range(rng.choice((0, 0, 1, 2))):
                day = rng.choice((None, date(2009, 3, 1), date(2020, 3, 1)))
                add("invoices", customer_id=number, number="F", issued_on=day)
            for _ in range(rng.choice((0, 1, 3))):
                add("visits", customer_id=number, at=moment())
        if rng.random() < 0.5:
            add("leads", email=address(subject), name="Sample")
        if rng.random() < 0.5:
            add("subscribers", address=rng.choice(subject.emails).lower())
        if rng.random() < 0.3:
            add("meetings", guest=address(subject), guest_name="Sample", title="Launch")
        if rng.random() < 0.2:
            add("contracts", signatory=address(subject), title="Lease")
    return rows


async def fill(kit: Kit, rows: Rows) -> None:
    """Put in these rows and no others."""
    await kit.empty()
    for name in reversed(CHILDREN_FIRST):
        if rows[name]:
            await kit.insert(name, *rows[name])


async def left(kit: Kit) -> dict[str, list[Row]]:
    """All that the store holds; words and moments made when they were written are told by their kind alone."""
    return {name: [_comparable(row) for row in await kit.rows(name)] for name in COLUMNS}


def _comparable(row: Row) -> Row:
    made = {key: "removed" for key, value in row.items() if str(value).startswith("removed-")}
    marked = {"opted_out_at": row["opted_out_at"] is not None} if "opted_out_at" in row else {}
    return {**row, **made, **marked}
