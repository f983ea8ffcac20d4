"""Who may be used for what, and what may still be held, from a group's traffic alone.

It counts in civil days of Paris by its own arithmetic and states the shipped register's table once more, by hand, so
that it shares nothing with the rules it judges. What is heard twice, late or in another order changes nothing here.
Source: R3, R9, R13, R20, R24, R26; P5, P9, P10; retention-defaults § 2.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from schemas.terms import Case, Department, Purpose

_SERVICES, _PROSPECTING = Purpose.PROVIDE_SERVICES, Purpose.SALES_PROSPECTING
_CONTRACT, _RECRUITMENT = Purpose.SERVICES_AND_CONTRACT, Purpose.RECRUITMENT
_MAILED: Final = (Purpose.SALES_INFORMATION, Purpose.EVENT_INVITATIONS, _PROSPECTING)

SERVES: Final[dict[Case, tuple[Purpose, ...]]] = {
    Case.CONTACT: (_SERVICES, _PROSPECTING),
    Case.NEWSLETTER: (_SERVICES, _PROSPECTING),
    Case.WHITE_PAPER: (_SERVICES, _PROSPECTING),
    Case.JOB_APPLICATION: (_RECRUITMENT,),
    Case.CLIENT: (_CONTRACT, *_MAILED),
    Case.SERVICE_PROVIDER: (_CONTRACT, *_MAILED),
    Case.SUPPLIER: (_CONTRACT,),
    Case.PARTNER: _MAILED,
    Case.PROSPECT: _MAILED,
}
ENDED_BY_NO: Final = frozenset(_MAILED)
READERS: Final[tuple[tuple[Department, Purpose, frozenset[Case]], ...]] = (
    *(
        (Department.MARKETING_SALES, purpose, frozenset(case for case in Case if purpose in SERVES[case]))
        for purpose in (_SERVICES, *_MAILED)
    ),
    (Department.MARKETING_SALES, _CONTRACT, frozenset({Case.CLIENT})),
    (Department.ADMINISTRATION, _CONTRACT, frozenset({Case.CLIENT, Case.SERVICE_PROVIDER, Case.SUPPLIER})),
    (Department.ADMINISTRATION, _RECRUITMENT, frozenset({Case.JOB_APPLICATION})),
)
"""Department, purpose, and the cases whose records it may read for that."""

_ON_ITS_WAY: Final = timedelta(days=90)

_ARCHIVE_YEARS: Final = 5
"""Of contracts and of applications, from the end of active use."""


def day_of(moment: datetime) -> date:
    """The civil day in Paris."""
    return moment.astimezone(ZoneInfo("Europe/Paris")).date()


def months_later(day: date, months: int) -> date:
    """The same day of a later month, or the last one that it has."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


@dataclass(frozen=True, slots=True)
class Came:
    """A record came in. ``since``: from when its periods count; ``own_act``: the person sent it."""

    key: str
    whom: str
    case: Case
    received: datetime
    since: datetime
    own_act: bool
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The mailed link of a subscription was used."""

    key: str
    about: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Dated:
    """Something that periods count from: about everything of a person, or one record. ``what``: ``contact``,
    ``ended`` or ``decided``.
    """

    key: str
    what: str
    at: datetime
    received: datetime
    whom: str | None = None
    about: str | None = None


@dataclass(frozen=True, slots=True)
class SaidNo:
    """An unsubscribe, an objection or a complaint, at this moment by the person's own clock."""

    whom: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Refused:
    """One purpose was refused by the link to one's preferences."""

    whom: str
    purpose: Purpose
    at: datetime


@dataclass(frozen=True, slots=True)
class Chose:
    """A device's answer to being measured."""

    device: str
    at: datetime
    yes: bool


@dataclass(frozen=True, slots=True)
class Visited:
    """A page was opened."""

    key: str
    device: str
    at: datetime


Heard = Came | Confirmed | Dated | SaidNo | Refused | Chose | Visited


