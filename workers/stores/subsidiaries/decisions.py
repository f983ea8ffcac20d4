"""What becomes of one row. No store, no clock: values in, a decision out.

Source: R19, R26; design § 5.5.
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo
from enum import StrEnum
from typing import Any, Final, TypeVar

from dateutil.relativedelta import relativedelta

from schemas.durations import parse_duration
from schemas.errors import InvalidMessage
from schemas.subject import clean_email
from workers.stores.subsidiaries.adapter import Subject, Terms
from workers.stores.subsidiaries.mapping import Collection, Constant, Keep, Retention, Special

V = TypeVar("V", bound=Hashable)

_REMOVED: Final = "removed-"
_EARLIEST: Final = date(1900, 1, 1)
"""What is older is no date but a sign for one that is missing."""
_NO: Final = frozenset({"", "0", "0.0", "f", "false", "n", "no", "off", "none", "null"})
UNDATED: Final = "no readable date"
HELD: Final = "legal hold"


class Fate(StrEnum):
    """What an erasure means for a row. ``fresh``: newer than the request, no part of it."""

    FRESH = "fresh"
    DELETE = "delete"
    ANONYMISE = "anonymise"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Decision:
    """``ground`` and ``until`` (last day, None: no last day) for what is kept."""

    fate: Fate
    ground: str = ""
    until: date | None = None


def normal_form(stored: object) -> str | None:
    """The normal form of an address as it stands in a store; None for what is no address."""
    if not isinstance(stored, str):
        return None
    try:
        return clean_email(stored).lower()
    except InvalidMessage:
        return None


def belongs(stored: object, written: Mapping[str, V]) -> set[V]:
    """Which of the person's addresses, in normal form, a stored value or list of values holds.

    ``written``: the person's :func:`spellings`, or whatever else spellings stand for; what is none of them is
    normalised and compared, which costs more.
    """
    values = stored if isinstance(stored, list) else [stored]
    found = set()
    for value in values:
        if isinstance(value, str) and value.lower() in written:
            found.add(written[value.lower()])
        elif (normal := normal_form(value)) in written:
            found.add(written[str(normal)])
    return found


def spellings(emails: Iterable[str]) -> dict[str, str]:
    """How addresses may be written in a store, letter case apart, each with the normal form it stands for."""
    found: dict[str, str] = {}
    for email in emails:
        local, _, domain = email.rpartition("@")
        written = [email, f"{local}@{_in_letters(domain)}"] if "xn--" in domain else [email]
        for one in written:
            found[one.lower()] = found[unicodedata.normalize("NFD", one.lower())] = email.lower()
    return found


def _in_letters(domain: str) -> str:
    try:
        return domain.encode("ascii").decode("idna")
    except UnicodeError:
        return domain


def is_fresh(entry: Collection, row: Mapping[str, Any], subject: Subject, zone: tzinfo) -> bool:
    """Whether the row is a later act of the person. What has no moment is as old as can be."""
    if entry.fresh_by is None:
        return False
    at = as_moment(row.get(entry.fresh_by), zone)
    return at is not None and at > subject.received_at


def erasure_of(entry: Collection, row: Mapping[str, Any], subject: Subject, now: datetime, zone: tzinfo) -> Decision:
    """What an erasure means for a row of the person."""
    if is_fresh(entry, row, subject, zone):
        return Decision(Fate.FRESH)
    return _end_of(entry, row, now, zone)


def _end_of(entry: Collection, row: Mapping[str, Any], now: datetime, zone: tzinfo) -> Decision:
    rule = entry.erasure
    if rule is None:
        raise ValueError("a collection without an erasure rule is no part of an erasure")
    kept = None if rule.keep is None else kept_until(rule.keep, row, now, zone)
    return kept or Decision(Fate.DELETE if rule.anonymise is None else Fate.ANONYMISE)


def disposal_of(entry: Collection, row: Mapping[str, Any], terms: Terms, now: datetime, zone: tzinfo) -> Decision:
    """What the end of its period means for a row: that of an erasure, if it has come.

    A row whose collection states no retention is asked about only because what it belongs to is over.
    """
    return not_over(entry, row, terms, zone) or _end_of(entry, row, now, zone)


def not_over(entry: Collection, row: Mapping[str, Any], terms: Terms, zone: tzinfo) -> Decision | None:
    """Why a row is left, by its own retention: ``fresh`` while its period runs, or once it was anonymised.

    None when nothing of it speaks against its disposal. A date that is not there, or that nobody can read, keeps a row
    for good: somebody must look, which the count of what is retained says.
    """
    rule = entry.retention
    if rule is None:
        return None
    if entry.erasure is not None and entry.erasure.anonymise and _is_anonymised(entry.erasure.anonymise, row):
        return Decision(Fate.FRESH)
    last = _last_day_of(rule, row.get(rule.counted_from), terms, zone)
    if last is None:
        return Decision(Fate.KEEP, UNDATED)
    if last >= terms.on:
        return Decision(Fate.FRESH)
    if rule.hold is not None and _is_marked(row.get(rule.hold)):
        return Decision(Fate.KEEP, HELD)
    return None


def _last_day_of(rule: Retention, stored: object, terms: Terms, zone: tzinfo) -> date | None:
    """The last day of a row's retention; None where its date cannot be read."""
    since, period = as_moment(stored, zone), terms.periods[rule.rule]
    try:
        first = None if since is None else since.astimezone(zone).date()
    except OverflowError:
        return None
    if first is None or first < _EARLIEST:
        return None
    last = _last_day(first, parse_duration(period.active))
    return _last_day(last, parse_duration(period.archive)) if rule.archive and period.archive else last


