"""Data Rights Protocol 1.0, as covered business: what an agent may say, in which order it is believed, what it is told.

A message is base64 of an Ed25519 signature (64 bytes) and the UTF-8 JSON that it signs. Nothing of the JSON is read
before the signature holds. Pure: bytes and directory entries in, values or a :class:`Rejected` out.
Source: rights-protocols § 3; design § 5.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas.errors import InvalidMessage
from schemas.strict_json import parse
from schemas.subject import clean_email
from schemas.terms import Right
from workers.rules.decisions import Refusal
from workers.rules.outside import Fault, Stage, Standing
from workers.rules.urls import is_https

VERSION: Final = "1.0"
AGENT_ID: Final = re.compile(r"[A-Z_]{1,50}")
RIGHTS: Final[Mapping[str, Right]] = {
    "access": Right.ACCESS,
    "access:categories": Right.ACCESS,  # Art. 15 gives both together
    "access:specific": Right.ACCESS,
    "deletion": Right.ERASURE,
}
"""What is served. To stop a sale (``sale:opt-out``) is not to object to prospecting, so it is refused, not squeezed."""

_SIGNATURE_BYTES: Final = 64
_ENVELOPE: Final = frozenset({"agent-id", "business-id", "issued-at", "expires-at", "drp.version"})
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:~+=-]{0,127}")
_HEX_KEY: Final = re.compile(r"[0-9a-fA-F]{64}")
_DENIALS: Final[Mapping[Refusal, str]] = {
    Refusal.CANNOT_IDENTIFY: "no_match",
    Refusal.IDENTITY_NOT_PROVEN: "insuf_verification",
    Refusal.EXCESSIVE: "too_many_requests",
    Refusal.OTHERS_RIGHTS: "claim_not_covered",
    Refusal.MANIFESTLY_UNFOUNDED: "other",
    Refusal.COMPELLING_GROUNDS: "other",
}


class Rejected(Fault):
    """The protocol's error, whose ``code`` is text. ``fatal``: repeating the call is no use."""

    def __init__(self, status: int, message: str, *, fatal: bool = False) -> None:
        self.fatal = fatal
        super().__init__(status, message, {"code": str(status), "message": message, "fatal": fatal})


@dataclass(frozen=True, slots=True)
class Signed:
    """A message whose signature holds: what it says, and the signature, by which it is known again."""

    body: Mapping[str, Any]
    signature: bytes


@dataclass(frozen=True, slots=True)
class Exercise:
    """A right that an agent asks for in somebody's name. ``same``: equal for two messages that ask for the same."""

    right: Right
    email: str
    agent_request_id: str | None
    callback: str | None
    same: bytes


# ---------------------------------------------------------------------- who speaks


def read_key(text: str) -> Ed25519PublicKey:
    """A directory's ``verify_key``: base64 of 32 bytes, or 64 hex digits as older entries have. Raises ValueError."""
    if _HEX_KEY.fullmatch(text):
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(text + "=" * (-len(text) % 4), validate=True))


