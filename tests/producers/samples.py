"""Fictional people and what they send. Every value of :data:`CANARIES` must never be seen in clear anywhere."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

CANARIES = (
    "Wilhelmine",
    "Quessandier",
    "wilhelmine.quessandier@example.com",
    "+33698765432",
    "98765432",
    "Impasse des Clepsydres",
    "Vaudrevange",
    "Directrice des gabelles",
)

PERSON: dict[str, Any] = {
    "last_name": "Quessandier",
    "first_name": "Wilhelmine",
    "email": "wilhelmine.quessandier@example.com",
}
ADDRESS = {"street": "7 Impasse des Clepsydres", "postal_code": "57000", "city": "Vaudrevange", "country": "FR"}
CONTACT = {**PERSON, "phone": "+33698765432", "postal_address": ADDRESS, "policy_version": "1"}
NEWSLETTER = {"email": PERSON["email"], "policy_version": "1"}
WHITE_PAPER = {
    **PERSON,
    "position": "Directrice des gabelles",
    "country": "FR",
    "language": "fr",
    "policy_version": "1",
}
APPLICATION = {**CONTACT, "cover_letter": "Madame, Monsieur,\nje vous propose ma candidature."}
CLIENT = {
    **PERSON,
    "position": "Directrice des gabelles",
    "country": "FR",
    "language": "fr",
    "source": "trade fair",
    "collected_at": "2026-01-15",
}
FORMS = {"contact": CONTACT, "newsletter": NEWSLETTER, "white-paper": WHITE_PAPER, "job-application": APPLICATION}


def consent(event_id: str = "c-1", **changes: Any) -> dict[str, Any]:
    """A choice about cookies, as a page reports it."""
    return {
        "id": event_id,
        "device_id": "device-7",
        "at": "2026-01-15T09:30:00+01:00",
        "choices": {"language": True, "analytics": True, "personalisation": False},
        "policy_version": "1",
        "notice_sha256": "a" * 64,
        "language": "fr",
        **changes,
    }


def visit(event_id: str = "v-1", **changes: Any) -> dict[str, Any]:
    """A page visit, as a page reports it."""
    return {
        "id": event_id,
        "device_id": "device-7",
        "at": datetime.now(UTC).isoformat(),
        "url": "https://www.example.com/stories?utm=1#top",
        **changes,
    }


def cloud(event_id: str = "crm-1", **changes: Any) -> dict[str, Any]:
    """A client from the CRM as a CloudEvent in JSON."""
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": "https://crm.example.com",
        "type": "greffier.contact.client",
        "data": CLIENT,
        **changes,
    }
