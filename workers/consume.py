"""One process, one dramatiq worker: boots, works until told to stop, hands back what it holds.

In place of dramatiq's command line, which forks: one process per unit lets a supervisor see each one die.

| signal | what happens |
| --- | --- |
| first SIGTERM or SIGINT | no more fetching; what runs ends within the grace, the rest goes back; exit 0 |
| second | exit at once; what was held comes back when the heartbeat is missed |
| the parent named in ``GREFFIER_PARENT_PID`` is gone | as the first |

Source: P1; `reliability.md` § 6.3, E4, E16.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Collection
from typing import Any

import redis
from dramatiq import Worker
from dramatiq.errors import BrokerConnectionError

from schemas.interpreter import collect_seldom
from workers.broker import HardenedBroker

log = logging.getLogger(__name__)

POLL_S = 5.0  # an idle consumer looks this often even if no wake-up came
DELAYED_PREFETCH = 64  # delayed messages held in memory at once, each up to half a megabyte
PARENT_S = 1.0
DRIVER_WAITS_S = 0.0005
"""How long a driver's thread that has its answer waits for the busy event loop to let go of the interpreter; several
times in each call. Python's own 5 ms cost a quarter of the throughput."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class WorkQueue(queue.PriorityQueue[Any]):
    """Between consumers and worker threads; closing it wakes the threads that wait."""

    def __init__(self) -> None:
        super().__init__()
        self._closed = False

    def close(self) -> None:
        """From now on nobody gets anything by waiting; what is left is drained without."""
        with self.not_empty:
            self._closed = True
            self.not_empty.notify_all()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        if not block:
            return super().get(block=False)
        with self.not_empty:
            self.not_empty.wait_for(lambda: self._closed or self._qsize(), timeout)
            if self._closed:
                self.not_empty.wait(0.01)  # a thread that has not yet seen its order to end shall not spin
                raise queue.Empty
            if not self._qsize():
                raise queue.Empty
            return self._get()


class SteadyWorker(Worker):
    """A worker that takes only what its threads can start on, waits without polling and stops at once when idle."""

    def __init__(
        self, broker: HardenedBroker, *, queues: Collection[str] | None, threads: int, poll_s: float = POLL_S
    ) -> None:
        super().__init__(
            broker,
            queues=set(queues) if queues is not None else None,
            worker_threads=threads,
            worker_timeout=int(poll_s * 1000),
        )
        self.hardened = broker
        self.queue_prefetch = threads
        self.delay_prefetch = DELAYED_PREFETCH
        self.work_queue: WorkQueue = WorkQueue()

    def start(self) -> None:
        """Boot. Raises `BootFailed` when the clients could not be opened."""
        self.broker.emit_after("process_boot")
        self.hardened.watched.append(self.hardened.wake.start())
        super().start()

    def stop(self, timeout: int = 25_000) -> None:
        """Finish what runs, for at most `timeout` ms; put back the rest."""
        self.hardened.begin_stopping()
        for thread in self.workers:
            thread.stop()
        self.work_queue.close()
        super().stop(timeout)
        try:
            self.hardened.hand_back()
        except (redis.RedisError, BrokerConnectionError) as error:
            log.warning("not everything was handed back: %s", type(error).__name__)


def run_worker(
    broker: HardenedBroker,
    queues: Collection[str] | None,
    threads: int,
    *,
    shutdown_timeout_s: float = 25.0,
    poll_s: float = POLL_S,
) -> int:
    """Work until a signal says stop; the exit code. Call it from the main thread.

    ``queues``: names of declared queues, None for all. The whole stop takes at most ``shutdown_timeout_s`` and a few
    seconds; the platform's grace must be longer (40 s).
    """
    threading.excepthook = _log_kind_only
    # Blocked in every thread and fetched below: no handler ever runs in the middle of something.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    _stop_with_parent()
    collect_seldom()
    sys.setswitchinterval(DRIVER_WAITS_S)
    worker = SteadyWorker(broker, queues=queues, threads=threads, poll_s=poll_s)
    worker.start()
    log.info("worker started", extra={"threads": threads})
    signal.sigwait(STOP_SIGNALS)
    threading.Thread(target=_leave_on_second_signal, name="second-signal", daemon=True).start()
    worker.stop(timeout=int(shutdown_timeout_s * 1000))
    broker.close()
    log.info("worker stopped")
    return 0


def _leave_on_second_signal() -> None:
    os._exit(128 + signal.sigwait(STOP_SIGNALS))


def _stop_with_parent() -> None:
    """End in order when the process that started us is gone: nobody would stop or restart us any more."""
    parent = os.environ.get("GREFFIER_PARENT_PID", "")
    if not parent.isdigit():
        return

    def watch() -> None:
        while _alive(int(parent)):
            time.sleep(PARENT_S)
        log.warning("parent gone: stopping")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _alive(pid: int) -> bool:
    if os.getppid() == pid:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is there, and somebody else's
    return True


def _log_kind_only(died: threading.ExceptHookArgs) -> None:
    """The default prints the exception with its values."""
    name = died.thread.name if died.thread is not None else "?"
    log.critical("thread %s died: %s", name, died.exc_type.__name__)
