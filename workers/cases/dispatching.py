"""Sends each store its orders, one at a time: what falls due while one is out goes together in the next.

A lone task leaves at once; of many, a few large orders are made, because to sign, seal, check and answer an order costs
the same for one entry as for a hundred. One per controller process, in its event loop.
Source: design § 3 "The door keeps one enqueue in flight", "one may carry 1–500 entries"; reliability § 6.5.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from schemas.errors import Temporary

log = structlog.get_logger("greffier.cases")

ANSWER_S: Final = 2.0
"""How long the next order waits for the answer to the last: an office that is slow, or away, hears of what is due."""

Dispatch = Callable[[str], Awaitable[int]]
"""Sends one order over what a store is due now; how many tasks it carries."""


class Dispatcher:
    """What is forgotten with the process, or fails, the reconciler finds again."""

    def __init__(self, dispatch: Dispatch, answer_s: float = ANSWER_S) -> None:
        self._dispatch = dispatch
        self._answer_s = answer_s
        self._woken: set[str] = set()
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._closed = False
        self._answered: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def wake(self, store: str) -> None:
        """Have what a store is due sent soon."""
        self._woken.add(store)
        if store not in self._sending and not self._closed:
            self._sending[store] = asyncio.create_task(self._send(store), name=f"orders-{store}")

    def answered(self, store: str) -> None:
        """A receipt of this store is in: its next order may leave."""
        self._answered[store].set()

    def busy(self, store: str) -> bool:
        """Whether an order is being made, or its answer waited for."""
        return store in self._sending

    async def close(self) -> None:
        """Finish the orders in hand and make no more: one that was made and not sent would be a minute late."""
        self._closed = True
        for answered in self._answered.values():
            answered.set()
        await asyncio.gather(*self._sending.values(), return_exceptions=True)

    async def _send(self, store: str) -> None:
        try:
            while store in self._woken and not self._closed:
                self._woken.discard(store)
                self._answered[store].clear()
                if await self._dispatch(store):
                    self._woken.add(store)  # there may be more than one order holds
                    await self._wait_for_answer(store)
        except Temporary as error:
            log.warning("orders wait", store=store, reason=type(error).__name__)
        except Exception as error:
            log.error("orders not sent", store=store, exc_info=error)
        finally:
            del self._sending[store]

    async def _wait_for_answer(self, store: str) -> None:
        try:
            async with asyncio.timeout(self._answer_s):
                await self._answered[store].wait()
        except TimeoutError:
            pass
