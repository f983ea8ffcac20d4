"""Whether a store's second statement agrees with its receipt."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.terms import Right
from workers.rules.receipts import answers_agree, look_agrees


def said(**matched: int) -> dict[str, Any]:
    return {"outcome": "done", "collections": [{"name": name, "matched": count} for name, count in matched.items()]}


@pytest.mark.parametrize(
    ("copied", "standing", "agrees"),
    [
        (said(customers=2), said(customers=2), True),
        (said(customers=2, visits=3), said(customers=2), True),
        (said(customers=2), said(), True),
        (said(customers=2), said(customers=3), False),
        (said(customers=2), said(customers=2, visits=1), False),
        (said(), said(visits=1), False),
    ],
    ids=["the same", "less", "nothing any more", "more", "elsewhere", "said nothing"],
)
def test_a_copy_must_have_held_what_stands(copied: dict[str, Any], standing: dict[str, Any], agrees: bool) -> None:
    """Who asks for access and erasure at once is erased under the copy's eyes; what was not shown is another matter."""
    assert look_agrees(Right.ACCESS, copied, standing) is agrees


def answered(second: int, **matched: int) -> dict[str, Any]:
    outcome = "done" if matched else "nothing-held"
    return {**said(**matched), "outcome": outcome, "at": f"2026-04-09T10:00:{second:02d}.000Z"}


@pytest.mark.parametrize("right", Right)
def test_answers_that_tell_the_same_agree_whenever_they_were_made(right: Right) -> None:
    assert answers_agree(right, answered(1, customers=2), answered(2, customers=2))


@pytest.mark.parametrize("turned", [False, True], ids=["as made", "the later one came first"])
@pytest.mark.parametrize(
    ("first", "then", "agree"),
    [
        (answered(1, customers=2), answered(2), True),
        (answered(1, customers=2, visits=3), answered(2, customers=1), True),
        (answered(1), answered(2, customers=2), False),
        (answered(1, customers=2), answered(2, customers=1, visits=1), False),
        (answered(1, customers=2), answered(1), True),
        (answered(1, customers=2), {**answered(2), "outcome": "refused"}, False),
    ],
    ids=["gone since", "less since", "more since", "elsewhere", "in one moment", "refused"],
)
def test_a_copy_made_later_may_show_less(first: Any, then: Any, agree: bool, turned: bool) -> None:
    one, other = (then, first) if turned else (first, then)
    assert answers_agree(Right.ACCESS, one, other) is agree
    assert not answers_agree(Right.ERASURE, one, other)
