"""One worker in this process over a real Redis, hardened or stock, and a checker that says what became of the work.

Each fault is played on both brokers. The checker must find the hardened one clean and must catch the stock one: a
checker that does not is no checker.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import dramatiq
import redis
from dramatiq import Message, Worker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage, Middleware, Retries, TimeLimit

from tests.waiting import until
from workers.broker import DeadLetter, HardenedBroker, Hooks, Poison, Tuning, build_broker
from workers.consume import SteadyWorker

QUEUE = "submissions"
SWIFT = Tuning(
    heartbeat_ms=4_000,
    socket_timeout_s=0.5,
    connect_timeout_s=0.5,
    janitor_s=0.5,
    sweep_s=0.5,
    watch_s=0.1,
    max_retries=5,
    min_backoff_ms=50,
    max_backoff_ms=200,
)
STILL_S = 3.0  # three times as long as the hardened broker takes to look after what it holds (heartbeat / 4)


@dataclass(frozen=True)
class Verdict:
    """What is wrong once nothing moves any more."""

    unfinished: int
    lost: int  # accepted, not done, and in no place of Redis nor with the parker
    waiting: int  # in a queue, for a worker that does not fetch
    stuck: int  # taken from a queue and held by nobody
    dead_threads: int

    @property
    def clean(self) -> bool:
        return self == Verdict(0, 0, 0, 0, 0)


class Recorder(Middleware):
    """First in the list, so its `after_` hooks run last."""

    def __init__(self) -> None:
        self.processed = 0
        self._lock = threading.Lock()

    def after_process_message(self, broker: Any, message: Any, *, result: Any = None, exception: Any = None) -> None:
        with self._lock:
            self.processed += 1


class Complaints(logging.Handler):
    """Counts dramatiq's own complaints, by their template."""

    def __init__(self) -> None:
        super().__init__()
        self.templates: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.templates.append(str(record.msg))

    def count(self, words: str) -> int:
        return sum(words in template for template in self.templates)


