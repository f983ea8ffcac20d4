"""The letter box: sealed batches into Redis, as dramatiq messages. The only file here that knows Redis.

Everything here blocks and belongs to one thread; :mod:`producers.gather` runs it off the event loop. A batch is kept
once :meth:`Letterbox.post` returns: Redis has it on disk (``appendfsync always``, checked before the first post and
again after every trouble). Nothing is retried in here, because a repeated enqueue would double a message whose first
answer was lost: the caller repeats with the same event ids, which is harmless.
Source: R27; P1; design § 3; reliability § 6.1, § 6.3.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis
import structlog
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker
from redis.backoff import NoBackoff
from redis.retry import Retry
from uuid_utils import uuid7

from schemas.envelope import Event, Sealer
from schemas.errors import ConfigurationError, Fault, QueueUnavailable
from schemas.routes import NAMESPACE, QUEUES, WAKE_CHANNEL, file_key

ANSWER_S: Final = 3.0
CONNECT_S: Final = 2.0
HEALTH_CHECK_S: Final = 15
LOOK_EVERY_S: Final = 0.25
"""How old the last look at queue depths and memory may be."""
MEMORY_SHARE: Final = 0.6
"""Of ``maxmemory``; above it acks, which need memory too, would soon fail. Source: reliability § 6.3."""
BEHIND: Final = 2
"""Messages of a queue that nobody has taken: with more than these, its workers have more than they can do."""
BEHIND_FOR_S: Final = 0.25
"""How long that is believed after it was seen last: long enough for them to catch up."""
FILE_WAIT_S: Final = 3600
"""How long an uploaded file waits for its message before Redis forgets it."""

_DURABLE: Final = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}

log = structlog.get_logger("greffier.publisher")


@dataclass(frozen=True, slots=True)
class FileContent:
    """An uploaded file on its way. ``event``: the key of the event it belongs to."""

    id: str
    event: str
    content: bytes


@dataclass(slots=True)
class _Look:
    """What Redis said last about room; posts since then are added on top, so the limit is never overrun."""

    at: float = -1.0
    depths: dict[str, int] | None = None
    memory_full: bool = False


class Letterbox:
    """Puts batches into Redis. Not thread-safe: one thread owns it.

    ``door`` is the id of this process; its messages are numbered from 1 without gaps, and the number moves on only
    when Redis has confirmed a message. ``queues``: those that it may look at.
    """

    def __init__(
        self,
        redis_url: str,
        sealer: Sealer,
        *,
        queue_limit: int,
        namespace: str = NAMESPACE,
        queues: Sequence[str] = QUEUES,
    ) -> None:
        self.door: Final = f"door-{secrets.token_hex(8)}"
        self.seq = 0
        self._sealer = sealer
        self._queue_limit = queue_limit
        self._namespace = namespace
        self._queues = queues
        self._client = connect(redis_url)
        self._broker: Any = RedisBroker(  # type: ignore[no-untyped-call]
            client=self._client, namespace=namespace, middleware=[], maintenance_chance=0
        )
        self._look = _Look()
        self._behind_until: dict[str, float] = {}
        self._trusted = False

    def check(self) -> None:
        """Redis answers, and keeps what it confirms.

        Raises :class:`QueueUnavailable` when it does not answer, :class:`ConfigurationError` when a promise given on
        its word would be empty.
        """
        try:
            faults = _durability_faults(self._client)
        except redis.RedisError as error:
            raise self._unavailable(error) from None
        self._trusted = not faults
        if faults:
            raise ConfigurationError("redis", *faults)

    def post(self, queue: str, events: Sequence[Event], files: Sequence[FileContent] = ()) -> None:
        """Enqueue one batch of 1 to 500 events; on return it is on Redis's disk. Raises :class:`QueueUnavailable`."""
        self._make_sure(queue)
        wire = self._sealer.seal(str(uuid7()), self.door, self.seq + 1, events)
        message: Message[Any] = Message(queue_name=queue, actor_name=queue, args=(), kwargs={"batch": wire}, options={})
        try:
            self._lay_down(files)
            self._broker.enqueue(message)
            self.seq += 1
            self._count(queue)
            self._keep(files)
        except redis.RedisError as error:
            raise self._unavailable(error) from None
        self._wake(queue)

    def behind(self, queue: str) -> bool:
        """Whether the workers of a queue had more than they can do, as the latest posts saw it. From any thread."""
        return time.monotonic() < self._behind_until.get(queue, 0.0)

    def depths(self) -> dict[str, int]:
        """Messages per queue, waiting and in work. Raises :class:`QueueUnavailable`."""
        try:
            self._take_a_look()
        except redis.RedisError as error:
            raise self._unavailable(error) from None
        return dict(self._look.depths or {})

    def close(self) -> None:
        self._client.close()

    def _make_sure(self, queue: str) -> None:
        if not self._trusted:
            try:
                self.check()
            except ConfigurationError as error:
                log.error("redis_not_durable", settings=[fault.path for fault in error.faults])
                raise QueueUnavailable("redis_not_durable", 30) from None
        if time.monotonic() - self._look.at > LOOK_EVERY_S:
            self.depths()
        if self._look.memory_full:
            raise QueueUnavailable("redis_memory", 30)
        if (self._look.depths or {}).get(queue, 0) >= self._queue_limit:
            raise QueueUnavailable("queue_full", 10)

    def _take_a_look(self) -> None:
        with self._client.pipeline(transaction=False) as pipe:
            for queue in self._queues:
                pipe.hlen(f"{self._namespace}:{queue}.msgs")
            pipe.info("memory")
            *depths, memory = pipe.execute()
        limit = memory["maxmemory"]
        full = bool(limit) and memory["used_memory"] > limit * MEMORY_SHARE
        self._look = _Look(time.monotonic(), dict(zip(self._queues, depths, strict=True)), full)

    def _count(self, queue: str) -> None:
        if self._look.depths is not None:
            self._look.depths[queue] = self._look.depths.get(queue, 0) + 1

    def _lay_down(self, files: Sequence[FileContent]) -> None:
        for file in files:
            sealed = self._sealer.seal_file(file.id, file.event, file.content)
            self._client.set(file_key(file.id), sealed, ex=FILE_WAIT_S)

    def _keep(self, files: Sequence[FileContent]) -> None:
        # A key that is gone already was taken by a worker that was quicker than we are.
        for file in files:
            self._client.persist(file_key(file.id))

    def _wake(self, queue: str) -> None:
        # Consumers look by themselves every few seconds: a lost wake-up costs time, never a message.
        try:
            with self._client.pipeline(transaction=False) as pipe:
                pipe.publish(WAKE_CHANNEL.format(namespace=self._namespace), queue)
                pipe.llen(f"{self._namespace}:{queue}")
                _, waiting = pipe.execute()
        except redis.RedisError as error:
            log.warning("wake_failed", error=type(error).__name__)
            return
        if waiting > BEHIND:
            self._behind_until[queue] = time.monotonic() + BEHIND_FOR_S

    def _unavailable(self, error: redis.RedisError) -> QueueUnavailable:
        # Whatever came back may be another server or another configuration: check again before the next promise.
        self._trusted = False
        self._look = _Look()
        log.warning("redis_unavailable", error=type(error).__name__)
        return QueueUnavailable("redis_unavailable", 2)


