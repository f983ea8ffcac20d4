"""Subsidiaries without Python: they fetch the very orders a worker would take, and bring the very receipts it sends.

| call | what |
| --- | --- |
| ``GET /tasks?wait=`` | 200 ``{"order", "leased_until"}``: the oldest order that waits, theirs alone until then; |
| | 204: none came within ``wait`` seconds |
| ``POST /receipts`` | ``{"receipt"}``: a sealed receipt, or a part of a copy; 202: the controller will have it |

Neither is opened here: an order is sealed to the subsidiary, a receipt to the controller, and the counter has no key to
either. A receipt is believed by the controller or parked there, exactly as one that a worker sent. Whatever a caller
does reaches its own orders and its own queue of receipts alone, within bounds.
Source: R28; P7; design § 6 "Counter"; docs/subsidiary.md "Without Python".
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from aiohttp import web

from schemas.errors import InvalidMessage
from schemas.fields import wire_moment
from schemas.orders import ORDER_QUEUE, order_namespace
from schemas.strict_json import parse
from workers.broker import Tuning
from workers.broker.hardened import connect
from workers.counter.callers import Callers
from workers.office import ReceiptQueue
from workers.stores.leases import Leases
from workers.wake import Wake
from workers.web import Refused, answer

LONGEST_WAIT_S: Final = 55
"""Below the minute after which proxies give up."""
_LOOK_S: Final = 5.0
"""A lease that lapses rings no bell."""

MAX_RECEIPT: Final = 2 * 1024 * 1024 - 64 * 1024
"""Sealed: what a queue's reader takes, less its wrapping."""
MAX_WAITING: Final = 64
"""Receipts of one subsidiary that no controller has worked off."""
_AT_ONCE: Final = 4
"""Calls of one kind and one subsidiary."""
_BURST: Final = 300
_PER_S: Final = 30.0

_SEALED: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){4}", re.ASCII)


@dataclass(slots=True)
class Quota:
    """Calls of one subsidiary: a few at once, and not faster than it could have reason to."""

    left: float = _BURST
    at: float = field(default_factory=time.monotonic)
    under_way: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def one(self, kind: str) -> Iterator[None]:
        """Raises :class:`Refused` 429."""
        now = time.monotonic()
        self.left, self.at = min(float(_BURST), self.left + (now - self.at) * _PER_S), now
        if self.left < 1 or self.under_way.get(kind, 0) >= _AT_ONCE:
            raise _too_many("more calls than it has reason to")
        self.left -= 1
        self.under_way[kind] = self.under_way.get(kind, 0) + 1
        try:
            yield
        finally:
            self.under_way[kind] -= 1


class _Bell(threading.Event):
    """Rung in a thread, heard in the event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.rung = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def set(self) -> None:
        super().set()
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.rung.set)


class Line:
    """What the counter has of one subsidiary: the bell of its orders, the way of its receipts, its quota."""

    def __init__(self, redis_url: str, code: str, tuning: Tuning) -> None:
        self.quota = Quota()
        self.receipts = ReceiptQueue(redis_url, code, tuning)
        self._bell = _Bell()
        self._client = connect(redis_url, tuning)
        self._wake = Wake(self._client, order_namespace(code))
        self._wake.hang(ORDER_QUEUE, self._bell)
        self._wake.start()

    @property
    def bell(self) -> asyncio.Event:
        return self._bell.rung

    def close(self) -> None:
        """Blocks."""
        self._wake.stop()
        self._client.close()
        self.receipts.close()


class Offices:
    """The handlers. Made inside the event loop that serves them."""

    def __init__(
        self,
        redis_url: str,
        codes: Collection[str],
        callers: Callers,
        leases: Leases,
        clock: Callable[[], datetime],
        lease: timedelta,
    ) -> None:
        self._callers = callers
        self._leases = leases
        self._clock = clock
        self._lease = lease
        self._closing = False
        self._lines = {code: Line(redis_url, code, Tuning()) for code in codes}

    def add_to(self, application: web.Application) -> None:
        """Its two routes."""
        application.router.add_get("/tasks", self.tasks)
        application.router.add_post("/receipts", self.receipts)
        application.on_shutdown.append(self._end_waiting)

    async def tasks(self, request: web.Request) -> web.StreamResponse:
        """An order, as soon as there is one."""
        code = self._callers.code_of(request)
        line = self._lines[code]
        with line.quota.one("tasks"):
            order = await self._order(code, line, request)
        return web.Response(status=204) if order is None else answer(order)

    async def _order(self, code: str, line: Line, request: web.Request) -> dict[str, str] | None:
        ends = time.monotonic() + wait_of(request)
        while not has_gone(request):
            line.bell.clear()
            now = self._clock()
            token = await self._leases.take(code, now, now + self._lease)
            if token is not None:
                return {"order": token, "leased_until": wire_moment(now + self._lease)}
            left = ends - time.monotonic()
            if left <= 0 or self._closing:
                return None
            with suppress(TimeoutError):
                await asyncio.wait_for(line.bell.wait(), min(left, _LOOK_S))
        return None

    async def receipts(self, request: web.Request) -> web.StreamResponse:
        """A receipt on its way to the controller: 202 once Redis has it."""
        code = self._callers.code_of(request)
        line = self._lines[code]
        with line.quota.one("receipts"):
            token = await read_receipt(request)
            if await asyncio.to_thread(line.receipts.waiting) >= MAX_WAITING:
                raise _too_many("receipts wait for the controller")
            await asyncio.to_thread(line.receipts.post, token)
        return answer({}, 202)

    async def _end_waiting(self, _: web.Application) -> None:
        self._closing = True
        for line in self._lines.values():
            line.bell.set()

    async def close(self) -> None:
        """Let go of Redis."""
        await asyncio.gather(*(asyncio.to_thread(line.close) for line in self._lines.values()))


def has_gone(request: web.Request) -> bool:
    """Whether who called has hung up: an order lent to nobody would be missed until its lease lapses."""
    return request.transport is None or request.transport.is_closing()


def wait_of(request: web.Request) -> int:
    """For how many seconds who calls would wait. Raises :class:`Refused`."""
    said = request.query.get("wait", "0")
    if not re.fullmatch(r"[0-9]{1,4}", said, re.ASCII):
        raise Refused(400, "bad_wait", "wait is a whole number of seconds.")
    return min(int(said), LONGEST_WAIT_S)


async def read_receipt(request: web.Request) -> str:
    """The sealed message that a call brings; no more of it is taken in than may be.

    Raises :class:`Refused` and :class:`InvalidMessage`.
    """
    most = MAX_RECEIPT + 64
    if (request.content_length or 0) > most:
        raise _too_large()
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > most:
            raise _too_large()
    return _receipt_of(bytes(body))


def _receipt_of(body: bytes) -> str:
    found: Any = parse(body)
    token = found.get("receipt") if isinstance(found, dict) and len(found) == 1 else None
    if not isinstance(token, str) or not _SEALED.fullmatch(token):
        raise InvalidMessage("not_sealed", "/receipt")
    return token


def _too_large() -> Refused:
    return Refused(413, "too_large", f"A receipt has at most {MAX_RECEIPT} bytes; larger copies travel in parts.")


def _too_many(why: str) -> Refused:
    return Refused(429, "too_many", f"Come back later: {why}.", {"Retry-After": "2"})
