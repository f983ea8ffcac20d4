"""Doors and controllers that are known to be broken: ``python -m tests.chaos.variants NAME``.

A run that does not catch them shows nothing. Each is the shipped process but for the one thing it does wrong.

| name | what it does wrong |
| --- | --- |
| `stock` | a controller on dramatiq's own broker with its own middleware |
| `acknowledge-first` | a controller that acknowledges before it has written |
| `answer-first` | a door that answers 202 before Redis has the message |
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Collection, Sequence
from typing import Any, cast

import dramatiq
from dramatiq import Worker
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO, Middleware, default_middleware

from producers.commands import door
from producers.gather import Gatherer
from producers.publisher import FileContent
from schemas.envelope import Event
from schemas.logs import configure_logs
from workers import main
from workers.actors.work import Keep, work
from workers.health import serve_health
from workers.main import Controller, declare_actors, run_controller
from workers.services import Services, Trust, open_services
from workers.settings import read_controller_settings
from workers.stores.mongo import create_indexes

POLL_MS = 100


class StockController(Middleware):
    """Holds the services for the shipped actors, and opens them where dramatiq's loop runs."""

    def __init__(self) -> None:
        self.settings = read_controller_settings()
        self.trust = Trust.read(self.settings)
        self.open: Services | None = None

    @property
    def services(self) -> Services:
        assert self.open is not None
        return self.open

    def after_worker_boot(self, broker: dramatiq.Broker, worker: Worker) -> None:
        loop = get_event_loop_thread()
        assert loop is not None
        loop.run_coroutine(self._open())

    async def _open(self) -> None:
        services = open_services(self.settings, self.trust)
        await create_indexes(services.databases)
        self.open = services


def stock() -> int:
    """The shipped actors on what dramatiq gives by itself."""
    controller = StockController()
    configure_logs(controller.settings.log_level)
    broker = RedisBroker(  # type: ignore[no-untyped-call]
        url=controller.settings.redis_url.get_secret_value(),
        heartbeat_timeout=controller.settings.heartbeat_ms,
        middleware=[AsyncIO(), *(kind() for kind in default_middleware), controller],
    )
    declare_actors(broker, cast(Controller, controller))
    serve_health(
        controller.settings.metrics_port,
        host=controller.settings.metrics_host,
        ready=lambda: controller.open is not None,
        refresh=lambda: None,
    )
    worker = Worker(broker, worker_threads=controller.settings.threads, worker_timeout=POLL_MS)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    worker.start()
    signal.sigwait([signal.SIGTERM])
    worker.stop(timeout=5_000)
    return 0


def acknowledge_first() -> int:
    """Each actor ends at once, so its message is acknowledged, and the work goes on behind its back."""
    behind: set[asyncio.Task[None]] = set()

    async def early(
        services: Services, queue: str, wire: object, keep: Keep, only: Collection[int] | None = None
    ) -> None:
        task = asyncio.create_task(work(services, queue, wire, keep, only))
        behind.add(task)
        task.add_done_callback(behind.discard)

    vars(main)["work"] = early
    return run_controller()


def answer_first() -> int:
    """Whoever waits for Redis is told at once that it has the message."""
    waits = Gatherer.put

    def put(
        self: Gatherer, queue: str, events: Sequence[Event], files: Sequence[FileContent] = ()
    ) -> asyncio.Future[None]:
        waits(self, queue, events, files).add_done_callback(lambda ended: ended.exception())
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        told.set_result(None)
        return told

    Gatherer.put = put  # type: ignore[method-assign]
    door()
    return 0


VARIANTS: dict[str, Any] = {"stock": stock, "acknowledge-first": acknowledge_first, "answer-first": answer_first}


def command(name: str) -> tuple[str, ...]:
    """What to run in place of the shipped process."""
    return "-m", "tests.chaos.variants", name


if __name__ == "__main__":
    sys.exit(VARIANTS[sys.argv[1]]())
