"""Our processes under a clock that a test moves: ``python -m tests.chaos.moved WORDS`` is ``greffier WORDS``.

The system's clock plus what a file says, read at each look, so that every process of an installation lives at the same
virtual time and a month passes in no time. Only the clocks that rules are applied by are moved: heartbeats, timeouts
and the databases' own clocks stay those of the machine.
"""

from __future__ import annotations

import importlib
import os
import sys
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Final

from schemas import commands

VARIABLE: Final = "GREFFIER_TEST_CLOCK"

_CLOCKS: Final = {"door": "producers.intake", "subsidiary": "workers.subsidiary"}
_ELSEWHERE: Final = "workers.services"
"""The module that asks the time, by command; it is the same for all that open the controller's stores."""


class MovedClock:
    """Virtual time: the machine's, and as much as ``file`` says in seconds."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def now(self) -> datetime:
        """Aware, to the millisecond that MongoDB keeps."""
        moved = datetime.now(UTC) + timedelta(seconds=self.ahead_s)
        return moved.replace(microsecond=moved.microsecond // 1000 * 1000)

    @property
    def ahead_s(self) -> float:
        return float(self._file.read_text())

    def set(self, ahead_s: float) -> None:
        """Move it, for every process at once."""
        unfinished = self._file.with_suffix(".new")
        unfinished.write_text(str(ahead_s))
        unfinished.rename(self._file)

    def move_to(self, moment: datetime) -> None:
        """Let it be so late; never earlier than it is."""
        self.set(max(self.ahead_s, (moment - datetime.now(UTC)).total_seconds()))


def move(command: str) -> None:
    """Let the process of this command live by the clock of its environment."""
    clock = MovedClock(Path(os.environ[VARIABLE]))

    class Moved(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return clock.now().astimezone(tz)

    module = importlib.import_module(_CLOCKS.get(command, _ELSEWHERE))
    vars(module)["datetime"] = Moved


if __name__ == "__main__":
    move(sys.argv[1])
    commands.main()
