"""When a call to somebody else's system is repeated, and when it is given up: the schedule of Standard Webhooks.

Ten tries over 75 hours and a little more, each spread so that many do not come at once. Pure.
Source: messaging-standards § 6; rights-protocols § 4.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

TIMEOUT_S: Final = 20.0
AGAIN_AFTER: Final = tuple(
    timedelta(seconds=seconds) for seconds in (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
)
"""After the first try, after the second, and so on; after the tenth nothing more is tried."""
SPREAD: Final = 0.1
"""By how much of itself a pause may be longer."""
_GONE: Final = 410
_LONGEST_WISH: Final = timedelta(days=1)


def taken(status: int) -> bool:
    """Whether the other side has it: a redirection is a failure, not a new address."""
    return 200 <= status < 300


def unwanted(status: int) -> bool:
    """Whether the other side wants no call at this address ever again."""
    return status == _GONE


def again_after(tries: int, spread: float, wished_s: int | None = None) -> timedelta | None:
    """The pause after ``tries`` failures; ``None``: give up. ``spread``: 0 to 1, drawn by the caller.

    ``wished_s``: the other side's ``Retry-After``, kept where it is longer.
    """
    if not 1 <= tries <= len(AGAIN_AFTER):
        return None
    pause = AGAIN_AFTER[tries - 1] * (1 + SPREAD * spread)
    return max(pause, min(timedelta(seconds=wished_s), _LONGEST_WISH)) if wished_s else pause
