"""The demo's people and what they send: fictional, at example.com and example.org. Data only; nothing is sent here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

CLOUDEVENTS_BATCH: Final = "application/cloudevents-batch+json"
CRM: Final = "https://crm.example.com"

NAMES: Final = (
    ("Ada", "Quillfeather"),
    ("Basile", "Tournesol-Exemple"),
    ("Chloé", "Marchandise"),
    ("Dong-hyun", "Beispielmann"),
    ("Edda", "Voorbeeld"),
)
FORGOTTEN: Final = "ada.quillfeather@example.com"
PHONE: Final = "+33199000101"  # a range that the French numbering plan keeps for fiction

CANARIES: Final = (*(last for _, last in NAMES), "quillfeather@example", "199000101", "rue de l'Exemple")
"""What must not be found in the clear anywhere, once all of this has travelled."""


@dataclass(frozen=True, slots=True)
class Sending:
    """One HTTP request to the door. ``events``: the ids it publishes, where the sender chooses them."""

    path: str
    body: bytes
    content_type: str
    headers: dict[str, str]
    events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the demo's table: what is sent, what must stand of it and where, and what the door must refuse."""

    name: str
    sendings: Sequence[Sending]
    collection: str
    expected: int
    refused: Sending
    refused_with: int
    needs_key: bool = False


def kinds(now: datetime) -> list[Kind]:
    """All traffic of the demo. ``now``: aware."""
    return [
        _contact_forms(),
        _newsletters(),
        _white_papers(),
        _applications(),
        _contacts(),
        _anchors(now),
        *_cookies(now),
    ]


def address(number: int) -> str:
    """The address of one of the sample people."""
    first, last = NAMES[number]
    plain = f"{first}.{last}".lower().replace("é", "e")
    return f"{plain}@example.{'com' if number % 2 == 0 else 'org'}"


def _form(case: str, fields: dict[str, Any], key: str) -> Sending:
    body = json.dumps({**fields, "policy_version": "1"}).encode()
    return Sending(f"/forms/{case}", body, "application/json", {"Idempotency-Key": f'"{key}"'})


def _person(number: int) -> dict[str, Any]:
    first, last = NAMES[number]
    return {"first_name": first, "last_name": last, "email": address(number)}


def _contact_forms() -> Kind:
    home = {"street": "1 rue de l'Exemple", "postal_code": "75002", "city": "Paris", "country": "FR"}
    return Kind(
        "contact form",
        [_form("contact", {**_person(n), "phone": PHONE, "postal_address": home}, f"contact-{n}") for n in range(5)],
        "submissions",
        5,
        _form("contact", {**_person(0), "shoe_size": "39"}, "contact-unknown-field"),
        422,
    )


def _newsletters() -> Kind:
    return Kind(
        "newsletter subscription",
        [_form("newsletter", {"email": address(n)}, f"newsletter-{n}") for n in range(1, 4)],
        "submissions",
        3,
        _form("newsletter", {"email": "two@example.com, addresses@example.com"}, "newsletter-two"),
        422,
    )


def _white_papers() -> Kind:
    work = {"position": "Acheteuse", "country": "FR", "language": "fr"}
    return Kind(
        "white paper",
        [_form("white-paper", {**_person(n), **work}, f"paper-{n}") for n in range(4)],
        "submissions",
        4,
        _form("white-paper", {**_person(0), **work, "country": "UK"}, "paper-uk"),
        422,
    )


def _applications() -> Kind:
    letter = "Madame, Monsieur, je vous propose ma candidature."
    return Kind(
        "job application with CV",
        [_application(n, letter) for n in range(2)],
        "submissions",
        2,
        _form("job-application", {**_person(1), "age": "12"}, "application-child"),
        422,
    )


def _application(number: int, letter: str) -> Sending:
    boundary = "greffier-demo"
    parts = [_part(boundary, name, value) for name, value in _person(number).items()]
    parts += [_part(boundary, "policy_version", "1"), _part(boundary, "cover_letter", letter)]
    cv = f"Curriculum vitae\n{NAMES[number][0]} {NAMES[number][1]}\n"
    parts.append(_part(boundary, "cv", cv, file_name="cv.txt"))
    body = "".join([*parts, f"--{boundary}--\r\n"]).encode()
    headers = {"Idempotency-Key": f'"application-{number}"'}
    return Sending("/forms/job-application", body, f"multipart/form-data; boundary={boundary}", headers)


