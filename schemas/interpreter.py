"""Python suited to our processes: a start that only adds, then thousands of objects made and dropped in each breath."""

from __future__ import annotations

import gc
from typing import Final

_NEW_OBJECTS: Final = 50_000


def start_swiftly() -> None:
    """Call it first: to look three hundred times for what is gone while everything is loaded takes a tenth of that.

    The collector goes on, seldom enough for a command and often enough for one that stays.
    """
    gc.set_threshold(_NEW_OBJECTS, 20, 20)


def collect_seldom() -> None:
    """Spare the cyclic collector's work; call it once, when everything is loaded and before the work begins.

    What a batch or a request makes goes by itself: to look at it again and again took a tenth of a worker's time. What
    is here now stays for good, and is looked at no more.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 20, 20)