def _is_anonymised(settings: Mapping[str, Constant], row: Mapping[str, Any]) -> bool:
    """Whether a row already holds what anonymising sets."""
    random = {name: one for name, one in settings.items() if one.value is Special.RANDOM}
    others = {name: one for name, one in settings.items() if name not in random}
    return all(_was_removed(row.get(name)) for name in random) and stands(others, row)


def _is_marked(stored: object) -> bool:
    """Whether a flag is set: whatever is not plainly a no may be a hold."""
    if isinstance(stored, bytes):  # a bit, of a database that has them
        return any(stored)
    return bool(stored) and str(stored).strip().lower() not in _NO


def kept_until(keep: Keep, row: Mapping[str, Any], now: datetime, zone: tzinfo) -> Decision | None:
    """Whether a row is still kept, and how long; None once its last day is over."""
    if keep.period is None or keep.counted_from is None:
        return Decision(Fate.KEEP, keep.ground)
    since = as_moment(row.get(keep.counted_from), zone)
    if since is None:
        return Decision(Fate.KEEP, keep.ground)  # what the period runs from has not happened yet
    last = _last_day(since.astimezone(zone).date(), parse_duration(keep.period))
    return Decision(Fate.KEEP, keep.ground, last) if last >= now.astimezone(zone).date() else None


def _last_day(first: date, period: relativedelta) -> date:
    try:
        return first + period
    except (OverflowError, ValueError):
        return date.max


def as_moment(value: object, zone: tzinfo) -> datetime | None:
    """A stored moment or day as an aware moment; None for anything else. What has no zone is meant in ``zone``."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value.replace(tzinfo=zone) if value.tzinfo is None else value
    if isinstance(value, date):
        return datetime.combine(value, time.min, zone)
    return None


def value_of(constant: Constant, now: datetime) -> Any:
    """What a field is set to at ``now``."""
    if not isinstance(constant.value, Special):  # a text that reads like one is a text
        return constant.value
    match constant.value:
        case Special.NOW:
            return now.astimezone(UTC)
        case Special.RANDOM:
            return f"{_REMOVED}{secrets.token_hex(16)}"


def was_set(constant: Constant, stored: object, since: datetime) -> bool:
    """Whether a field holds what :func:`value_of` gave for it at ``since`` or a little later."""
    if not isinstance(constant.value, Special):
        return _stands(constant, stored)
    match constant.value:
        case Special.NOW:
            return isinstance(stored, datetime) and stored >= since
        case Special.RANDOM:
            return _was_removed(stored)


def _was_removed(stored: object) -> bool:
    return isinstance(stored, str) and stored.startswith(_REMOVED)


def stands(settings: Mapping[str, Constant], row: Mapping[str, Any]) -> bool:
    """Whether a row already holds what an objection sets; a moment counts once there is one."""
    return all(_stands(constant, row.get(name)) for name, constant in settings.items())


def _stands(constant: Constant, stored: object) -> bool:
    if isinstance(constant.value, Special):
        return stored is not None
    if stored is None or constant.value is None:
        return stored is constant.value
    return stored == constant.value or str(stored) == str(constant.value)  # a database may keep 5 as text, true as 1
