"""Turns: a moment for everybody, spaced, whoever asks at once or again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from tests.workers.bench import Bench
from workers.stores.turns import Lane

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LANE = Lane("test", SECOND)


async def test_each_gets_his_own_moment_however_many_ask_at_once(bench: Bench) -> None:
    turns = await asyncio.gather(*(bench.services.turns.take(LANE, f"holder-{n}", NOW) for n in range(50)))
    assert sorted(turns) == [NOW + n * SECOND for n in range(50)]


async def test_after_a_quiet_time_a_few_go_at_once(bench: Bench) -> None:
    lane = Lane("burst", SECOND, burst=3)
    took = [await bench.services.turns.take(lane, f"holder-{n}", NOW) for n in range(5)]
    assert took == [NOW, NOW, NOW, NOW + SECOND, NOW + 2 * SECOND]
    later = NOW + timedelta(minutes=1)
    assert [await bench.services.turns.take(lane, f"late-{n}", later) for n in range(4)][:3] == [later] * 3


async def test_who_took_the_last_turn_gets_it_again(bench: Bench) -> None:
    """A worker killed after it took one does not wait twice."""
    await bench.services.turns.take(LANE, "first", NOW)
    second = await bench.services.turns.take(LANE, "second", NOW)
    assert await bench.services.turns.take(LANE, "second", NOW + SECOND / 2) == second
    assert await bench.services.turns.take(LANE, "third", NOW) == NOW + 2 * SECOND


async def test_lanes_do_not_wait_for_each_other_and_text_is_no_expression(bench: Bench) -> None:
    await bench.services.turns.take(LANE, "$at", NOW)
    assert await bench.services.turns.take(Lane(b"\x00other", SECOND), "$$ROOT", NOW) == NOW
