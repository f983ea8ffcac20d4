"""One HTTP connection of the door: aiohttp's own, made impatient and tight-lipped.

Stock aiohttp waits for ever for a request's head to become whole, quotes what it could not parse back to the sender,
and logs the sender's address. Source: reliability § 5 (items 37 to 41), A1, § 6.3 "aiohttp".
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

import structlog
from aiohttp import web

from producers.door.problems import problem

HEADERS_S: Final = 10.0
"""From a connection's first byte, or a request's, to the end of its head."""
IDLE_S: Final = 75.0
"""How long an idle connection is kept: longer than the usual proxy in front keeps its own."""
LINGER_S: Final = 2.0
"""How long an unread body is still taken in, so that its sender gets to read the answer."""
MAX_HEADERS: Final = 64
MAX_HEADER_BYTES: Final = 8190

log = structlog.get_logger("greffier.door")


class Connections:
    """All connections of one listening socket: makes them, and sees them out."""

    def __init__(self, manager: web.Server, headers_s: float = HEADERS_S) -> None:
        self.manager = manager
        self.headers_s = headers_s
        self.closing = False
        self._open: set[DoorConnection] = set()
        self._none_left = asyncio.Event()

    def __call__(self) -> DoorConnection:
        """The protocol of a new connection."""
        return DoorConnection(self)

    async def finish(self, within_s: float) -> None:
        """Hang up on those who are idle; let the others finish their request, body and answer.

        aiohttp's own way of closing throws away what still arrives of a body that was begun.
        """
        self.closing = True
        for connection in list(self._open):
            connection.hang_up_if_idle()
        self._look()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._none_left.wait()

    def add(self, connection: DoorConnection) -> None:
        self._open.add(connection)

    def remove(self, connection: DoorConnection) -> None:
        self._open.discard(connection)
        self._look()

    def _look(self) -> None:
        if self.closing and not self._open:
            self._none_left.set()


class DoorConnection(web.RequestHandler):
    """See the module."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(
            connections.manager,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=IDLE_S,
            lingering_time=LINGER_S,
            max_headers=MAX_HEADERS,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            auto_decompress=False,
            access_log=None,  # type: ignore[arg-type]  # documented: None switches it off
        )
        self._connections = connections
        self._headers_s = connections.headers_s
        self._head_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connections.add(self)
        self._head_due = self._loop.call_later(self._headers_s, self._cut_off)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_clock()
        super().connection_lost(exc)
        self._connections.remove(self)

    def hang_up_if_idle(self) -> None:
        """Close, unless a request is being read or answered."""
        if not self._request_in_progress and not self._messages:
            self.force_close()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """As aiohttp's; the last answer says that it is the last."""
        if self._connections.closing:
            resp.force_close()
        return await super().finish_response(request, resp, start_time)

    def data_received(self, data: bytes) -> None:
        seen = self._request_count
        super().data_received(data)
        if self._request_count != seen:
            self._stop_clock()
        elif self._head_due is None and data and not self._request_in_progress and not self._messages:
            self._head_due = self._loop.call_later(self._headers_s, self._cut_off)

    def _stop_clock(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None

    def _cut_off(self) -> None:
        self._head_due = None
        if self._request_in_progress or self._messages:
            return
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """An answer that quotes nothing of a request that could not be read."""
        log.info("request_unreadable", status=status, error=type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError
        answer = problem(status, "unreadable_request", "The request cannot be read.")
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        log.warning("connection_error", error=type(kw.get("exc_info")).__name__)
