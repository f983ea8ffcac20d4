"""Whether a store's second statement agrees with its receipt."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.terms import Right
from workers.rules.receipts import look_agrees


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
