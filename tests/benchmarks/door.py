"""``door``: single events over kept-alive HTTP, against a bare handler that validates the same body and answers.

The door's answers say that Redis has the event on disk; the bare handler promises nothing. What was accepted is
counted in MongoDB afterwards.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from schemas.routes import CONSENT
from tests.benchmarks.bare import serve_bare
from tests.benchmarks.load import Submit, another_process, as_fast_as_answered, request
from tests.benchmarks.report import Figures, middle, rate, say
from tests.benchmarks.samples import Samples
from tests.benchmarks.stage import Stage, running_system

ROUNDS: Final = 7
CONNECTIONS: Final = 64
WARM_UP: Final = 300
SINGLES: Final = 300


def door(n: int, rounds: int) -> Figures:
    """``n``: requests in a round, to each of the two."""
    samples = Samples()
    ours: list[float] = []
    raw: list[float] = []
    singles: list[float] = []
    with running_system() as stage, bare_handler() as bare_port, another_process() as submit:
        for port in (stage.door_port, bare_port):
            _rate(submit, samples, port, WARM_UP)
        with stage.controller_paused():  # the door is measured, not who works behind it
            for number in range(1, rounds + 1):
                ours.append(_rate(submit, samples, stage.door_port, n))
                raw.append(_rate(submit, samples, bare_port, n))
                singles.append(_one_enqueue_each(stage, samples, min(SINGLES, n)))
                say(f"door round {number}: {ours[-1]:,.0f}/s, bare {raw[-1]:,.0f}/s, singly {singles[-1]:,.0f}/s")
        total = WARM_UP + rounds * (n + min(SINGLES, n))
        stage.wait_persisted(CONSENT, "consents", total)
        stage.check_durable("consents", total)
        return {
            "bench": "door",
            "n": n,
            "rounds": rounds,
            "connections": CONNECTIONS,
            "rate_per_s": rate(ours),
            "raw_per_s": rate(raw),
            "ratio": middle([one / other for one, other in zip(ours, raw, strict=True)]),
            "one_per_message_per_s": rate(singles),
            "rss_mib": stage.rss_mib("door"),
        }


def _rate(submit: Submit, samples: Samples, port: int, count: int) -> float:
    requests = [request("/cookies", samples.consent()) for _ in range(count)]
    found: float = submit(as_fast_as_answered, port, requests, CONNECTIONS).result()
    return found


def _one_enqueue_each(stage: Stage, samples: Samples, count: int) -> float:
    """What the letter box reaches when each event is a message of its own, without any HTTP."""
    events = list(samples.consents(count))
    began = time.perf_counter()
    stage.post(CONSENT, events, 1)
    return count / (time.perf_counter() - began)


@contextmanager
def bare_handler() -> Iterator[int]:
    """Its port."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve_bare, args=(there,), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()
