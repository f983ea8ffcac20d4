"""``greffier publish``: a file of CloudEvents, one a line, straight into Redis.

Source: design § 6 "Commands"; R27.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from rich.progress import Progress

from producers.publishing import Outcome, SyncPublisher
from producers.settings import DoorSettings
from schemas import strict_json
from schemas.envelope import MAX_EVENTS
from schemas.errors import InvalidMessage

SHOWN: Final = 20
"""Refusals printed in full; the rest are counted."""


@dataclass(slots=True)
class BulkOutcome:
    """``refused``: by line number, with codes and pointers and no content."""

    accepted: int = 0
    refused: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> str:
        return json.dumps({"accepted": self.accepted, "refused": self.refused})

    def as_text(self) -> str:
        lines = [f"{self.accepted} accepted, {len(self.refused)} refused"]
        for refusal in self.refused[:SHOWN]:
            faults = "; ".join(f"{error['pointer'] or '/'} {error['detail']}" for error in refusal["errors"])
            lines.append(f"  line {refusal['line']}: {faults}")
        if len(self.refused) > SHOWN:
            lines.append(f"  and {len(self.refused) - SHOWN} more")
        return "\n".join(lines)


def publish_lines(settings: DoorSettings, lines: Iterable[bytes], *, quiet: bool) -> BulkOutcome:
    """Publish every line that is an event. Raises :class:`QueueUnavailable` when Redis cannot promise: run it again,
    the events keep their ids and what is in already is not doubled.
    """
    found = BulkOutcome()
    progress = Progress(disable=quiet or not sys.stderr.isatty())
    with SyncPublisher.from_settings(settings) as publisher, progress:
        task = progress.add_task("publishing", total=None)
        for numbers, events in _chunks(lines, found):
            _add(found, numbers, publisher.publish_events(events))
            progress.update(task, completed=found.accepted + len(found.refused))
    return found


def _chunks(lines: Iterable[bytes], found: BulkOutcome) -> Iterator[tuple[list[int], list[Any]]]:
    numbers: list[int] = []
    events: list[Any] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            events.append(strict_json.parse(line))
            numbers.append(number)
        except InvalidMessage as error:
            found.refused.append({"line": number, "errors": [{"detail": error.code, "pointer": ""}]})
        if len(events) == MAX_EVENTS:
            yield numbers, events
            numbers, events = [], []
    if events:
        yield numbers, events


def _add(found: BulkOutcome, numbers: list[int], outcomes: list[Outcome]) -> None:
    for number, outcome in zip(numbers, outcomes, strict=True):
        if outcome.accepted:
            found.accepted += 1
        else:
            errors = [{"detail": problem.detail, "pointer": problem.pointer} for problem in outcome.problems]
            found.refused.append({"line": number, "errors": errors})
