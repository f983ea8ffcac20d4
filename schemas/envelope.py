"""What travels: an event, and the sealed batch of events that one message carries.

Attributes stay readable and hold no personal data; the bodies of a whole batch are sealed once to the controller's
public key, with the attributes bound in, and the publisher signs the lot. So whoever holds the queue can read no
person, change no attribute, and add no event of his own.
Source: design § 3 "Envelope"; P3, P4, P7; RFC 9180 (HPKE); RFC 8032 (Ed25519); CloudEvents 1.0.2.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from pydantic import Field, StringConstraints
from pydantic_core import to_json

from schemas.errors import InvalidMessage
from schemas.fields import IDENTIFIER, MOMENT, SOURCE, FieldType, pattern
from schemas.shapes import Shape

VERSION: Final = 1
MAX_EVENTS: Final = 500
MAX_BATCH_BYTES: Final = 256 * 1024
"""Bodies of one batch, in normal form, before sealing."""

_SUITE: Final = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)

ATTRIBUTES: Final = Shape(
    "attributes",
    required={
        "id": IDENTIFIER,
        "source": SOURCE,
        "type": pattern(r"^greffier\.[a-z0-9.-]{1,60}$", 70),
        "recordedtime": MOMENT,
    },
    optional={"time": MOMENT, "traceparent": pattern(r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$", 55)},
)
"""What everyone on the way may read of an event."""


def _whole(least: int, most: int) -> FieldType:
    number = Annotated[int, Field(strict=True, ge=least, le=most)]
    return FieldType(number, number)


def _base64(maximum: int) -> FieldType:
    # Whether it is base64 is told when it is decoded: no need to go through a batch twice.
    text = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=maximum)]
    return FieldType(text, text)


def _listed(item: FieldType, most: int) -> FieldType:
    return FieldType(
        Annotated[list[item.said], Field(min_length=1, max_length=most)],  # type: ignore[name-defined]
        Annotated[list[item.kept], Field(min_length=1, max_length=most)],  # type: ignore[name-defined]
    )


class Event(NamedTuple):
    """One event in normal form. ``body``: its JSON, cleaned; ``time``: when its source says it happened;
    ``recordedtime``: when we received it. Both are :func:`schemas.fields.wire_moment` texts.

    A tuple, because they are made by the thousand: a frozen dataclass takes twice as long.
    """

    id: str
    source: str
    type: str
    recordedtime: str
    body: bytes
    time: str | None = None
    traceparent: str | None = None

    @property
    def key(self) -> str:
        """Who this event is, for ever: ids are scoped by source. Source: CloudEvents 1.0.2; P2."""
        return event_key(self.source, self.id)

    @property
    def happened(self) -> str:
        """What order is judged by: the event's own time, never later than its arrival. Source: P2."""
        return min(self.time, self.recordedtime) if self.time else self.recordedtime

    def attributes(self) -> dict[str, str]:
        """In the order of :data:`ATTRIBUTES`, which the signature depends on."""
        found = {"id": self.id, "source": self.source, "type": self.type, "recordedtime": self.recordedtime}
        if self.time:
            found["time"] = self.time
        if self.traceparent:
            found["traceparent"] = self.traceparent
        return found


def event_key(source: str, event_id: str) -> str:
    """The one identity of an event. A space cannot occur in either part."""
    return f"{source} {event_id}"


@dataclass(frozen=True, slots=True)
class Batch:
    """An opened batch. ``door``: the publishing process; ``seq``: its message number, from 1 without gaps."""

    id: str
    publisher: str
    door: str
    seq: int
    events: tuple[Event, ...]


