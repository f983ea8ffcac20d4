"""How long a purpose is live, and what becomes of a record when none of its purposes is any more.

Nothing is stored but facts (a link's beginning, the anchor events, what the person said); the end is folded when it is
asked for, so an anchor event that arrives before, after or twice changes nothing but the answer. A record stays whole
as long as one purpose lives. Then it is archived for the purposes that ended by date and whose rule says so, until the
last of them ends there too; otherwise it is deleted. What a "no" ended is never archived.
Source: R13, R14; P9; design § 4 "Purpose links"; retention-defaults § 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from dateutil.relativedelta import relativedelta

from schemas.calendar import end_of_period
from schemas.terms import Anchor, Purpose

_FROM_THE_START = frozenset({Anchor.COLLECTED, Anchor.LAST_CONTACT})


@dataclass(frozen=True, slots=True)
class AnchorEvent:
    """Something that happened which a period is counted from."""

    anchor: Anchor
    at: datetime


def active_until(
    anchor: Anchor, since: datetime, active: relativedelta, happened: Iterable[AnchorEvent]
) -> datetime | None:
    """The instant (aware, UTC) at which a purpose begun at ``since`` ends being active; ``None`` while it is open.

    ``anchor`` and ``active`` are the retention rule's; ``happened``: the anchor events about this record.
    """
    latest = since if anchor in _FROM_THE_START else None
    for event in happened:
        if event.anchor == anchor and event.at >= (latest or since):
            latest = event.at
    return end_of_period(latest, active) if latest else None


def archive_until(ended: datetime, archive: relativedelta) -> datetime:
    """The instant at which what was active until ``ended`` leaves the archive too: counted from its last active day."""
    return end_of_period(ended - timedelta(milliseconds=1), archive)


def is_live(until: datetime | None, moment: datetime) -> bool:
    """Whether a purpose that ends at ``until`` is live at ``moment``. Past its date nothing is, swept or not."""
    return until is None or moment < until


def later(one: datetime | None, other: datetime | None) -> datetime | None:
    """The later of two ends; one that is open is later than any."""
    return None if one is None or other is None else max(one, other)


class Becomes(StrEnum):
    """What becomes of a record."""

    STAYS = "stays"
    ARCHIVED = "archived"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class ServedPurpose:
    """One purpose of a record, folded. ``until``: the instant at which it ends by date; ``None`` while that is open.

    ``said_no``: a "no" has ended it; ``archive``: the period of its rule after that, ``None`` where there is none.
    """

    purpose: Purpose
    rule: str
    until: datetime | None
    said_no: bool = False
    archive: relativedelta | None = None

    def lives(self, moment: datetime) -> bool:
        return not self.said_no and is_live(self.until, moment)

    @property
    def archived_until(self) -> datetime | None:
        """The instant at which its archive ends; ``None``: nothing is archived for it, or it is not known yet."""
        if self.said_no or self.until is None or self.archive is None:
            return None
        return archive_until(self.until, self.archive)


@dataclass(frozen=True, slots=True)
class Fate:
    """``until``: of what is archived, the instant at which it is purged; ``by``: for which purposes it is."""

    becomes: Becomes
    until: datetime | None = None
    by: tuple[ServedPurpose, ...] = ()


STAYS = Fate(Becomes.STAYS)
DELETED = Fate(Becomes.DELETED)


def fate_of(record: Sequence[ServedPurpose], moment: datetime) -> Fate:
    """What becomes, at ``moment``, of a record that serves these purposes, one at least."""
    if any(one.lives(moment) for one in record):
        return STAYS
    ends = {one: end for one in record if (end := one.archived_until) is not None and moment < end}
    return Fate(Becomes.ARCHIVED, max(ends.values()), tuple(ends)) if ends else DELETED
