"""P1: accepted is kept, exactly once, whatever is killed at whichever instant; and a run that cannot fail is no run.

Twelve kills and more in the normal run, a third of them in pairs; `slow` has sixty. The machinery is in
`tests/chaos/kept.py`, which may be called by hand with any seed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.faults import ACTORS_GIVE_UP_S, Fault, aimed, plan
from tests.chaos.kept import LONG_KILLS, MIN_KILLS, Report, run
from tests.chaos.variants import command

SEED = int(os.environ.get("GREFFIER_TEST_SEED", "20261122"))


def is_kept(report: Report, kills: int) -> None:
    print(report)
    assert report.held, report
    assert sum(report.kills.values()) >= kills, report
    assert report.counts, f"nothing came twice: the run has tried nothing\n{report}"


@pytest.mark.timeout(300)
async def test_every_202_is_kept_exactly_once_whatever_is_killed(fast_path: Path) -> None:
    faults = [*plan(SEED, MIN_KILLS - 2), *aimed(1)]
    is_kept(await run(fast_path, faults, seed=SEED), MIN_KILLS)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
async def test_sixty_kills(fast_path: Path) -> None:
    faults = [*plan(SEED + 1, LONG_KILLS), *aimed(3)]
    is_kept(await run(fast_path, faults, seed=SEED + 1), LONG_KILLS)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_the_stock_broker_loses_what_was_accepted_and_is_caught(fast_path: Path) -> None:
    report = await run(fast_path, aimed(1), seed=SEED, controller=command("stock"))
    print(report)
    assert report.findings.lost, report


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_the_same_run_on_the_stock_broker_loses(fast_path: Path) -> None:
    faults = [*plan(SEED, MIN_KILLS - 2), *aimed(1)]
    report = await run(fast_path, faults, seed=SEED, controller=command("stock"))
    print(report)
    assert report.findings.lost, report


@pytest.mark.timeout(300)
async def test_a_controller_that_acknowledges_before_it_writes_is_caught(fast_path: Path) -> None:
    away = Fault("mongo", 1.0, 0.0, (ACTORS_GIVE_UP_S + 2,) * 2, "mongo")
    report = await run(fast_path, [away], seed=SEED, controller=command("acknowledge-first"), controllers=1)
    print(report)
    assert report.findings.lost, report


@pytest.mark.timeout(300)
async def test_a_door_that_answers_before_redis_has_it_is_caught(fast_path: Path) -> None:
    away = Fault("redis", 1.0, 0.0, (2.0, 2.0), "redis")
    report = await run(fast_path, [away], seed=SEED, door=command("answer-first"), controllers=1)
    print(report)
    assert report.findings.lost, report
