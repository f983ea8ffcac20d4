"""One line of the demo's result: what was done, what was seen, and whether that is what must be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

PATIENCE_S: Final = 30.0


@dataclass(slots=True)
class Row:
    """One line of the result: what was done, what was seen, and whether that is what must be."""

    what: str
    seen: list[str] = field(default_factory=list)
    held: bool = True

    def note(self, text: str, held: bool) -> None:
        self.seen.append(text if held else f"{text} ✗")
        self.held &= held


async def until(holds: Callable[[], bool], patience_s: float = PATIENCE_S) -> float:
    """Wait for an effect in another process; how many seconds it took. When it does not come, the row says so."""
    began = time.monotonic()
    while not await asyncio.to_thread(holds) and time.monotonic() < began + patience_s:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    return time.monotonic() - began
