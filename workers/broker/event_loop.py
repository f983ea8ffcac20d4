"""The event loop that all actors of a process share, in a thread that never keeps the process alive.

Dramatiq's own loop thread is not a daemon: after a second SIGTERM its process never exits, keeps its heartbeat and
hoards messages. This one is, knows how long each actor has been running (for the watchdog), opens and closes the
process' clients inside the loop, and cancels what still runs when the worker stops.

Source: `reliability.md` E9, E16.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, cast

from dramatiq import Worker
from dramatiq.asyncio import EventLoopThread, set_event_loop_thread
from dramatiq.broker import Broker
from dramatiq.middleware import AsyncIO, MiddlewareError

log = logging.getLogger(__name__)

R = TypeVar("R")

CANCEL_S = 1.0  # given to a coroutine to end after it was cancelled
LIFECYCLE_S = 30.0  # given to `on_boot` and to `on_shutdown`


class BootFailed(MiddlewareError):
    """The clients could not be opened. A `MiddlewareError`: anything else dramatiq logs and ignores."""


class LoopThread(EventLoopThread):
    """A daemon that runs the loop and knows what runs in it."""

    def __init__(self) -> None:
        super().__init__(log)
        self.daemon = True
        self.name = "event-loop"
        self._running: dict[asyncio.Task[Any], float] = {}
        self.loop.set_exception_handler(_log_kind_only)

    def run_coroutine(self, coro: Awaitable[R]) -> R:
        return super().run_coroutine(self._tracked(coro))

    async def _tracked(self, coro: Awaitable[R]) -> R:
        task = cast("asyncio.Task[Any]", asyncio.current_task())  # a coroutine always runs in one
        self._running[task] = time.monotonic()
        try:
            return await coro
        finally:
            del self._running[task]

    def longest_s(self) -> float:
        """For how long the oldest actor has been running."""
        started = list(self._running.values())
        return time.monotonic() - min(started) if started else 0.0

    async def cancel_actors(self) -> None:
        """Cancel what still runs and give it a moment to end."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_S)

    def stop(self) -> None:
        """Stop the loop without waiting long for it: a blocked one ends with the process."""
        if self.loop.is_running():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.join(CANCEL_S)


class EventLoop(AsyncIO):
    """Starts the loop before the first message and stops it after the last."""

    def __init__(
        self,
        on_boot: Callable[[], Awaitable[None]] | None,
        on_shutdown: Callable[[], Awaitable[None]] | None,
    ) -> None:
        super().__init__()
        self._on_boot = on_boot
        self._on_shutdown = on_shutdown
        self.thread: LoopThread | None = None

    def run(self, coroutine: Coroutine[Any, Any, R], timeout_s: float) -> R:
        """Run `coroutine` in the loop from another thread; cancelled after `timeout_s`, then `TimeoutError`."""
        if self.thread is None:
            coroutine.close()
            raise RuntimeError("the worker is not running")
        future = asyncio.run_coroutine_threadsafe(coroutine, self.thread.loop)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        self.thread = LoopThread()
        self.thread.start(timeout=10.0)
        set_event_loop_thread(self.thread)
        if self._on_boot is None:
            return
        try:
            self.run(_await(self._on_boot), LIFECYCLE_S)
        except Exception as error:
            raise BootFailed("the worker's clients could not be opened") from error

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        if self.thread is None:
            return
        try:
            self.run(self.thread.cancel_actors(), 2 * CANCEL_S)
            if self._on_shutdown is not None:
                self.run(_await(self._on_shutdown), LIFECYCLE_S)
        except Exception as error:
            log.warning("the worker's clients were not closed: %s", type(error).__name__)
        self.thread.stop()
        self.thread = None
        set_event_loop_thread(None)


async def _await(function: Callable[[], Awaitable[None]]) -> None:
    await function()


def _log_kind_only(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The loop's default handler prints exceptions with their values."""
    log.error("unhandled in the event loop: %s", type(context.get("exception")).__name__)
