"""Rights requests as they must not be served: each variant breaks one rule, and the explorer must find it.

With each goes what its schedules need: a rule about restores is not broken where nothing is restored.
Source: P6, P7, P11; reliability § 7, § 9.5.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import pytest
from joserfc import jws

from schemas.fields import wire_moment
from schemas.terms import Right
from workers.cases import receiving
from workers.rules import cases as rules
from workers.stores import cases as cases_module
from workers.stores.cases import Cases
from workers.stores.subsidiaries.adapter import Subject
from workers.stores.subsidiaries.journal import Journal, Tombstone

Begun = tuple[str, Right, Subject, Collection[dict[str, Any]]]


@dataclass(frozen=True)
class Variant:
    """``chances``: of :class:`tests.chaos.casting.Chances`, those without which it is not seen;
    ``fault``: a part of what is found.
    """

    name: str
    break_it: Callable[[pytest.MonkeyPatch], None]
    chances: Mapping[str, float] = field(default_factory=dict)
    fault: str = ""


def signature_not_held_against_its_store(monkeypatch: pytest.MonkeyPatch) -> None:
    def believe(token: str, *_: Any, **__: Any) -> Any:
        return json.loads(jws.extract_compact(token.encode()).payload)

    monkeypatch.setattr(receiving, "verify", believe)


def closed_at_receipts(monkeypatch: pytest.MonkeyPatch) -> None:
    def answered(task: rules.Task) -> bool:
        return task.answered

    monkeypatch.setattr(rules, "_is_proved", answered)


def looked_at_before_it_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(*_: Any) -> bool:
        return True

    monkeypatch.setattr(rules, "_settled", at_once)


def attempt_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a store said before it was asked anew is taken for what it says now."""
    changes = receiving._changes

    def of_any_attempt(task: dict[str, Any], *rest: Any) -> dict[str, Any]:
        return changes({**task, "void_attempts": 0}, *rest)

    monkeypatch.setattr(receiving, "_changes", of_any_attempt)


def change_without_comparing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases_module, "_as_read", lambda document: {"_id": document["_id"]})


def lost_order_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async def none(self: Cases, now: datetime) -> list[str]:
        return []

    monkeypatch.setattr(Cases, "stores_to_send", none)


def journal_after_the_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is about to be done is written down together with what was done."""
    begin, finish = Journal.begin, Journal.finish
    held: dict[int, list[tuple[list[Begun], datetime]]] = {}

    def hold_back(self: Journal, tasks: Iterable[Begun], at: datetime) -> None:
        held.setdefault(id(self), []).append((list(tasks), at))

    def write_both(self: Journal, entries: Iterable[dict[str, Any]]) -> None:
        for tasks, at in held.pop(id(self), []):
            begin(self, tasks, at)
        finish(self, entries)

    monkeypatch.setattr(Journal, "begin", hold_back)
    monkeypatch.setattr(Journal, "finish", write_both)


def tombstone_after_the_deletion(monkeypatch: pytest.MonkeyPatch) -> None:
    """That somebody is about to be erased is written down first; who it is, when it is done."""
    begin, finish = Journal.begin, Journal.finish
    stones: dict[str, dict[str, Any]] = {}

    def begin_nameless(self: Journal, tasks: Iterable[Begun], at: datetime) -> None:
        asked = list(tasks)
        for task, right, subject, _ in asked:
            told = {"right": right.value, "received_at": wire_moment(subject.received_at), "at": wire_moment(at)}
            stones[task] = {"line": "begun", "task": f"{task}-stone", **told, "marks": self.marks(subject), "stood": []}
        with pytest.MonkeyPatch.context() as nameless:
            nameless.setattr(Journal, "marks", lambda *_: [])
            begin(self, asked, at)

    def finish_and_name(self: Journal, entries: Iterable[dict[str, Any]]) -> None:
        done = list(entries)
        finish(self, done)
        self._append(stones[entry["task"]] for entry in done if entry["task"] in stones)

    monkeypatch.setattr(Journal, "begin", begin_nameless)
    monkeypatch.setattr(Journal, "finish", finish_and_name)


def replay_skips_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    tombstones = Journal.tombstones

    def all_but_the_last(self: Journal) -> dict[str, Tombstone]:
        tasks = list(self._tasks)
        last = {name: self._tasks.pop(name) for name in tasks[-1:]}
        try:
            return tombstones(self)
        finally:
            self._tasks.update(last)

    monkeypatch.setattr(Journal, "tombstones", all_but_the_last)


VARIANTS: Final = (
    Variant("signature not held against its store", signature_not_held_against_its_store, {"forger": 1.0}),
    Variant("closed at receipts", closed_at_receipts),
    Variant("looked at before it settled", looked_at_before_it_settled),
    Variant("attempt ignored", attempt_ignored, {"old_row": 1.0, "staff": 1.0, "repeater": 1.0}),
    Variant("change without comparing", change_without_comparing, {"doubled": 0.6}),
    Variant("lost order forgotten", lost_order_forgotten, {"lost": 0.4}),
    Variant("journal after the effect", journal_after_the_effect, {"dying": 0.9}),
    Variant("tombstone after the deletion", tombstone_after_the_deletion, {"restore": 1.0}),
    Variant("replay skips the last", replay_skips_the_last, {"restore": 1.0}),
)
