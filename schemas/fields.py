"""Every field a message may carry, once: how it may be said from outside, and how it stands once it is clean.

The door reads the *said* type: it cleans (addresses normalised, phones to E.164) and refuses. What passed is kept as
plain JSON in its normal form, and a worker reads it again through the *kept* type: bounds and patterns only, no
cleaning, because an e-mail or phone check costs more than everything else a worker does with the event.
Source: R1, R2; messaging-standards § 8; design § 9 "validate once, at the door".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import Annotated, Any

from babel import Locale
from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from schemas.countries import COUNTRIES
from schemas.errors import InvalidMessage
from schemas.subject import clean_email, clean_phone

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""No event of this group can be older: its first web site is younger."""

_DETAILS = {
    "not_an_email": "is not one plain e-mail address",
    "not_a_phone": "is not a phone number, with its country code or a French one",
    "not_text": "holds characters that no name or address has",
    "not_a_moment": "is not an RFC 3339 date-time with a zone, after 2000",
    "not_a_date": "is not an ISO 8601 date after 2000",
    "not_a_country": "is not an ISO 3166-1 alpha-2 code in capitals",
    "not_a_language": "is not an ISO 639 language code, such as fr or fr-FR",
    "not_a_url": "is not an http or https address",
}


@dataclass(frozen=True, slots=True)
class FieldType:
    """A field's type from outside (``said``) and in normal form (``kept``)."""

    said: Any
    kept: Any


def cleaned(clean: Callable[[str], str]) -> AfterValidator:
    """Turn a cleaning function that raises :class:`InvalidMessage` into a validator that names no value."""

    def validate(text: str) -> str:
        try:
            return clean(text)
        except InvalidMessage as refused:
            raise PydanticCustomError(refused.code, _DETAILS.get(refused.code, refused.code)) from None

    return AfterValidator(validate)


def text(maximum: int, *, lines: bool = False) -> FieldType:
    """Human text of 1 to ``maximum`` characters, NFC, trimmed; line breaks only where ``lines``."""

    def clean(value: str) -> str:
        normal = unicodedata.normalize("NFC", value.replace("\r\n", "\n")).strip()
        if not normal or len(normal) > maximum or not _is_human(normal, lines):
            raise InvalidMessage("not_text")
        return normal

    bounded = Annotated[str, StringConstraints(strict=True, max_length=maximum * 4), cleaned(clean)]
    return FieldType(bounded, Annotated[str, StringConstraints(strict=True, min_length=1, max_length=maximum)])


_JOINERS = {"\u200c", "\u200d"}  # part of correct spelling in Persian and Indic scripts, and of emoji
_NOT_TEXT = frozenset({"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"})
_MAX_COMBINING_RUN = 4


def _is_human(value: str, lines: bool) -> bool:
    if value.isascii() and value.isprintable():
        return True
    run = 0
    for char in value:
        category = unicodedata.category(char)
        run = run + 1 if category in ("Mn", "Me") else 0
        if run > _MAX_COMBINING_RUN:
            return False
        if category in _NOT_TEXT and char not in _JOINERS and not (lines and char in "\n\t"):
            return False
    return True


def pattern(expression: str, maximum: int) -> FieldType:
    """A machine's word: the same pattern outside and inside."""
    kept = Annotated[str, StringConstraints(strict=True, pattern=expression, max_length=maximum)]
    return FieldType(kept, kept)


def listed(item: FieldType, least: int, most: int) -> FieldType:
    """Several of a kind, in the order they were said."""
    said = Annotated[list[item.said], Field(min_length=least, max_length=most)]  # type: ignore[name-defined]
    kept = Annotated[list[item.kept], Field(min_length=least, max_length=most)]  # type: ignore[name-defined]
    return FieldType(said, kept)


