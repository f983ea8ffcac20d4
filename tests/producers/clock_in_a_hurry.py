"""``greffier clock`` with a chore that is due ten times a second: what a test starts as a process of its own."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from producers.clock import Clock
from producers.settings import ClockSettings, read_settings
from schemas.logs import configure_logs
from schemas.staying import stay_open
from schemas.ticks import PARKED_LETTERS, Every

PERIOD: Final = timedelta(milliseconds=100)


async def main() -> None:
    await stay_open(Clock(read_settings(ClockSettings), schedule={PARKED_LETTERS: Every(PERIOD)}))


if __name__ == "__main__":
    configure_logs()
    asyncio.run(main())
