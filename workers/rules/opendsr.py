"""OpenDSR 2.0 (once OpenGDPR), as processor: what a controller may ask, and each state in the protocol's word.

Two shapes of a request are read, the lists of v1 and v2 and the object that calls itself 3.0, and one is spoken. What
version 1 named is still honoured: its routes, its headers, and that it has no ``regulation``. Pure.
Source: rights-protocols § 2; design § 5.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import rfc8785

from schemas.errors import InvalidMessage
from schemas.fields import clean_moment
from schemas.strict_json import parse
from schemas.subject import clean_email
from schemas.terms import Right
from workers.rules.outside import Fault, Stage, Standing
from workers.rules.urls import is_https

V1: Final = "1.0"
V2: Final = "2.0"
_VERSIONS: Final = (V1, V2, "3.0")
HEADERS: Final[Mapping[str, str]] = {V1: "X-OpenGDPR", V2: "X-OpenDSR"}
"""By version: what the names of its headers begin with."""

RIGHTS: Final[Mapping[str, Right]] = {
    right.value: right for right in Right if right.value in ("access", "erasure", "portability")
}
"""What the protocol has a word for and we serve."""
SUPPORTED_IDENTITIES: Final = ({"identity_type": "email", "identity_format": "raw"},)

MAX_CALLBACKS: Final = 5
_MAX_IDENTITIES: Final = 50
_LONGEST_VALUE: Final = 320
_UUID4: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_TYPES: Final = frozenset(
    (
        *("controller_customer_id", "email", "android_advertising_id", "android_id", "fire_advertising_id"),
        *("ios_advertising_id", "ios_vendor_id", "microsoft_advertising_id", "microsoft_publisher_id"),
        *("roku_publisher_id", "roku_advertising_id"),
    )
)
_HASHES: Final[Mapping[str, int]] = {"md5": 32, "sha1": 40, "sha256": 64}
"""Format → hex digits."""
_HEX: Final = re.compile(r"[0-9a-f]+")
_STATES: Final[Mapping[Stage, str]] = {
    Stage.RECEIVED: "pending",
    Stage.IDENTITY_PENDING: "in_progress",
    Stage.ACCEPTED: "in_progress",
    Stage.ANSWERED: "completed",
    Stage.REFUSED: "completed",  # there is no word for it: the reasons go to the person, by letter
    Stage.LAPSED: "cancelled",
    Stage.REVOKED: "cancelled",
}


class Unserved(Fault):
    """The protocol's error object. ``reason``: a code of ours; nothing of it was sent to us."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        self.reason = reason
        one = {"domain": "Validation" if status == 400 else "Request", "reason": reason, "message": message}
        super().__init__(status, message, {"error": {"code": status, "message": message, "errors": [one]}})


AWAY: Final = Unserved(503, "unavailable", "Try again later.")
TOO_LARGE: Final = Unserved(413, "too_large", "The body is too large.")


@dataclass(frozen=True, slots=True)
class Request:
    """What a controller asks. ``same``: equal for two bodies that say the same."""

    subject_request_id: str
    right: Right
    email: str
    callbacks: tuple[str, ...]
    same: bytes


def read_request(raw: bytes, version: str, callback_hosts: frozenset[str]) -> Request:
    """A request as its body says it. ``version``: of the route. Raises :class:`Unserved` 400, one fault at a time.

    The time that it was submitted must be one, and is information: the clock starts when we have it.
    """
    try:
        body = parse(raw)
    except InvalidMessage as fault:
        raise _bad(fault.code, "The body is not JSON as RFC 8259 has it.") from None
    if not isinstance(body, dict):
        raise _bad("not_an_object", "The body must be an object.")
    _check_frame(body, version)
    said = body.get("subject_request_type")
    right = RIGHTS.get(said) if isinstance(said, str) else None
    if right is None:
        raise _bad("unsupported_request_type", f"subject_request_type must be one of {', '.join(RIGHTS)}.")
    return Request(
        subject_request_id=subject_request_id(body.get("subject_request_id")),
        right=right,
        email=_email(list(_identities(body.get("subject_identities")))),
        callbacks=_callbacks(body.get("status_callback_urls", []), callback_hosts),
        same=rfc8785.dumps(body),
    )


def subject_request_id(said: object) -> str:
    """A UUID of version 4 in small letters. Raises :class:`Unserved`."""
    if isinstance(said, str) and _UUID4.fullmatch(said):
        return said
    raise _bad("bad_subject_request_id", "subject_request_id must be a UUID of version 4 in small letters.")


