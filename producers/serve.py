"""The door as a process: open until it is told to stop, then drained.

The first SIGTERM or SIGINT stops accepting, answers what is held and exits with 0; a second one exits at once. A door
whose parent process has gone (``GREFFIER_PARENT_PID``) drains too: nobody would ever stop it otherwise.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Final

from producers.door.app import Door
from producers.settings import DoorSettings
from schemas.interpreter import collect_seldom

PARENT_LOOK_S: Final = 1.0


async def serve(settings: DoorSettings) -> None:
    """Raises :class:`ConfigurationError` when it cannot start."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop_or_leave, stop)
    _watch_parent(loop, stop)
    async with Door(settings):
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
            loop.call_later(PARENT_LOOK_S, look)
        else:
            stop.set()

    look()
