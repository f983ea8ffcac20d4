"""Signed and sealed words between the controller and a subsidiary: JWS inside JWE, one algorithm each, no choice.

Whoever can write to a queue can put anything there; so a reader believes nothing but a signature by the one key it
expects, over the very bytes it then reads, addressed to it, in time. The algorithm is the reader's, never the header's.
Source: P7; design § 3 "Orders and receipts"; RFC 7515, 7516, 8037; ASVS 9.1, 9.2; reliability § 5 item 98.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import rfc8785
from joserfc import jwe, jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from schemas.errors import InvalidMessage
from schemas.strict_json import parse

SIGNATURE: Final = "Ed25519"
KEY_AGREEMENT: Final = "ECDH-ES+A256KW"
ENCRYPTION: Final = "A256GCM"

CLOCK_LEEWAY: Final = timedelta(minutes=5)
"""How far the writer's clock may run ahead of the reader's."""

MAX_TOKEN_BYTES: Final = 4 * 1024 * 1024
_MAX_NODES: Final = 200_000

_LARGE: Final = 64 * 1024
"""Of texts that are worth a look of the collector, a millisecond, when they were sealed."""


class _SignedRegistry(jws.JWSRegistry):
    """The library's own bound, 128 kB, is below an order for 500 people; ours is looked at before anything is read."""

    max_payload_length = MAX_TOKEN_BYTES


class _SealedRegistry(jwe.JWERegistry):
    """As above: 64 KiB is below most access copies."""

    max_ciphertext_length = MAX_TOKEN_BYTES


_SIGNED: Final = _SignedRegistry(algorithms=[SIGNATURE])
_SEALED: Final = _SealedRegistry(algorithms=[KEY_AGREEMENT, ENCRYPTION])


@dataclass(frozen=True, slots=True)
class Keys:
    """One party's own keys: ``signing`` (Ed25519) and ``opening`` (X25519), both private, both with a ``kid``."""

    party: str
    signing: OKPKey
    opening: OKPKey


class Signatory(Protocol):
    """Whoever signs: all that :func:`verify` needs to know of a party."""

    @property
    def party(self) -> str: ...
    @property
    def verifying(self) -> Mapping[str, OKPKey]: ...


@dataclass(frozen=True, slots=True)
class Peer:
    """Another party: verifying keys by id (several while one is rotated out), and the key to seal to."""

    party: str
    verifying: Mapping[str, OKPKey]
    sealing: OKPKey


def sign(keys: Keys, kind: str, claims: Mapping[str, Any], *, audience: str, now: datetime, lifetime: timedelta) -> str:
    """A compact JWS over canonical JSON. ``kind``: the header's ``typ``, which no other kind of token can pass for.

    ``claims`` must hold ``jti``; ``iss``, ``aud``, ``iat``, ``exp`` (whole seconds) are set here.
    """
    issued = int(now.timestamp())
    whole = {
        **claims,
        "iss": keys.party,
        "aud": audience,
        "iat": issued,
        "exp": issued + int(lifetime.total_seconds()),
    }
    header = {"alg": SIGNATURE, "kid": keys.signing.kid, "typ": kind}
    return jws.serialize_compact(header, rfc8785.dumps(whole), keys.signing, registry=_SIGNED)


def verify(token: str, peer: Signatory, kind: str, *, audience: str, now: datetime | None) -> dict[str, Any]:
    """The claims of a JWS that ``peer`` made for ``audience``. ``now=None``: as evidence, whatever the time is.

    Raises :class:`InvalidMessage`: ``unknown_key``, ``bad_signature``, ``wrong_kind``, ``wrong_issuer``,
    ``wrong_audience``, ``expired``, ``from_the_future``, ``malformed_token``.
    """
    header = _header(token)
    if set(header) != {"alg", "kid", "typ"} or header["alg"] != SIGNATURE:
        raise InvalidMessage("bad_signature")  # no other algorithm, no embedded key, no crit: RFC 8725
    key = peer.verifying.get(str(header["kid"]))
    if key is None:
        raise InvalidMessage("unknown_key")
    try:
        payload = jws.deserialize_compact(token, key, registry=_SIGNED).payload
    except (JoseError, ValueError, TypeError):
        raise InvalidMessage("bad_signature") from None
    if header["typ"] != kind:
        raise InvalidMessage("wrong_kind")
    claims = _object(payload)
    _check_claims(claims, peer.party, audience, now)
    return claims


def key_id(token: str) -> str:
    """The key that a JWS names; whoever wrote it may name any. Raises :class:`InvalidMessage` ``malformed_token``."""
    return str(_header(token).get("kid"))


def _header(token: str) -> dict[str, Any]:
    try:
        return dict(jws.extract_compact(token.encode("ascii", "replace"), registry=_SIGNED).headers())
    except (JoseError, ValueError, KeyError, TypeError):
        raise InvalidMessage("malformed_token") from None


def _check_claims(claims: Mapping[str, Any], issuer: str, audience: str, now: datetime | None) -> None:
    if claims.get("iss") != issuer:
        raise InvalidMessage("wrong_issuer")
    if claims.get("aud") != audience:
        raise InvalidMessage("wrong_audience")
    issued, expires = claims.get("iat"), claims.get("exp")
    if type(issued) is not int or type(expires) is not int or not isinstance(claims.get("jti"), str):
        raise InvalidMessage("malformed_token")
    if now is None:
        return
    if now.timestamp() >= expires:
        raise InvalidMessage("expired")
    if issued > (now + CLOCK_LEEWAY).timestamp():
        raise InvalidMessage("from_the_future")


def seal(text: bytes, to: Peer) -> str:
    """A compact JWE to the peer's key."""
    header = {"alg": KEY_AGREEMENT, "enc": ENCRYPTION, "kid": to.sealing.kid}
    token = jwe.encrypt_compact(header, text, to.sealing, registry=_SEALED)
    if len(text) > _LARGE:
        gc.collect(0)  # the library's message and its recipient hold each other, and with them the text
    return token


def open_sealed(token: str, keys: Keys) -> bytes:
    """What was sealed to us. Raises :class:`InvalidMessage` ``bad_seal`` or ``too_large``."""
    if len(token) > MAX_TOKEN_BYTES:
        raise InvalidMessage("too_large")
    try:
        opened = jwe.decrypt_compact(token.encode("ascii"), keys.opening, registry=_SEALED)
    except (JoseError, ValueError, KeyError, TypeError, UnicodeEncodeError):
        raise InvalidMessage("bad_seal") from None
    opened.recipient = None  # which holds it: both would stay until the collector comes
    if opened.plaintext is None:
        raise InvalidMessage("bad_seal")
    return opened.plaintext


def _object(payload: bytes) -> dict[str, Any]:
    found = parse(payload, max_nodes=_MAX_NODES)
    if not isinstance(found, dict):
        raise InvalidMessage("malformed_token")
    return found


def private_jwk(key: OKPKey) -> str:
    """A private key as JSON, for its file."""
    return json.dumps(key.as_dict(private=True), sort_keys=True)


def public_jwk(key: OKPKey) -> dict[str, Any]:
    """A key's public half as JSON members."""
    return dict(key.as_dict(private=False))
