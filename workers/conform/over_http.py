"""A counter for the run: the two calls of a subsidiary over HTTP, before a client that is killed where it can be seen.

The calls are read as the real counter reads them (:mod:`workers.counter.offices`); what it lends is the one order of
the trial. Source: R28; design § 6 "Counter".
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from aiohttp import web

from workers.conform.carriers import Command, Unanswered, end, kill
from workers.conform.group import CODE
from workers.counter.callers import Callers
from workers.counter.offices import read_receipt, wait_of
from workers.web import Listening, Refused, answer, as_problems

_PATIENCE_S: Final = 120.0
_STARTS: Final = 3

Moment = float | str
_MOMENTS: Final[tuple[Moment, ...]] = (0.0, 0.003, 0.006, 0.012, 0.025, 0.05, 0.1, "brought", "acknowledged")
"""When it is killed: so long after an order was handed out; when it brings a receipt; when that was acknowledged."""


class OverHttp:
    """The counter and the client. ``async with`` a :class:`Listening` of :meth:`application` around it."""

    def __init__(self, command: Command, words: Sequence[str], again: Sequence[str], counter_keys: Path) -> None:
        self._command = command
        self._words = words
        self._again = again
        self._callers = Callers(counter_keys, [CODE], lambda: datetime.now(UTC))
        self._process: asyncio.subprocess.Process | None = None
        self._waiting: str | None = None
        self._out = False
        self._stir = asyncio.Condition()
        self._brought: list[str] = []
        self._trouble = 0
        self._life = 0
        self._doom: Moment | None = None
        self._timer: asyncio.TimerHandle | None = None

    def listening(self) -> Listening:
        """The counter, on a free port."""
        application = web.Application(middlewares=[as_problems])
        application.router.add_get("/tasks", self._tasks)
        application.router.add_post("/receipts", self._receipts)
        return Listening(application, "127.0.0.1", 0)

    # ------------------------------------------------------------------ the counter

    async def _tasks(self, request: web.Request) -> web.StreamResponse:
        self._callers.code_of(request)
        life = self._life
        async with self._stir:
            self._out = False  # whoever asks again has done with the last
            self._stir.notify_all()
            with suppress(TimeoutError):
                await asyncio.wait_for(
                    self._stir.wait_for(lambda: self._waiting or life != self._life), wait_of(request)
                )
            if self._waiting is None or life != self._life:  # nobody is left to hear the answer to a former life's call
                return web.Response(status=204)
            order, self._waiting, self._out = self._waiting, None, True
        if isinstance(self._doom, float):
            self._timer = asyncio.get_running_loop().call_later(self._doom, self._kill)
        return answer({"order": order, "leased_until": datetime.now(UTC).isoformat()})

    async def _receipts(self, request: web.Request) -> web.StreamResponse:
        self._callers.code_of(request)
        receipt = await read_receipt(request)
        if self._doom == "brought":
            self._kill()
        if self._trouble:
            self._trouble -= 1
            raise Refused(503, "store_unavailable", "Try again later.", {"Retry-After": "0"})
        self._brought.append(receipt)
        if self._doom == "acknowledged":
            asyncio.get_running_loop().call_soon(self._kill)
        return answer({}, 202)

    # ------------------------------------------------------------------ the client

    async def deliver(self, order: str) -> list[str]:
        self._brought.clear()
        async with self._stir:
            self._waiting = order
            self._stir.notify_all()
        for _ in range(_STARTS):
            process = await self._alive()
            if await self._done(process):
                return list(self._brought)
            if self._doom is not None:
                return []
            async with self._stir:  # it ended by itself with the order in hand
                self._waiting, self._out = order, False
                self._brought.clear()
        raise Unanswered("its client ends again and again")

    async def deliver_with_trouble(self, order: str) -> list[str]:
        self._trouble = 1
        return await self.deliver(order)

    async def die_at(self, order: str, step: int) -> bool:
        if step >= len(_MOMENTS):
            return False
        self._doom = _MOMENTS[step]
        try:
            await self.deliver(order)
        finally:
            self._doom = None
            await self.close()
        return True

    async def replay(self) -> None:
        await self.close()
        await self._command.replay(self._again)

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._process is not None:
            await end(self._process)
            self._process = None
        async with self._stir:
            self._life += 1
            self._waiting, self._out = None, False
            self._stir.notify_all()

    async def _alive(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await self._command.start(self._words)
        return self._process

    async def _done(self, process: asyncio.subprocess.Process) -> bool:
        """Whether it has taken the order and done with it, rather than ended."""
        served = asyncio.create_task(self._served())
        ended = asyncio.create_task(process.wait())
        done, late = await asyncio.wait({served, ended}, timeout=_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        if not done:
            raise Unanswered("its client does not answer")
        return served in done

    async def _served(self) -> None:
        async with self._stir:
            await self._stir.wait_for(lambda: self._waiting is None and not self._out)

    def _kill(self) -> None:
        if self._process is not None:
            kill(self._process)
