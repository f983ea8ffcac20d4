"""The one way to wait in a test: until something is true, or a deadline.

A test never sleeps for a while and hopes; it says what it waits for.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

EVERY = 0.01  # seconds between two looks


@overload
async def until(condition: Callable[[], Awaitable[T]], timeout: float = ..., *, what: str = ...) -> T: ...
@overload
async def until(condition: Callable[[], T], timeout: float = ..., *, what: str = ...) -> T: ...
async def until(condition: Callable[[], Any], timeout: float = 10.0, *, what: str = "") -> Any:
    """Look until `condition` (plain or async) is true, and return what it gave.

    Fails with its last value after `timeout` seconds. An exception of the condition is not swallowed.
    """
    deadline = time.monotonic() + timeout
    while True:
        seen = condition()
        value = await seen if inspect.isawaitable(seen) else seen
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(_late(what or condition, timeout, value))
        await asyncio.sleep(EVERY)


def until_blocking(condition: Callable[[], T], timeout: float = 10.0, *, what: str = "") -> T:
    """The same for a test that has no event loop."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(_late(what or condition, timeout, value))
        time.sleep(EVERY)


def _late(what: object, timeout: float, value: object) -> str:
    return f"not within {timeout:g} s: {what}; last seen: {value!r}"
