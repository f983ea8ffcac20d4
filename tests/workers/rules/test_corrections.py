"""R18: what a correction means for a value that stands, case by case."""

from __future__ import annotations

import pytest

from workers.rules.corrections import Patch, Verdict, judged


@pytest.mark.parametrize(
    ("name", "was", "to", "stored", "becomes"),
    [
        ("last_name", "Muster", "Master", "Muster", Verdict.APPLIES),
        ("last_name", "muster ", "Master", "Muster", Verdict.APPLIES),
        ("last_name", "Muster", "Master", "Master", Verdict.HOLDS),
        ("last_name", "Muster", "Master", "Mister", Verdict.CONFLICTS),
        ("last_name", "Muster", "Master", None, Verdict.ABSENT),
        ("last_name", "Muster", "Master", "  ", Verdict.ABSENT),
        ("last_name", None, "Master", "", Verdict.APPLIES),
        ("last_name", None, "Master", "Muster", Verdict.CONFLICTS),
        ("last_name", "muster", "Muster", "muster", Verdict.APPLIES),
        ("last_name", "Ame\u0301lie", "Emilie", "Am\u00e9lie", Verdict.APPLIES),
        ("phone", "+33 1 99 90 00 01", "+33199900002", "+33199900001", Verdict.APPLIES),
        ("phone", "+33199900001", "+33199900002", "01 99 90 00 01", Verdict.APPLIES),
        ("postal_address.postal_code", "75002", "75003", 75002, Verdict.APPLIES),
    ],
)
def test_what_becomes_of_a_value(name: str, was: str | None, to: str, stored: object, becomes: Verdict) -> None:
    assert Patch(name, to, was).judge(stored) is becomes


def test_one_conflict_leaves_the_whole_record() -> None:
    first, last = Patch("first_name", "Ada", "Ida"), Patch("last_name", "Master", "Muster")
    assert judged([(first, "Ida"), (last, "Muster")]).sets == (first, last)
    half = judged([(first, "Ida"), (last, "Mister")])
    assert (half.sets, half.conflicts, half.concerned) == ((), True, True)


def test_a_record_with_none_of_it_is_not_concerned() -> None:
    assert not judged([(Patch("last_name", "Master", "Muster"), None)]).concerned
    assert not judged([]).concerned
