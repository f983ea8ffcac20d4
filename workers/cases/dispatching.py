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

from workers.cases.waking import Woken

ANSWER_S: Final = 2.0
"""How long the next order waits for the answer to the last: an office that is slow, or away, hears of what is due."""

Dispatch = Callable[[str], Awaitable[int]]
"""Sends one order over what a store is due now; how many tasks it carries."""


class Dispatcher:
    """What is forgotten with the process, or fails, the reconciler finds again."""

    def __init__(self, dispatch: Dispatch, answer_s: float = ANSWER_S) -> None:
        self._dispatch = dispatch
        self._answer_s = answer_s
        self._due = Woken("orders", self._send)
        self._answered: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def wake(self, store: str) -> None:
        """Have what a store is due sent soon."""
        self._due.wake(store)

    def answered(self, store: str) -> None:
        """A receipt of this store is in: its next order may leave."""
        self._answered[store].set()

    def busy(self, store: str) -> bool:
        """Whether an order is being made, or its answer waited for."""
        return self._due.busy(store)

    async def close(self) -> None:
        """Finish the orders in hand and make no more: one that was made and not sent would be a minute late."""
        closing = asyncio.create_task(self._due.close())
        await asyncio.sleep(0)  # from now on no order is begun
        for answered in self._answered.values():
            answered.set()
        await closing

    async def _send(self, store: str) -> None:
        self._answered[store].clear()
        if not await self._dispatch(store):
            return
        self._due.wake(store)  # there may be more than one order holds
        if not self._due.closed:
            await self._wait_for_answer(store)

    async def _wait_for_answer(self, store: str) -> None:
        try:
            async with asyncio.timeout(self._answer_s):
                await self._answered[store].wait()
        except TimeoutError:
            pass
