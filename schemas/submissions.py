"""What a person hands in on the web site, and what the CRM hands in about a contact.

Which fields a case has is the register's to say; this page holds the types they may have.
Source: R1, R2; design § 3 and § 6.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from schemas.fields import (
    CHOICES,
    COUNTRY,
    DAY,
    EMAIL,
    IDENTIFIER,
    LANGUAGE,
    LETTER,
    LINE,
    MOMENT,
    NAME,
    PHONE,
    SHA256_HEX,
    VERSION,
    FieldType,
    pattern,
)
from schemas.register import CaseRule
from schemas.shapes import Shape
from schemas.terms import Case, FieldName

POSTAL_ADDRESS_FIELDS: Final = {
    "street": LINE,
    "postal_code": pattern(r"^[A-Za-z0-9][A-Za-z0-9 -]{0,15}$", 16),
    "city": NAME,
    "country": COUNTRY,
}
POSTAL_ADDRESS: Final = Shape("postal_address", required={}, optional=POSTAL_ADDRESS_FIELDS)

MAX_FILE_BYTES: Final = 5 * 1024 * 1024
_BYTES = Annotated[int, Field(strict=True, ge=1, le=MAX_FILE_BYTES)]

STORED_FILE: Final = Shape(
    "stored_file",
    required={
        "file": IDENTIFIER,
        "name": NAME,
        "media_type": pattern(r"^[a-z]+/[a-z0-9.+-]{1,100}$", 120),
        "size": FieldType(_BYTES, _BYTES),
        "sha256": SHA256_HEX,
    },
)
"""An uploaded file once the door has looked at it: its sealed content travels beside the message."""

_COVER_LETTER = FieldType(LETTER.said | STORED_FILE.as_field.said, LETTER.kept | STORED_FILE.as_field.kept)

FIELD_TYPES: Final[dict[FieldName, FieldType]] = {
    FieldName.LAST_NAME: NAME,
    FieldName.FIRST_NAME: NAME,
    FieldName.PHONE: PHONE,
    FieldName.EMAIL: EMAIL,
    FieldName.POSTAL_ADDRESS: POSTAL_ADDRESS.as_field,
    FieldName.POSITION: LINE,
    FieldName.COUNTRY: COUNTRY,
    FieldName.LANGUAGE: LANGUAGE,
    FieldName.CV: STORED_FILE.as_field,
    FieldName.COVER_LETTER: _COVER_LETTER,
}
"""Field of R1 and R2 → its type."""

FORM_CASES: Final = (Case.CONTACT, Case.NEWSLETTER, Case.WHITE_PAPER, Case.JOB_APPLICATION)
CONTACT_CASES: Final = (Case.CLIENT, Case.SERVICE_PROVIDER, Case.SUPPLIER, Case.PARTNER, Case.PROSPECT)
REFUSED_FIELDS: Final = ("birth_date", "age")
"""Recognised only to tell a child's submission from a mere unknown field. Source: R7; design § 6."""


def form(case: Case, rule: CaseRule) -> Shape:
    """The shape of a web form: the case's own fields and the proof of what was shown (R16)."""
    required, optional = _own_fields(rule)
    technical = {"device_id": IDENTIFIER, "consents": CHOICES}
    return Shape(f"form.{case}", required | {"policy_version": VERSION}, optional | technical)


def contact(case: Case, rule: CaseRule) -> Shape:
    """The shape of a contact from the CRM: the case's own fields, their source and the date of collection (Art. 14)."""
    required, optional = _own_fields(rule)
    return Shape(f"contact.{case}", required | {"source": LINE, "collected_at": DAY}, optional)


def _own_fields(rule: CaseRule) -> tuple[dict[str, FieldType], dict[str, FieldType]]:
    required = {name.value: FIELD_TYPES[name] for name in rule.fields.required}
    return required, {name.value: FIELD_TYPES[name] for name in rule.fields.optional}


_WHOM = {"email": EMAIL, "about": IDENTIFIER}
"""Whom an anchor event is about: an address, or the id of the event that brought the record. One of the two."""

INTERACTED: Final = Shape(
    "contact.interacted",
    required={
        "kind": pattern(r"^(reply|click|form_submitted|order|event_registration|call_inbound|meeting)$", 24),
        "at": MOMENT,
    },
    optional=_WHOM,
)
"""A positive act by the person; opening a mail is none. Source: retention-defaults § 3."""

ENDED: Final = Shape("contact.ended", required={"at": MOMENT}, optional=_WHOM)
DECIDED: Final = Shape(
    "application.decided",
    required={"outcome": pattern(r"^(hired|refused|withdrawn)$", 10), "at": MOMENT},
    optional=_WHOM,
)
INFORMED: Final = Shape(
    "contact.informed",
    required={"at": MOMENT, "means": pattern(r"^(mail|letter|phone|website|in-person)$", 16)},
    optional=_WHOM,
)
"""Somebody whose data came from elsewhere was told so, and what for. Source: R2; GDPR Art. 14."""