def open_signed(raw: bytes, key: Ed25519PublicKey) -> Signed:
    """The first two steps: base64, then the signature of the agent behind the call. Raises :class:`Rejected`."""
    try:
        decoded = base64.b64decode(raw.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise Rejected(400, "The message is not base64.") from None
    signature, document = decoded[:_SIGNATURE_BYTES], decoded[_SIGNATURE_BYTES:]
    try:
        key.verify(signature, document)
    except InvalidSignature:
        raise Rejected(403, "The signature is not this agent's.") from None
    try:
        body = parse(document)
    except InvalidMessage:
        body = None
    if not isinstance(body, dict):
        raise Rejected(400, "What is signed is not a JSON object.")
    return Signed(body, signature)


def check_envelope(body: Mapping[str, Any], agent: str, business: str, now: datetime) -> datetime:
    """The steps after the signature, in the protocol's order; when the message ends. Raises :class:`Rejected`."""
    if body.get("agent-id") != agent:
        raise Rejected(403, "agent-id is not the agent that calls.")
    if body.get("business-id") != business:
        raise Rejected(403, "business-id is not this business.")
    if _moment(body, "issued-at") >= now:
        raise Rejected(400, "issued-at lies in the future: look at your clock.")
    expires_at = _moment(body, "expires-at")
    if now >= expires_at:
        raise Rejected(400, "The message has expired.", fatal=True)
    if body.get("drp.version") != VERSION:
        raise Rejected(400, f"drp.version must be {VERSION}.", fatal=True)
    return expires_at


def _moment(body: Mapping[str, Any], name: str) -> datetime:
    """ISO 8601, which is wider than RFC 3339; without a zone it is read as UTC."""
    said = body.get(name)
    try:
        moment = datetime.fromisoformat(said) if isinstance(said, str) and len(said) <= 40 else None
        if moment is not None:
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Rejected(400, f"{name} is not an ISO 8601 moment.")


def check_setup(body: Mapping[str, Any]) -> None:
    """Key setup has its envelope and nothing else: a request that was overheard must not open a door."""
    if set(body) != _ENVELOPE:
        raise Rejected(403, "This is no key setup.")


# ---------------------------------------------------------------------- what it asks


def read_exercise(body: Mapping[str, Any], callback_hosts: frozenset[str]) -> Exercise:
    """The request in a message that passed :func:`check_envelope`. Raises :class:`Rejected`.

    Of the claims only the address is read: it finds the person, and is proved by a mail to it, whatever
    ``email_verified`` says. The others are neither needed nor kept.
    """
    said = body.get("exercise")
    right = RIGHTS.get(said) if isinstance(said, str) else None
    if right is None:
        raise Rejected(400, "Unsupported rights action.", fatal=True)
    if body.get("regime", "ccpa") != "ccpa":
        raise Rejected(400, "Unsupported regime: ccpa, or none.", fatal=True)
    return Exercise(
        right=right,
        email=_email(body),
        agent_request_id=_agent_request_id(body),
        callback=_callback(body, callback_hosts),
        same=rfc8785.dumps({name: value for name, value in body.items() if name not in ("issued-at", "expires-at")}),
    )


def _email(body: Mapping[str, Any]) -> str:
    try:
        return clean_email(body["email"])
    except (KeyError, TypeError, InvalidMessage):
        raise Rejected(400, "email is needed, and must be one plain address.", fatal=True) from None


def _agent_request_id(body: Mapping[str, Any]) -> str | None:
    said = body.get("agent-request-id")
    if said is not None and not (isinstance(said, str) and _REQUEST_ID.fullmatch(said)):
        raise Rejected(400, "agent-request-id must be 1 to 128 letters, digits or ._:~+=- and no address.", fatal=True)
    return said


def _callback(body: Mapping[str, Any], hosts: frozenset[str]) -> str | None:
    said = body.get("status_callback")
    if said is None:
        return None
    if not isinstance(said, str) or not is_https(said, hosts):
        raise Rejected(400, "status_callback must be https, on a host that the directory names for you.", fatal=True)
    return said


def check_revocation(body: Mapping[str, Any], agent: str, business: str, now: datetime) -> datetime | None:
    """What takes a request back says a ``reason`` at most, and may bear the envelope; its end then.

    The reason is the person's own words: it is neither needed nor kept. Raises :class:`Rejected`.
    """
    if not set(body) <= _ENVELOPE | {"reason"} or not isinstance(body.get("reason", ""), str):
        raise Rejected(400, "This is no revocation.")
    return check_envelope(body, agent, business, now) if _ENVELOPE & body.keys() else None


# ---------------------------------------------------------------------- what it is told


def status_of(
    request_id: str, agent_request_id: str | None, standing: Standing, verification_url: str, results_url: str
) -> dict[str, str]:
    """The protocol's status object."""
    told = {"request_id": request_id, "received_at": _text(standing.received_at), **_state(standing)}
    if agent_request_id is not None:
        told["agent_request_id"] = agent_request_id
    if told["status"] == "in_progress":
        told["expected_by"] = _text(standing.expected)
    if told.get("reason") == "need_user_verification":
        told["user_verification_url"] = verification_url
    if told["status"] == "fulfilled" and standing.results_until is not None:
        told |= {"results_url": results_url, "expires_at": _text(standing.results_until)}
    return told


def _state(standing: Standing) -> dict[str, str]:
    match standing.stage:
        case Stage.RECEIVED:
            return {"status": "open"}
        case Stage.IDENTITY_PENDING:
            return _in_progress("We have asked the person for proof of identity.", "need_user_verification")
        case Stage.ACCEPTED if standing.extended:
            return _in_progress("The period was extended; the person was told why.")
        case Stage.ACCEPTED:
            return {"status": "in_progress"}
        case Stage.ANSWERED if standing.word_follows:
            return _in_progress("The person was answered; some stores have not answered us yet, and word will follow.")
        case Stage.ANSWERED:
            return {"status": "fulfilled"}
        case Stage.REFUSED:
            reason = _DENIALS[standing.refusal] if standing.refusal else "other"
            return _denied(reason, "The person was told why, and where to complain.")
        case Stage.LAPSED:
            return _denied("insuf_verification", "The link that confirms the address was not used in time.")
        case Stage.REVOKED:
            return {"status": "revoked"}


def _in_progress(details: str, reason: str | None = None) -> dict[str, str]:
    told = {"status": "in_progress", "processing_details": details}
    return {**told, "reason": reason} if reason else told


def _denied(reason: str, details: str) -> dict[str, str]:
    return {"status": "denied", "reason": reason, "processing_details": details}


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
