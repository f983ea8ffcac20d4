"""Python suited to a long-lived process that makes and drops thousands of objects in each breath."""

from __future__ import annotations

import gc
from typing import Final

_NEW_OBJECTS: Final = 50_000


def collect_seldom() -> None:
    """Spare the cyclic collector's work; call it once, when everything is loaded and before the work begins.

    What a batch or a request makes goes by itself: to look at it again and again took a tenth of a worker's time. What
    is here now stays for good, and is looked at no more.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 20, 20)
