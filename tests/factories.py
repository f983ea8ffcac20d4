"""Valid events, batches and people for tests. Everybody is fictional and lives at example.com or example.org."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

import uuid_utils

from schemas.envelope import Event
from schemas.fields import wire_moment
from schemas.newsletter import LIST, PREFERENCES, Addressee, seal_addressee
from schemas.register import load_register
from schemas.routes import (
    APPLICATION_DECIDED,
    CONSENT_GIVEN,
    CONSENT_WITHDRAWN,
    CONTACT_ENDED,
    CONTACT_INFORMED,
    CONTACT_INTERACTED,
    COOKIE_CONSENT,
    COOKIE_VISIT,
    COOKIES_SOURCE,
    NEWSLETTER_CONFIRMED,
    NEWSLETTER_UNSUBSCRIBED,
    PREFERENCE_CHANGED,
    PREFERENCES_SOURCE,
    UNSUBSCRIBE_SOURCE,
    contact_type,
    form_source,
    form_type,
    routes,
)
from schemas.subject import References, clean_email
from schemas.terms import Case, Purpose

REGISTER: Final = load_register()
ROUTES: Final = routes(REGISTER)
NOTICE: Final = REGISTER.policy.versions["1"].notices["en"].sha256
CRM: Final = "/crm/example"
NOON: Final = datetime(2026, 11, 20, 12, tzinfo=UTC)
"""When events were received unless a test says otherwise."""

_number = count(1)


@dataclass(frozen=True)
class Someone:
    """A fictional person."""

    first_name: str
    last_name: str
    email: str
    phone: str
    street: str

    @property
    def canaries(self) -> tuple[str, ...]:
        """What must be found nowhere in clear."""
        return (self.first_name, self.last_name, self.email, self.phone, self.street)


def someone(name: str = "") -> Someone:
    """Somebody new each time; ``name`` only for reading a failure."""
    number = next(_number)
    last = f"Sampleby{name}{number:04d}"
    return Someone(
        first_name=f"Testine{number:04d}",
        last_name=last,
        email=f"testine.{last.lower()}@example.{'com' if number % 2 else 'org'}",
        phone=f"+331999{number:05d}",
        street=f"{number} Specimenroad",
    )


def new_id() -> str:
    """An event's id as the door makes them."""
    return str(uuid_utils.uuid7())


def event(
    event_type: str,
    source: str,
    data: Mapping[str, Any],
    *,
    received: datetime = NOON,
    event_id: str | None = None,
    time: datetime | None = None,
) -> Event:
    """An event as the door hands it on: its body cleaned by its shape."""
    body = json.dumps(ROUTES[event_type].shape.clean(dict(data)), ensure_ascii=False, separators=(",", ":")).encode()
    happened = wire_moment(time) if time else None
    return Event(event_id or new_id(), source, event_type, wire_moment(received), body, happened)


def raw_event(
    event_type: str, source: str, body: bytes, *, received: datetime = NOON, event_id: str | None = None
) -> Event:
    """An event whose body nobody has checked."""
    return Event(event_id or new_id(), source, event_type, wire_moment(received), body)


def form_data(case: Case, whom: Someone) -> dict[str, Any]:
    """What a person types into the form of a case, files apart."""
    typed: dict[str, Any] = {
        "last_name": whom.last_name,
        "first_name": whom.first_name,
        "email": whom.email,
        "phone": whom.phone,
        "postal_address": {"street": whom.street, "postal_code": "75002", "city": "Paris", "country": "FR"},
        "position": "Buyer",
        "country": "FR",
        "language": "fr",
    }
    accepted = REGISTER.case(case).accepts
    return {name: value for name, value in typed.items() if name in accepted} | {"policy_version": "1"}


def form(case: Case, whom: Someone, *, received: datetime = NOON, event_id: str | None = None, **more: Any) -> Event:
    """A web form's event. ``more``: further fields, as they are typed."""
    data = form_data(case, whom) | more
    return event(form_type(case), form_source(case), data, received=received, event_id=event_id)


def contact(
    case: Case,
    whom: Someone,
    *,
    received: datetime = NOON,
    event_id: str | None = None,
    collected_at: str = "2026-11-01",
    source: str = CRM,
    **more: Any,
) -> Event:
    """A CRM contact's event."""
    accepted = REGISTER.case(case).accepts
    data = {name: value for name, value in form_data(case, whom).items() if name in accepted}
    data |= {"source": "trade fair", "collected_at": collected_at, **more}
    return event(contact_type(case), source, data, received=received, event_id=event_id)


@dataclass(frozen=True)
class File:
    """An uploaded file, and the field that speaks of it."""

    content: bytes
    id: str
    field: dict[str, Any]


