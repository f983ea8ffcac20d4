"""Ticks at the worker: done once, in order, whatever repeats or is late; what ``status`` says of them. P2, P9."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from schemas.envelope import Event
from schemas.errors import StoreUnavailable
from schemas.ticks import PARKED_LETTERS, SCHEDULE, tick
from tests.factories import NOON
from tests.workers.actors.ticking import HOUR, deliver, run, ticks
from tests.workers.bench import Bench
from workers.actors import chores
from workers.actors.chores import CHORES, Part
from workers.actors.work import SomeFailed
from workers.services import Services
from workers.status import look_around
from workers.stores.ticks import Ticks

Promise = Callable[[Bench, list[datetime]], Awaitable[None]]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """At which moments the hourly chore ran; it runs as ever."""
    found: list[datetime] = []
    real = CHORES[PARKED_LETTERS]

    async def counted(services: Services) -> Part:
        found.append(services.clock())
        return await real(services)

    monkeypatch.setitem(chores.CHORES, PARKED_LETTERS, counted)  # type: ignore[arg-type]
    return found


def at(bench: Bench, hour: int) -> Event:
    """The tick of that hour, delivered in time."""
    bench.clock.at = NOON.replace(hour=hour, second=1)
    return tick(PARKED_LETTERS, NOON.replace(hour=hour), bench.clock.at)


async def test_a_tick_is_kept_with_what_became_of_it(bench: Bench, runs: list[datetime]) -> None:
    await deliver(bench, at(bench, 12))
    [kept] = bench.collection("ticks", "evidence")
    second_past = NOON + timedelta(seconds=1)
    assert kept == {
        "_id": f"{PARKED_LETTERS}.2026-11-20T12:00:00.000Z",
        "chore": PARKED_LETTERS,
        "planned": NOON,
        "counts": {"erased": 0},
        **dict.fromkeys(("received", "begun", "done"), second_past),
    }
    assert runs == [second_past]


async def a_doubled_tick_changes_nothing(bench: Bench, runs: list[datetime]) -> None:
    event = at(bench, 12)
    await deliver(bench, event)
    before = ticks(bench)
    bench.clock.at = NOON + HOUR / 2
    await deliver(bench, event)
    await deliver(bench, tick(PARKED_LETTERS, NOON, NOON + HOUR / 2))  # of another clock
    assert (len(runs), ticks(bench)) == (1, before)


async def an_overtaken_tick_is_noted_and_not_run(bench: Bench, runs: list[datetime]) -> None:
    early, late = at(bench, 12), at(bench, 13)
    await deliver(bench, late)
    await deliver(bench, early)
    assert len(runs) == 1
    assert set(ticks(bench)[NOON]) == {"_id", "chore", "planned", "received", "overtaken"}
    await deliver(bench, at(bench, 14))
    assert len(runs) == 2


PROMISES = (a_doubled_tick_changes_nothing, an_overtaken_tick_is_noted_and_not_run)


@pytest.mark.parametrize("promise", PROMISES)
async def test_a_tick_that_comes_again_or_late(bench: Bench, runs: list[datetime], promise: Promise) -> None:
    await promise(bench, runs)


@pytest.mark.parametrize(("promise", "broken"), [*zip(PROMISES, ("receive", "overtaken"), strict=True)])
async def test_a_worker_that_forgets_what_was_done_is_noticed(
    bench: Bench, runs: list[datetime], monkeypatch: pytest.MonkeyPatch, promise: Promise, broken: str
) -> None:
    """Broken on purpose: it notes that a tick came, and is told of nothing that was done."""
    real = getattr(Ticks, broken)

    async def forgets(*given: Any) -> None:
        await real(*given)

    monkeypatch.setattr(Ticks, broken, forgets)
    with pytest.raises(AssertionError):
        await promise(bench, runs)


async def test_a_clock_that_ran_far_ahead_silences_no_right_tick(bench: Bench, runs: list[datetime]) -> None:
    """Its own clock alone was wrong. What it asked for too early is done again when it is due."""
    bench.clock.at = NOON + timedelta(seconds=1)
    ahead = tick(PARKED_LETTERS, NOON + 2 * HOUR, NOON + 2 * HOUR)
    await deliver(bench, ahead)
    await deliver(bench, at(bench, 12))
    await deliver(bench, at(bench, 13))
    await deliver(bench, at(bench, 14))
    assert len(runs) == 4
    assert ticks(bench)[NOON + 2 * HOUR]["done"] == NOON + 2 * HOUR + timedelta(seconds=1)


async def test_a_clock_that_is_a_little_ahead_is_no_reason_to_do_it_twice(bench: Bench, runs: list[datetime]) -> None:
    for ahead in (2, 1):
        bench.clock.at = NOON - timedelta(seconds=ahead)
        await deliver(bench, tick(PARKED_LETTERS, NOON, NOON))
    assert len(runs) == 1


async def test_a_tick_whose_chore_died_is_done_when_it_comes_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, runs: list[datetime]
) -> None:
    event = at(bench, 12)
    for fault in (StoreUnavailable("away"), RuntimeError("a defect")):
        with monkeypatch.context() as broken:
            broken.setitem(chores.CHORES, PARKED_LETTERS, failing(fault))  # type: ignore[arg-type]
            with pytest.raises((StoreUnavailable, SomeFailed)):
                await deliver(bench, event)
        assert "done" not in ticks(bench)[NOON]
    bench.clock.at = NOON + HOUR / 2
    await deliver(bench, event)
    assert (ticks(bench)[NOON]["begun"], ticks(bench)[NOON]["done"]) == (NOON + timedelta(seconds=1), NOON + HOUR / 2)


def failing(fault: Exception) -> Callable[[Services], Any]:
    async def chore(_: Services) -> Part:
        raise fault

    return chore


async def test_a_chore_that_nobody_knows_is_parked(bench: Bench) -> None:
    await deliver(bench, tick("next-year-s-chore", NOON, NOON))
    assert bench.reasons() == ["unknown_chore"]
    assert ticks(bench) == {}


# ---------------------------------------------------------------------- what status says


async def test_status_shows_each_chore_and_a_missed_one_as_an_alarm(bench: Bench) -> None:
    async def look() -> Any:
        found = await look_around(bench.services, bench.redis)
        return replace(found, alarms=tuple(alarm for alarm in found.alarms if alarm.startswith("chore")))

    bench.clock.at = NOON + timedelta(minutes=1)
    assert [chore.chore for chore in (await look()).chores] == list(SCHEDULE)
    assert (await look()).alarms == (), "nothing ever came in: nothing was to be done"
    await run(bench, PARKED_LETTERS, NOON + timedelta(minutes=1))
    [letters] = [chore for chore in (await look()).chores if chore.chore == PARKED_LETTERS]
    assert (letters.planned, letters.next_due) == ("2026-11-20T12:00:00.000Z", "2026-11-20T13:00:00.000Z")
    assert letters.done == "2026-11-20T12:01:00.000Z"
    mine = f"chore {PARKED_LETTERS}: last done 2026-11-20T12:01:00.000Z"
    bench.clock.at = NOON + 2 * HOUR - timedelta(minutes=1)
    assert not any(alarm.startswith(mine) for alarm in (await look()).alarms)
    bench.clock.at = NOON + 2 * HOUR
    assert any(alarm.startswith(mine) for alarm in (await look()).alarms)
    bench.clock.at = NOON + timedelta(days=4)
    assert len((await look()).alarms) == len(SCHEDULE), "the others were never done at all"