def connect(redis_url: str) -> redis.Redis:
    """A client that never repeats a command by itself and never waits long. Source: reliability § 6.1 (E5, E23)."""
    try:
        return redis.Redis.from_url(
            redis_url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=ANSWER_S,
            socket_connect_timeout=CONNECT_S,
            health_check_interval=HEALTH_CHECK_S,
        )
    except ValueError:
        raise ConfigurationError("settings", Fault("REDIS_URL", "is not a Redis URL")) from None


def _durability_faults(client: redis.Redis) -> list[Fault]:
    try:
        found = {name: _config(client, name) for name in _DURABLE}
    except redis.ResponseError:  # CONFIG is not granted, or renamed away
        return _faults_by_info(client)
    return [Fault(name, f"must be {due}") for name, due in _DURABLE.items() if found[name] != due]


def _config(client: redis.Redis, name: str) -> str:
    return str(client.config_get(name).get(name, ""))


def _faults_by_info(client: redis.Redis) -> list[Fault]:
    log.warning("appendfsync_not_verified", hint="grant CONFIG GET, or make sure that appendfsync is always")
    faults = []
    if not client.info("persistence").get("aof_enabled"):
        faults.append(Fault("appendonly", "must be yes"))
    if client.info("memory").get("maxmemory_policy") != "noeviction":
        faults.append(Fault("maxmemory-policy", "must be noeviction"))
    return faults


class Claims:
    """What the doors remember about idempotency keys: short entries, for a day. Thread-safe."""

    KEPT_S: Final = 24 * 3600

    def __init__(self, redis_url: str) -> None:
        self._client = connect(redis_url)

    def claim(self, name: str, entry: str) -> str | None:
        """Set the entry unless there is one; the one that was there. Raises :class:`QueueUnavailable`."""
        return self._set(name, entry, only_new=True)

    def settle(self, name: str, entry: str) -> None:
        """Overwrite the entry. Raises :class:`QueueUnavailable`."""
        self._set(name, entry, only_new=False)

    def close(self) -> None:
        self._client.close()

    def _set(self, name: str, entry: str, *, only_new: bool) -> str | None:
        try:
            found = self._client.set(f"greffier:claim:{name}", entry, ex=self.KEPT_S, nx=only_new, get=only_new)
        except redis.RedisError as error:
            log.warning("redis_unavailable", error=type(error).__name__)
            raise QueueUnavailable("redis_unavailable", 2) from None
        return found.decode() if isinstance(found, bytes) else None
