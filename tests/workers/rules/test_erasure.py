"""What an erasure means for an event that meets it: the table of `workers.rules.erasure`, row by row. P5, R26."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.rules.erasure import Verdict, judge, latest

ERASED = datetime(2026, 11, 20, 12, tzinfo=UTC)
SKEW = timedelta(seconds=5)
AN_INSTANT = timedelta(milliseconds=1)

TIMES = st.integers(min_value=-10_000, max_value=10_000).map(lambda ms: ERASED + timedelta(milliseconds=ms))


@pytest.mark.parametrize(
    ("received", "own_act", "verdict"),
    [
        (ERASED - AN_INSTANT, True, Verdict.REFUSE),
        (ERASED - AN_INSTANT, False, Verdict.REFUSE),
        (ERASED, True, Verdict.REFUSE),
        (ERASED, False, Verdict.REFUSE),
        (ERASED + AN_INSTANT, True, Verdict.PARK),
        (ERASED + AN_INSTANT, False, Verdict.PARK),
        (ERASED + SKEW, True, Verdict.PARK),
        (ERASED + SKEW + AN_INSTANT, True, Verdict.KEEP),
        (ERASED + SKEW + AN_INSTANT, False, Verdict.PARK),
        (ERASED + timedelta(days=400), False, Verdict.PARK),
    ],
)
def test_the_table(received: datetime, own_act: bool, verdict: Verdict) -> None:
    assert judge(received, ERASED, skew=SKEW, own_act=own_act) is verdict


@given(TIMES, st.booleans())
def test_where_nobody_was_erased_everything_is_kept(received: datetime, own_act: bool) -> None:
    assert judge(received, None, skew=SKEW, own_act=own_act) is Verdict.KEEP


@given(TIMES, TIMES, st.booleans())
def test_a_later_erasure_never_admits_more(received: datetime, erased: datetime, own_act: bool) -> None:
    order = [Verdict.KEEP, Verdict.PARK, Verdict.REFUSE]
    before = judge(received, erased, skew=SKEW, own_act=own_act)
    after = judge(received, erased + AN_INSTANT, skew=SKEW, own_act=own_act)
    assert order.index(after) >= order.index(before)


def test_the_latest_of_those_that_stand() -> None:
    stones = {"a": ERASED, "b": ERASED + SKEW, "c": ERASED - SKEW}
    assert latest(stones, ["a", "b", "nobody"]) == ERASED + SKEW
    assert latest(stones, ["nobody"]) is None
