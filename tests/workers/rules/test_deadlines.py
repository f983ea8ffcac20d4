"""Deadlines: every worked row, ten years of days against an independent calendar, and the usual mistakes caught."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from dateutil.easter import easter
from dateutil.relativedelta import relativedelta
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.rules.deadlines import (
    FRANCE,
    CaseDates,
    Counting,
    Pause,
    Standing,
    deadlines,
    end_of_day,
    is_working_day,
    standing,
    standing_of,
    store_deadline,
)

PARIS = ZoneInfo("Europe/Paris")
LATER = datetime(2040, 1, 1, tzinfo=UTC)

ROWS = [
    # received, raw of one month, due, raw of three months, due extended
    ("2026-03-05", "2026-04-05", "2026-04-07", "2026-06-05", "2026-06-05"),
    ("2026-04-01", "2026-05-01", "2026-05-04", "2026-07-01", "2026-07-01"),
    ("2026-04-14", "2026-05-14", "2026-05-15", "2026-07-14", "2026-07-15"),
    ("2026-08-31", "2026-09-30", "2026-09-30", "2026-11-30", "2026-11-30"),
    ("2026-11-25", "2026-12-25", "2026-12-28", "2027-02-25", "2027-02-25"),
    ("2027-01-29", "2027-02-28", "2027-03-01", "2027-04-29", "2027-04-29"),
    ("2027-01-30", "2027-02-28", "2027-03-01", "2027-04-30", "2027-04-30"),
    ("2027-01-31", "2027-02-28", "2027-03-01", "2027-04-30", "2027-04-30"),
    ("2027-04-16", "2027-05-16", "2027-05-18", "2027-07-16", "2027-07-16"),
    ("2028-01-31", "2028-02-29", "2028-02-29", "2028-04-30", "2028-05-02"),
]
TEN_YEARS = [date(2026, 1, 1) + timedelta(days=n) for n in range(3653)]
MOST_MOVED = 3
"""Days: the most that week-ends and French holidays in a row move a date in these years."""


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=PARIS)


def found(day: date, *pauses: Pause, extended: bool = False) -> tuple[date, date]:
    reckoned = deadlines(CaseDates(noon(day), pauses, extended), LATER)
    return reckoned.first.due, reckoned.extended.due


def wrong_rows(reckon: Callable[[date], tuple[date, date]]) -> list[str]:
    """The worked rows that a way of counting gets wrong."""
    expected = {row[0]: (date.fromisoformat(row[2]), date.fromisoformat(row[4])) for row in ROWS}
    return [day for day, ends in expected.items() if reckon(date.fromisoformat(day)) != ends]


@pytest.mark.parametrize(("received", "raw", "due", "raw3", "due3"), ROWS)
def test_worked_case(received: str, raw: str, due: str, raw3: str, due3: str) -> None:
    reckoned = deadlines(CaseDates(noon(date.fromisoformat(received))), LATER)
    assert [str(reckoned.first.raw), str(reckoned.first.due)] == [raw, due]
    assert [str(reckoned.extended.raw), str(reckoned.extended.due)] == [raw3, due3]


def test_the_day_of_receipt_is_the_day_in_paris() -> None:
    """Half past eleven at night in UTC is the next day in Paris, and its raw day is Easter Monday."""
    reckoned = deadlines(CaseDates(datetime(2026, 3, 5, 23, 30, tzinfo=UTC)), LATER)
    assert (reckoned.received_on, reckoned.first.raw, reckoned.due) == (
        date(2026, 3, 6),
        date(2026, 4, 6),
        date(2026, 4, 7),
    )


def plain(day: date, months: int) -> date:
    return day + relativedelta(months=months)


def rolled(day: date, off: Callable[[date], bool]) -> date:
    while off(day):
        day += timedelta(days=1)
    return day


MISTAKES: dict[str, Callable[[date], tuple[date, date]]] = {
    "thirty days": lambda day: (
        rolled(day + timedelta(days=30), is_off),
        rolled(day + timedelta(days=90), is_off),
    ),
    "no roll": lambda day: (plain(day, 1), plain(day, 3)),
    "no holidays": lambda day: (
        rolled(plain(day, 1), lambda d: d.weekday() > 4),
        rolled(plain(day, 3), lambda d: d.weekday() > 4),
    ),
    "Saturday works": lambda day: (
        rolled(plain(day, 1), lambda d: d.weekday() == 6 or d in holidays_of(d.year)),
        rolled(plain(day, 3), lambda d: d.weekday() == 6 or d in holidays_of(d.year)),
    ),
    "extension from due": lambda day: (
        rolled(plain(day, 1), is_off),
        rolled(plain(rolled(plain(day, 1), is_off), 2), is_off),
    ),
    "extension from raw": lambda day: (rolled(plain(day, 1), is_off), rolled(plain(plain(day, 1), 2), is_off)),
    "day of receipt counted": lambda day: (
        rolled(plain(day, 1) - timedelta(days=1), is_off),
        rolled(plain(day, 3) - timedelta(days=1), is_off),
    ),
    "bridge days off": lambda day: (
        rolled(
            plain(day, 1), lambda d: is_off(d) or (d.weekday() == 4 and d - timedelta(days=1) in holidays_of(d.year))
        ),
        rolled(plain(day, 3), is_off),
    ),
}


def test_the_worked_cases_are_all_met() -> None:
    assert wrong_rows(found) == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_worked_cases_catch_the_mistake(mistake: str) -> None:
    assert wrong_rows(MISTAKES[mistake])


def holidays_of(year: int) -> set[date]:
    """French public holidays from the Code du travail L3133-1, apart from any library."""
    sunday = easter(year)
    moving = {sunday + timedelta(days=n) for n in (1, 39, 50)}
    fixed = [(1, 1), (5, 1), (5, 8), (7, 14), (8, 15), (11, 1), (11, 11), (12, 25)]
    return moving | {date(year, month, day) for month, day in fixed}


def is_off(day: date) -> bool:
    return day.weekday() > 4 or day in holidays_of(day.year)


def test_ten_years_of_working_days_agree_with_the_labour_code() -> None:
    assert [day for day in TEN_YEARS if is_working_day(day) is is_off(day)] == []


def test_ten_years_of_receipts_keep_every_rule() -> None:
    """Due on or after raw, little later, on a working day with none skipped; later receipts are never due earlier."""
    before = (date.min, date.min)
    for day in TEN_YEARS:
        reckoned = deadlines(CaseDates(noon(day)), LATER)
        for deadline, months in ((reckoned.first, 1), (reckoned.extended, 3)):
            assert deadline.raw == day + relativedelta(months=months)
            assert timedelta(0) <= deadline.due - deadline.raw <= timedelta(days=MOST_MOVED)
            skipped = [deadline.raw + timedelta(days=n) for n in range((deadline.due - deadline.raw).days)]
            assert all(map(is_off, skipped))
            assert not is_off(deadline.due)
            assert {one.on for one in deadline.holidays} == {one for one in skipped if one in holidays_of(one.year)}
        ends = (reckoned.first.due, reckoned.extended.due)
        assert ends >= before
        assert ends[1] > ends[0]
        assert all(late >= early for late, early in zip(ends, before, strict=True))
        before = ends


@given(
    day=st.sampled_from(TEN_YEARS),
    spans=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 40)), max_size=3),
)
@settings(deadline=None)
def test_a_suspension_adds_whole_days_and_no_more(day: date, spans: list[tuple[int, int]]) -> None:
    """Never due before the days without suspension, nor later than all days of all pauses and one roll allow."""
    pauses = [Pause(noon(day) + timedelta(days=start), noon(day) + timedelta(days=start + n)) for start, n in spans]
    unpaused = deadlines(CaseDates(noon(day)), LATER)
    reckoned = deadlines(CaseDates(noon(day), tuple(pauses)), LATER)
    assert 0 <= reckoned.paused_days <= sum(n for _, n in spans)
    assert reckoned.first.raw == unpaused.first.raw + timedelta(days=reckoned.paused_days)
    assert unpaused.due <= reckoned.due <= reckoned.first.raw + timedelta(days=MOST_MOVED + 1)
    assert reckoned.extended.due >= unpaused.extended.due


def test_suspension_counts_from_asking_to_the_answer_then_rolls() -> None:
    asked, answered = noon(date(2026, 3, 10)), noon(date(2026, 3, 14))
    reckoned = deadlines(CaseDates(noon(date(2026, 3, 2)), (Pause(asked, answered),)), LATER)
    assert (reckoned.paused_days, reckoned.first.raw, reckoned.due) == (4, date(2026, 4, 6), date(2026, 4, 7))


def test_days_that_two_pauses_share_count_once() -> None:
    pauses = tuple(Pause(noon(date(2026, 3, start)), noon(date(2026, 3, end))) for start, end in ((5, 9), (7, 12)))
    assert deadlines(CaseDates(noon(date(2026, 3, 2)), pauses), LATER).paused_days == 7


def test_an_open_pause_moves_the_date_day_by_day() -> None:
    dates = CaseDates(noon(date(2026, 3, 2)), (Pause(noon(date(2026, 3, 4))),))
    dues = [deadlines(dates, noon(date(2026, 3, day))).first.raw for day in (4, 5, 20)]
    assert dues == [date(2026, 4, 2), date(2026, 4, 3), date(2026, 4, 18)]


def test_asking_for_proof_after_the_end_saves_nothing() -> None:
    dates = CaseDates(noon(date(2026, 3, 2)), (Pause(noon(date(2026, 4, 3)), noon(date(2026, 4, 30))),))
    assert deadlines(dates, LATER).due == date(2026, 4, 2)
    assert standing(dates, noon(date(2026, 4, 20))) is Standing.OVERDUE


def test_a_controller_may_count_without_suspension() -> None:
    dates = CaseDates(noon(date(2026, 3, 2)), (Pause(noon(date(2026, 3, 4))),))
    assert deadlines(dates, LATER, replace(FRANCE, suspends=False)).due == date(2026, 4, 2)


def test_another_country_has_its_own_holidays() -> None:
    """3 October is a holiday in Germany alone, 14 July in France alone."""
    german = Counting("DE", ZoneInfo("Europe/Berlin"))
    received = CaseDates(noon(date(2025, 9, 3)))
    assert deadlines(received, LATER).due == date(2025, 10, 3)
    assert deadlines(received, LATER, german).due == date(2025, 10, 6)
    assert deadlines(CaseDates(noon(date(2026, 6, 14))), LATER, german).due == date(2026, 7, 14)


def test_the_reckoning_names_its_calendar_and_the_holidays_it_met() -> None:
    reckoned = deadlines(CaseDates(noon(date(2026, 3, 5))), LATER)
    assert [one.on for one in reckoned.first.holidays] == [date(2026, 4, 6)]
    assert all(one.name for one in reckoned.first.holidays)
    assert reckoned.calendar.startswith("FR, holidays 0.")


@pytest.mark.parametrize(
    ("at", "may"),
    [("2026-04-07T23:59:59", True), ("2026-04-08T00:00:00", False)],
)
def test_an_extension_is_told_within_the_first_month(at: str, may: bool) -> None:
    now = datetime.fromisoformat(at).replace(tzinfo=PARIS)
    reckoned = deadlines(CaseDates(noon(date(2026, 3, 5))), now)
    assert reckoned.notice_by == date(2026, 4, 7)
    assert reckoned.may_extend(now) is may


def test_a_case_is_extended_once() -> None:
    now = noon(date(2026, 3, 10))
    reckoned = deadlines(CaseDates(noon(date(2026, 3, 5)), extended=True), now)
    assert (reckoned.due, reckoned.may_extend(now)) == (date(2026, 6, 5), False)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-03-05T12:00:00", Standing.ON_TIME),
        ("2026-03-28T23:59:59", Standing.ON_TIME),
        ("2026-03-29T00:00:00", Standing.DUE_SOON),
        ("2026-04-07T23:59:59", Standing.DUE_SOON),
        ("2026-04-08T00:00:00", Standing.OVERDUE),
    ],
)
def test_lateness_is_seen_before_it_happens(at: str, expected: Standing) -> None:
    now = datetime.fromisoformat(at).replace(tzinfo=PARIS)
    assert standing(CaseDates(noon(date(2026, 3, 5))), now) is expected


@pytest.mark.parametrize(("day", "expected"), [(7, Standing.ON_TIME), (8, Standing.OVERDUE)])
def test_an_answered_case_stands_as_it_left(day: int, expected: Standing) -> None:
    dates = CaseDates(noon(date(2026, 3, 5)), answered_at=noon(date(2026, 4, day)))
    assert standing(dates, noon(date(2026, 12, 1))) is expected


@given(day=st.sampled_from(TEN_YEARS), offsets=st.lists(st.integers(0, 200), min_size=2, max_size=8))
@settings(deadline=None)
def test_standing_never_gets_better_with_time(day: date, offsets: list[int]) -> None:
    order = list(Standing)
    stands = [order.index(standing(CaseDates(noon(day)), noon(day) + timedelta(days=n))) for n in sorted(offsets)]
    assert stands == sorted(stands)


def test_a_store_answers_ten_days_before_the_person_must_be() -> None:
    assert store_deadline(date(2026, 4, 7), date(2026, 3, 5)) == date(2026, 3, 28)


def test_a_store_always_has_a_day_but_never_more_than_there_is() -> None:
    due = date(2026, 4, 7)
    for asked_on in days(date(2026, 3, 5), date(2026, 4, 20)):
        deadline = store_deadline(due, asked_on)
        assert deadline > asked_on or asked_on >= due
        assert deadline <= max(due, asked_on)


def test_a_store_stands_by_the_same_rule() -> None:
    due = date(2026, 3, 28)
    assert standing_of(due, noon(date(2026, 3, 20))) is Standing.DUE_SOON
    assert standing_of(due, noon(date(2026, 3, 20)), warning_days=3) is Standing.ON_TIME
    assert standing_of(due, end_of_day(due)) is Standing.OVERDUE


def days(first: date, last: date) -> Iterable[date]:
    return (first + timedelta(days=n) for n in range((last - first).days + 1))
