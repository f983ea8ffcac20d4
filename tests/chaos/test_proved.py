"""P6 to P8: every case closes on proof, each effect once, whatever is killed; and a run that cannot fail is no run.

Six kills over three subsidiaries in the normal run, a third of them in pairs; `slow` has a thousand cases over ten. The
machinery is in `tests/chaos/proved.py`, which may be called by hand with any seed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.faults import Fault
from tests.chaos.proved import KILLS, LONG_KILLS, LONG_PACE, Report, plan, run
from tests.chaos.unproved import command

SEED = int(os.environ.get("GREFFIER_TEST_SEED", "20261122"))


def is_proved(report: Report, kills: int) -> None:
    print(report)
    assert report.held, report
    assert sum(report.kills.values()) >= kills, report
    assert report.counts, f"nothing came twice: the run has tried nothing\n{report}"


@pytest.mark.timeout(300)
async def test_every_case_closes_on_proof_whatever_is_killed(fast_path: Path) -> None:
    report = await run(fast_path, plan(SEED, KILLS), seed=SEED, cases=24, offices=3)
    is_proved(report, KILLS)
    assert report.proved.cases == 28


@pytest.mark.slow
@pytest.mark.timeout(3_600)
async def test_a_thousand_cases_over_ten_subsidiaries(fast_path: Path) -> None:
    faults = plan(SEED + 1, LONG_KILLS, LONG_PACE)
    report = await run(fast_path, faults, seed=SEED + 1, cases=1_000, offices=10, controllers=2)
    is_proved(report, LONG_KILLS)
    assert report.proved.cases >= 1_004


async def caught(data: Path, fault: Fault, **broken: tuple[str, ...]) -> str:
    report = await run(data, [fault], seed=SEED, cases=12, offices=2, silent=0, **broken)
    print(report)
    assert not report.held, report
    return "\n".join(report.proved.faults)


@pytest.mark.timeout(300)
async def test_a_controller_that_closes_without_the_second_look_is_caught(fast_path: Path) -> None:
    fault = Fault("office", 1.0, 0.0, (0.0, 0.0), "redis")
    said = await caught(fast_path, fault, controller=command("closes-early", "controller"))
    assert "before" in said


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_controller_that_believes_receipts_before_it_keeps_them_is_caught(fast_path: Path) -> None:
    fault = Fault("controller", 4.0, 0.0, (0.0, 0.0), "redis")
    said = await caught(fast_path, fault, controller=command("keeps-later", "controller"))
    assert "tasks without a signed answer" in said


@pytest.mark.timeout(300)
async def test_an_office_that_does_again_what_it_has_done_is_caught(fast_path: Path) -> None:
    fault = Fault("frozen", 0.5, 0.0, (30.0, 0.0), "redis")
    said = await caught(fast_path, fault, office=command("forgets"))
    assert "tasks whose answers differ" in said