@dataclass(slots=True)
class Group:
    """What was heard so far. ``archive``: record → the last day it may be kept there; ``restricted``: whose data is not
    used; ``withdrawn``: who withdrew consent, when.
    """

    records: dict[str, Came] = field(default_factory=dict)
    confirmed: dict[str, datetime] = field(default_factory=dict)
    dated: dict[str, Dated] = field(default_factory=dict)
    no: dict[str, datetime] = field(default_factory=dict)
    refused: dict[str, dict[Purpose, datetime]] = field(default_factory=dict)
    withdrawn: dict[str, datetime] = field(default_factory=dict)
    restricted: set[str] = field(default_factory=set)
    erased: dict[str, datetime] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    archive: dict[str, date] = field(default_factory=dict)
    whose: dict[str, str] = field(default_factory=dict)
    chosen: dict[str, set[Chose]] = field(default_factory=dict)
    visits: dict[str, Visited] = field(default_factory=dict)
    devices_erased: dict[str, datetime] = field(default_factory=dict)

    def hear(self, said: Heard) -> None:
        match said:
            case Came():
                self._came(said)
            case Confirmed():
                self.confirmed[said.about] = min(said.at, self.confirmed.get(said.about, said.at))
            case Dated():
                self._dated(said)
            case SaidNo():
                self.no[said.whom] = max(said.at, self.no.get(said.whom, said.at))
            case Refused():
                latest = self.refused.setdefault(said.whom, {})
                latest[said.purpose] = max(said.at, latest.get(said.purpose, said.at))
            case Chose():
                self.chosen.setdefault(said.device, set()).add(said)
            case Visited():
                erased_at = self.devices_erased.get(said.device)
                if said.key not in self.gone and (erased_at is None or said.at > erased_at):
                    self.visits[said.key] = said

    def _came(self, record: Came) -> None:
        if record.key in self.gone:
            return
        self.whose[record.key] = record.whom
        erased_at = self.erased.get(record.whom)
        if erased_at is not None and record.received <= erased_at:
            self.gone.add(record.key)  # what comes late was erased with the rest
        elif erased_at is not None and not record.own_act:
            return  # for staff to look at
        elif record.key not in self.records and self._wanted(record):
            self.records[record.key] = record

    def _wanted(self, record: Came) -> bool:
        """Whether an import serves anything that its person did not say no to."""
        ended = (self._is_ended(record.whom, purpose) for purpose in SERVES[record.case])
        return record.case is Case.NEWSLETTER or not all(ended)

    def _is_ended(self, whom: str, purpose: Purpose) -> bool:
        """By a "no" to all of it, or to this."""
        return purpose in ENDED_BY_NO and (whom in self.no or purpose in self.refused.get(whom, ()))

    def _dated(self, said: Dated) -> None:
        if said.about in self.gone or (said.whom is not None and said.whom in self.erased):
            return  # who was erased is dated by nobody else any more
        self.dated[said.key] = said

    def erase(self, whom: str, at: datetime) -> None:
        """Everything that was received of somebody until then goes, from the archive too."""
        self.erased[whom] = at
        linked = {record.device for record in self.records.values() if record.whom == whom and record.device}
        self.devices_erased |= dict.fromkeys(linked, at)
        self._drop_visits(visit for visit in self.visits.values() if visit.device in linked)
        for key in [key for key, record in self.records.items() if record.whom == whom]:
            self._drop(key)
        for key in [key for key in self.archive if self.whose[key] == whom]:
            del self.archive[key]
        self.dated = {key: one for key, one in self.dated.items() if one.whom != whom}

    def withdraw(self, whom: str, at: datetime) -> None:
        """What rests on consent alone goes at once."""
        self.withdrawn[whom] = at
        for key, record in list(self.records.items()):
            if record.whom == whom and record.case is Case.NEWSLETTER and record.received <= at:
                self._drop(key)

    def sweep(self, today: date) -> None:
        """What serves nothing any more leaves the active store: into the archive, or for good; its end is final."""
        for key, record in list(self.records.items()):
            if not any(self.serves(record, purpose, today) for purpose in SERVES[record.case]):
                if self._waits(record, today):
                    continue
                last = self._last_day(record, _to_be_proved(record.case))
                self._drop(key)
                if last is not None and months_later(last, 12 * _ARCHIVE_YEARS) >= today:
                    self.archive[key] = months_later(last, 12 * _ARCHIVE_YEARS)
        for key in [key for key, last in self.archive.items() if last < today]:
            del self.archive[key]

    def purge_dated(self, now: datetime) -> None:
        """What dates nothing that is in use is kept as long as a parked letter: its record may be on its way."""
        known = {record.whom for record in self.records.values()}
        self.dated = {
            key: one
            for key, one in self.dated.items()
            if one.whom in known or one.about in self.records or one.received > now - _ON_ITS_WAY
        }

    def _waits(self, record: Came, today: date) -> bool:
        """A subscription waits a week for its link to be used, and a day for word of that."""
        waits = record.case is Case.NEWSLETTER and not self._in_time(record)
        return waits and today <= day_of(record.received) + timedelta(days=8)

    def _in_time(self, record: Came) -> bool:
        confirmed = self.confirmed.get(record.key)
        return confirmed is not None and day_of(confirmed) <= day_of(record.received) + timedelta(days=7)

    def _drop(self, key: str) -> None:
        del self.records[key]
        self.gone.add(key)
        self.dated = {name: one for name, one in self.dated.items() if one.about != key}

    # ------------------------------------------------------------------ visits

    def settle_visits(self, heard: Iterable[str], now: datetime) -> None:
        """What a "no" ended goes at once; of those just heard, whatever nothing covers."""
        ended = [visit for visit in self.visits.values() if self._rests_until(visit) is None]
        late = [self.visits[key] for key in heard if key in self.visits and not self.visit_stands(key, now)]
        self._drop_visits([*ended, *late])

    def sweep_visits(self, now: datetime) -> None:
        """What rested on a consent that ran out goes too, and what is older than a year."""
        self._drop_visits([visit for visit in self.visits.values() if not self.visit_stands(visit.key, now)])

    def visit_stands(self, key: str, now: datetime) -> bool:
        """Whether a visit may still be used."""
        last = self._rests_until(self.visits[key])
        year = months_later(day_of(self.visits[key].at), 12)
        return last is not None and day_of(now) <= min(last, year)

    def _rests_until(self, visit: Visited) -> date | None:
        """The last day of the consent that a visit rests on without a break; ``None`` where there is none."""
        said = sorted(self.chosen.get(visit.device, ()), key=lambda one: (one.at, not one.yes))
        before = [one for one in said if one.at <= visit.at]
        if not before or not before[-1].yes or any(not one.yes and one.at >= visit.at for one in said):
            return None
        last = months_later(day_of(before[-1].at), 13)
        if day_of(visit.at) > last:
            return None
        for one in said:
            if one.at > visit.at and day_of(one.at) <= last:
                last = months_later(day_of(one.at), 13)
        return last

    def _drop_visits(self, gone: Iterable[Visited]) -> None:
        for visit in list(gone):
            self.visits.pop(visit.key, None)
            self.gone.add(visit.key)

    # ------------------------------------------------------------------ at a moment

    def seen(self, whom: str, purpose: Purpose, cases: Iterable[Case], today: date) -> set[str]:
        """The records of somebody that may be read for a purpose, by a reader of these cases."""
        own = [record for record in self.records.values() if record.whom == whom and record.case in cases]
        if whom in self.restricted:
            return set()
        return {record.key for record in own if self.serves(record, purpose, today)}

    def written_to(self, purpose: Purpose, cases: frozenset[Case], today: date) -> set[str]:
        """Who may be written to for a purpose."""
        return {
            record.whom
            for record in self.records.values()
            if record.case in cases and record.whom not in self.restricted and self.serves(record, purpose, today)
        }

    def serves(self, record: Came, purpose: Purpose, today: date) -> bool:
        """Whether a record may be used for this on that day."""
        if purpose not in SERVES[record.case] or not self._allowed(record, purpose):
            return False
        last = self._last_day(record, purpose)
        return last is None or today <= last

    def _allowed(self, record: Came, purpose: Purpose) -> bool:
        if record.case is not Case.NEWSLETTER:
            return not self._is_ended(record.whom, purpose)
        noes = [self.no.get(record.whom), self.withdrawn.get(record.whom)]
        noes.append(self.refused.get(record.whom, {}).get(_PROSPECTING))
        return self._in_time(record) and all(no is None or self.confirmed[record.key] > no for no in noes)

    def _last_day(self, record: Came, purpose: Purpose | None) -> date | None:
        """The last day of a purpose; ``None`` while what it counts from has not happened, or there is no purpose."""
        if purpose is _RECRUITMENT:
            decided = self._latest(record, "decided", record.since)
            return None if decided is None else months_later(day_of(decided), 3)
        if purpose is _CONTRACT:
            ended = self._latest(record, "ended", record.since)
            return None if ended is None else day_of(ended)
        if purpose is None:
            return None
        since = self.confirmed.get(record.key, record.since)
        return months_later(day_of(self._latest(record, "contact", since) or since), 36)

    def _latest(self, record: Came, what: str, since: datetime) -> datetime | None:
        about = (
            one.at
            for one in self.dated.values()
            if one.what == what and one.at >= since and (one.whom == record.whom or one.about == record.key)
        )
        return max(about, default=None)


def _to_be_proved(case: Case) -> Purpose | None:
    """The purpose for whose sake a record is kept in the archive."""
    return next((purpose for purpose in SERVES[case] if purpose in (_CONTRACT, _RECRUITMENT)), None)
