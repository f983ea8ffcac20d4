"""Whether what a store says twice agrees: a second answer with its first, a later look with its answer.

A store that says "erased" and still has the person lies, or lost the race with a write of its own; either way the case
stays open and somebody sees it.
Source: P6; design § 5.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from schemas.fields import read_moment
from schemas.orders import LIFT
from schemas.terms import Right, StoreOutcome

Entry = Mapping[str, Any]
"""A receipt entry, see :data:`schemas.orders.RECEIPT_ENTRY`."""


def answers_agree(right: Right, one: Entry, other: Entry) -> bool:
    """Whether two answers to one task say the same; their times and attempts may differ.

    An order for a copy that is served again after an erasure finds less: what was made first held what went since.
    """
    told = ("outcome", "collections")
    if all(one[name] == other[name] for name in told):
        return True
    if not right.gives_a_copy or StoreOutcome.REFUSED in (one["outcome"], other["outcome"]):
        return False
    in_time = ((one, other), (other, one))
    return any(_shown(first, then) for first, then in in_time if _made_at(first) <= _made_at(then))


def _made_at(entry: Entry) -> datetime:
    return read_moment(entry["at"])


def look_agrees(right: Right, served: Entry, look: Entry) -> bool:
    """``served``: the entry that answered the order; ``look``: the later statement, or what the controller saw."""
    if served["outcome"] == StoreOutcome.REFUSED:
        return True  # nothing was done, and nothing is claimed
    match right:
        case Right.ERASURE:
            return _nothing_but_retained(served, look)
        case Right.RESTRICTION if served["ask"] == LIFT:
            return not any(one.get("restricted") for one in look["collections"])
        case Right.OBJECTION | Right.RESTRICTION:
            return all(one.get("restricted", 0) == one["matched"] for one in look["collections"])
        case Right.RECTIFICATION:
            return _corrected(served, look)
        case Right.WITHDRAWAL:
            return _nothing_but_retained(served, look)
        case Right.ACCESS | Right.PORTABILITY:
            return _shown(served, look)


def _nothing_but_retained(served: Entry, look: Entry) -> bool:
    allowed = {one["name"]: one.get("retained", 0) for one in served["collections"]}
    return all(one["matched"] - one.get("restricted", 0) <= allowed.get(one["name"], 0) for one in look["collections"])


def _corrected(served: Entry, look: Entry) -> bool:
    """Whether all that was not in conflict holds what the person said."""
    conflicting = {one["name"]: one.get("conflicting", 0) for one in served["collections"]}
    left = {one["name"]: one["matched"] - one.get("corrected", 0) for one in look["collections"]}
    return all(number <= conflicting.get(name, 0) for name, number in left.items())


def _shown(served: Entry, look: Entry) -> bool:
    """Whether the copy held all that stands. What went since, by an erasure or at the end of its time, was in it."""
    copied = {one["name"]: one["matched"] for one in served["collections"]}
    return all(one["matched"] <= copied.get(one["name"], 0) for one in look["collections"])
