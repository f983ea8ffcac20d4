"""When a request must be answered, counted as the law counts: civil months from receipt, rolled to a working day.

::

    received_on = the day of receipt in the controller's zone        that day itself is not counted
    raw(n)      = same day-number n months later, or that month's last day
    due         = the first working day from raw(1) + days of suspension on
    extended    = the same from raw(3): counted from receipt, never from due

Saturdays, Sundays and public holidays inside the period count; only its last day is moved. Suspension: whole civil days
from asking for proof of identity to getting it. What is returned names the holidays that moved a date and the calendar
they were read from, so that a case can show its reckoning after a calendar has changed.

Source: R23; GDPR Art. 12(3), 12(4); Regulation 1182/71 Arts 2 and 3; décret 2019-536; gdpr-clock-and-rights § 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from importlib.metadata import version
from typing import Final
from zoneinfo import ZoneInfo

import holidays
from dateutil.relativedelta import relativedelta

from schemas.calendar import PARIS

ANSWER_MONTHS: Final = 1
EXTENDED_MONTHS: Final = 3
STORE_LEAD_DAYS: Final = 10
"""How long before the person's answer is due a store must have answered. Internal: the law knows one deadline."""
WARNING_DAYS: Final = 10
"""How long before its end a deadline is shown as near."""
_SATURDAY: Final = 5
_VERSION: Final = version("holidays")


class Standing(StrEnum):
    """How a deadline stands. ``overdue`` is computed, never stored; done too late stays overdue."""

    ON_TIME = "on_time"
    DUE_SOON = "due_soon"
    OVERDUE = "overdue"


@dataclass(frozen=True, slots=True)
class Counting:
    """Whose calendar counts: that of the Member State where the action is done (Reg. 1182/71 recital and Art. 2).

    ``suspends``: whether asking for proof of identity stops the clock; off is the conservative reading of Art. 12(3).
    """

    country: str = "FR"
    zone: ZoneInfo = PARIS
    suspends: bool = True


FRANCE: Final = Counting()
"""Metropolitan France, without the two holidays of Alsace-Moselle."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Proof of identity was asked for, and came (``None``: not yet). Aware moments."""

    asked_at: datetime
    answered_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CaseDates:
    """What the clock of one case depends on. Moments are aware; ``received_at``: the true receipt, read or not."""

    received_at: datetime
    pauses: tuple[Pause, ...] = ()
    extended: bool = False
    """An extension was told to the person, with its reasons, while :meth:`Deadlines.may_extend` held."""
    answered_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Holiday:
    """A public holiday that a deadline ran into."""

    on: date
    name: str


@dataclass(frozen=True, slots=True)
class Deadline:
    """One end of a period: its ``raw`` last day, and the working day on which it is ``due``."""

    raw: date
    due: date
    holidays: tuple[Holiday, ...]
    """Those between ``raw`` and ``due``."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Every date of a case, with what they were reckoned from; plain data, to be kept on the case."""

    received_on: date
    paused_days: int
    first: Deadline
    extended: Deadline
    is_extended: bool
    calendar: str
    """The holiday calendar and its version."""
    zone: str

    @property
    def due(self) -> date:
        """The last day for the answer, extended or not."""
        return (self.extended if self.is_extended else self.first).due

    @property
    def answer_by(self) -> datetime:
        """The first instant (UTC) at which an answer is late: midnight after the due day."""
        return end_of_day(self.due, ZoneInfo(self.zone))

    @property
    def notice_by(self) -> date:
        """The last day for telling of an extension or a refusal: within the first month, Art. 12(3) and 12(4)."""
        return self.first.due

    def may_extend(self, now: datetime) -> bool:
        """Whether an extension told ``now`` would still be told in time."""
        return not self.is_extended and now < end_of_day(self.notice_by, ZoneInfo(self.zone))


def deadlines(dates: CaseDates, now: datetime, counting: Counting = FRANCE) -> Deadlines:
    """Every date of a case as it stands ``now`` (aware): while proof of identity is awaited, they move day by day."""
    received_on = _civil_day(dates.received_at, counting)
    pauses = _days_paused(dates, now, counting) if counting.suspends else []
    first, paused_days = _deadline(received_on, ANSWER_MONTHS, pauses, counting)
    extended, paused_days_extended = _deadline(received_on, EXTENDED_MONTHS, pauses, counting)
    return Deadlines(
        received_on=received_on,
        paused_days=paused_days_extended if dates.extended else paused_days,
        first=first,
        extended=extended,
        is_extended=dates.extended,
        calendar=f"{counting.country}, holidays {_VERSION}",
        zone=counting.zone.key,
    )


