"""What an erasure means for an event that meets it.

============================ =============================================== ===================================
an event that was received   the person's own act (form, cookie)             said by somebody else (CRM)
============================ =============================================== ===================================
before the erasure           refused: it is what was erased                  refused: it is what was erased
within the skew bound after  parked: no clock can tell                       parked for staff
later                        kept: a fresh act                               parked for staff: no import undoes it
============================ =============================================== ===================================

Source: P5; R26; design § 4 "A first subscription" (CRM records about an erased person), "P5 in one paragraph".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum


class Verdict(StrEnum):
    """What becomes of an event after the look at the tombstones."""

    KEEP = "keep"
    PARK = "park"
    REFUSE = "refuse"


def judge(received: datetime, erased_at: datetime | None, *, skew: timedelta, own_act: bool) -> Verdict:
    """``received``: when the door had it; ``erased_at``: the latest tombstone of its address, if any (both aware)."""
    if erased_at is None:
        return Verdict.KEEP
    if received <= erased_at:
        return Verdict.REFUSE
    if not own_act or received <= erased_at + skew:
        return Verdict.PARK
    return Verdict.KEEP


def latest(stones: Mapping[str, datetime], ids: Iterable[str]) -> datetime | None:
    """The latest of these tombstones, ``None`` where none stands."""
    return max((stones[stone] for stone in ids if stone in stones), default=None)
