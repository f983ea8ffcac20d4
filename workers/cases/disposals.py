"""Disposals: every subsidiary is asked once a day to let go of what is over in its own store, and counts what went.

A task of its own in each store's orders, with the same back-off and the same rules for its receipt as a case; it names
the register's periods and nobody. What a store answers is kept with the task; who is silent is asked anew each day.
Source: R13, R25, R28; P7, P9.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from schemas.calendar import civil_day
from schemas.orders import DISPOSE
from schemas.register import Register
from workers.rules.cases import TaskState
from workers.services import Services
from workers.stores.mongo import Document


async def open_disposals(services: Services) -> int:
    """Open today's task for every subsidiary; how many there are. Whatever its transfer basis: it ends processing."""
    now = services.clock()
    tasks = [_task(store, now) for store in services.trust.register.subsidiaries]
    await services.office_disposals.open(civil_day(now), tasks)
    return len(tasks)


def _task(store: str, now: datetime) -> Document:
    on = civil_day(now).isoformat()
    return {
        "_id": f"retention-{on}/{store}",
        "case": f"retention-{on}",
        "store": store,
        "state": TaskState.WAITING.value,
        "ask": DISPOSE,
        "attempt": 0,
        "send_at": now,
        "on": on,
    }


def is_disposal(task: Document) -> bool:
    """Whether a task is of no case and about nobody."""
    return bool(task["ask"] == DISPOSE)


def entries_of(register: Register, tasks: Sequence[Document]) -> list[tuple[Document, list[dict[str, Any]]]]:
    """What an order says of each: the periods of today's register."""
    periods = periods_of(register)
    return [
        (task, [{name: task[name] for name in ("attempt", "ask", "on")} | {"task": task["_id"], "periods": periods}])
        for task in tasks
    ]


def periods_of(register: Register) -> list[dict[str, str]]:
    """As an order says them, by retention rule."""
    return [
        {"rule": name, "active": rule.active, **({"archive": rule.archive} if rule.archive else {})}
        for name, rule in register.retention.items()
    ]
