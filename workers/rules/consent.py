"""Consent is a stream of events; its state at a moment is folded when it is asked for.

Order is the events' own time, never later than their arrival; at a tie "no" wins; old news never overrides. A choice
holds for a civil period and then is nobody's choice any more: the visitor is asked again.
Source: R15, R16; P2, P10; design § 4 "Consent is a stream of events".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum

from schemas.calendar import civil_day, end_after, end_of_period
from schemas.consent import Choice
from schemas.register import Register
from schemas.terms import CookiePurpose, Purpose


class ConsentState(StrEnum):
    """Only ``given`` lets data be used; no event at all is ``unknown``. Source: consent-and-cookies § 3."""

    UNKNOWN = "unknown"
    GIVEN = "given"
    REFUSED = "refused"
    EXPIRED = "expired"


def state_at(events: Iterable[Choice], purpose: CookiePurpose, moment: datetime, register: Register) -> ConsentState:
    """What a device's choices say about ``purpose`` at ``moment``, whatever order they arrived in."""
    said = [event for event in _in_order(events, purpose) if event.happened <= moment]
    if not said:
        return ConsentState.UNKNOWN
    last = said[-1]
    accepted = last.choices[purpose]
    if moment >= end_of_period(last.happened, register.cookie_validity(purpose, accepted)):
        return ConsentState.EXPIRED
    return ConsentState.GIVEN if accepted else ConsentState.REFUSED


def covers(events: Iterable[Choice], purpose: CookiePurpose, moment: datetime, register: Register) -> bool:
    """Whether data of that moment may be used for ``purpose``."""
    return state_at(events, purpose, moment, register) is ConsentState.GIVEN


def rests_until(
    events: Iterable[Choice], purpose: CookiePurpose, since: datetime, register: Register
) -> datetime | None:
    """Until when data of the moment ``since`` rests on consent, as far as is known; ``None`` where it does not.

    It must have been given then, and never have been refused, withdrawn or left to run out since: a new yes covers what
    comes after it, and does not bring back what a "no" has ended. So what is left does not depend on which of the
    events, or the data, was known first. Source: R14.
    """
    events = list(events)
    if not covers(events, purpose, since, register):
        return None
    until = since
    for event in _in_order(events, purpose):
        # Also one that a door's clock, a little ahead of ours, has dated after this moment: a "no" waits for nothing.
        if event.happened > since and not event.choices[purpose]:
            return None
        if event.happened <= since or event.happened < until:
            until = end_of_period(event.happened, register.cookie_validity(purpose, event.choices[purpose]))
    return until


def refused_since(events: Iterable[Choice], purpose: CookiePurpose, since: datetime) -> bool:
    """Whether a "no" of that moment or later is known: then nothing that may still arrive lets its data be kept."""
    return any(not event.choices[purpose] and event.happened >= since for event in _in_order(events, purpose))


def agreed(events: Iterable[Choice], purpose: Purpose) -> bool:
    """Whether a person's last word about a purpose is an express agreement to it. Source: R8."""
    said = _in_order(events, purpose)
    return bool(said) and said[-1].choices[purpose]


def _in_order(events: Iterable[Choice], purpose: str) -> list[Choice]:
    """What was said about a purpose: at one instant a "no" sorts after a "yes", so it is the last word."""
    said = [event for event in events if purpose in event.choices]
    return sorted(said, key=lambda event: (event.happened, not event.choices[purpose]))


def valid_until(choices: Mapping[str, bool], happened: datetime, register: Register) -> datetime:
    """When the last of these choices ends: from then on the event is proof only."""
    ends = register.cookie_ends(civil_day(happened))
    return max([ends[choice] for choice in choices.items()])


def asks_again(choices: Mapping[str, bool], happened: datetime, register: Register) -> datetime:
    """When the first of these choices ends: by then the visitor must have been asked again. Source: R15."""
    ends = register.cookie_ends(civil_day(happened))
    return min([ends[choice] for choice in choices.items()])


def renewals_due_until(now: datetime, register: Register) -> datetime:
    """A choice whose :func:`asks_again` is this instant or earlier is due for renewal ``now``."""
    return end_after(civil_day(now), register.renewal.length)


def replaced(events: Iterable[Choice], one: Choice) -> bool:
    """Whether a device has made each of these choices anew since: nobody need ask about it again."""
    events = list(events)
    return all(_in_order(events, purpose)[-1].happened > one.happened for purpose in one.choices)