def file(content: bytes = b"%PDF-1.7 a specimen of a life") -> File:
    """A file of which the door has looked at the content."""
    file_id = new_id()
    about = {
        "file": file_id,
        "name": "cv.pdf",
        "media_type": "application/pdf",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return File(content, file_id, about)


def interacted(at: datetime, *, received: datetime = NOON, event_id: str | None = None, **whom: str) -> Event:
    """``whom``: ``email`` or ``about``."""
    data = {"kind": "reply", "at": wire_moment(at), **whom}
    return event(CONTACT_INTERACTED, CRM, data, received=received, event_id=event_id)


def ended(at: datetime, *, received: datetime = NOON, event_id: str | None = None, **whom: str) -> Event:
    """The end of a contract, about an ``email`` or the event (``about``) that brought the contact."""
    return event(CONTACT_ENDED, CRM, {"at": wire_moment(at), **whom}, received=received, event_id=event_id)


def informed(
    at: datetime, *, received: datetime | None = None, event_id: str | None = None, means: str = "mail", **whom: str
) -> Event:
    """A contact was told where their data is from."""
    data = {"at": wire_moment(at), "means": means, **whom}
    return event(CONTACT_INFORMED, CRM, data, received=received or at, event_id=event_id)


def decided(at: datetime, *, received: datetime = NOON, event_id: str | None = None, **whom: str) -> Event:
    """The decision on an application."""
    data = {"outcome": "refused", "at": wire_moment(at), **whom}
    return event(APPLICATION_DECIDED, "/hr/example", data, received=received, event_id=event_id)


def choice(
    device: str,
    at: datetime = NOON,
    *,
    received: datetime | None = None,
    event_id: str | None = None,
    **choices: bool,
) -> Event:
    """A choice about cookies; without ``choices``, a yes to being measured."""
    data = {
        "device_id": device,
        "at": wire_moment(at),
        "choices": choices or {"analytics": True},
        "policy_version": "1",
        "notice_sha256": NOTICE,
        "language": "en",
    }
    return event(COOKIE_CONSENT, COOKIES_SOURCE, data, received=received or at, event_id=event_id, time=at)


def visit(
    device: str,
    at: datetime = NOON,
    *,
    received: datetime | None = None,
    event_id: str | None = None,
    url: str = "https://www.example.com/cheese",
) -> Event:
    """A page visit as the door hands it on."""
    data = {"device_id": device, "at": wire_moment(at), "url": url, "network": "192.0.2.0/24"}
    return event(COOKIE_VISIT, COOKIES_SOURCE, data, received=received or at, event_id=event_id, time=at)


def agreed(
    whom: Someone,
    purpose: Purpose,
    at: datetime = NOON,
    *,
    given: bool = True,
    received: datetime | None = None,
    event_id: str | None = None,
    **more: Any,
) -> Event:
    """An express agreement to a purpose; not ``given``: it is taken back."""
    proof = {"policy_version": "1", "notice_sha256": NOTICE, "language": "fr"} if given else {}
    data = {"email": whom.email, "purpose": purpose, "at": wire_moment(at), **proof, **more}
    kind = CONSENT_GIVEN if given else CONSENT_WITHDRAWN
    return event(kind, "/agreements/example", data, received=received or at, event_id=event_id)


def confirmed(about: Event, at: datetime, *, received: datetime | None = None, event_id: str | None = None) -> Event:
    """The mailed link of a subscription was used."""
    data = {"about": about.id, "at": wire_moment(at)}
    return event(NEWSLETTER_CONFIRMED, "/confirmations", data, received=received or at, event_id=event_id)


def chosen(
    references: References,
    whom: Someone,
    choices: Mapping[str, bool],
    at: datetime = NOON,
    *,
    person: str | None = None,
    reference: str | None = None,
    withdraw: bool = False,
) -> Event:
    """Purposes were accepted or refused by the mailed link to somebody's preferences; ``reference``: of this link."""
    addressee = Addressee(references.suppression(clean_email(whom.email))[0], person)
    sealed = reference or seal_addressee(references, PREFERENCES, addressee)
    shown = {"policy_version": "1", "notice_sha256": NOTICE, "language": "fr"}
    data = {"list": PREFERENCES, "reference": sealed, "choices": dict(choices), **shown}
    data |= {"withdraw": "yes"} if withdraw else {}
    return event(PREFERENCE_CHANGED, PREFERENCES_SOURCE, data, received=at)


def unsubscribed(
    references: References,
    whom: Someone,
    at: datetime = NOON,
    *,
    person: str | None = None,
    reference: str | None = None,
) -> Event:
    """A one-click link was used at this moment. ``person``: as whom they are held; none in links of old.

    ``reference``: what the link bears, another use of the same link.
    """
    addressee = Addressee(references.suppression(clean_email(whom.email))[0], person)
    sealed = reference or seal_addressee(references, LIST, addressee)
    data = {"list": LIST, "reference": sealed}
    event_id = hashlib.sha256(sealed.encode()).hexdigest()
    return event(NEWSLETTER_UNSUBSCRIBED, UNSUBSCRIBE_SOURCE, data, received=at, event_id=event_id)
