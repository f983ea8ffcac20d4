"""What people and the CRM do in a schedule, each once, and what must have become of it in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from schemas.envelope import Event
from schemas.routes import NEWSLETTER, SUBMISSIONS
from schemas.terms import Case
from tests import factories
from tests.factories import File, Someone
from tests.workers.bench import Document


class Fate(Enum):
    """What must have become of an act. ``ANY``: what it speaks of waits for staff, and so may it."""

    KEPT = "kept"
    GONE = "gone"
    PARKED = "parked"
    ANY = "any"


@dataclass
class Act:
    """Something somebody does once. ``began``: the true time; ``received``: by the clock of the door it went through.

    ``make``: the event, once it is received. ``own``: the person's own act. ``about``: the act without which it is
    nothing. ``twin``: whether another act bears the same event id, so that only one of the two can be kept.
    """

    name: str
    make: Callable[[datetime], Event]
    queue: str = SUBMISSIONS
    own: bool = True
    case: Case | None = None
    file: File | None = None
    about: Act | None = None
    twin: bool = False
    door_ahead: timedelta = timedelta()
    began: datetime | None = None
    received: datetime | None = None
    event: Event | None = None
    wire: Document | None = None
    done: bool = False

    @property
    def key(self) -> str:
        assert self.event is not None
        return self.event.key


def contact_form(whom: Someone, name: str, **options: Any) -> Act:
    return Act(name, lambda at: factories.form(Case.CONTACT, whom, received=at), case=Case.CONTACT, **options)


def crm_contact(whom: Someone, name: str, **options: Any) -> Act:
    day = "2026-11-01"

    def make(at: datetime) -> Event:
        return factories.contact(Case.PROSPECT, whom, received=at, collected_at=day)

    return Act(name, make, own=False, case=Case.PROSPECT, **options)


def application(whom: Someone, name: str, **options: Any) -> Act:
    cv = factories.file()

    def make(at: datetime) -> Event:
        return factories.form(Case.JOB_APPLICATION, whom, received=at, cv=cv.field)

    return Act(name, make, case=Case.JOB_APPLICATION, file=cv, **options)


def subscription(whom: Someone, name: str, **options: Any) -> Act:
    """A subscription that waits for its confirmation."""

    def make(at: datetime) -> Event:
        return factories.form(Case.NEWSLETTER, whom, received=at)

    return Act(name, make, NEWSLETTER, case=Case.NEWSLETTER, **options)


def confirmation(about: Act, name: str, **options: Any) -> Act:
    """The mailed link is used."""

    def make(at: datetime) -> Event:
        assert about.event is not None
        return factories.confirmed(about.event, at)

    return Act(name, make, NEWSLETTER, about=about, **options)


def contradiction(whom: Someone, of: Act, name: str, **options: Any) -> Act:
    """Another body under the same event id."""

    def make(at: datetime) -> Event:
        assert of.event is not None
        return factories.form(Case.CONTACT, whom, received=at, event_id=of.event.id, first_name="Otherwise")

    of.twin = True
    return Act(name, make, case=Case.CONTACT, twin=True, **options)


def reply(whom: Someone, name: str, **options: Any) -> Act:
    """The CRM tells that the person answered: an event that periods are counted from."""

    def make(at: datetime) -> Event:
        return factories.interacted(at, received=at, email=whom.email)

    return Act(name, make, own=False, **options)
