"""Does something for whoever is woken, at most once at a time for each: who is woken meanwhile has it done again.

In a controller process' event loop. What is forgotten with the process, or fails, the reconciler finds again.
Source: reliability § 6.5.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from schemas.errors import Temporary
from workers.cases.desk import Wake

log = structlog.get_logger("greffier.cases")

AT_ONCE: Final = 100
"""Cases that one process takes further at the same time: their small calls to the store travel together."""

IN_HAND: Final = 1_000
"""Cases in hand with those that wait for their turn; each is a name and a task."""


class Woken:
    """``work``: done for one name; ``kind``: what names stand for, in logs."""

    def __init__(self, kind: str, work: Callable[[str], Awaitable[None]]) -> None:
        self._kind = kind
        self._work = work
        self._again: set[str] = set()
        self._working: dict[str, asyncio.Task[None]] = {}
        self._closed = False

    def wake(self, name: str) -> None:
        """Have it done soon."""
        self._again.add(name)
        if name not in self._working and not self._closed:
            self._working[name] = asyncio.create_task(self._run(name), name=f"{self._kind}-{name}")

    def busy(self, name: str) -> bool:
        """Whether it is being done for this one."""
        return name in self._working

    def __len__(self) -> int:
        return len(self._working)

    @property
    def closed(self) -> bool:
        """Whether nothing more is begun."""
        return self._closed

    async def close(self) -> None:
        """Finish what is in hand and begin nothing more."""
        self._closed = True
        await asyncio.gather(*self._working.values(), return_exceptions=True)

    async def _run(self, name: str) -> None:
        try:
            while name in self._again and not self._closed:
                self._again.discard(name)
                await self._work(name)
        except Temporary as error:
            log.warning("to be done again later", kind=self._kind, name=name, reason=type(error).__name__)
        except Exception as error:
            log.error("failed", kind=self._kind, name=name, exc_info=error)
        finally:
            self._again.discard(name)
            del self._working[name]


class InHand:
    """The cases that this process takes further. ``leave``: puts one into the queue, for whichever process is free.

    There goes what is too much at once, and what fails: it is tried again from there, and in the end given up visibly.
    """

    def __init__(
        self,
        advance: Callable[[str], Awaitable[None]],
        leave: Wake,
        at_once: int = AT_ONCE,
        in_hand: int = IN_HAND,
    ) -> None:
        self._advance = advance
        self._leave = leave
        self._in_hand = in_hand
        self._turn = asyncio.Semaphore(at_once)
        self._woken = Woken("case", self._work)

    async def wake(self, reference: str) -> None:
        """Have a case looked at, here or elsewhere."""
        if self._woken.closed or (len(self._woken) >= self._in_hand and not self._woken.busy(reference)):
            await self._leave(reference)
        else:
            self._woken.wake(reference)

    async def close(self) -> None:
        """Finish what is in hand; what is woken from now on is left to others."""
        await self._woken.close()

    async def _work(self, reference: str) -> None:
        try:
            async with self._turn:
                if self._woken.closed:  # whoever still waited for his turn must not hold up the end
                    await self._leave(reference)
                    return
                await self._advance(reference)
        except Exception:
            await self._leave(reference)
            raise
