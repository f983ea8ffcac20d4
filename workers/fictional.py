"""Fictional people, for drills: a contact form of nobody, as the door would hand it on. At example.com and example.org.

Source: R26; RFC 2606 (names that are nobody's).
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

from schemas.envelope import Event
from schemas.fields import wire_moment
from schemas.routes import form_source, form_type
from schemas.terms import Case, FieldName
from workers.services import Services

_SAID: Final[dict[FieldName, Any]] = {
    FieldName.LAST_NAME: "Nobody",
    FieldName.FIRST_NAME: "Canary",
    FieldName.PHONE: "+33199000000",
    FieldName.POSTAL_ADDRESS: {"street": "1 Specimenroad", "postal_code": "75002", "city": "Paris", "country": "FR"},
    FieldName.POSITION: "None",
    FieldName.COUNTRY: "FR",
    FieldName.LANGUAGE: "en",
}


def fictional_form(services: Services, email: str, event_id: str, received: datetime) -> Event:
    """A contact form with what the register requires of one."""
    register, kind = services.trust.register, form_type(Case.CONTACT)
    said = {name.value: _SAID[name] for name in register.case(Case.CONTACT).fields.required if name in _SAID}
    body = services.trust.routes[kind].shape.clean({**said, "email": email, "policy_version": register.policy.current})
    return Event(event_id, form_source(Case.CONTACT), kind, wire_moment(received), json.dumps(body).encode())
