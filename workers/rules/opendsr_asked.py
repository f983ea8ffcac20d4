"""OpenDSR as controller: what a processor is asked, and what of its answers is believed, in the written order.

Nothing of an answer is read before the signature over its raw bytes holds; until then it has a domain that it claims
and a signature, and the rest is noise. Version 2 is spoken, and both versions' headers are read. Pure.
Source: rights-protocols § 2 "Verify in this order"; P6, P7.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from schemas.errors import InvalidMessage
from schemas.fields import clean_moment, read_moment
from schemas.strict_json import parse
from schemas.terms import Right
from workers.rules.opendsr import HEADERS, V1, V2, moment

STATES: Final = ("pending", "in_progress", "completed", "cancelled")
UNTRUSTED: Final = frozenset({"unknown_domain", "bad_certificate", "revoked_certificate", "no_certificate"})
"""What is answered by 401: whoever speaks is not known. All else that is wrong is 400."""
_LONGEST: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Statement:
    """What a processor signed about a request. ``digest``: of the raw bytes; no word in it is the person's.

    ``results_url``: where what it holds is to be fetched, for access; not looked at here.
    """

    status: str
    digest: str
    expected_at: datetime | None = None
    results_url: str | None = None


def errand_id(reference: str, processor: str) -> str:
    """The UUID (version 4, as the protocol wants) of what one case asks of one processor: always the same."""
    return str(uuid.UUID(bytes=hashlib.sha256(f"{reference}/{processor}".encode()).digest()[:16], version=4))


def build_request(errand: str, right: Right, email: str, submitted_at: datetime, callback_url: str) -> bytes:
    """The body of ``POST /requests``. The address goes in the clear: an unsalted hash of it hides nothing."""
    said = {
        "regulation": "gdpr",
        "subject_request_id": errand,
        "subject_request_type": right.value,
        "submitted_time": moment(submitted_at),
        "subject_identities": [{"identity_type": "email", "identity_value": email, "identity_format": "raw"}],
        "api_version": V2,
        "status_callback_urls": [callback_url],
    }
    return json.dumps(said).encode()


def claimed(headers: Mapping[str, str]) -> tuple[str, str]:
    """The domain that an answer claims, and its signature. Raises :class:`InvalidMessage` ``unknown_domain``."""
    for name in (HEADERS[V2], HEADERS[V1]):
        domain, signature = headers.get(f"{name}-Processor-Domain"), headers.get(f"{name}-Signature")
        if domain and signature:
            return domain.lower(), signature
    raise InvalidMessage("unknown_domain")


def read_taken(raw: bytes, sent: bytes, errand: str) -> datetime:
    """When a processor that took our request expects to be done. Raises :class:`InvalidMessage`.

    ``encoded_request`` is looked at here and kept nowhere: it is the person's address again.
    """
    body = _object(raw)
    _check_id(body, errand)
    try:
        said = base64.b64decode(body["encoded_request"], validate=True)
    except (KeyError, TypeError, ValueError):
        said = b""
    if said != sent:
        raise InvalidMessage("other_request")
    if _moment(body, "received_time") is None or (expected := _moment(body, "expected_completion_time")) is None:
        raise InvalidMessage("missing_moment")
    return expected


def read_status(raw: bytes, errand: str) -> Statement:
    """What a processor says of a request when it is asked. Raises :class:`InvalidMessage`."""
    body = _object(raw)
    _check_id(body, errand)
    return _statement(raw, body)


def read_callback(raw: bytes, url: str) -> tuple[str, Statement]:
    """What a processor says by itself, and of which request. ``url``: our own. Raises :class:`InvalidMessage`."""
    body = _object(raw)
    if body.get("status_callback_url") != url:
        raise InvalidMessage("other_callback_url")
    errand = body.get("subject_request_id")
    if not isinstance(errand, str):
        raise InvalidMessage("other_request")
    return errand, _statement(raw, body)


def _statement(raw: bytes, body: Mapping[str, Any]) -> Statement:
    status = body.get("request_status")
    if status not in STATES:
        raise InvalidMessage("unknown_status")
    url = body.get("results_url")
    expected = _moment(body, "expected_completion_time")
    return Statement(status, hashlib.sha256(raw).hexdigest(), expected, url if isinstance(url, str) else None)


def _object(raw: bytes) -> dict[str, Any]:
    body = parse(raw) if len(raw) <= _LONGEST else None
    if not isinstance(body, dict):
        raise InvalidMessage("not_an_object")
    return body


def _check_id(body: Mapping[str, Any], errand: str) -> None:
    if body.get("subject_request_id") != errand:
        raise InvalidMessage("other_request")


def _moment(body: Mapping[str, Any], name: str) -> datetime | None:
    try:
        return read_moment(clean_moment(body[name]))
    except (KeyError, TypeError, InvalidMessage):
        return None