class Sealer:
    """Seals and signs what one publisher sends. Holds no key that opens anything."""

    def __init__(self, kid: str, transit: X25519PublicKey, publisher: str, signer: Ed25519PrivateKey) -> None:
        self._kid = kid
        self._transit = transit
        self._publisher = publisher
        self._signer = signer

    def seal(self, batch_id: str, door: str, seq: int, events: Sequence[Event]) -> dict[str, Any]:
        """The wire form of a batch of 1 to 500 events, JSON-ready."""
        if not 1 <= len(events) <= MAX_EVENTS:
            raise ValueError(f"a batch holds 1 to {MAX_EVENTS} events")
        header = {
            "v": VERSION,
            "id": batch_id,
            "kid": self._kid,
            "publisher": self._publisher,
            "door": door,
            "seq": seq,
            "events": [event.attributes() for event in events],
        }
        info = _canonical(header)
        sealed = _SUITE.encrypt(b"\n".join(event.body for event in events), self._transit, info)
        return {**header, "sealed": _b64(sealed), "signature": _b64(self._signer.sign(info + sealed))}

    def seal_file(self, file_id: str, event: str, content: bytes) -> bytes:
        """An uploaded file, bound to its own id and to the event (key) it came with."""
        kid = self._kid.encode()
        return len(kid).to_bytes(1) + kid + _SUITE.encrypt(content, self._transit, _file_info(file_id, event))


class Opener:
    """Opens what publishers sealed. ``transit``: key id → private key; ``publishers``: id → verifying key."""

    def __init__(self, transit: Mapping[str, X25519PrivateKey], publishers: Mapping[str, Ed25519PublicKey]) -> None:
        self._transit = transit
        self._publishers = publishers

    def open(self, wire: object) -> Batch:
        """Raises :class:`InvalidMessage`: ``malformed_batch``, ``unknown_publisher``, ``bad_signature``,
        ``unknown_transit_key``, ``bad_seal``, ``count_mismatch``.
        """
        header = _checked(wire)
        sealed, signature = _unb64(header.pop("sealed")), _unb64(header.pop("signature"))
        info = _canonical(header)
        self._verify(header["publisher"], signature, info + sealed)
        bodies = self._unseal(header["kid"], sealed, info).split(b"\n")
        if len(bodies) != len(header["events"]):
            raise InvalidMessage("count_mismatch")
        events = tuple(Event(body=body, **event) for body, event in zip(bodies, header["events"], strict=True))
        return Batch(header["id"], header["publisher"], header["door"], header["seq"], events)

    def open_file(self, sealed: bytes, file_id: str, event: str) -> bytes:
        """Raises :class:`InvalidMessage` ``unknown_transit_key`` or ``bad_seal``."""
        length = sealed[0] if sealed else 0
        kid = sealed[1 : 1 + length].decode("ascii", "replace")
        return self._unseal(kid, sealed[1 + length :], _file_info(file_id, event))

    def _verify(self, publisher: str, signature: bytes, signed: bytes) -> None:
        key = self._publishers.get(publisher)
        if key is None:
            raise InvalidMessage("unknown_publisher")
        try:
            key.verify(signature, signed)
        except InvalidSignature:
            raise InvalidMessage("bad_signature") from None

    def _unseal(self, kid: str, sealed: bytes, info: bytes) -> bytes:
        key = self._transit.get(kid)
        if key is None:
            raise InvalidMessage("unknown_transit_key")
        try:
            return _SUITE.decrypt(sealed, key, info)
        except Exception:  # cryptography documents no single error for a seal that does not open
            raise InvalidMessage("bad_seal") from None


_BATCH: Final = Shape(
    "batch",
    required={
        "v": _whole(VERSION, VERSION),
        "id": IDENTIFIER,
        "kid": IDENTIFIER,
        "publisher": IDENTIFIER,
        "door": IDENTIFIER,
        "seq": _whole(1, 2**53 - 1),
        "events": _listed(ATTRIBUTES.as_field, MAX_EVENTS),
        "sealed": _base64(MAX_BATCH_BYTES * 2),
        "signature": _base64(128),
    },
)


def _checked(wire: object) -> dict[str, Any]:
    try:
        return _BATCH.check(wire)
    except InvalidMessage as fault:
        raise InvalidMessage("malformed_batch", fault.pointer) from None


def _canonical(header: Mapping[str, Any]) -> bytes:
    """Compact JSON with the members in the order in which the shapes list them, whatever order they arrived in: both
    sides come to the same bytes, because only strings of ASCII and small integers occur here.
    """
    return to_json(header)


def _file_info(file_id: str, event: str) -> bytes:
    return f"greffier/file/{file_id}/{event}".encode()


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _unb64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidMessage("malformed_batch") from None
