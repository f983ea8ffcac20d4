"""Delivering ticks to a bench, as the actor of the queue ``retention`` is delivered them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from schemas.envelope import Event
from schemas.routes import RETENTION
from schemas.ticks import SCHEDULE, tick
from tests.workers.bench import Bench, Document
from workers.actors import retention
from workers.actors.retention import keep_ticks
from workers.actors.work import work

HOUR = timedelta(hours=1)


async def deliver(
    bench: Bench, *events: Event, slice_s: float = retention.SLICE_S, wire: Document | None = None
) -> Any:
    """Work on a message of ticks as its actor does; the positions that were put back."""
    back: list[int] = []

    async def again(positions: list[int]) -> None:
        back.extend(positions)

    await work(bench.services, RETENTION, wire or bench.seal(*events), keep_ticks(again, slice_s))
    return back


async def run(bench: Bench, chore: str, at: datetime) -> Document:
    """The chore at that moment; its tick as it stands then."""
    bench.clock.at = at
    planned = SCHEDULE[chore].latest(at)
    while await deliver(bench, tick(chore, planned, at)):
        pass
    [kept] = [
        one for one in bench.collection("ticks", "evidence") if (one["chore"], one["planned"]) == (chore, planned)
    ]
    return kept


def ticks(bench: Bench) -> dict[datetime, Document]:
    return {one["planned"]: one for one in bench.collection("ticks", "evidence")}
