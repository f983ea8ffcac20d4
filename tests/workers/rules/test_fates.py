"""What becomes of a record when its purposes end: it lives as long as the longest, and a "no" archives nothing. R13."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import given
from hypothesis import strategies as st

from schemas.calendar import PARIS
from schemas.terms import Purpose
from workers.rules.retention import DELETED, STAYS, Becomes, ServedPurpose, archive_until, fate_of

START = datetime(2024, 2, 29, 23, tzinfo=UTC)
FIVE_YEARS = relativedelta(years=5)
DAYS = st.integers(min_value=-4000, max_value=4000).map(lambda days: START + timedelta(days=days))
PERIODS = st.sampled_from([None, relativedelta(years=1), FIVE_YEARS, relativedelta(months=1), relativedelta(days=1)])
PURPOSES = st.builds(
    ServedPurpose,
    st.sampled_from(list(Purpose)),
    st.just("rule"),
    st.none() | DAYS,
    st.booleans(),
    PERIODS,
)
RECORDS = st.lists(PURPOSES, min_size=1, max_size=4)
SHUFFLED = RECORDS.flatmap(lambda record: st.tuples(st.just(record), st.permutations(record)))


def ended(at: datetime | None, archive: relativedelta | None = None, *, said_no: bool = False) -> ServedPurpose:
    return ServedPurpose(Purpose.RECRUITMENT, "application", at, said_no, archive)


def midnight(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=PARIS).astimezone(UTC)


@pytest.mark.parametrize(
    ("ends", "period", "until"),
    [
        (midnight(2024, 3, 1), FIVE_YEARS, midnight(2029, 3, 1)),  # last day 29 February 2024, then 28 February 2029
        (midnight(2024, 2, 1), relativedelta(months=1), midnight(2024, 3, 1)),  # 31 January, then 29 February
        (midnight(2025, 1, 1), FIVE_YEARS, midnight(2030, 1, 1)),  # the last day of a year
        (midnight(2026, 3, 29), relativedelta(days=1), midnight(2026, 3, 30)),  # 28 March; the next day has 23 hours
        (midnight(2026, 10, 25), relativedelta(days=1), midnight(2026, 10, 26)),  # and this one 25
        (midnight(2026, 3, 30), FIVE_YEARS, midnight(2031, 3, 30)),
    ],
)
def test_the_archive_is_counted_from_the_last_day_of_use(
    ends: datetime, period: relativedelta, until: datetime
) -> None:
    assert archive_until(ends, period) == until
    assert fate_of([ended(ends, period)], until - timedelta(milliseconds=1)).becomes is Becomes.ARCHIVED
    assert fate_of([ended(ends, period)], until) == DELETED


def test_an_anchor_that_never_came_keeps_the_record() -> None:
    assert fate_of([ended(None), ended(START)], datetime(2400, 1, 1, tzinfo=UTC)) == STAYS
    assert fate_of([ended(None, FIVE_YEARS, said_no=True)], START) == DELETED, "but not against a no"


def test_two_purposes_with_different_ends_keep_it_until_the_later() -> None:
    short, long = ended(START, FIVE_YEARS), ended(START + timedelta(days=400), relativedelta(years=1))
    assert fate_of([short, long], START + timedelta(days=399)) == STAYS
    fate = fate_of([short, long], START + timedelta(days=400))
    assert (fate.becomes, fate.until, set(fate.by)) == (Becomes.ARCHIVED, short.archived_until, {short, long})
    assert fate_of([short, long], START + timedelta(days=1000)).by == (short,)


@given(SHUFFLED, DAYS)
def test_order_and_repeats_change_nothing(
    records: tuple[list[ServedPurpose], list[ServedPurpose]], at: datetime
) -> None:
    one, other = (fate_of(record, at) for record in records)
    assert (one.becomes, one.until, set(one.by)) == (other.becomes, other.until, set(other.by))
    assert fate_of([*records[0], *records[0]], at).until == one.until


@given(RECORDS, DAYS, DAYS)
def test_a_record_never_comes_back(record: list[ServedPurpose], one: datetime, other: datetime) -> None:
    """Stays, then archived, then deleted: with time alone it goes on only."""
    order = list(Becomes)
    earlier, later = (order.index(fate_of(record, at).becomes) for at in sorted((one, other)))
    assert earlier <= later


@given(RECORDS, DAYS)
def test_it_stays_while_a_purpose_lives_and_no_longer(record: list[ServedPurpose], at: datetime) -> None:
    living = [one for one in record if not one.said_no and (one.until is None or at < one.until)]
    assert (fate_of(record, at) == STAYS) is bool(living)


@given(RECORDS, DAYS)
def test_a_no_never_sends_anything_to_the_archive(record: list[ServedPurpose], at: datetime) -> None:
    assert not any(one.said_no for one in fate_of(record, at).by)
    refused = [ServedPurpose(one.purpose, one.rule, one.until, said_no=True, archive=one.archive) for one in record]
    assert fate_of(refused, at) == DELETED


@given(DAYS, DAYS, st.sampled_from([relativedelta(years=1), relativedelta(months=1), relativedelta(days=1)]))
def test_a_shorter_period_in_the_register_shortens(ends: datetime, at: datetime, shorter: relativedelta) -> None:
    order = list(Becomes)
    long, short = (fate_of([ended(ends, period)], at) for period in (FIVE_YEARS, shorter))
    assert order.index(short.becomes) >= order.index(long.becomes)
    assert archive_until(ends, shorter) <= archive_until(ends, FIVE_YEARS)