def _part(boundary: str, name: str, value: str, file_name: str = "") -> str:
    of_file = f'; filename="{file_name}"\r\nContent-Type: text/plain; charset=utf-8' if file_name else ""
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{of_file}\r\n\r\n{value}\r\n'


def _events(events: list[dict[str, Any]]) -> Sending:
    whole = [{"specversion": "1.0", "source": CRM, "datacontenttype": "application/json", **event} for event in events]
    ids = tuple(event["id"] for event in events)
    return Sending("/events", json.dumps(whole).encode(), CLOUDEVENTS_BATCH, {}, ids)


def contact(case: str, number: int, event_id: str) -> dict[str, Any]:
    """A CRM contact about one of the sample people."""
    data = {**_person(number), "position": "Responsable", "source": "trade fair", "collected_at": "2026-03-02"}
    return {"id": event_id, "type": f"greffier.contact.{case}", "data": data}


def contact_again(number: int, event_id: str) -> Sending:
    """The CRM's full synchronisation, which knows nothing of erasures."""
    return _events([contact("client", number, event_id)])


def _contacts() -> Kind:
    cases = ("client", "service-provider", "supplier", "partner", "prospect")
    unscoped = Sending("/events", b"[]", CLOUDEVENTS_BATCH, {"Authorization": "Bearer gk_none_none"})
    return Kind(
        "CRM contacts",
        [_events([contact(case, n, f"crm-{case}") for n, case in enumerate(cases)])],
        "submissions",
        5,
        unscoped,
        401,
        needs_key=True,
    )


def _anchors(now: datetime) -> Kind:
    at = now.isoformat()
    events = [
        {
            "id": "crm-reply",
            "type": "greffier.contact.interacted",
            "data": {"email": address(1), "kind": "reply", "at": at},
        },
        {"id": "crm-ended", "type": "greffier.contact.ended", "data": {"email": address(2), "at": at}},
    ]
    opened_a_mail = {"email": address(1), "kind": "opened", "at": at}
    return Kind(
        "what dates move by",
        [_events(events)],
        "anchors",
        2,
        _events([{"id": "crm-opened", "type": "greffier.contact.interacted", "data": opened_a_mail}]),
        422,
        needs_key=True,
    )


def _cookies(now: datetime) -> list[Kind]:
    return [
        Kind(
            "cookie consents",
            [_beacons([_consent(n, now, analytics=n < 3) for n in range(6)])],
            "consents",
            6,
            _beacons([{**_consent(9, now, analytics=True), "choices": {"telepathy": True}}]),
            422,
        ),
        Kind(
            "visits, kept where consented",
            [_beacons([_visit(n, now) for n in range(6)])],
            "visits",
            3,
            _beacons([{**_visit(9, now), "url": "javascript:alert(1)"}]),
            422,
        ),
    ]


def _beacons(events: list[dict[str, Any]]) -> Sending:
    ids = tuple(event["id"] for event in events)
    return Sending("/cookies", json.dumps(events).encode(), "text/plain;charset=UTF-8", {}, ids)


def _consent(number: int, now: datetime, *, analytics: bool) -> dict[str, Any]:
    return {
        "id": f"consent-{number}",
        "device_id": f"device-{number}",
        "at": (now - timedelta(minutes=5)).astimezone(UTC).isoformat(),
        "choices": {"language": True, "analytics": analytics, "personalisation": False},
        "policy_version": "1",
        "notice_sha256": "0" * 64,
        "language": "fr",
    }


def refusal(number: int, now: datetime) -> Sending:
    """A device that had agreed to be measured does so no longer."""
    said = _consent(number, now, analytics=False)
    return _beacons([{**said, "id": f"refusal-{number}", "at": now.astimezone(UTC).isoformat()}])


def _visit(number: int, now: datetime) -> dict[str, Any]:
    return {
        "id": f"visit-{number}",
        "device_id": f"device-{number}",
        "at": now.astimezone(UTC).isoformat(),
        "url": "https://www.example.com/news/harvest?utm_source=mail#top",
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64) Example/1.0",
        "language": "fr",
    }
