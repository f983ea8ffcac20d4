"""Civil durations: what is written is what is counted."""

from __future__ import annotations

from datetime import date

import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.durations import in_words, parse_duration

DAY = date(2024, 2, 29)
counts = st.integers(min_value=0, max_value=20)


@given(years=counts, months=counts, weeks=counts, days=counts)
def test_every_civil_duration_is_counted_in_calendar_units(years: int, months: int, weeks: int, days: int) -> None:
    written = {"Y": years, "M": months, "W": weeks, "D": days}
    parts = [f"{count}{unit}" for unit, count in written.items() if count]
    assume(parts)

    expected = DAY + relativedelta(years=years, months=months) + relativedelta(weeks=weeks, days=days)

    assert DAY + parse_duration("P" + "".join(parts)) == expected


def test_thirteen_months_are_not_390_days() -> None:
    assert date(2026, 1, 31) + parse_duration("P13M") == date(2027, 2, 28)


@given(st.text(alphabet="PTYMWDHS0123456789.+-, \n\u0663", max_size=12))
def test_what_is_no_civil_duration_is_refused_by_a_value_error(text: str) -> None:
    try:
        parse_duration(text)
    except ValueError:
        return
    assert text.startswith("P")
    assert text.isascii()
    assert set(text[1:]) <= set("0123456789YMWD")


@pytest.mark.parametrize(
    "text",
    [
        *["", "P", "3Y", "p3y", "P3", "P-1Y", "P1.5Y", "PT1H", "P1DT1H", "P1M1Y", "P3Y\n", " P3Y", "P\u0663Y", "P1Y1Y"],
        *["P101Y", "P99999Y", "P99999D", "P1201M", "P999999999999Y"],
    ],
)
def test_other_notations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"civil ISO 8601|hundred years"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [("P3Y", "3 years"), ("P13M", "13 months"), ("P1Y6M", "1 year 6 months"), ("P2W1D", "2 weeks 1 day")],
)
def test_durations_are_told_in_words(text: str, words: str) -> None:
    assert in_words(text) == words
