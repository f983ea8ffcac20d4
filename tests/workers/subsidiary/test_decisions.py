"""What becomes of a row, as a table; what a repeated answer amounts to; how values stand in a copy. Pure."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from schemas.copies import PART_BYTES, cut, join
from schemas.errors import InvalidMessage
from schemas.terms import StoreOutcome
from tests.workers.subsidiary.test_mapping import SQL, read
from workers.stores.subsidiaries import copies
from workers.stores.subsidiaries.adapter import CopyPage, StoreRefuses, Subject, Tally
from workers.stores.subsidiaries.copies import make_copy, plain
from workers.stores.subsidiaries.decisions import Fate, as_moment, erasure_of, normal_form, spellings
from workers.stores.subsidiaries.outcomes import lost_with_a_crash, outcome_of, together

NOW = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)
SUBJECT = Subject(("anna@example.com",), datetime(2026, 11, 1, 9, 0, tzinfo=UTC))
TOKYO = ZoneInfo("Asia/Tokyo")

RULES = read(
    SQL
    + """
collections:
  plain: {found_by: [e], fields: {e: E}, fresh_by: at, erasure: delete}
  kept: {found_by: [e], fields: {e: E}, erasure: {keep: {ground: Law, counted_from: d, for: P10Y}}}
  after:
    found_by: [e]
    fields: {e: E}
    erasure: {keep: {ground: Law, counted_from: d, for: P1M}, anonymise: {e: null}}
  ever: {found_by: [e], fields: {e: E}, erasure: {keep: {ground: Law}}}
