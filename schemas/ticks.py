"""The schedule: which chores there are, when each is due, and the tick that says so.

A tick is an ordinary message, published by ``greffier clock`` and worked on by a controller. Its id follows from the
chore's name and the planned moment alone, so whoever publishes it, once or ten times, it is one event. Pure rules.
Source: design § 4 "Time and no"; P9.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Protocol

from pydantic_core import to_json

from schemas.calendar import PARIS, civil_day
from schemas.envelope import Event
from schemas.fields import MOMENT, pattern, wire_moment
from schemas.shapes import Shape

TICK_TYPE: Final = "greffier.clock.tick"
SOURCE: Final = "/clock"
"""The source of every tick, whichever clock published it."""

TICK: Final = Shape("clock.tick", required={"chore": pattern(r"^[a-z][a-z-]{0,40}$", 41), "planned": MOMENT})

_BEFORE: Final = timedelta(microseconds=1)


class Rhythm(Protocol):
    """When something is due: moments in order, the same for whoever asks and whenever."""

    def latest(self, now: datetime) -> datetime:
        """The last moment planned at or before ``now``; both aware, the answer in UTC."""

    def following(self, now: datetime) -> datetime:
        """The first one planned after ``now``."""


@dataclass(frozen=True, slots=True)
class Every:
    """At whole multiples of ``period`` since 1970 began: every hour on the hour, whatever the local time does."""

    period: timedelta

    def latest(self, now: datetime) -> datetime:
        began = datetime(1970, 1, 1, tzinfo=UTC)
        return began + (now - began) // self.period * self.period

    def following(self, now: datetime) -> datetime:
        return self.latest(now) + self.period


@dataclass(frozen=True, slots=True)
class Daily:
    """Once each civil day in Paris, at this time of its wall clocks.

    A time that is shown twice in autumn means the first; one that spring leaves out, as much later as it leaves out.
    """

    at: time

    def latest(self, now: datetime) -> datetime:
        day = civil_day(now)
        return next(moment for back in (0, 1) if (moment := self._on(day - timedelta(days=back))) <= now)

    def following(self, now: datetime) -> datetime:
        day = civil_day(now)
        return next(moment for ahead in (0, 1) if (moment := self._on(day + timedelta(days=ahead))) > now)

    def _on(self, day: date) -> datetime:
        return datetime.combine(day, self.at, PARIS).astimezone(UTC)


PARKED_LETTERS: Final = "parked-letters"
UNCONFIRMED_SUBSCRIPTIONS: Final = "unconfirmed-subscriptions"
EXPIRED_CONSENTS: Final = "expired-consents"
AGGREGATES: Final = "aggregates"
SUBSIDIARIES_RETENTION: Final = "subsidiaries-retention"
EXPIRED_VISITS: Final = "expired-visits"
NOTICES: Final = "notices"
RENEWALS: Final = "renewals"
DUE_PERSONS: Final = "due-persons"
SWEEPS: Final = ("sweep-a", "sweep-b", "sweep-c", "sweep-d")
"""The shards of the daily walk: a chore each, so that workers share it."""
CANARIES: Final = "canaries"
PURGE_ARCHIVE: Final = "purge-archive"
PURGE_EXPIRED: Final = "purge-expired"
PURGE_REMARKS: Final = "purge-remarks"

SCHEDULE: Final[Mapping[str, Rhythm]] = {
    PARKED_LETTERS: Every(timedelta(hours=1)),
    # Civil periods end with a day in Paris: these follow soon after.
    EXPIRED_VISITS: Daily(time(0, 5)),
    UNCONFIRMED_SUBSCRIPTIONS: Daily(time(0, 10)),
    EXPIRED_CONSENTS: Daily(time(0, 20)),
    RENEWALS: Daily(time(0, 15)),
    NOTICES: Daily(time(0, 25)),
    AGGREGATES: Daily(time(4, 0)),
    DUE_PERSONS: Every(timedelta(minutes=5)),
    **dict.fromkeys(SWEEPS, Daily(time(0, 30))),
    PURGE_ARCHIVE: Daily(time(1, 0)),
    PURGE_EXPIRED: Daily(time(1, 10)),
    PURGE_REMARKS: Daily(time(1, 20)),
    CANARIES: Daily(time(3, 0)),
    SUBSIDIARIES_RETENTION: Daily(time(5, 0)),
}
"""Chore → when it is due. The one place where it is said."""


def missed(rhythm: Rhythm, done: datetime, now: datetime) -> bool:
    """Whether a chore whose last tick done was planned for ``done`` has been left out for more than two periods."""
    return done <= rhythm.latest(rhythm.latest(rhythm.latest(now) - _BEFORE) - _BEFORE)


def tick(chore: str, planned: datetime, now: datetime) -> Event:
    """The event of a tick. ``now``: when it is published; it is no part of what the event is."""
    body = to_json({"chore": chore, "planned": wire_moment(planned)})
    return Event(tick_id(chore, planned), SOURCE, TICK_TYPE, wire_moment(now), body)


def tick_id(chore: str, planned: datetime) -> str:
    """The event's id: of the name and the planned moment, and of nothing else."""
    return f"{chore}.{wire_moment(planned)}"
