"""From counts to a receipt's entry, honest over repeats: what an earlier attempt did is part of the answer.

Pure: counts in, counts out.
Source: R25; P2; reliability § 4 row 56.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from schemas.terms import StoreOutcome
from workers.stores.subsidiaries.adapter import Tally

Outcomes = Iterable[Mapping[str, Any]]
"""Entries of :data:`schemas.orders.COLLECTION_OUTCOME`."""


def outcome_of(tallies: Sequence[Tally]) -> StoreOutcome:
    """What the counts amount to."""
    if not any(tally.matched for tally in tallies):
        return StoreOutcome.NOTHING_HELD
    if any(tally.conflicting for tally in tallies):
        return StoreOutcome.CONFLICT
    return StoreOutcome.PARTLY_RETAINED if any(tally.retained for tally in tallies) else StoreOutcome.DONE


def lost_with_a_crash(stood: Outcomes, standing: Sequence[Tally]) -> list[Tally]:
    """What an attempt did that was begun and never counted: what stood when it began, less what still stands."""
    left = {tally.name: tally for tally in standing}
    found = []
    for outcome in stood:
        then = Tally.of_outcome(outcome)
        now = left.get(then.name, Tally(then.name))
        erased = max(0, then.erased - now.erased)
        anonymised = max(0, then.anonymised - now.anonymised)
        matched = erased + anonymised + then.retained
        found.append(
            Tally(
                then.name,
                matched=matched,
                erased=erased,
                anonymised=anonymised,
                retained=then.retained,
                ground=then.ground,
                until=then.until,
            )
        )
    return found


def together(earlier: Sequence[Tally], now: Sequence[Tally]) -> list[Tally]:
    """One account of several attempts at one task. What was kept stands once, whoever counted it."""
    before = {tally.name: tally for tally in earlier}
    return [_sum(before.get(tally.name, Tally(tally.name)), tally) for tally in now]


def _sum(earlier: Tally, now: Tally) -> Tally:
    kept = now if now.retained >= earlier.retained else earlier
    correct = now if now.matched else earlier
    erased, anonymised = earlier.erased + now.erased, earlier.anonymised + now.anonymised
    return Tally(
        now.name,
        matched=erased + anonymised + kept.retained + max(_only_matched(earlier), _only_matched(now)),
        erased=erased,
        anonymised=anonymised,
        restricted=max(earlier.restricted, now.restricted),
        corrected=correct.corrected,
        conflicting=correct.conflicting,
        retained=kept.retained,
        ground=kept.ground,
        until=kept.until,
    )


def _only_matched(tally: Tally) -> int:
    return tally.matched - tally.erased - tally.anonymised - tally.retained