def one_month_from(day: date, counting: Counting = FRANCE) -> Deadline:
    """The end of a month that begins with the day after ``day``: for what must be done within a month of that day."""
    return _deadline(day, ANSWER_MONTHS, (), counting)[0]


def store_deadline(due: date, asked_on: date, lead_days: int = STORE_LEAD_DAYS) -> date:
    """The day by which a store asked on ``asked_on`` is to answer: well before ``due``, never before the next day."""
    return min(max(due - timedelta(days=lead_days), asked_on + timedelta(days=1)), max(due, asked_on))


def standing(
    dates: CaseDates, now: datetime, counting: Counting = FRANCE, warning_days: int = WARNING_DAYS
) -> Standing:
    """How a case's answer stands ``now``; once it has left, how it stood then."""
    at = dates.answered_at or now
    found = deadlines(dates, at, counting)
    return standing_of(found.due, now, done_at=dates.answered_at, zone=counting.zone, warning_days=warning_days)


def standing_of(
    due: date,
    now: datetime,
    *,
    done_at: datetime | None = None,
    zone: ZoneInfo = PARIS,
    warning_days: int = WARNING_DAYS,
) -> Standing:
    """How one deadline stands, a store's for instance. ``done_at``: when it was met or missed."""
    if (done_at or now) >= end_of_day(due, zone):
        return Standing.OVERDUE
    if done_at is None and now >= end_of_day(due - timedelta(days=warning_days), zone):
        return Standing.DUE_SOON
    return Standing.ON_TIME


def end_of_day(day: date, zone: ZoneInfo = PARIS) -> datetime:
    """The first instant (UTC) after a civil day: a period ends with the last hour of its last day (Art. 3(2))."""
    return datetime.combine(day + timedelta(days=1), time.min, zone).astimezone(UTC)


def is_working_day(day: date, country: str = "FR") -> bool:
    """Neither Saturday, Sunday nor public holiday (Reg. 1182/71 Art. 2(2)); the day beside a holiday is one."""
    return day.weekday() < _SATURDAY and day not in _holidays(country, day.year)


def _civil_day(moment: datetime, counting: Counting) -> date:
    return moment.astimezone(counting.zone).date()


def _deadline(
    received_on: date, months: int, pauses: Iterable[tuple[date, int]], counting: Counting
) -> tuple[Deadline, int]:
    """The deadline and the days of suspension in it. A pause begun after the end saves nothing: it was late then."""
    raw = received_on + relativedelta(months=months)
    paused = 0
    for asked_on, days in pauses:
        if asked_on <= _roll(raw, counting.country):
            raw, paused = raw + timedelta(days=days), paused + days
    due = _roll(raw, counting.country)
    return Deadline(raw, due, tuple(_holidays_between(raw, due, counting.country))), paused


def _days_paused(dates: CaseDates, now: datetime, counting: Counting) -> list[tuple[date, int]]:
    """First day and number of days of each pause, in order; days that two pauses share count once."""
    spans = []
    counted_to = _civil_day(dates.received_at, counting)
    for pause in sorted(dates.pauses, key=lambda one: one.asked_at):
        asked_on = max(_civil_day(pause.asked_at, counting), counted_to)
        answered_on = _civil_day(pause.answered_at or max(now, pause.asked_at), counting)
        if answered_on > asked_on:
            spans.append((asked_on, (answered_on - asked_on).days))
            counted_to = answered_on
    return spans


def _roll(day: date, country: str) -> date:
    while not is_working_day(day, country):
        day += timedelta(days=1)
    return day


def _holidays_between(first: date, last: date, country: str) -> Iterable[Holiday]:
    for offset in range((last - first).days + 1):
        day = first + timedelta(days=offset)
        name = _holidays(country, day.year).get(day)
        if name is not None:
            yield Holiday(day, name)


@lru_cache(maxsize=256)
def _holidays(country: str, year: int) -> dict[date, str]:
    return dict(holidays.country_holidays(country, years=year))
