"""``idle``: what the whole system costs while nothing happens, in percent of one core."""

from __future__ import annotations

import time
from typing import Final

import psutil

from schemas.routes import CONSENT
from tests.benchmarks.report import Figures
from tests.benchmarks.samples import Samples
from tests.benchmarks.stage import Stage, running_system

SETTLE_S: Final = 5.0
"""After the start and a little work: checkpoints and first heartbeats are over."""


def idle(n: int) -> Figures:
    """``n``: seconds to watch."""
    with running_system(whole=True) as stage:
        stage.post(CONSENT, list(Samples().consents(10)), 10)
        stage.wait_persisted(CONSENT, "consents", 10)
        stage.close()  # our own clients ping their servers
        time.sleep(min(SETTLE_S, n))
        before, began = _cpu_seconds(stage), time.monotonic()
        time.sleep(n)
        after, seconds = _cpu_seconds(stage), time.monotonic() - began
        percent = {name: round(100 * (after[name] - before[name]) / seconds, 2) for name in before}
        return {
            "bench": "idle",
            "n": n,
            "core_percent": round(sum(percent.values()), 2),
            **{f"{name}_percent": value for name, value in percent.items()},
            "rss_mib": stage.rss_mib(),
        }


def _cpu_seconds(stage: Stage) -> dict[str, float]:
    """Process by name → seconds of processor time so far, its children included."""
    return {name: _with_children(psutil.Process(pid)) for name, pid in stage.pids.items()}


def _with_children(process: psutil.Process) -> float:
    family = [process, *process.children(recursive=True)]
    times = [one.cpu_times() for one in family]
    return sum(time.user + time.system for time in times)
