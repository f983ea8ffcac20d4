"""The loop all actors share: opened before the first message, closed after the last, never in the way."""

from __future__ import annotations

import asyncio
import threading

import dramatiq
import pytest

from tests.waiting import until
from tests.workers.broker.rig import QUEUE, SWIFT
from workers.broker import Hooks, Tuning, build_broker
from workers.broker.event_loop import BootFailed
from workers.consume import SteadyWorker


async def test_clients_live_in_the_loop_of_the_actors(redis_url: str) -> None:
    loops: list[tuple[str, asyncio.AbstractEventLoop]] = []

    def note(what: str) -> None:
        loops.append((what, asyncio.get_running_loop()))

    async def boot() -> None:
        note("boot")

    async def shut() -> None:
        note("shutdown")

    async def work() -> None:
        note("work")

    hooks = Hooks(on_poison=lambda poison: None, on_dead=lambda letter: None, on_boot=boot, on_shutdown=shut)
    broker = build_broker(redis_url, hooks, tuning=SWIFT)
    actor = dramatiq.actor(work, broker=broker, queue_name=QUEUE, actor_name=QUEUE)
    worker = SteadyWorker(broker, queues=None, threads=2)
    worker.start()
    actor.send()
    await until(lambda: len(loops) == 2)
    assert broker.run(_answer()) == 42
    worker.stop()
    broker.close()
    assert [what for what, _ in loops] == ["boot", "work", "shutdown"]
    assert len({loop for _, loop in loops}) == 1


async def _answer() -> int:
    return 42


async def test_a_worker_whose_clients_cannot_be_opened_does_not_start(redis_url: str) -> None:
    """Dramatiq logs and ignores what its hooks raise; a worker without its stores must not take messages."""

    async def boot() -> None:
        raise OSError

    hooks = Hooks(on_poison=lambda poison: None, on_dead=lambda letter: None, on_boot=boot)
    broker = build_broker(redis_url, hooks, tuning=SWIFT)
    worker = SteadyWorker(broker, queues=None, threads=2)
    with pytest.raises(BootFailed):
        worker.start()
    assert not worker.workers
    worker.stop()
    broker.close()


async def test_an_actor_that_cannot_be_cancelled_ends_the_process(redis_url: str) -> None:
    """Fault matrix 16, 17: it blocks the loop, so no limit reaches it; the watchdog does."""
    blocked = threading.Event()
    told: list[str] = []

    async def work() -> None:
        blocked.wait()  # a synchronous call in a coroutine

    hooks = Hooks(on_poison=lambda poison: None, on_dead=lambda letter: None, on_dead_thread=told.append)
    broker = build_broker(redis_url, hooks, tuning=Tuning(watch_s=0.05, time_limit_ms=500, overdue_ms=200))
    actor = dramatiq.actor(work, broker=broker, queue_name=QUEUE, actor_name=QUEUE)
    worker = SteadyWorker(broker, queues=None, threads=1)
    worker.start()
    actor.send()
    await until(lambda: told)
    assert told == ["event-loop"]
    blocked.set()
    worker.stop()
    broker.close()