"""
).collections

FATES: list[tuple[str, dict[str, Any], str, str]] = [
    ("plain", {}, "delete", ""),
    ("plain", {"at": datetime(2026, 11, 1, 9, 0)}, "delete", ""),  # noqa: DTZ001
    ("plain", {"at": datetime(2026, 11, 1, 9, 0, 0, 1)}, "fresh", ""),  # noqa: DTZ001
    ("plain", {"at": "2026-11-02T00:00:00Z"}, "fresh", ""),
    ("plain", {"at": "yesterday"}, "delete", ""),
    ("plain", {"at": date(2026, 11, 2)}, "fresh", ""),
    ("plain", {"at": 1793600000}, "delete", ""),
    ("kept", {"d": date(2020, 2, 29)}, "keep", "2030-02-28"),
    ("kept", {"d": date(2016, 11, 22)}, "keep", "2026-11-22"),
    ("kept", {"d": date(2016, 11, 21)}, "delete", ""),
    ("kept", {}, "keep", ""),
    ("kept", {"d": date(9999, 1, 1)}, "keep", "9999-12-31"),
    ("after", {"d": date(2026, 10, 31)}, "keep", "2026-11-30"),
    ("after", {"d": date(2026, 9, 30)}, "anonymise", ""),
    ("ever", {}, "keep", ""),
]


@pytest.mark.parametrize(("name", "row", "fate", "until"), FATES)
def test_what_becomes_of_a_row(name: str, row: dict[str, Any], fate: str, until: str) -> None:
    decision = erasure_of(RULES[name], row, SUBJECT, NOW, UTC)
    assert (decision.fate, "" if decision.until is None else decision.until.isoformat()) == (Fate(fate), until)
    assert (decision.ground == "Law") is (fate == "keep")


def test_a_last_day_is_over_when_it_is_over_where_the_office_stands() -> None:
    """23:30 UTC on the 22nd is the 23rd in Tokyo: what was kept until the 22nd is kept no more."""
    row = {"d": date(2016, 11, 22)}
    assert erasure_of(RULES["kept"], row, SUBJECT, NOW, UTC).fate is Fate.KEEP
    assert erasure_of(RULES["kept"], row, SUBJECT, NOW, TOKYO).fate is Fate.DELETE


def test_a_time_without_a_zone_is_the_offices() -> None:
    naive = datetime(2026, 11, 1, 12, 0)  # noqa: DTZ001
    assert as_moment(naive, TOKYO) == datetime(2026, 11, 1, 3, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("stored", "normal"),
    [
        ("  Anna@Example.COM ", "anna@example.com"),
        ("anna@bücher.example", "anna@xn--bcher-kva.example"),
        ("anna", None),
        ("Anna <anna@example.com>", None),
        (12, None),
        (None, None),
    ],
)
def test_the_normal_form_of_what_a_store_holds(stored: object, normal: str | None) -> None:
    assert normal_form(stored) == normal


def test_a_domain_may_stand_in_letters() -> None:
    assert "anna@bücher.example" in spellings(["Anna@xn--bcher-kva.example"])


# ---------------------------------------------------------------------- accounts over several attempts

COUNT = st.integers(0, 50)
TALLIES = st.builds(
    lambda erased, anonymised, retained, rest: Tally(
        "t",
        matched=erased + anonymised + retained + rest,
        erased=erased,
        anonymised=anonymised,
        retained=retained,
        ground="Law" if retained else None,
    ),
    *[COUNT] * 4,
)


@given(TALLIES)
def test_an_outcome_comes_back_as_it_was(tally: Tally) -> None:
    assert Tally.of_outcome(tally.as_outcome()) == tally


@given(TALLIES, COUNT, COUNT)
def test_an_account_after_a_crash_is_the_account_without_one(planned: Tally, gone: int, changed: int) -> None:
    """Whatever part of the plan the lost attempt did, the two together tell the whole."""
    gone, changed = min(gone, planned.erased), min(changed, planned.anonymised)
    rest = Tally(
        "t",
        matched=planned.matched - gone - changed,
        erased=planned.erased - gone,
        anonymised=planned.anonymised - changed,
        retained=planned.retained,
        ground=planned.ground,
    )
    lost = lost_with_a_crash([planned.as_outcome()], [rest])
    assert together(lost, [rest]) == [planned]


@given(TALLIES)
def test_an_attempt_that_finds_nothing_to_do_repeats_the_account(first: Tally) -> None:
    kept = Tally("t", matched=first.retained, retained=first.retained, ground=first.ground)
    repeated = together([first], [kept])[0]
    assert (repeated.erased, repeated.anonymised, repeated.retained) == (
        first.erased,
        first.anonymised,
        first.retained,
    )
    assert repeated.matched == first.matched


@pytest.mark.parametrize(
    ("tally", "outcome"),
    [
        (Tally("t"), StoreOutcome.NOTHING_HELD),
        (Tally("t", matched=1, erased=1), StoreOutcome.DONE),
        (Tally("t", matched=2, erased=1, retained=1, ground="Law"), StoreOutcome.PARTLY_RETAINED),
    ],
)
def test_what_counts_amount_to(tally: Tally, outcome: StoreOutcome) -> None:
    assert outcome_of([tally]) is outcome


def test_the_last_day_of_several_is_the_latest_and_none_when_one_has_none() -> None:
    tally = Tally("t")
    tally.retain("A", date(2030, 1, 1))
    tally.retain("B", date(2029, 1, 1))
    assert (tally.until, tally.ground) == (date(2030, 1, 1), "A, B")
    tally.retain("A", None)
    tally.retain("A", date(2040, 1, 1))
    assert tally.until is None


# ---------------------------------------------------------------------- copies


async def pages(*given: CopyPage) -> AsyncIterator[CopyPage]:
    for page in given:
        yield page


ODD = {
    "text": "Zoë \u2028 \ud800",
    "big": 2**60,
    "money": Decimal("12.50"),
    "nan": float("nan"),
    "when": datetime(2026, 1, 1, tzinfo=UTC),
    "day": date(2026, 1, 1),
    "hour": time(9, 30),
    "photo": b"\x00\xff",
    "tags": ("a", None, True),
    "inside": {"x": 1},
}


def test_every_value_has_one_meaning_to_every_reader() -> None:
    assert plain(ODD) == {
        "text": "Zoë \u2028 ?",
        "big": str(2**60),
        "money": "12.50",
        "nan": "nan",
        "when": "2026-01-01T00:00:00+00:00",
        "day": "2026-01-01",
        "hour": "09:30:00",
        "photo": "AP8=",
        "tags": ["a", None, True],
        "inside": {"x": 1},
    }


async def test_a_copy_written_bit_by_bit_is_canonical() -> None:
    fields = {"text": "Text", "é": "Accent", "z": "Last"}
    copy = await make_copy(
        "gb", pages(CopyPage("b", fields, [ODD]), CopyPage("b", fields, [ODD, {"x": 1}]), CopyPage("a", {"q": "Q"}, []))
    )
    assert copy.content == rfc8785.dumps(json.loads(copy.content))
    assert copy.counts == {"b": 3, "a": 0}


async def test_a_copy_that_is_too_large_is_refused_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "MAX_COPY_BYTES", 100)
    with pytest.raises(StoreRefuses, match="copy-too-large"):
        await make_copy("gb", pages(CopyPage("a", {"x": "X"}, [{"x": "y" * 200}])))


@pytest.mark.parametrize("size", [1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES])
def test_parts_join_in_any_order_and_repeated(size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    parts = list(cut("R-1/gb", content[:size]))
    assert join([*reversed(parts), parts[0]]) == content[:size]
    assert join(parts[1:]) is None


def test_parts_that_are_not_what_they_say_are_refused() -> None:
    parts = list(cut("R-1/gb", b"x" * (PART_BYTES + 1)))
    with pytest.raises(InvalidMessage):
        join([parts[0], {**parts[1], "bytes": "eQ=="}])
    with pytest.raises(InvalidMessage):
        join([parts[0], {**parts[1], "of": "3"}])
    with pytest.raises(InvalidMessage):
        join([parts[0], {**parts[1], "bytes": "?"}])
