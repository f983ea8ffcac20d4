"""How long a purpose is live: from the register's periods, whenever the events they are counted from arrive. R13."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import given
from hypothesis import strategies as st

from schemas.terms import Anchor
from workers.rules.retention import AnchorEvent, active_until, is_live

SINCE = datetime(2024, 2, 29, 12, tzinfo=UTC)
THREE_YEARS, THREE_MONTHS, NONE = relativedelta(years=3), relativedelta(months=3), relativedelta()

EVENTS = st.lists(
    st.builds(
        AnchorEvent,
        st.sampled_from(list(Anchor)),
        st.integers(min_value=-500, max_value=500).map(lambda days: SINCE + timedelta(days=days)),
    ),
    max_size=6,
)


def contact(at: datetime) -> AnchorEvent:
    return AnchorEvent(Anchor.LAST_CONTACT, at)


def test_a_leap_day_and_three_years_keep_until_the_last_of_february() -> None:
    """Source: retention-defaults § 10."""
    end = active_until(Anchor.COLLECTED, SINCE, THREE_YEARS, ())
    assert end == datetime(2027, 2, 28, 23, tzinfo=UTC)  # midnight of Paris, in winter
    assert is_live(end, datetime(2027, 2, 28, 22, 59, 59, tzinfo=UTC))
    assert not is_live(end, datetime(2027, 2, 28, 23, tzinfo=UTC))


@pytest.mark.parametrize("anchor", [Anchor.CONTRACT_ENDED, Anchor.APPLICATION_DECIDED, Anchor.WITHDRAWN])
def test_a_purpose_is_open_until_what_ends_it_happens(anchor: Anchor) -> None:
    assert active_until(anchor, SINCE, THREE_MONTHS, ()) is None
    assert active_until(anchor, SINCE, THREE_MONTHS, [contact(SINCE + timedelta(days=3))]) is None
    assert is_live(None, datetime(2099, 1, 1, tzinfo=UTC))


def test_three_months_from_the_decision() -> None:
    decided = AnchorEvent(Anchor.APPLICATION_DECIDED, datetime(2024, 11, 30, 10, tzinfo=UTC))
    end = active_until(Anchor.APPLICATION_DECIDED, SINCE, THREE_MONTHS, [decided])
    assert end == datetime(2025, 2, 28, 23, tzinfo=UTC)


def test_no_length_means_until_the_end_of_that_day() -> None:
    ended = AnchorEvent(Anchor.CONTRACT_ENDED, datetime(2024, 7, 14, 10, tzinfo=UTC))
    assert active_until(Anchor.CONTRACT_ENDED, SINCE, NONE, [ended]) == datetime(2024, 7, 14, 22, tzinfo=UTC)


def test_a_later_contact_moves_the_end_and_an_earlier_one_does_not() -> None:
    later = datetime(2025, 6, 1, 12, tzinfo=UTC)
    moved = active_until(Anchor.LAST_CONTACT, SINCE, THREE_YEARS, [contact(later)])
    assert moved == datetime(2028, 6, 1, 22, tzinfo=UTC)
    assert active_until(Anchor.LAST_CONTACT, SINCE, THREE_YEARS, [contact(later), contact(SINCE)]) == moved
    before = contact(SINCE - timedelta(days=400))
    assert active_until(Anchor.LAST_CONTACT, SINCE, THREE_YEARS, [before]) == datetime(2027, 2, 28, 23, tzinfo=UTC)


@given(st.sampled_from(list(Anchor)), EVENTS.flatmap(lambda told: st.tuples(st.just(told), st.permutations(told))))
def test_order_and_repeats_change_nothing(anchor: Anchor, told: tuple[list[AnchorEvent], list[AnchorEvent]]) -> None:
    once, again = told
    end = active_until(anchor, SINCE, THREE_MONTHS, once)
    assert end == active_until(anchor, SINCE, THREE_MONTHS, [*again, *once])


@given(st.sampled_from([Anchor.COLLECTED, Anchor.LAST_CONTACT]), EVENTS, EVENTS)
def test_knowing_more_never_shortens_what_runs_from_the_start(
    anchor: Anchor, some: list[AnchorEvent], more: list[AnchorEvent]
) -> None:
    short, long = (active_until(anchor, SINCE, THREE_YEARS, told) for told in (some, some + more))
    assert short is not None
    assert long is not None
    assert short <= long
