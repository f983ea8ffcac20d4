"""Requests of every kind about one person, good ones and bad ones. Data only: nothing is sent here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

from schemas.register import load_register
from tests.journeys.people import POLICY, Canary

BATCH: Final = "application/cloudevents-batch+json"
STRUCTURED: Final = "application/cloudevents+json"
BOUNDARY: Final = "greffier-journey"
CRM: Final = "https://crm.example.com"
NOTICE: Final = load_register().policy.versions["1"].notices["en"].sha256


@dataclass(frozen=True)
class Asked:
    """One request; the door must answer ``status``."""

    status: int
    path: str
    body: bytes
    headers: Mapping[str, str]


def misnamed(whom: Canary) -> list[Asked]:
    """Refused for the name of a member; the answer names it, to its sender alone, and nothing else may."""
    return [
        form("contact", {**whom.contact_form, whom.last_name: "x"}, 422),
        form("contact", {**whom.contact_form, "consents": {whom.letter: True}}, 422),
        cookies([{**consent(whom, "bad-2"), "choices": {whom.letter: True}}], 422),
        events([{**contact(whom, "bad-4"), "data": {**whom.crm_contact, whom.email: "x"}}], 422),
    ]


def good(whom: Canary) -> list[Asked]:
    """One of each kind that is accepted, each field that a person may fill in filled in."""
    return [
        form("contact", whom.contact_form, key=whom.email),
        form("white-paper", {**whom.named, "position": whom.letter, "country": "FR", "language": "fr", **POLICY}),
        form("newsletter", {"email": whom.email, **POLICY}),
        Asked(202, "/forms/contact", urlencode(flat(whom)).encode(), of("application/x-www-form-urlencoded")),
        application(whom, file_name=f"{whom.last_name}.txt"),
        events([contact(whom, f"{name}-1", name) for name in ("client", "supplier", "partner", "prospect")]),
        events([moved(whom, "interacted-1")]),
        one_event(contact(whom, "structured-1", "service-provider")),
        cookies([consent(whom, "consent-1"), visit(whom, "visit-1")]),
    ]


def bad(whom: Canary) -> list[Asked]:
    """Requests that are refused, each with personal data in the place that is wrong."""
    right = whom.contact_form
    text = json.dumps(right)
    crm = contact(whom, "bad-1", "client")
    return [
        form("contact", {**right, "shoe_size": whom.letter}, 422),
        form("contact", {**right, "email": f"{whom.email}, {whom.email}"}, 422),
        form("contact", {**right, "email": [whom.email]}, 422),
        form("contact", {**right, "first_name": f"{whom.first_name}\0"}, 422),
        form("contact", {**right, "last_name": whom.last_name * 100}, 422),
        form("contact", {**right, "phone": f"{whom.phone} ext. {whom.letter}"}, 422),
        form("contact", {**right, "postal_address": whom.street}, 422),
        form("contact", {**right, "age": 9}, 422),
        form("contact", right, 422, key=whom.email, other=True),
        form("contact", right, 400, key=f"{whom.email}\tx"),
        Asked(400, "/forms/contact", text[:-1].encode(), of("application/json")),
        Asked(
            400,
            "/forms/contact",
            text.replace("{", f'{{"{whom.last_name}": 1, "{whom.last_name}": 2, ', 1).encode(),
            of("application/json"),
        ),
        Asked(400, "/forms/contact", text.encode("utf-16"), of("application/json")),
        Asked(400, "/forms/contact", text.encode(), {**of("application/json"), "Content-Encoding": "gzip"}),
        Asked(415, "/forms/contact", text.encode(), of(f"text/x-{whom.letter.lower()}")),
        Asked(
            403, "/forms/contact", text.encode(), {**of("application/json"), "Origin": f"https://{whom.letter}.example"}
        ),
        Asked(404, f"/forms/{quote(whom.last_name)}", text.encode(), of("application/json")),
        Asked(404, f"/{quote(whom.email)}?{urlencode({'name': whom.last_name})}", b"", {}),
        Asked(400, "/forms/job-application", f"--{BOUNDARY}\r\n{text}".encode(), multipart()),
        application(whom, 422, content=b"MZ" + whom.cv.encode(), file_name=f"{whom.last_name}.exe"),
        application(whom, 422, content=f"J'ai douze ans. {whom.cv}".encode(), file_name="cv.txt"),
        form("job-application", {**whom.named, "cv": {"name": whom.cv, "content": whom.cv}, **POLICY}, 422),
        one_event({**crm, "data": {**crm["data"], "email": whom.last_name}}, 422),
        one_event({**crm, "id": whom.last_name}, 422),
        one_event({**crm, "source": f"urn:{whom.last_name}"}, 422),
        one_event({**crm, "type": f"greffier.{whom.letter}"}, 422),
        one_event({**crm, "data": whom.letter}, 422),
        one_event({**crm, "time": whom.letter}, 422),
        events([{**crm, "data": {**crm["data"], "salary": whom.letter}}], 422),
        Asked(401, "/events", json.dumps(crm).encode(), {**of(STRUCTURED), "Authorization": f"Bearer {whom.letter}"}),
        cookies([{**visit(whom, "bad-3"), "url": f"javascript:{whom.letter}"}], 422),
        cookies([{**consent(whom, whom.last_name)}], 422),
    ]


def of(content_type: str) -> dict[str, str]:
    """The one header that every body needs."""
    return {"Content-Type": content_type}


def multipart() -> dict[str, str]:
    return of(f"multipart/form-data; boundary={BOUNDARY}")


def form(case: str, fields: Mapping[str, Any], status: int = 202, *, key: str = "", other: bool = False) -> Asked:
    """A form as JSON. ``key``: an Idempotency-Key; ``other``: under one that came before, with another body."""
    body = {**fields, "first_name": "Somebody else"} if other else dict(fields)
    headers = of("application/json") | ({"Idempotency-Key": f'"{key}"'} if key else {})
    return Asked(status, f"/forms/{case}", json.dumps(body).encode(), headers)


def flat(whom: Canary) -> dict[str, str]:
    """The contact form as a browser sends it."""
    nested = whom.contact_form
    address = nested.pop("postal_address")
    return {**nested, **{f"postal_address.{name}": value for name, value in address.items()}}


def application(whom: Canary, status: int = 202, *, content: bytes = b"", file_name: str) -> Asked:
    """A job application: letter as text, CV as a file."""
    fields = {**whom.named, "phone": whom.phone, "cover_letter": whom.letter, **POLICY}
    parts = [part(name, value.encode()) for name, value in fields.items()]
    parts.append(part("cv", content or f"{whom.cv}\n{whom.email}\n".encode(), file_name))
    return Asked(status, "/forms/job-application", b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()]), multipart())


def part(name: str, value: bytes, file_name: str = "") -> bytes:
    of_file = f'; filename="{file_name}"\r\nContent-Type: text/plain; charset=utf-8' if file_name else ""
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{of_file}\r\n\r\n'.encode() + value + b"\r\n"


def contact(whom: Canary, event_id: str, case: str = "client") -> dict[str, Any]:
    """A CloudEvent about a CRM contact."""
    return {**envelope(whom, event_id), "type": f"greffier.contact.{case}", "data": whom.crm_contact}


def moved(whom: Canary, event_id: str) -> dict[str, Any]:
    """A CloudEvent that moves a date of somebody."""
    data = {"email": whom.email, "kind": "reply", "at": datetime.now(UTC).isoformat()}
    return {**envelope(whom, event_id), "type": "greffier.contact.interacted", "data": data}


def envelope(whom: Canary, event_id: str) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"{event_id}-{whom.number}",
        "source": CRM,
        "datacontenttype": "application/json",
    }


def events(found: list[dict[str, Any]], status: int = 202) -> Asked:
    """A batch of CloudEvents; the sender's key is added when it is sent."""
    return Asked(status, "/events", json.dumps(found).encode(), of(BATCH))


def one_event(event: dict[str, Any], status: int = 202) -> Asked:
    return Asked(status, "/events", json.dumps(event).encode(), of(STRUCTURED))


def cookies(found: list[dict[str, Any]], status: int = 202) -> Asked:
    """A beacon."""
    return Asked(status, "/cookies", json.dumps(found).encode(), of("text/plain"))


def consent(whom: Canary, event_id: str) -> dict[str, Any]:
    """A device whose id would tell whose it is says yes."""
    return {
        "id": f"{event_id}-{whom.number}",
        "device_id": f"device-of-{whom.letter}",
        "at": datetime.now(UTC).isoformat(),
        "choices": {"language": True, "analytics": True, "personalisation": True},
        "policy_version": "1",
        "notice_sha256": NOTICE,
        "language": "en",
    }


def visit(whom: Canary, event_id: str) -> dict[str, Any]:
    """A visit whose address says more than it should."""
    told = urlencode({"email": whom.email, "name": whom.last_name})
    return {
        "id": f"{event_id}-{whom.number}",
        "device_id": f"device-of-{whom.letter}",
        "at": datetime.now(UTC).isoformat(),
        "url": f"https://www.example.com/thanks?{told}#{quote(whom.last_name)}",
    }
