"""The broker itself, and the one function that puts it together."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import redis
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker
from dramatiq.common import dq_name
from dramatiq.middleware import Middleware, TimeLimit
from redis.backoff import NoBackoff
from redis.retry import Retry

from workers.broker.consumer import HardenedConsumer, Held
from workers.broker.dead_letters import DeadLetters
from workers.broker.errors import redis_errors_as_closed
from workers.broker.event_loop import EventLoop
from workers.broker.janitor import Housekeeping, Janitor
from workers.broker.letters import DeadLetter, Poison
from workers.broker.quiet_logs import quiet_logs
from workers.broker.retries import PatientRetries, StoreGate
from workers.broker.store_pause import StorePause
from workers.broker.watchdog import Watchdog
from workers.wake import Wake

R = TypeVar("R")

DAY_MS = 86_400_000
_UNPACKED_AT_ONCE = 1_000  # ids per call inside dramatiq's script; it would run a second script to find the limit
EXIT_THREAD_DEAD = 70  # EX_SOFTWARE; the supervisor starts the process again


def leave(reason: str) -> None:
    """End the process at once: a thread of it is dead, so it only looks healthy."""
    os._exit(EXIT_THREAD_DEAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the broker asks of the rest of the system. All but the two coroutines run in the broker's own threads.

    ``on_poison``, ``on_dead``: keep the letter durably, then return; raise when it could not be kept, and it stays in
    Redis and is handed over again. Both may receive the same letter twice.
    ``probe``: whether the store answers; tried while the store is away.
    ``on_boot``, ``on_shutdown``: coroutine functions run inside the worker's event loop, before the first message and
    after the last: the place to open and close clients. A failing ``on_boot`` fails the start.
    ``on_dead_thread``: told the name of a thread that died; ends the process by default.
    """

    on_poison: Callable[[Poison], None]
    on_dead: Callable[[DeadLetter], None]
    probe: Callable[[], bool] = lambda: True
    on_boot: Callable[[], Awaitable[None]] | None = None
    on_shutdown: Callable[[], Awaitable[None]] | None = None
    on_dead_thread: Callable[[str], None] = leave


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Values for production; tests shorten them. Source: `reliability.md` § 6.3.

    ``maintenance_chance`` is 0 because the janitor does that work every ``janitor_s``, for all queues: a dead worker's
    messages are back within heartbeat + janitor = 70 s.
    """

    heartbeat_ms: int = 60_000
    """Silence after which a worker counts as dead; never below ten times ``socket_timeout_s``."""
    socket_timeout_s: float = 3.0
    connect_timeout_s: float = 2.0
    maintenance_chance: int = 0
    """Of a million script calls, how many do maintenance as well."""
    dead_message_ttl_ms: int = 90 * DAY_MS
    janitor_s: float = 10.0
    """0: no janitor and no sweep here, for a user whom Redis allows neither; another process must run them."""
    sweep_s: float = 30.0
    """Between two looks at dead letters that the hook could not hand over."""
    watch_s: float = 1.0
    max_retries: int = 12
    min_backoff_ms: int = 1_000
    max_backoff_ms: int = 300_000
    time_limit_ms: int = 60_000
    """Twice what an actor allows itself inside (`asyncio.timeout`)."""
    overdue_ms: int = 15_000
    """How far beyond its limit an actor may run before the process leaves: nothing can be done about it from inside."""


class HardenedBroker(RedisBroker):
    """See the package. One per process."""

    def __init__(self, client: redis.Redis, hooks: Hooks, tuning: Tuning, namespace: str) -> None:
        self.hooks = hooks
        self.tuning = tuning
        self.stopping = False
        self.watched: list[threading.Thread] = []  # threads that must live as long as the worker
        self._held: dict[str, Held] = {}
        self.wake = Wake(client, namespace)
        self.store_pause = StorePause(hooks.probe, self.wake.ring_all)
        self.event_loop = EventLoop(hooks.on_boot, hooks.on_shutdown)
        self.dead_letters = DeadLetters(hooks.on_dead)
        self.janitor = Janitor()
        super().__init__(  # type: ignore[no-untyped-call]
            client=client,
            namespace=namespace,
            middleware=self._middleware(),
            maintenance_chance=tuning.maintenance_chance,
            heartbeat_timeout=tuning.heartbeat_ms,
            dead_message_ttl=tuning.dead_message_ttl_ms,
        )

    def _middleware(self) -> list[Middleware]:
        # No CurrentMessage: every timer that an actor sets in the loop, a cancelled one too, would hold its message.
        tuning = self.tuning
        return [
            self.event_loop,  # first to start, last to stop: everything after it may use the loop
            TimeLimit(time_limit=tuning.time_limit_ms),
            StoreGate(self.store_pause),
            PatientRetries(
                max_retries=tuning.max_retries, min_backoff=tuning.min_backoff_ms, max_backoff=tuning.max_backoff_ms
            ),
            self.dead_letters,
            Housekeeping(tuning.janitor_s, tuning.sweep_s),
            Watchdog(
                self.hooks.on_dead_thread,
                every_s=tuning.watch_s,
                overdue_s=(tuning.time_limit_ms + tuning.overdue_ms) / 1000,
            ),
        ]

    @property
    def consumer_class(self) -> type[HardenedConsumer]:
        return HardenedConsumer

    def held(self, queue: str) -> Held:
        """What this process holds of `queue`."""
        return self._held.setdefault(queue, Held())

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Enqueue, then announce it. ``delay``: milliseconds. Raises `ConnectionClosed` when Redis refuses."""
        message.options.pop("traceback", None)  # a traceback quotes values; nothing of that goes to Redis
        sent = super().enqueue(message, delay=delay)
        self.wake.announce(sent.queue_name)
        return sent

    def run(self, coroutine: Coroutine[Any, Any, R], timeout_s: float = 30.0) -> R:
        """Run `coroutine` in the worker's event loop and wait for it, from any other thread.

        For hooks, which are plain functions. Raises what it raises, or `TimeoutError` after cancelling it.
        """
        return self.event_loop.run(coroutine, timeout_s)

    def sweep_dead_letters(self) -> int:
        """Hand over dead letters that the hook missed; how many were accepted, and so removed from Redis."""
        return self.dead_letters.sweep(self)

    def give_back_the_dead(self) -> int:
        """Return what dead workers took to its queues; how many ack sets were emptied."""
        return self.janitor.work(self)

    def begin_stopping(self) -> None:
        """Fetch nothing more; heartbeats go on until the threads end."""
        self.stopping = True
        self.store_pause.end()
        self.wake.ring_all()

    def hand_back(self) -> None:
        """Put back everything this process took, worked on or not: the last act of one that ends.

        Raises `ConnectionClosed` when Redis is away: then the janitors of other processes do it.
        """
        for queue in self.queue_names():
            taken = self.client.smembers(self.ack_key(self.broker_id, queue))
            if taken:
                self.do_requeue(queue, *taken)
                self.wake.announce(queue)

    def close(self) -> None:
        """Let go of Redis."""
        self.wake.stop()
        self.client.close()

    # ------------------------------------------------------------------ keys, as dramatiq documents them

    def queue_names(self) -> Iterator[str]:
        """Every declared queue, each followed by its delay queue."""
        for queue in sorted(self.get_declared_queues()):
            yield queue
            yield dq_name(queue)

    def ack_key(self, worker: str, queue: str) -> str:
        """The set of ids that `worker` took from `queue`."""
        return f"{self.namespace}:__acks__.{worker}.{queue}"

    def bodies_key(self, queue: str) -> str:
        """The hash of id → body of `queue`."""
        return f"{self.namespace}:{queue}.msgs"

    @property
    def heartbeats_key(self) -> str:
        """The sorted set of workers by their last sign of life."""
        return f"{self.namespace}:__heartbeats__"

    # ------------------------------------------------------------------ dramatiq's script

    def _should_do_maintenance(self, command: str) -> int:
        # "maintain" is no command of the script: it only beats the heart, and does maintenance because we say so.
        return 1 if command == "maintain" else super()._should_do_maintenance(command)

    def _max_unpack_size(self) -> int:
        return _UNPACKED_AT_ONCE

    def _dispatch(self, command: str) -> Callable[..., Any]:
        dispatch = super()._dispatch(command)  # type: ignore[no-untyped-call]

        def patient(queue: str, *args: Any) -> Any:
            with redis_errors_as_closed():
                return dispatch(queue, *args)

        return patient


def connect(redis_url: str, tuning: Tuning) -> redis.Redis:
    """A client that never repeats a call by itself: dramatiq's script is not idempotent."""
    return redis.Redis.from_url(
        redis_url,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=tuning.socket_timeout_s,
        socket_connect_timeout=tuning.connect_timeout_s,
        socket_keepalive=True,
        health_check_interval=15,
    )


def build_broker(
    redis_url: str, hooks: Hooks, *, namespace: str = "dramatiq", tuning: Tuning | None = None
) -> HardenedBroker:
    """A broker to declare actors on and to hand to `workers.consume.run_worker`. Opens no connection yet.

    An actor is a coroutine function declared with ``dramatiq.actor(..., broker=broker, queue_name=...)``. Raised by it:
    `schemas.errors.Temporary` puts the message back without counting a retry and pauses fetching; anything else is
    retried, and a dead letter in the end.
    """
    quiet_logs()
    tuning = tuning or Tuning()
    return HardenedBroker(connect(redis_url, tuning), hooks, tuning, namespace)
