"""R18: what a correction means for a value that stands, case by case."""

from __future__ import annotations

from itertools import product

import pytest

from workers.rules.corrections import Composition, Patch, Verdict, judged


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


# ---------------------------------------------------------------------- one value for several fields

WHOLE = Composition(("first_name", "last_name"), " ")
REVERSED = Composition(("last_name", "first_name"), ", ")
FIRST, LAST = Patch("first_name", "Ida", "Anna"), Patch("last_name", "Master", "Muster")
LEFT = Verdict.CONFLICTS


@pytest.mark.parametrize(
    ("composition", "patches", "stored", "now"),
    [
        (WHOLE, [LAST], "Anna Muster", "Anna Master"),
        (WHOLE, [LAST], " anna  MUSTER ", "anna Master"),
        (WHOLE, [FIRST], "Anna Muster", "Ida Muster"),
        (WHOLE, [FIRST, LAST], "Anna Muster", "Ida Master"),
        (WHOLE, [FIRST, LAST], "Ida Muster", "Ida Master"),
        (WHOLE, [LAST], "Anna Master", Verdict.HOLDS),
        (WHOLE, [LAST], "Anna Mister", LEFT),
        (WHOLE, [LAST], "Muster", LEFT),
        (WHOLE, [LAST], "Anna von Muster", LEFT),
        (WHOLE, [Patch("last_name", "Master", "von Muster")], "Anna von Muster", "Anna Master"),
        (WHOLE, [Patch("first_name", "Anna Maria", "Anna Maria"), LAST], "Anna Maria Muster", "Anna Maria Master"),
        (WHOLE, [LAST], "Anna Maria Muster", LEFT),
        (WHOLE, [LAST], "Muster Anna", LEFT),
        (WHOLE, [Patch("last_name", "von Muster", "Muster")], "Anna von Muster", Verdict.HOLDS),
        (WHOLE, [FIRST, LAST], None, Verdict.ABSENT),
        (WHOLE, [LAST], "", Verdict.ABSENT),
        (WHOLE, [Patch("first_name", "Ida"), Patch("last_name", "Master")], "", "Ida Master"),
        (WHOLE, [Patch("last_name", "Master")], "", LEFT),
        (WHOLE, [Patch("first_name", "Ida"), LAST], None, LEFT),
        (WHOLE, [Patch("first_name", "Ida"), LAST], "Muster", "Ida Master"),
        (WHOLE, [Patch("first_name", "Ida")], "Muster", LEFT),
        (WHOLE, [Patch("first_name", "Ida")], "Anna Muster", LEFT),
        (WHOLE, [LAST], "a " * 40 + "Muster", LEFT),
        (REVERSED, [LAST], "Muster, Anna Maria", "Master, Anna Maria"),
        (REVERSED, [LAST], "Muster,Anna", LEFT),
        (REVERSED, [LAST], "Muster, Anna, Dr", LEFT),
    ],
)
def test_a_whole_name_is_taken_apart_where_there_is_one_way(
    composition: Composition, patches: list[Patch], stored: object, now: str | Verdict
) -> None:
    value, verdict = composition.judge({one.name: one for one in patches}, stored)
    assert (value if verdict is Verdict.APPLIES else verdict) == now


def test_a_whole_name_once_corrected_is_left_as_it_is() -> None:
    """Of every small case: repeated it changes nothing, and what it sets reads as the person says."""
    words = [None, "A", "B", "A B", "B A"]
    patches = [Patch(name, to, was) for name in WHOLE.of for was in words for to in words[1:] if to]
    sets = 0
    for first, last, length in product([None, *patches[:20]], [None, *patches[20:]], (1, 2, 3)):
        said = {one.name: one for one in (first, last) if one is not None}
        for stored in map(" ".join, product("AB", repeat=length) if said else ()):
            value, verdict = WHOLE.judge(said, stored)
            if verdict is Verdict.APPLIES:
                sets += 1
                assert WHOLE.judge(said, value) == (value, Verdict.HOLDS), (said, stored)
                assert first is None or value.startswith(first.to)
                assert last is None or value.endswith(last.to)
    assert sets > 100


def test_a_rule_that_takes_the_first_way_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken on purpose: whatever nobody speaks of is a name, however many words it has."""
    monkeypatch.setattr("workers.rules.corrections._one_word_each", lambda *_: True)
    with pytest.raises(AssertionError):
        test_a_whole_name_is_taken_apart_where_there_is_one_way(WHOLE, [LAST], "Anna von Muster", LEFT)
