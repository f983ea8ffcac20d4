"""How long a purpose is live: from the register's periods and the events that they are counted from.

Nothing is stored but facts (a link's beginning, the anchor events); the end is folded when it is asked for, so an
anchor event that arrives before, after or twice changes nothing but the answer.
Source: R13; P9; design § 4 "Purpose links".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from dateutil.relativedelta import relativedelta

from schemas.calendar import end_of_period
from schemas.terms import Anchor

_FROM_THE_START = frozenset({Anchor.COLLECTED, Anchor.LAST_CONTACT})


@dataclass(frozen=True, slots=True)
class AnchorEvent:
    """Something that happened which a period is counted from."""

    anchor: Anchor
    at: datetime


def active_until(
    anchor: Anchor, since: datetime, active: relativedelta, happened: Iterable[AnchorEvent]
) -> datetime | None:
    """The instant (aware, UTC) at which a purpose begun at ``since`` ends being active; ``None`` while it is open.

    ``anchor`` and ``active`` are the retention rule's; ``happened``: the anchor events about this record.
    """
    known = [event.at for event in happened if event.anchor is anchor and event.at >= since]
    if anchor in _FROM_THE_START:
        known.append(since)
    return end_of_period(max(known), active) if known else None


def is_live(until: datetime | None, moment: datetime) -> bool:
    """Whether a purpose that ends at ``until`` is live at ``moment``. Past its date nothing is, swept or not."""
    return until is None or moment < until


def later(one: datetime | None, other: datetime | None) -> datetime | None:
    """The later of two ends; one that is open is later than any."""
    return None if one is None or other is None else max(one, other)
