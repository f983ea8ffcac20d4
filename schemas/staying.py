"""How long a service stays open: until it is told to stop, or nobody is left who would tell it.

Source: design § 6 "Commands"; reliability § 7.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from schemas.interpreter import collect_seldom

_PARENT_LOOK_S: Final = 1.0


async def stay_open(service: AbstractAsyncContextManager[Any]) -> None:
    """Hold ``service`` open until SIGTERM or SIGINT, then leave it, which drains it; a second one exits at once.

    A process whose parent (``GREFFIER_PARENT_PID``) has gone leaves too: nobody would ever stop it otherwise.
    What entering and leaving ``service`` raises passes through.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop_or_leave, stop)
    _watch_parent(loop, stop)
    async with service:
        collect_seldom()
        await stop.wait()


def _stop_or_leave(stop: asyncio.Event) -> None:
    if stop.is_set():
        os._exit(1)  # asked twice: whoever waits for an answer gets none, and repeats
    stop.set()


def _watch_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    parent = os.environ.get("GREFFIER_PARENT_PID", "")
    if not parent.isdigit() or os.getppid() != int(parent):
        return

    def look() -> None:
        if os.getppid() == int(parent):
            loop.call_later(_PARENT_LOOK_S, look)
        else:
            stop.set()

    look()