class Rig:
    """`behave` is what the actor does with a batch before it counts as done."""

    def __init__(
        self,
        url: str,
        *,
        hardened: bool = True,
        threads: int = 4,
        reader_url: str | None = None,
        tuning: Tuning = SWIFT,
        poll_s: float = 5.0,
    ) -> None:
        self.hardened = hardened
        self.threads = threads
        self.reader = redis.Redis.from_url(reader_url or url)
        self.behave: Callable[[str], None] = lambda batch: None
        self.probe: Callable[[], bool] = lambda: True
        self.on_poison: Callable[[Poison], None] = lambda poison: None
        self.on_dead: Callable[[DeadLetter], None] = lambda letter: None
        self.gate = threading.Event()
        self.accepted: list[str] = []
        self.started: list[str] = []
        self.done: list[str] = []
        self.options: list[dict[str, Any]] = []
        self.poisons: list[Poison] = []
        self.dead: list[DeadLetter] = []
        self.fallen: list[str] = []
        self.active = 0
        self._lock = threading.Lock()
        self._still_since: float | None = None
        self.recorder = Recorder()
        self.complaints = Complaints()
        logging.getLogger("dramatiq").addHandler(self.complaints)
        self.broker: Any = self._hardened_broker(url, tuning) if hardened else self._stock_broker(url, tuning)
        self.broker.add_middleware(self.recorder, before=type(self.broker.middleware[0]))
        self.actor = dramatiq.actor(self._work, broker=self.broker, queue_name=QUEUE, actor_name=QUEUE)
        self.worker: Worker = (
            SteadyWorker(self.broker, queues=None, threads=threads, poll_s=poll_s)
            if hardened
            else Worker(self.broker, worker_threads=threads, worker_timeout=100)
        )

    def _hardened_broker(self, url: str, tuning: Tuning) -> HardenedBroker:
        hooks = Hooks(
            on_poison=self._on_poison,
            on_dead=self._on_dead,
            probe=self._probe,
            on_dead_thread=self.fallen.append,
        )
        broker = build_broker(url, hooks, tuning=tuning)
        broker.add_middleware(CurrentMessage())
        return broker

    def _stock_broker(self, url: str, tuning: Tuning) -> RedisBroker:
        retries = Retries(
            max_retries=tuning.max_retries, min_backoff=tuning.min_backoff_ms, max_backoff=tuning.max_backoff_ms
        )
        return RedisBroker(
            url=f"{url}?socket_timeout={tuning.socket_timeout_s}",
            middleware=[CurrentMessage(), TimeLimit(), retries],
            heartbeat_timeout=tuning.heartbeat_ms,
        )

    def _probe(self) -> bool:
        return self.probe()

    def _on_poison(self, poison: Poison) -> None:
        self.on_poison(poison)
        self.poisons.append(poison)

    def _on_dead(self, letter: DeadLetter) -> None:
        self.on_dead(letter)
        self.dead.append(letter)

    def _work(self, batch: str) -> None:
        message = CurrentMessage.get_current_message()
        with self._lock:
            self.active += 1
            self.started.append(batch)
            self.options.append(dict(message.options) if message is not None else {})
        try:
            self.behave(batch)
            with self._lock:
                self.done.append(batch)
        finally:
            with self._lock:
                self.active -= 1

    # ------------------------------------------------------------------ driving

    def start(self) -> Rig:
        self.worker.start()
        return self

    def stop(self) -> None:
        self.gate.set()
        self.worker.stop(timeout=2_000)
        self.broker.close()
        self.reader.close()
        logging.getLogger("dramatiq").removeHandler(self.complaints)

    def send(self, count: int = 1, *, delay: int | None = None, name: str = "batch") -> None:
        """Enqueue like a publisher, past the broker under test and its proxy."""
        for _ in range(count):
            batch = f"{name}-{uuid.uuid4().hex}"
            self.accepted.append(batch)
            self.put(self.message(batch), delay=delay)

    def message(self, batch: str) -> dict[str, Any]:
        return dict(Message(QUEUE, QUEUE, (), {"batch": batch}, {"redis_message_id": str(uuid.uuid4())}).asdict())

    def put(self, message: dict[str, Any], *, delay: int | None = None) -> None:
        queue = QUEUE
        if delay is not None:
            queue = f"{QUEUE}.DQ"
            message |= {"queue_name": queue}
            message["options"]["eta"] = int(time.time() * 1000) + delay
        self.put_raw(json.dumps(message).encode(), message["options"]["redis_message_id"], queue)

    def put_raw(self, raw: bytes, redis_id: str, queue: str = QUEUE) -> None:
        self.reader.hset(f"dramatiq:{queue}.msgs", redis_id, raw)
        self.reader.rpush(f"dramatiq:{queue}", redis_id)
        self.reader.publish("dramatiq:wake", queue)

    def wait_at_gate(self, batch: str) -> None:
        assert self.gate.wait(60)

    # ------------------------------------------------------------------ checking

    def keys(self, suffix: str = "") -> list[str]:
        return [f"dramatiq:{QUEUE}{suffix}", f"dramatiq:{QUEUE}.DQ{suffix}"]

    def taken(self) -> int:
        """Ids in any ack set."""
        return sum(self.reader.scard(key) for key in self.reader.scan_iter(match="dramatiq:__acks__*"))

    def ready(self) -> int:
        """Ids in a queue."""
        return sum(self.reader.llen(key) for key in self.keys())

    def in_memory(self) -> int:
        return sum(consumer.delay_queue.qsize() for consumer in self.worker.consumers.values())

    def dead_threads(self) -> int:
        threads: Iterable[threading.Thread] = [*self.worker.workers, *self.worker.consumers.values()]
        return sum(not thread.is_alive() for thread in threads)

    def verdict(self) -> Verdict:
        unfinished = set(self.accepted) - set(self.done)
        bodies = [body for key in [*self.keys(".msgs"), f"dramatiq:{QUEUE}.XQ.msgs"] for body in self.reader.hvals(key)]
        kept = b"\n".join([*bodies, *(letter.raw for letter in [*self.poisons, *self.dead])]).decode(errors="replace")
        return Verdict(
            unfinished=len(unfinished),
            lost=sum(batch not in kept for batch in unfinished),
            waiting=self.ready(),
            stuck=self.taken(),
            dead_threads=self.dead_threads(),
        )

    async def outcome(self) -> Verdict:
        """The verdict once all is well, or once nothing has moved for a while and nothing will."""

        def final() -> Verdict | None:
            verdict = self.verdict()
            return verdict if verdict.clean or self._is_still() else None

        verdict = await until(final, 60, what="clean or still")
        assert verdict is not None
        return verdict

    def _is_still(self) -> bool:
        able = any(thread.is_alive() for thread in self.worker.workers)
        moves = self.active or self.in_memory() or (able and (self.ready() or not self.worker.work_queue.empty()))
        if moves:
            self._still_since = None
        elif self._still_since is None:
            self._still_since = time.monotonic()
        return self._still_since is not None and time.monotonic() - self._still_since > STILL_S

    async def judge(self) -> Verdict:
        """The hardened broker is clean; the stock one is caught."""
        verdict = await self.outcome()
        assert verdict.clean == self.hardened, verdict
        if self.hardened:
            twice = {batch for batch, times in Counter(self.done).items() if times > 1}
            assert not twice
            assert not self.fallen
        return verdict
