"""Civil periods in days of Paris, last day included: leap days, month ends, clock changes, year ends. R13, R15."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import given
from hypothesis import strategies as st

from schemas.calendar import PARIS, end_of_period

YEAR, THREE_YEARS, MONTH = relativedelta(years=1), relativedelta(years=3), relativedelta(months=1)


def paris(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=PARIS)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("since", "period", "first_instant_after"),
    [
        (paris(2024, 2, 29, 12), THREE_YEARS, paris(2027, 3, 1)),
        (paris(2024, 2, 29, 12), relativedelta(years=4), paris(2028, 3, 1)),
        (paris(2026, 1, 31, 12), MONTH, paris(2026, 3, 1)),
        (paris(2024, 1, 31, 12), MONTH, paris(2024, 3, 1)),
        (paris(2026, 8, 31, 12), relativedelta(months=13), paris(2027, 10, 1)),
        (paris(2025, 12, 31, 23, 59), relativedelta(days=1), paris(2026, 1, 2)),
        (paris(2026, 1, 1, 0, 0), relativedelta(), paris(2026, 1, 2)),
        (paris(2026, 3, 28, 12), relativedelta(days=1), paris(2026, 3, 30)),
        (paris(2026, 10, 24, 12), relativedelta(days=1), paris(2026, 10, 26)),
        (paris(2026, 7, 14, 23, 30), relativedelta(days=7), paris(2026, 7, 22)),
    ],
    ids=[
        "leap day",
        "leap day to leap day",
        "month end",
        "month end in a leap year",
        "thirteen months",
        "year end",
        "no length",
        "clocks go forward",
        "clocks go back",
        "a week-end changes nothing",
    ],
)
def test_the_last_day_is_included(since: datetime, period: relativedelta, first_instant_after: datetime) -> None:
    assert end_of_period(since, period) == first_instant_after
    assert end_of_period(since, period).tzinfo is UTC


def test_a_day_is_a_day_of_paris() -> None:
    """22:30 UTC in summer is half past midnight in Paris."""
    assert end_of_period(datetime(2026, 7, 1, 21, 59, tzinfo=UTC), MONTH) == paris(2026, 8, 2)
    assert end_of_period(datetime(2026, 7, 1, 22, 30, tzinfo=UTC), MONTH) == paris(2026, 8, 3)


def test_the_end_of_time_is_no_error() -> None:
    assert end_of_period(datetime(9999, 12, 31, tzinfo=UTC), YEAR) > datetime(9999, 1, 1, tzinfo=UTC)


MOMENTS = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1)).map(  # noqa: DTZ001
    lambda moment: moment.replace(tzinfo=UTC)
)


@given(MOMENTS, MOMENTS, st.integers(min_value=0, max_value=60))
def test_who_begins_later_never_ends_earlier(one: datetime, other: datetime, months: int) -> None:
    first, second = sorted([one, other])
    period = relativedelta(months=months)
    assert end_of_period(first, period) <= end_of_period(second, period)


@given(MOMENTS, st.integers(min_value=0, max_value=400))
def test_it_ends_at_a_midnight_of_paris_after_that_many_days(since: datetime, days: int) -> None:
    end = end_of_period(since, relativedelta(days=days)).astimezone(PARIS)
    assert (end.hour, end.minute, end.second) == (0, 0, 0)
    assert end.date() - since.astimezone(PARIS).date() == timedelta(days=days + 1)
