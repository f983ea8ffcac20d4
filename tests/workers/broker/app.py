"""A worker process to kill: ``python -m tests.workers.broker.app hardened|stock URL``.

Its actor is told what to do by the batch, and says in Redis lists what it did:

| batch | what |
| --- | --- |
| ``hold…`` | waits until something is in the list ``go``, then counts as done |
| ``die…`` | makes its own thread die |
| anything else | is done at once |
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
from typing import Any

import dramatiq
import redis
import redis.asyncio
from dramatiq import Worker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO, Retries

from workers.broker import HardenedBroker, Hooks, Tuning, build_broker
from workers.consume import run_worker

QUEUE = "submissions"
TUNING = Tuning(heartbeat_ms=2_000, janitor_s=0.3, watch_s=0.1, socket_timeout_s=0.5, connect_timeout_s=0.5)
THREADS = 2


class App:
    """The actor and its client, which lives in the worker's loop."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.consumers: dict[str, Any] = {}

    async def open(self) -> None:
        self.client = redis.asyncio.Redis.from_url(self.url, socket_timeout=60)
        await self.client.rpush("booted", "yes")

    async def close(self) -> None:
        await self.client.rpush("closed", "yes")
        await self.client.aclose()

    async def work(self, batch: str) -> None:
        await self.client.rpush("started", batch)
        if batch.startswith("hold"):
            await self.client.blpop(["go"])
            await self.client.rpush("go", "on")  # for the next one
        if batch.startswith("die"):
            self.consumers.clear()  # what dramatiq looks its own thread's queue up in
        await self.client.rpush("done", batch)

    def declare(self, broker: dramatiq.Broker) -> None:
        dramatiq.actor(self.work, broker=broker, queue_name=QUEUE, actor_name=QUEUE)


def hardened(url: str, shutdown_s: float) -> int:
    app = App(url)
    hooks = Hooks(on_poison=lambda poison: None, on_dead=lambda letter: None, on_boot=app.open, on_shutdown=app.close)
    broker: HardenedBroker = build_broker(url, hooks, tuning=TUNING)
    broker.add_middleware(_Consumers(app))
    app.declare(broker)
    return run_worker(broker, None, THREADS, shutdown_timeout_s=shutdown_s)


class _Consumers(dramatiq.Middleware):
    def __init__(self, app: App) -> None:
        self.app = app

    def before_worker_boot(self, broker: dramatiq.Broker, worker: Worker) -> None:
        self.app.consumers = worker.consumers


def stock(url: str, shutdown_s: float) -> int:
    """What dramatiq's command line does in each worker process, signal handling included."""
    app = App(url)
    broker = RedisBroker(url=url, middleware=[AsyncIO(), Retries()])
    app.declare(broker)
    client = redis.Redis.from_url(url)
    signals: list[int] = []

    def on_signal(number: int, frame: object) -> None:
        if signals:
            sys.exit(3)
        signals.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    worker = Worker(broker, worker_threads=THREADS, worker_timeout=100)
    worker.start()
    dramatiq.asyncio.async_to_sync(app.open)()
    try:
        while not signals:
            with contextlib.suppress(InterruptedError):
                signal.pause()
        client.rpush("stopping", "yes")
        worker.stop(timeout=int(shutdown_s * 1000))
    finally:
        client.rpush("main-ended", "yes")
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    sys.exit({"hardened": hardened, "stock": stock}[sys.argv[1]](sys.argv[2], float(sys.argv[3])))
