"""When somebody must have been told where their data is from. R2; GDPR Art. 14; Regulation 1182/71."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from workers.rules.deadlines import WARNING_DAYS, Standing, standing_of
from workers.rules.notices import due_soon_until, informed_at, notice_by

DAY = date(2026, 11, 10)
NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("collected_on", "late"),
    [
        (date(2026, 11, 10), datetime(2026, 12, 10, 23, tzinfo=UTC)),
        (date(2027, 1, 31), datetime(2027, 3, 1, 23, tzinfo=UTC)),
        (date(2028, 1, 31), datetime(2028, 2, 29, 23, tzinfo=UTC)),
        (date(2028, 2, 29), datetime(2028, 3, 29, 22, tzinfo=UTC)),
        (date(2027, 2, 28), datetime(2027, 3, 30, 22, tzinfo=UTC)),
        (date(2026, 9, 24), datetime(2026, 10, 26, 23, tzinfo=UTC)),
        (date(2026, 12, 1), datetime(2027, 1, 4, 23, tzinfo=UTC)),
        (date(2026, 12, 31), datetime(2027, 2, 1, 23, tzinfo=UTC)),
        (date(2026, 3, 5), datetime(2026, 4, 7, 22, tzinfo=UTC)),
    ],
    ids=[
        "an ordinary month",
        "31 January: 28 February is a Sunday",
        "31 January before a leap day",
        "29 February, over the change to summer time",
        "28 March is the Sunday of the change, the 29th Easter Monday",
        "24 October is a Saturday, the change to winter time the day after",
        "over the year's end: 1 January is a holiday, then a weekend",
        "from the year's end: 31 January is a Sunday",
        "Easter",
    ],
)
def test_a_month_is_counted_as_the_law_counts(collected_on: date, late: datetime) -> None:
    assert notice_by(collected_on) == late


def test_at_the_latest_by_the_first_communication() -> None:
    later = NOON + timedelta(days=3)
    assert notice_by(DAY, [NOON + timedelta(days=9), later]) == datetime(2026, 11, 13, 23, tzinfo=UTC)
    assert notice_by(DAY, [NOON - timedelta(days=3)]) == notice_by(DAY), "what was before has nothing to do with it"
    assert notice_by(DAY, [NOON + timedelta(days=90)]) == notice_by(DAY)


def test_a_notice_tells_of_what_was_collected_up_to_its_day() -> None:
    before, same, after = NOON - timedelta(days=1), NOON, NOON + timedelta(days=5)
    assert informed_at(DAY, [before]) is None
    assert informed_at(DAY, [after, same, before]) == same
    assert informed_at(DAY, []) is None


def test_near_is_near_as_for_every_deadline() -> None:
    late = notice_by(DAY)
    for days in range(WARNING_DAYS + 3):
        for moment in (late - timedelta(days=days), late - timedelta(days=days, milliseconds=1)):
            near = standing_of(date(2026, 12, 10), moment) is not Standing.ON_TIME
            assert (late <= due_soon_until(moment)) is near, moment
