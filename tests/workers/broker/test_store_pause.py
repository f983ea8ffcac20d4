"""An unavailable store costs an event nothing: no retry, no dead letter, only time."""

from __future__ import annotations

import threading

from schemas.errors import StoreUnavailable
from tests.waiting import until
from tests.workers.broker.conftest import MakeRig
from tests.workers.broker.rig import QUEUE, Rig
from workers.broker import StorePause


class Store:
    """Away until it is back."""

    def __init__(self, rig: Rig) -> None:
        self.back = threading.Event()
        self.asked = 0
        rig.probe = self.probe
        rig.behave = self.write

    def probe(self) -> bool:
        self.asked += 1
        return self.back.is_set()

    def write(self, batch: str) -> None:
        if not self.back.is_set():
            raise StoreUnavailable


async def test_a_store_away_costs_no_retry(make_rig: MakeRig, redis_url: str, hardened: bool) -> None:
    """However long the store is away, the event's own retries are not touched."""
    rig = make_rig(redis_url, hardened=hardened)
    store = Store(rig)
    rig.send(10)
    rig.start()
    if hardened:
        await until(lambda: store.asked >= 4)
    else:
        await until(lambda: any("retries" in options for options in rig.options))
    store.back.set()
    await rig.outcome()
    assert any("retries" in options for options in rig.options) is not hardened


async def test_a_paused_worker_fetches_nothing_and_keeps_its_heartbeat(make_rig: MakeRig, redis_url: str) -> None:
    rig = make_rig(redis_url)
    store = Store(rig)
    rig.send(10)
    rig.start()
    await until(lambda: rig.broker.store_pause.closed and rig.reader.llen(f"dramatiq:{QUEUE}") == 10)
    started = len(rig.started)

    def heartbeat() -> float:
        return float(rig.reader.zscore("dramatiq:__heartbeats__", rig.broker.broker_id) or 0)

    at = heartbeat()
    await until(lambda: heartbeat() > at + 500)
    assert len(rig.started) == started
    store.back.set()
    await rig.judge()


async def test_a_probe_that_says_yes_too_early_does_not_make_the_worker_spin(make_rig: MakeRig, redis_url: str) -> None:
    """Each new closing waits longer, until a message succeeds."""
    rig = make_rig(redis_url, threads=1)
    store = Store(rig)
    rig.probe = lambda: True
    rig.send(1)
    rig.start()
    await until(lambda: len(rig.started) >= 4)
    assert rig.broker.store_pause._strikes >= 3
    store.back.set()
    await rig.judge()
    assert rig.broker.store_pause._strikes == 0


async def test_a_probe_that_fails_means_not_yet() -> None:
    answers = iter([RuntimeError("mongodb://user:secret@example.org"), False, True])
    reopened = threading.Event()

    def probe() -> bool:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    pause = StorePause(probe, reopened.set, first_delay_s=0.001)
    pause.close()
    pause.close()
    await until(reopened.is_set)
    assert not pause.closed
    assert next(answers, None) is None
