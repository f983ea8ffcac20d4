"""What the actor of a subsidiary may reach: its keys, its store, its journal, and the way back to the controller.

Built once per process. Nothing here is shared with the controller's services: a subsidiary holds no credential of its.
Source: R25, R28; design § 5.5.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

import structlog
from dramatiq import Message
from dramatiq.errors import BrokerConnectionError

from schemas.errors import ConfigurationError, Fault, QueueUnavailable
from schemas.fields import wire_moment
from schemas.jose import Keys, Peer
from schemas.orders import RECEIPT_QUEUE, receipt_namespace
from schemas.party_keys import read_controller, read_journal_key, read_party
from schemas.replaceable import Replaceable
from workers import subsidiary_metrics as metrics
from workers.broker import Hooks, Tuning, build_broker
from workers.broker.errors import redis_errors_as_closed
from workers.stores.subsidiaries.adapter import StoreAdapter
from workers.stores.subsidiaries.journal import Journal

log = structlog.get_logger("greffier.subsidiary")

_LARGEST_REFUSED_LOG: Final = 16 * 1024 * 1024


class Trust:
    """A subsidiary's own keys, and the controller's, which may be rotated while the worker runs.

    The controller's file is read again whenever it was replaced: a key taken out of it is refused from then on.
    """

    def __init__(self, folder: Path, code: str) -> None:
        """Raises :class:`ConfigurationError` naming what must be mended."""
        self.keys: Final[Keys] = read_party(folder)
        if self.keys.party != code:
            raise ConfigurationError("keys", Fault("party.private.json", f"is of {self.keys.party}, not of {code}"))
        self.journal_key: Final = read_journal_key(folder)
        self._controller = Replaceable(folder / "controller.public.json", lambda: read_controller(folder))

    @property
    def controller(self) -> Peer:
        """The controller as it is known now; as it was known while its file cannot be read."""
        return self._controller.now


class RefusedLog:
    """A local file of what was refused: when, why, and a digest to know it again by; never its content.

    Bounded: whoever can write to the queue could fill it. The last two files are kept.
    """

    def __init__(self, path: Path, largest: int = _LARGEST_REFUSED_LOG) -> None:
        self._path = path
        self._largest = largest
        self._writing = threading.Lock()

    def note(self, at: datetime, reason: str, digest: str) -> None:
        """Count and write down one refusal. ``digest``: SHA-256 of what was refused, in hexadecimal."""
        metrics.REFUSED.labels(reason).inc()
        log.warning("refused", reason=reason, digest=digest)
        line = json.dumps({"at": wire_moment(at), "reason": reason, "digest": digest}) + "\n"
        with self._writing:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists() and self._path.stat().st_size + len(line) > self._largest:
                self._path.replace(self._path.with_name(self._path.name + ".1"))
            with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w") as file:
                file.write(line)


class Outbox(Protocol):
    """The way back to the controller."""

    def post(self, token: str) -> None:
        """Leave a sealed message; on return Redis has it. Blocks. Raises :class:`QueueUnavailable`."""


class ReceiptQueue:
    """An :class:`Outbox` into ``from.<code>``, where this subsidiary may only write."""

    def __init__(self, redis_url: str, code: str, tuning: Tuning) -> None:
        nothing_comes = Hooks(on_poison=lambda _: None, on_dead=lambda _: None)
        self._broker = build_broker(redis_url, nothing_comes, namespace=receipt_namespace(code), tuning=tuning)

    def post(self, token: str) -> None:
        message: Message[Any] = Message(
            queue_name=RECEIPT_QUEUE, actor_name=RECEIPT_QUEUE, args=(), kwargs={"token": token}, options={}
        )
        try:
            self._broker.enqueue(message)
        except BrokerConnectionError:
            raise QueueUnavailable("receipts") from None

    def waiting(self) -> int:
        """Messages that no controller has worked off. Blocks. Raises :class:`QueueUnavailable`."""
        try:
            with redis_errors_as_closed():
                return int(self._broker.client.hlen(self._broker.bodies_key(RECEIPT_QUEUE)))
        except BrokerConnectionError:
            raise QueueUnavailable("receipts") from None

    def close(self) -> None:
        self._broker.close()


class Busy:
    """Who is being served right now, by name: two orders for one person or one task wait for each other."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def with_all(self, names: Iterable[str]) -> AsyncIterator[None]:
        """Wait until none of ``names`` is busy, then have them all: taken together, they cannot deadlock."""
        wanted = set(names)
        async with self._changed:
            await self._changed.wait_for(lambda: not (wanted & self._names))
            self._names |= wanted
        try:
            yield
        finally:
            self._names -= wanted
            async with self._changed:
                self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class Office:
    """One subsidiary at work."""

    code: str
    trust: Trust
    store: StoreAdapter
    journal: Journal
    outbox: Outbox
    refused: RefusedLog
    clock: Callable[[], datetime]
    entry_timeout_s: float = 300.0
    busy: Busy = field(default_factory=Busy)
