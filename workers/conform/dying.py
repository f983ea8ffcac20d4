"""Death at a chosen step, for what serves in this process: before and after each call of store, journal and outbox."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import Any, Final

_WRITES: Final = frozenset({"begin", "finish", "post"})
"""Calls of journal and outbox that are steps; what they only read is none."""


class Death(BaseException):
    """The process ends here. Not an `Exception`: nothing on the way may take it for a fault of the store."""


class Fate:
    """How many steps go well, and what comes at every step after."""

    def __init__(self, steps: int, end: BaseException) -> None:
        self._left = steps
        self._end = end

    def step(self) -> None:
        """Raises the end once they are over."""
        self._left -= 1
        if self._left < 0:
            raise self._end


class Mortal:
    """Whatever it wraps, until its fate."""

    def __init__(self, inner: Any, fate: Fate) -> None:
        self._inner = inner
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if inspect.iscoroutinefunction(found):
            return self._awaited(found)
        if inspect.isasyncgenfunction(found):
            return self._gone_through(found)
        return self._called(found) if name in _WRITES else found

    def _awaited(self, call: Any) -> Any:
        async def mortal(*args: Any, **more: Any) -> Any:
            self._fate.step()
            found = await call(*args, **more)
            self._fate.step()
            return found

        return mortal

    def _gone_through(self, call: Any) -> Any:
        async def mortal(*args: Any, **more: Any) -> AsyncIterator[Any]:
            self._fate.step()
            async for one in call(*args, **more):
                yield one
            self._fate.step()

        return mortal

    def _called(self, call: Any) -> Any:
        def mortal(*args: Any, **more: Any) -> Any:
            self._fate.step()
            found = call(*args, **more)
            self._fate.step()
            return found

        return mortal