def clean_moment(value: str) -> str:
    """RFC 3339 with a zone → UTC, milliseconds, ``Z``. Raises :class:`InvalidMessage` ``not_a_moment``."""
    try:
        moment = datetime.fromisoformat(value) if _RFC3339.fullmatch(value) else None
        if moment is None or moment.tzinfo is None or moment < EARLIEST:
            raise InvalidMessage("not_a_moment")
        return wire_moment(moment)
    except (ValueError, OverflowError):
        raise InvalidMessage("not_a_moment") from None


def wire_moment(moment: datetime) -> str:
    """An aware moment in the one form the wire uses: ``2026-11-22T08:00:00.000Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def read_moment(value: str) -> datetime:
    """The aware UTC moment behind :func:`wire_moment`'s text."""
    return datetime.fromisoformat(value)


_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _clean_date(value: str) -> str:
    try:
        day = date.fromisoformat(value) if len(value) == 10 else None
    except ValueError:
        day = None
    if day is None or day < EARLIEST.date():
        raise InvalidMessage("not_a_date")
    return day.isoformat()


@cache
def _languages() -> frozenset[str]:
    codes = map(str, Locale("en").languages)
    return frozenset(code for code in codes if 2 <= len(code) <= 3 and code.isalpha()) - {"und", "zxx"}


def _clean_country(value: str) -> str:
    if value not in COUNTRIES:
        raise InvalidMessage("not_a_country")
    return value


def _clean_language(value: str) -> str:
    language, _, region = value.partition("-")
    if language not in _languages() or (value != language and region not in COUNTRIES):
        raise InvalidMessage("not_a_language")
    return value


def _clean_url(value: str) -> str:
    """Keeps scheme, host and path: query and fragment may say who somebody is. Source: design § 4 "A person"."""
    bare = re.split(r"[?#]", value, maxsplit=1)[0]
    if not re.fullmatch(r"https?://[^/\s@\\]+(/[^\s\\]*)?", bare) or not bare.isprintable():
        raise InvalidMessage("not_a_url")
    return bare


def _said(clean: Callable[[str], str], maximum: int) -> Any:
    return Annotated[str, StringConstraints(strict=True, max_length=maximum), cleaned(clean)]


def _kept(expression: str, maximum: int) -> Any:
    return Annotated[str, StringConstraints(strict=True, pattern=expression, max_length=maximum)]


NAME = text(100)
LINE = text(200)
LETTER = text(20_000, lines=True)
AGENT = text(512)
EMAIL = FieldType(_said(clean_email, 320), _kept(r"^[^\s@]+@[a-z0-9.-]+$", 320))
PHONE = FieldType(_said(clean_phone, 40), _kept(r"^\+[0-9]{4,16}$", 17))
COUNTRY = FieldType(_said(_clean_country, 2), _kept(r"^[A-Z]{2}$", 2))
LANGUAGE = FieldType(_said(_clean_language, 6), _kept(r"^[a-z]{2,3}(-[A-Z]{2})?$", 6))
MOMENT = FieldType(_said(clean_moment, 40), _kept(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{12}Z$", 24))
DAY = FieldType(_said(_clean_date, 10), _kept(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", 10))
URL = FieldType(_said(_clean_url, 2048), Annotated[str, StringConstraints(strict=True, max_length=2048)])
# No "@" in identifiers: an address used as an id would put personal data where only ids may stand (P4).
IDENTIFIER = pattern(r"^[A-Za-z0-9][A-Za-z0-9._:~+=-]{0,127}$", 128)
SOURCE = pattern(r"^[A-Za-z0-9/][A-Za-z0-9/._:~+=%?&-]{0,255}$", 256)
VERSION = pattern(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$", 32)
SHA256_HEX = pattern(r"^[0-9a-f]{64}$", 64)
NETWORK = pattern(r"^[0-9a-f.:]{2,45}/[0-9]{1,3}$", 49)

_Choice = Annotated[bool, Field(strict=True)]  # "false" and 0 are no refusal, and "true" is no consent
Choices = Annotated[
    dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")], _Choice], Field(max_length=20)
]
CHOICES = FieldType(Annotated[Choices, Field(strict=True, min_length=1)], Annotated[Choices, Field(strict=True)])
