"""``latency``: from the 202 to the document being durable, under a steady load and for a lone event.

Both moments are taken by processes that are not ours, on the machine's one monotonic clock. An event whose notice came
before its 202 counts as 0.
"""

from __future__ import annotations

import multiprocessing
from typing import Any, Final

from schemas.envelope import event_key
from schemas.routes import COOKIES_SOURCE
from tests.benchmarks.load import Submit, another_process, at_a_rate, request
from tests.benchmarks.report import Figures, percentile, say
from tests.benchmarks.samples import Samples
from tests.benchmarks.stage import Stage, running_system
from tests.benchmarks.watch import probe, watch

OFFERED_PER_S: Final = 500
LONE_PER_S: Final = 4.0
MOST_LONE: Final = 60
PROBED: Final = 30
CONNECTIONS: Final = 64
_WARM_UP: Final = 500


def latency(n: int) -> Figures:
    """``n``: seconds for which the load is offered."""
    samples = Samples()
    with running_system() as stage, another_process() as sender, another_process() as watcher:
        _measured(stage, samples, sender, watcher, _WARM_UP, OFFERED_PER_S, CONNECTIONS)
        error = _error_of_the_watch(stage, watcher)
        loaded = _measured(stage, samples, sender, watcher, n * OFFERED_PER_S, OFFERED_PER_S, CONNECTIONS)
        say(f"latency at {OFFERED_PER_S}/s: p50 {percentile(loaded, 50)} ms, p99 {percentile(loaded, 99)} ms")
        lone = _measured(stage, samples, sender, watcher, min(MOST_LONE, 4 * n), LONE_PER_S, 1)
        return {
            "bench": "latency",
            "n": len(loaded),
            "offered_per_s": OFFERED_PER_S,
            "p50_ms": percentile(loaded, 50),
            "p99_ms": percentile(loaded, 99),
            "lone_n": len(lone),
            "lone_p50_ms": percentile(lone, 50),
            "lone_p99_ms": percentile(lone, 99),
            "watch_error_p50_ms": percentile(error, 50),
            "rss_mib": stage.rss_mib(),
        }


def _measured(
    stage: Stage, samples: Samples, sender: Submit, watcher: Submit, count: int, per_second: float, connections: int
) -> list[float]:
    """Milliseconds from the 202 to the notice, per event."""
    bodies = [samples.consent() for _ in range(count)]
    watching = _watching(stage, watcher, count)
    requests = [request("/cookies", body) for body in bodies]
    answered: list[float] = sender(at_a_rate, stage.door_port, requests, per_second, connections).result()
    seen: dict[str, float] = watching.result()
    keys = [event_key(COOKIES_SOURCE, body["id"]) for body in bodies]
    return [max(0.0, seen[key] - at) * 1000 for key, at in zip(keys, answered, strict=True)]


def _error_of_the_watch(stage: Stage, watcher: Submit) -> list[float]:
    """Milliseconds between the acknowledgement of a plain insert and the notice of it."""
    watching = _watching(stage, watcher, PROBED)
    acknowledged = probe(
        stage.mongo_url, stage.database("active").name, [f"probe-{number}" for number in range(PROBED)]
    )
    seen: dict[str, float] = watching.result()
    return [(seen[name] - at) * 1000 for name, at in acknowledged.items()]


def _watching(stage: Stage, watcher: Submit, wanted: int) -> Any:
    """The future of :func:`watch`, once it watches."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    watching = watcher(watch, stage.mongo_url, stage.database("active").name, wanted, there)
    if not here.poll(30):
        raise TimeoutError("the watch did not begin")
    here.recv()
    return watching