def _check_frame(body: Mapping[str, Any], version: str) -> None:
    if body.get("api_version", version) not in _VERSIONS:
        raise _bad("unsupported_api_version", f"api_version must be one of {', '.join(_VERSIONS)}.")
    if body.get("regulation", "gdpr" if version == V1 else None) not in ("gdpr", "ccpa"):
        raise _bad("bad_regulation", "regulation must be gdpr or ccpa.")
    try:
        clean_moment(body.get("submitted_time", ""))
    except (InvalidMessage, TypeError):
        raise _bad("bad_submitted_time", "submitted_time must be an RFC 3339 date-time.") from None
    if not isinstance(body.get("extensions", {}), dict):
        raise _bad("bad_extensions", "extensions must be an object.")


# ---------------------------------------------------------------------- whom


@dataclass(frozen=True, slots=True)
class _Identity:
    type: str
    format: str
    value: str


def _identities(said: object) -> Iterator[_Identity]:
    """What identifies the person, in either shape. Raises :class:`Unserved` for one that cannot be what it says."""
    if isinstance(said, dict):  # as 3.0 has it: {type: {"value", "encoding"}}
        found = [(kind, *_two(one, "encoding", "value")) for kind, one in said.items()]
    elif isinstance(said, list):
        kinds = [one.get("identity_type") if isinstance(one, dict) else None for one in said]
        twos = [_two(one, "identity_format", "identity_value") for one in said]
        found = [(kind, *two) for kind, two in zip(kinds, twos, strict=True)]
    else:
        raise _bad("no_identities", "subject_identities is needed.")
    if len(found) > _MAX_IDENTITIES:
        raise _bad("too_many_identities", f"subject_identities may hold {_MAX_IDENTITIES}.")
    for kind, form, value in found:
        yield _identity(kind, form, value)


def _two(one: object, form: str, value: str) -> tuple[object, object]:
    return (one.get(form), one.get(value)) if isinstance(one, dict) else (None, None)


def _identity(kind: object, form: object, value: object) -> _Identity:
    if not isinstance(kind, str) or kind not in _TYPES:
        raise _bad("bad_identity_type", "An identity_type is none of the protocol's.")
    if not isinstance(form, str) or (form != "raw" and form not in _HASHES):
        raise _bad("bad_identity_format", "An identity_format is none of the protocol's.")
    if not isinstance(value, str) or not 1 <= len(value) <= _LONGEST_VALUE:
        raise _bad("bad_identity_value", f"An identity_value is no text of 1 to {_LONGEST_VALUE} characters.")
    if form == "raw":
        return _Identity(kind, form, _clean(value) if kind == "email" else value)
    digits = value.lower()
    if len(digits) != _HASHES[form] or not _HEX.fullmatch(digits):
        raise _bad("bad_identity_value", "An identity_value is no hash of its identity_format.")
    return _Identity(kind, form, digits)


def _clean(value: str) -> str:
    try:
        return clean_email(value)
    except InvalidMessage:
        raise _bad("bad_identity_value", "An identity_value is not one plain e-mail address.") from None


def _email(identities: list[_Identity]) -> str:
    """The one address that a request names in the clear; a mail to it proves it. Raises :class:`Unserved`.

    A hash of an address finds nobody here, because addresses are kept under keys. Beside the address it may stand.
    """
    plain = {one.value.lower(): one.value for one in identities if (one.type, one.format) == ("email", "raw")}
    if not plain:
        raise _bad("unsupported_identities", "An email in the format raw is needed: nobody is found by another.")
    if len(plain) > 1:
        raise _bad("several_people", "One request is about one email: a mail proves no other.")
    [(folded, email)] = plain.items()
    for one in identities:
        if one.type == "email" and one.format != "raw" and one.value not in _hashes(one.format, folded, email):
            raise _bad("several_people", "One request is about one email: a hash is another's.")
    return email


def _hashes(form: str, *texts: str) -> set[str]:
    return {hashlib.new(form, text.encode(), usedforsecurity=False).hexdigest() for text in texts}


def _callbacks(said: object, hosts: frozenset[str]) -> tuple[str, ...]:
    if not isinstance(said, list) or len(said) > MAX_CALLBACKS:
        raise _bad("bad_callback_urls", f"status_callback_urls must be a list of {MAX_CALLBACKS} at most.")
    for url in said:
        if not isinstance(url, str) or not is_https(url, hosts):
            raise _bad("bad_callback_urls", "A callback must be https, on a host that is registered for you.")
    return tuple(dict.fromkeys(said))


def _bad(reason: str, message: str) -> Unserved:
    return Unserved(400, reason, message)


# ---------------------------------------------------------------------- what is told


def status_word(standing: Standing) -> str:
    """The protocol's ``request_status``."""
    return "in_progress" if standing.word_follows else _STATES[standing.stage]


def may_cancel(standing: Standing) -> bool:
    """Only what is pending may be."""
    return standing.stage is Stage.RECEIVED


def moment(at: datetime) -> str:
    """RFC 3339, in UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
