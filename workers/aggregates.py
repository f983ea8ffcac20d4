"""Counting visits, and reading the counts: the one use of visits that names nobody.

A day in Paris is counted once, when it has been over for :data:`LATE`, from the visits that rest on consent then. Then
it stands: what arrives later is not counted, and who is erased, withdraws or is purged later takes nothing from it. A
second count would be smaller by just them.
Source: R6, R14; P10; design § 4 "Consent is a stream of events".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

from dateutil.relativedelta import relativedelta

from schemas.calendar import civil_day, end_after
from schemas.consent import Choice
from schemas.register import LinkRule, Register
from schemas.terms import CookiePurpose, Purpose
from workers.gate import Reader, ReadRefused
from workers.rules.aggregates import Crowd, Kind, kind_of, publishable
from workers.rules.consent import rests_until
from workers.services import Services
from workers.stores.aggregates import Counted

PURPOSE: Final = Purpose.AGGREGATE_STATISTICS
LATE: Final = timedelta(days=2)
"""For how long after its end a day waits for visits, and for choices, that are still on their way."""


async def count_next_day(services: Services) -> bool:
    """Count the first day that was not counted yet and held visits; ``False`` where there is none.

    Safe to run twice at once and to kill anywhere: a day is kept in one write, and the first one stands.
    """
    now, register = services.clock(), services.trust.register
    rule = _rule(register)
    if rule is None:
        return False
    latest = await services.aggregates.latest()
    first = _first_live(rule, now) if latest is None else max(latest + timedelta(days=1), _first_live(rule, now))
    visit = await services.consents.first_visit(_begins(first))
    if visit is None or _begins((day := civil_day(visit["happened"])) + timedelta(days=1)) + LATE > now:
        return False
    crowds = await _crowds(services, day, now)
    least = register.aggregates.value
    await services.aggregates.keep(Counted(day, least, tuple(publishable(crowds, least))), now)
    return True


async def read_counts(services: Services, reader: Reader, first: date, last: date) -> Sequence[Counted]:
    """The counted days from ``first`` to ``last``, those with groups too small for today's register left out.

    Raises :class:`workers.gate.ReadRefused`; either way the read is recorded.
    """
    register = services.trust.register
    allowed = register.may_read(reader.department, PURPOSE)
    found = await services.aggregates.between(first, last, least=register.aggregates.value) if allowed else []
    await services.reads.record(
        reader=reader.name,
        department=reader.department,
        purpose=PURPOSE,
        person=None,
        shown=sum(len(one.cells) for one in found),
        outcome="shown" if allowed else "refused",
        at=services.clock(),
    )
    if not allowed:
        raise ReadRefused(f"{reader.department} may not read for {PURPOSE}")
    return found


def _rule(register: Register) -> LinkRule | None:
    """How long a visit may be counted; ``None`` where the register does not have visits counted."""
    return next((rule for rule in register.visit_links() if rule.purpose is PURPOSE), None)


def _begins(day: date) -> datetime:
    """The first instant of a day in Paris."""
    return end_after(day - timedelta(days=1), relativedelta())


def _first_live(rule: LinkRule, now: datetime) -> date:
    """The first day whose visits may still be used."""
    day = civil_day(now) - rule.active
    while end_after(day - timedelta(days=1), rule.active) > now:
        day -= timedelta(days=1)
    while end_after(day, rule.active) <= now:
        day += timedelta(days=1)
    return day


async def _crowds(services: Services, day: date, now: datetime) -> dict[Kind, Crowd]:
    """The day's visits whose device agreed to being measured and counted, and never said no since; by what they are."""
    register = services.trust.register
    purposes = {register.covers_visits, register.visits.purposes[PURPOSE].cookie}
    crowds: defaultdict[Kind, Crowd] = defaultdict(Crowd)
    devices: dict[bytes, _Device] = {}
    async for visits in services.consents.visits_between(_begins(day), _begins(day + timedelta(days=1))):
        met = {bytes(visit["device"]) for visit in visits} - devices.keys()
        for device, said in (await services.consents.choices(met)).items():
            devices[device] = _Device(len(devices), said)
        for visit in visits:
            known = devices.get(bytes(visit["device"]))
            if known is not None and _rests(known.choices, purposes, visit["happened"], now, register):
                crowd = crowds[kind_of(visit["url"], visit.get("language"))]
                crowd.visits += 1
                crowd.devices.add(known.number)
    return crowds


class _Device(NamedTuple):
    """A device in one count, and what it said."""

    number: int
    choices: Sequence[Choice]


def _rests(
    said: Sequence[Choice], purposes: Iterable[CookiePurpose], happened: datetime, now: datetime, register: Register
) -> bool:
    """Whether a visit rests on consent still, for each of these."""
    ends = [rests_until(said, purpose, happened, register) for purpose in purposes]
    return all(end is not None and now < end for end in ends)
