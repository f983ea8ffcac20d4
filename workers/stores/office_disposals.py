"""What each subsidiary is asked to dispose of, a task a day, and what it reported: in **evidence**, beside other tasks.

A day that has come makes the open tasks of the days before it idle: who was away is asked once, for today.
Source: R13, R25.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from schemas.fields import wire_moment
from schemas.orders import DISPOSE
from workers.rules.cases import TaskState
from workers.stores.mongo import Collection, Databases, Document, available, insert_new


@dataclass(frozen=True, slots=True)
class Reported:
    """A subsidiary's last report, counted over its collections. ``silent_since``: the first day it has not answered.

    ``on``, ``at``: for which day it was asked, and when it answered; None where it never did. ``reason``: why it
    refused. ``grounds``: on which it kept what is over.
    """

    store: str
    silent_since: str | None
    on: str | None = None
    at: str | None = None
    outcome: str | None = None
    reason: str | None = None
    erased: int = 0
    anonymised: int = 0
    retained: int = 0
    grounds: tuple[str, ...] = ()


class OfficeDisposals:
    """Tasks of the ask ``dispose``."""

    def __init__(self, databases: Databases) -> None:
        self._tasks: Collection = databases.evidence["tasks"]

    async def open(self, on: date, tasks: Sequence[Document]) -> None:
        """Keep the tasks of a day, once, and ask no more for the days before it."""
        await insert_new(self._tasks, [{**task, "version": 1} for task in tasks])
        before = {"ask": DISPOSE, "on": {"$lt": on.isoformat()}, "send_at": {"$exists": True}}
        with available():
            await self._tasks.update_many(before, {"$unset": {"send_at": ""}, "$inc": {"version": 1}})

    async def reported(self, stores: Sequence[str]) -> list[Reported]:
        """How each of these stands."""
        return [await self._reported(store) for store in stores]

    async def _reported(self, store: str) -> Reported:
        asked: Document = {"store": store, "ask": DISPOSE}
        answered = asked | {"state": TaskState.RECEIPTED.value}
        with available():
            last = await self._tasks.find_one(answered, {"on": 1, "entry": 1, "answered_at": 1}, sort=[("on", -1)])
            since = {"on": {"$gt": last["on"]}} if last else {}
            owed = await self._tasks.find_one(asked | since, {"on": 1}, sort=[("on", 1)])
        silent_since = owed["on"] if owed else None
        return Reported(store, silent_since) if last is None else _told(store, silent_since, last)


def _told(store: str, silent_since: str | None, task: Mapping[str, Any]) -> Reported:
    entry = task["entry"]
    return Reported(
        store,
        silent_since,
        on=task["on"],
        at=wire_moment(task["answered_at"]),
        outcome=entry["outcome"],
        reason=entry.get("reason"),
        erased=_sum(entry, "erased"),
        anonymised=_sum(entry, "anonymised"),
        retained=_sum(entry, "retained"),
        grounds=tuple(sorted({one["ground"] for one in entry["collections"] if "ground" in one})),
    )


def _sum(entry: Mapping[str, Any], what: str) -> int:
    return sum(one.get(what, 0) for one in entry["collections"])
