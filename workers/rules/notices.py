"""When somebody whose data came from elsewhere must have been told, and when they were: from dates alone.

Within a month of the collection, counted as every deadline to act is, and at the latest by the first communication with
them. A notice tells of what was collected up to its day; what is collected later needs its own. Nothing here depends on
the order in which it became known.
Source: GDPR Art. 14(3)(a), (b); R2; gdpr-clock-and-rights § 1, § 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Final

from schemas.calendar import civil_day
from workers.rules.deadlines import WARNING_DAYS, end_of_day, one_month_from

_WARNED: Final = timedelta(days=WARNING_DAYS - 1)


def notice_by(collected_on: date, communicated: Iterable[datetime] = ()) -> datetime:
    """The first instant (UTC) at which a notice is late.

    ``communicated``: moments at which the person is known to have been in touch with us.
    """
    days = [civil_day(moment) for moment in communicated]
    due = min([one_month_from(collected_on).due, *(day for day in days if day >= collected_on)])
    return end_of_day(due)


def informed_at(collected_on: date, notices: Iterable[datetime]) -> datetime | None:
    """When the person was told of what was collected that day: the first notice since; ``None`` where there is none."""
    return min((notice for notice in notices if civil_day(notice) >= collected_on), default=None)


def due_soon_until(now: datetime) -> datetime:
    """What is late from this instant on, or before it, is shown as near ``now``."""
    return end_of_day(civil_day(now) + _WARNED)
