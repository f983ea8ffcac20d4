"""When chores are due: the same moments for whoever asks, whatever the year or the clocks do. P9."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.calendar import PARIS, civil_day
from schemas.ticks import SCHEDULE, TICK, Daily, Every, Rhythm, missed, tick, tick_id

MS = timedelta(milliseconds=1)
SPRING, AUTUMN = datetime(2027, 3, 28, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)  # the days clocks change
MOMENTS = st.timedeltas(timedelta(0), timedelta(days=20 * 365)).map(lambda ago: datetime(2040, 1, 1, tzinfo=UTC) - ago)
TIMES = st.times().map(lambda at: at.replace(second=0, microsecond=0))
RHYTHMS = st.one_of(
    st.builds(Daily, TIMES), st.integers(1, 7 * 24 * 60).map(lambda minutes: Every(timedelta(minutes=minutes)))
)


def walk(rhythm: Rhythm, since: datetime, until: datetime) -> list[datetime]:
    """Every planned moment, as a clock that never sleeps comes by them."""
    found = [rhythm.latest(since)]
    while found[-1] < until:
        found.append(rhythm.following(found[-1]))
    return found


@settings(deadline=None)
@given(RHYTHMS, MOMENTS)
@example(Daily(time(2, 30)), SPRING + timedelta(hours=1))
@example(Daily(time(2, 30)), AUTUMN + timedelta(hours=1, minutes=30))
@example(Daily(time(0, 0)), datetime(2026, 12, 31, 23, tzinfo=UTC))
@example(Daily(time(0, 10)), datetime(2028, 2, 29, 12, tzinfo=UTC))
def test_now_lies_between_the_latest_and_the_following(rhythm: Rhythm, now: datetime) -> None:
    latest, following = rhythm.latest(now), rhythm.following(now)
    assert latest <= now < following
    assert rhythm.latest(latest) == rhythm.latest(following - MS) == latest, "whoever asks in between is told the same"
    assert rhythm.following(latest) == rhythm.following(following - MS) == following
    assert rhythm.latest(following) == following


@settings(deadline=None)
@given(TIMES, st.dates(date(2020, 1, 2), date(2039, 12, 1)))
@example(time(2, 30), SPRING.date() - timedelta(days=2))
@example(time(2, 30), AUTUMN.date() - timedelta(days=2))
@example(time(23, 59), date(2028, 2, 27))
@example(time(0, 0), date(2026, 12, 30))
def test_each_civil_day_has_one(at: time, first: date) -> None:
    """Days of 23 and of 25 hours, 29 February, the end of the year: one each, in the day it is named for."""
    start = datetime.combine(first, time.min, PARIS).astimezone(UTC)
    days = [civil_day(moment) for moment in walk(Daily(at), start, start + timedelta(days=5))[1:-1]]
    assert days == [days[0] + timedelta(days=n) for n in range(len(days))]
    assert len(days) >= 4


def test_a_time_that_is_left_out_or_shown_twice() -> None:
    daily = Daily(time(2, 30))
    assert daily.latest(SPRING + timedelta(hours=12)) == SPRING + timedelta(hours=1, minutes=30)
    assert daily.latest(AUTUMN + timedelta(hours=12)) == AUTUMN + timedelta(minutes=30), "the first of the two"
    assert daily.following(AUTUMN + timedelta(minutes=30)) == AUTUMN + timedelta(days=1, hours=1, minutes=30)


@pytest.mark.parametrize("change", [SPRING, AUTUMN], ids=["spring", "autumn"])
def test_every_hour_is_every_hour_whatever_the_wall_shows(change: datetime) -> None:
    hours = walk(Every(timedelta(hours=1)), change - timedelta(hours=3), change + timedelta(hours=5))
    assert {later - earlier for earlier, later in pairwise(hours)} == {timedelta(hours=1)}


@settings(deadline=None)
@given(RHYTHMS, MOMENTS)
def test_more_than_two_periods_without_one_done_is_missed(rhythm: Rhythm, now: datetime) -> None:
    latest = rhythm.latest(now)
    before = rhythm.latest(latest - MS)
    two_before = rhythm.latest(before - MS)
    assert [missed(rhythm, done, now) for done in (latest, before, two_before)] == [False, False, True]


# ---------------------------------------------------------------------- one tick is one event


def of_the_plan_alone(identify: Callable[[str, datetime, datetime], str]) -> None:
    """Whichever clock publishes it, and when, it is the same event; another chore's or moment's is another."""
    planned = datetime(2026, 11, 20, 12, tzinfo=UTC)
    asked = [(chore, planned + timedelta(hours=h)) for chore in SCHEDULE for h in (0, 1)]
    for_two_clocks = [{identify(*one, planned + timedelta(seconds=s)) for one in asked} for s in (0, 7)]
    assert for_two_clocks[0] == for_two_clocks[1]
    assert len(for_two_clocks[0]) == len(asked)


def test_a_tick_is_the_same_event_whoever_publishes_it() -> None:
    of_the_plan_alone(lambda chore, planned, now: tick(chore, planned, now).key)
    paris = datetime(2026, 11, 20, 13, tzinfo=PARIS)
    assert tick_id("a", paris) == tick_id("a", paris.astimezone(UTC))


def test_an_id_of_the_moment_of_publishing_is_noticed() -> None:
    with pytest.raises(AssertionError):
        of_the_plan_alone(lambda chore, planned, now: f"{chore}.{now.isoformat()}")


@pytest.mark.parametrize("chore", SCHEDULE)
def test_a_worker_reads_what_a_clock_publishes(chore: str) -> None:
    planned = SCHEDULE[chore].latest(datetime(2026, 11, 20, 12, tzinfo=UTC))
    event = tick(chore, planned, planned)
    assert TICK.read(event.body) == {"chore": chore, "planned": f"{planned:%Y-%m-%dT%H:%M:%S}.000Z"}
    assert len(event.id) <= 128
