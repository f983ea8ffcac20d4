"""Members of an audience as it hands them out, and why others are none. Source: R5, R24; design § 6 ``audience``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from schemas.fields import wire_moment
from schemas.terms import Case
from workers.one_click import OneClickLinks
from workers.rules.joining import Apart
from workers.visits import Visit


class LeftOut(StrEnum):
    """Why somebody of whom something is held is not in an audience; the first that holds is counted."""

    OTHER_PURPOSE = "no_such_purpose"
    OTHER_READER = "not_for_this_reader"
    PERIOD_OVER = "period_over"
    ERASED = "erased"
    SUPPRESSED = "suppressed"
    NO_DEVICE = Apart.NO_DEVICE
    DEVICE_SHARED = Apart.SHARED
    CONSENT_UNKNOWN = Apart.UNKNOWN
    CONSENT_REFUSED = Apart.REFUSED
    CONSENT_EXPIRED = Apart.EXPIRED


@dataclass(slots=True)  # frozen, one takes four times as long to make, and there are a million
class Member:
    """Somebody who may be written to. ``until``: when that ends; ``None`` while it is open. ``data``: as was given.

    ``visits``: what they read, the newest first, of a purpose that rests on that; ``None`` of any other.
    ``notice_by``: until when they must be told where their data is from, which nobody has done yet (Art. 14).
    """

    person: str
    case: Case
    until: datetime | None
    data: dict[str, Any] = field(repr=False)
    visits: tuple[Visit, ...] | None = field(default=None, repr=False)
    notice_by: datetime | None = None

    @property
    def email(self) -> str:
        """The address, in its normal form."""
        return str(self.data["email"])

    def as_json(self) -> dict[str, Any]:
        """As programs get it."""
        until = wire_moment(self.until) if self.until else None
        visits = {} if self.visits is None else {"visits": [visit.as_json() for visit in self.visits]}
        notice = {"notice_by": wire_moment(self.notice_by)} if self.notice_by else {}
        return {"person": self.person, "case": self.case.value, "until": until, **self.data, **visits, **notice}


@dataclass(frozen=True, slots=True)
class Page:
    """``after``: what the next page is asked with; ``None``: this was the last."""

    members: list[Member] = field(repr=False)
    left_out: Counter[LeftOut]
    after: str | None

    def left_out_by_reason(self) -> dict[str, int]:
        """How many of this page are no members, for each reason there is."""
        return {why.value: self.left_out[why] for why in LeftOut}


def rows(members: Iterable[Member], links: OneClickLinks | None, now: datetime) -> list[dict[str, Any]]:
    """Members as a mailing tool gets them. ``headers``: the one-click headers of a mail to each, as they are;
    ``preferences``: the link to theirs, for the mail's text.

    ``None`` where no links can be made: a tool that mails without them takes the one click from people.
    """
    if links is None:
        return [{**one.as_json(), "headers": None, "preferences": None} for one in members]
    return [
        {
            **one.as_json(),
            "headers": links.headers(one.email, one.person, now),
            "preferences": links.preferences(one.email, one.person, now),
        }
        for one in members
    ]
