"""Consent folded from its events: order of arrival is nothing, "no" wins a tie, thirteen civil months. R15, R16, P2."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.consent import Choice
from schemas.terms import CookiePurpose
from tests.factories import REGISTER
from workers.rules.consent import (
    ConsentState,
    asks_again,
    covers,
    renewals_due_until,
    replaced,
    rests_until,
    state_at,
    valid_until,
)

ANALYTICS = CookiePurpose.ANALYTICS
DAY = datetime(2025, 3, 10, 9, tzinfo=UTC)

MOMENTS = st.integers(min_value=0, max_value=40).map(lambda hours: DAY + timedelta(hours=hours))
CHOICES = st.builds(
    Choice,
    MOMENTS,
    st.dictionaries(st.sampled_from(["analytics", "personalisation"]), st.booleans(), min_size=1),
)


def yes(at: datetime = DAY) -> Choice:
    return Choice(at, {"analytics": True})


def no(at: datetime = DAY) -> Choice:
    return Choice(at, {"analytics": False})


def state(events: list[Choice], moment: datetime) -> ConsentState:
    return state_at(events, ANALYTICS, moment, REGISTER)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], ConsentState.UNKNOWN),
        ([Choice(DAY, {"personalisation": True})], ConsentState.UNKNOWN),
        ([yes()], ConsentState.GIVEN),
        ([no()], ConsentState.REFUSED),
        ([yes(), no()], ConsentState.REFUSED),
        ([no(), yes()], ConsentState.REFUSED),
        ([yes(), no(DAY + timedelta(seconds=1))], ConsentState.REFUSED),
        ([no(), yes(DAY + timedelta(seconds=1))], ConsentState.GIVEN),
        ([yes(DAY + timedelta(days=1))], ConsentState.UNKNOWN),
    ],
    ids=[
        "nothing said",
        "of something else",
        "yes",
        "no",
        "tie",
        "tie, other way round",
        "withdrawn",
        "given",
        "later",
    ],
)
def test_what_was_said(events: list[Choice], expected: ConsentState) -> None:
    assert state(events, DAY + timedelta(hours=1)) is expected


@pytest.mark.parametrize(
    ("since", "ends"),
    [
        (datetime(2025, 3, 10, 9, tzinfo=UTC), datetime(2026, 4, 10, 22, tzinfo=UTC)),
        (datetime(2024, 1, 31, 9, tzinfo=UTC), datetime(2025, 2, 28, 23, tzinfo=UTC)),
        # 23:30 in London is the next day in Paris.
        (datetime(2025, 3, 10, 23, 30, tzinfo=UTC), datetime(2026, 4, 11, 22, tzinfo=UTC)),
    ],
    ids=["day", "end of month", "midnight of Paris"],
)
def test_a_yes_holds_thirteen_civil_months_and_its_last_day(since: datetime, ends: datetime) -> None:
    assert state([yes(since)], ends - timedelta(milliseconds=1)) is ConsentState.GIVEN
    assert state([yes(since)], ends) is ConsentState.EXPIRED


def test_a_no_holds_six_months_and_then_is_nobodys_answer() -> None:
    assert state([no()], datetime(2025, 9, 10, 21, 59, tzinfo=UTC)) is ConsentState.REFUSED
    assert state([no()], datetime(2025, 9, 10, 22, tzinfo=UTC)) is ConsentState.EXPIRED


def test_an_expired_no_gives_no_yes_back() -> None:
    """The older yes would still run, but it was withdrawn."""
    long_after = datetime(2025, 10, 1, tzinfo=UTC)
    assert state([yes(), no(DAY + timedelta(days=1))], long_after) is ConsentState.EXPIRED


@given(st.lists(CHOICES, max_size=8).flatmap(lambda said: st.tuples(st.just(said), st.permutations(said))), MOMENTS)
def test_order_of_arrival_changes_nothing(lists: tuple[list[Choice], list[Choice]], moment: datetime) -> None:
    said, shuffled = lists
    assert state(said, moment) is state(shuffled, moment)


@given(st.lists(CHOICES, max_size=8), MOMENTS)
def test_repeats_change_nothing(said: list[Choice], moment: datetime) -> None:
    assert state(said, moment) is state(said + said, moment)


@given(st.lists(CHOICES, max_size=8), MOMENTS)
def test_no_wins_at_its_own_moment(said: list[Choice], moment: datetime) -> None:
    assert not covers([*said, no(moment)], ANALYTICS, moment, REGISTER)


@given(st.lists(CHOICES, max_size=8), CHOICES, MOMENTS)
def test_old_news_never_overrides(said: list[Choice], old: Choice, moment: datetime) -> None:
    latest = max((one.happened for one in said if "analytics" in one.choices and one.happened <= moment), default=None)
    if latest is not None and old.happened < latest:
        assert state(said, moment) is state([*said, old], moment)


def test_the_proof_outlives_the_longest_of_its_choices() -> None:
    end = valid_until({"analytics": True, "personalisation": False}, DAY, REGISTER)
    assert end == datetime(2026, 4, 10, 22, tzinfo=UTC)


# --- how long data rests on a consent -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_on", "end"),
    [
        (datetime(2026, 1, 31, 12, tzinfo=UTC), datetime(2027, 2, 28, 23, tzinfo=UTC)),
        (datetime(2027, 1, 31, 12, tzinfo=UTC), datetime(2028, 2, 29, 23, tzinfo=UTC)),
        (datetime(2028, 2, 29, 12, tzinfo=UTC), datetime(2029, 3, 29, 22, tzinfo=UTC)),
        (datetime(2026, 11, 30, 22, 59, tzinfo=UTC), datetime(2027, 12, 30, 23, tzinfo=UTC)),
        (datetime(2026, 11, 30, 23, tzinfo=UTC), datetime(2028, 1, 1, 23, tzinfo=UTC)),
        (datetime(2026, 12, 31, 23, 30, tzinfo=UTC), datetime(2028, 2, 1, 23, tzinfo=UTC)),
        (datetime(2026, 2, 27, 12, tzinfo=UTC), datetime(2027, 3, 27, 23, tzinfo=UTC)),
        (datetime(2026, 2, 28, 12, tzinfo=UTC), datetime(2027, 3, 28, 22, tzinfo=UTC)),
        (datetime(2026, 9, 30, 12, tzinfo=UTC), datetime(2027, 10, 30, 22, tzinfo=UTC)),
        (datetime(2026, 9, 29, 22, tzinfo=UTC), datetime(2027, 10, 30, 22, tzinfo=UTC)),
        (datetime(2026, 10, 1, 12, tzinfo=UTC), datetime(2027, 11, 1, 23, tzinfo=UTC)),
    ],
    ids=[
        "31 January",
        "31 January before a leap day",
        "29 February",
        "last minute of a day in Paris",
        "first of the next",
        "after midnight of the new year in Paris",
        "the day before summer time",
        "summer time begins",
        "the eve of winter time",
        "the same day in Paris",
        "winter time",
    ],
)
def test_what_rests_on_a_yes_rests_to_the_end_of_its_last_day(given_on: datetime, end: datetime) -> None:
    assert rests_until([yes(given_on)], ANALYTICS, given_on, REGISTER) == end


HOURS = timedelta(hours=1)


@pytest.mark.parametrize(
    ("events", "rests"),
    [
        ([yes(DAY - HOURS)], True),
        ([yes(DAY + HOURS)], False),
        ([yes(DAY - HOURS), no(DAY + HOURS)], False),
        ([yes(DAY - HOURS), no(DAY + HOURS), yes(DAY + 2 * HOURS)], False),
        ([no(DAY - 2 * HOURS), yes(DAY - HOURS)], True),
        ([yes(DAY), no(DAY)], False),
        ([yes(DAY - HOURS), yes(DAY + HOURS), no(DAY + HOURS)], False),
        ([yes(DAY - HOURS), Choice(DAY + HOURS, {"personalisation": False})], True),
    ],
    ids=[
        "given",
        "given later",
        "withdrawn",
        "withdrawn, then given again",
        "refused before",
        "at one instant",
        "yes and no later at one instant",
        "a no to something else",
    ],
)
def test_what_was_said_since_counts(events: list[Choice], rests: bool) -> None:
    for order in (events, events[::-1]):
        assert (rests_until(order, ANALYTICS, DAY, REGISTER) is not None) is rests


def test_a_yes_again_in_time_lengthens_it_and_one_that_came_too_late_does_not() -> None:
    end = rests_until([yes()], ANALYTICS, DAY, REGISTER)
    assert end is not None
    in_time, too_late = yes(end - HOURS), yes(end)
    longer = rests_until([yes(), in_time], ANALYTICS, DAY, REGISTER)
    assert longer is not None
    assert longer > end
    assert rests_until([yes(), too_late], ANALYTICS, DAY, REGISTER) == end


@given(st.lists(CHOICES, max_size=8), MOMENTS, st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_changes_until_when(
    events: list[Choice], moment: datetime, chance: Random
) -> None:
    again = events + events[:3]
    chance.shuffle(again)
    assert rests_until(again, ANALYTICS, moment, REGISTER) == rests_until(events, ANALYTICS, moment, REGISTER)


@given(st.lists(CHOICES, max_size=8), MOMENTS)
def test_what_rests_on_a_consent_was_given_then_and_never_refused_since(events: list[Choice], moment: datetime) -> None:
    """Against the fold at every moment at which something was said."""
    moments = [moment, *(event.happened for event in events if event.happened > moment)]
    given_all_along = all(state(events, one) is ConsentState.GIVEN for one in moments)
    said = [event for event in events if event.happened <= moment or "analytics" in event.choices]
    assert (rests_until(said, ANALYTICS, moment, REGISTER) is not None) is given_all_along


# --- when a choice is to be made again ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "first_day"),
    [
        (datetime(2027, 3, 28, 22, tzinfo=UTC), datetime(2027, 2, 25, 23, tzinfo=UTC)),
        (datetime(2027, 10, 31, 23, tzinfo=UTC), datetime(2027, 9, 30, 22, tzinfo=UTC)),
        (datetime(2028, 1, 14, 23, tzinfo=UTC), datetime(2027, 12, 14, 23, tzinfo=UTC)),
        (datetime(2028, 3, 30, 22, tzinfo=UTC), datetime(2028, 2, 28, 23, tzinfo=UTC)),
    ],
    ids=["over the change to summer time", "over the change to winter time", "over the year's end", "29 February"],
)
def test_a_renewal_is_due_from_the_beginning_of_a_day_in_paris(end: datetime, first_day: datetime) -> None:
    """The thirtieth before the last one."""
    assert end <= renewals_due_until(first_day, REGISTER)
    assert end > renewals_due_until(first_day - timedelta(milliseconds=1), REGISTER)


def test_the_first_of_several_choices_to_end_asks_again() -> None:
    both = {"analytics": False, "personalisation": True}
    given_on = datetime(2026, 8, 31, 12, tzinfo=UTC)
    assert asks_again(both, given_on, REGISTER) == datetime(2027, 2, 28, 23, tzinfo=UTC)
    assert valid_until(both, given_on, REGISTER) == datetime(2027, 9, 30, 22, tzinfo=UTC)


@given(st.lists(CHOICES, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_a_choice_is_replaced_once_all_of_it_was_made_anew(events: list[Choice], chance: Random) -> None:
    one = events[0]
    later = {purpose for event in events if event.happened > one.happened for purpose in event.choices}
    chance.shuffle(events)
    assert replaced(events, one) is (one.choices.keys() <= later)
