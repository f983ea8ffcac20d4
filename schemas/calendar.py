"""Civil periods: when a right to keep something ends, counted in days of Europe/Paris.

A period's last day is included: it ends with the first instant of the next day. Month ends are clamped
(29 February + 3 years → 28 February). Nothing rolls over week-ends: that rule extends deadlines to act, never storage.
Source: R13, R15; design § 4; retention-defaults § 1.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta

PARIS = ZoneInfo("Europe/Paris")


def end_of_period(since: datetime, period: relativedelta) -> datetime:
    """The instant (aware, UTC) from which something begun at ``since`` (aware) may no longer be used."""
    return end_after(civil_day(since), period)


def civil_day(moment: datetime) -> date:
    """The day in Paris of an aware moment."""
    return moment.astimezone(PARIS).date()


def end_after(first: date, period: relativedelta) -> datetime:
    """As :func:`end_of_period`, for whoever counts several periods from one day."""
    return _end(first, period.years, period.months, period.days)


@lru_cache(maxsize=8192)
def _end(first: date, years: int, months: int, days: int) -> datetime:
    # The cache is what makes this affordable on the hot path: a batch of 500 seldom spans more than a few days. Its
    # key is plain numbers, because a relativedelta takes longer to hash than all the rest.
    try:
        last = first + relativedelta(years=years, months=months, days=days)
        return datetime.combine(last + timedelta(days=1), time.min, PARIS).astimezone(UTC)
    except (OverflowError, ValueError):  # past the year 9999
        return datetime.max.replace(tzinfo=UTC, microsecond=999000)
