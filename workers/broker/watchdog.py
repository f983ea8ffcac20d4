"""A process that has lost a thread leaves, so that its supervisor starts it again.

Dramatiq starts each thread once. One that died leaves a process that beats its heart, takes messages and does nothing
with them. The same goes for an actor that runs far beyond its limit: it ignores its cancellation or blocks the loop.

Source: `reliability.md` E7b, E11; fault matrix 14–17.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from dramatiq import Worker
from dramatiq.broker import Broker
from dramatiq.middleware import Middleware

if TYPE_CHECKING:
    from workers.broker.hardened import HardenedBroker

log = logging.getLogger(__name__)


class Watchdog(Middleware):
    """Looks at every thread once a second and tells `on_dead_thread` the first that is dead."""

    def __init__(self, on_dead_thread: Callable[[str], None], *, every_s: float, overdue_s: float) -> None:
        self._on_dead_thread = on_dead_thread
        self._every_s = every_s
        self._overdue_s = overdue_s
        self._ended = threading.Event()

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        hardened: HardenedBroker = broker  # type: ignore[assignment]
        threading.Thread(target=self._run, args=(hardened, worker), name="watchdog", daemon=True).start()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self._ended.set()

    def _run(self, broker: HardenedBroker, worker: Worker) -> None:
        while not self._ended.wait(self._every_s):
            dead = next(self._dead(broker, worker), None)
            if dead is not None and not self._ended.is_set():
                log.critical("thread %s is dead: this process cannot go on", dead)
                self._on_dead_thread(dead)
                return

    def _dead(self, broker: HardenedBroker, worker: Worker) -> Iterator[str]:
        for queue, consumer in list(worker.consumers.items()):
            if _is_dead(consumer):
                yield f"consumer of {queue}"
        for thread in list(worker.workers):
            if _is_dead(thread):
                yield "worker"
        for other in broker.watched:
            if _is_dead(other):
                yield other.name
        loop = broker.event_loop.thread
        if loop is not None and (_is_dead(loop) or loop.longest_s() > self._overdue_s):
            yield loop.name


def _is_dead(thread: threading.Thread) -> bool:
    return thread.ident is not None and not thread.is_alive()
