"""When a person and the visits of a device may be joined: decided from the device's choices and moments alone.

A device is a person's while a live record of theirs names it, no record of anybody else does, and the choice that the
purpose asks for is given at this moment. Of its visits those may be used that were made and have rested ever since on
both choices: to be measured, and to be used for this purpose.
Source: R5, R15, R16; P10; decision 0008.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from enum import StrEnum

from dateutil.relativedelta import relativedelta

from schemas.calendar import end_of_period
from schemas.consent import Choice
from schemas.register import Register
from schemas.terms import CookiePurpose, Purpose
from workers.rules.consent import ConsentState, refused_since, rests_until, state_at
from workers.rules.retention import is_live


class Apart(StrEnum):
    """Why a person's visits are not used; the first that holds is said."""

    NO_DEVICE = "no_device"
    SHARED = "device_shared"
    UNKNOWN = "consent_unknown"
    REFUSED = "consent_refused"
    EXPIRED = "consent_expired"


_APART = {
    ConsentState.UNKNOWN: Apart.UNKNOWN,
    ConsentState.REFUSED: Apart.REFUSED,
    ConsentState.EXPIRED: Apart.EXPIRED,
}


def apart(
    choices: Iterable[Choice], owners: Collection[str], cookie: CookiePurpose, now: datetime, register: Register
) -> Apart | None:
    """Why a device's visits may not be used about whoever's record names it; ``None``: they may.

    ``owners``: the persons whose records name the device; ``cookie``: the choice that the purpose asks for.
    """
    if len(owners) > 1:
        return Apart.SHARED
    said = list(choices)
    if refused_since(said, cookie, now):  # also one that a door's clock, a little ahead of ours, dated later
        return Apart.REFUSED
    return _APART.get(state_at(said, cookie, now, register))


def usable(choices: Iterable[Choice], purpose: Purpose, happened: datetime, now: datetime, register: Register) -> bool:
    """Whether a visit of that moment may be used for a purpose now. Says nothing of whose it is: :func:`apart`."""
    said, cookies = list(choices), {register.covers_visits, register.visits.purposes[purpose].cookie}
    ends = [rests_until(said, cookie, happened, register) for cookie in cookies]
    kept_until = end_of_period(happened, _kept_for(purpose, register))
    return is_live(kept_until, now) and all(end is not None and now < end for end in ends)


def _kept_for(purpose: Purpose, register: Register) -> relativedelta:
    return next(rule.active for rule in register.visit_links() if rule.purpose == purpose)
