"""A signed document: a body, and an Ed25519 signature over its canonical bytes (RFC 8785), for decades of checking.

``{"body": {"type": …, "at": …, …}, "kid": …, "signature": …}``; the body's ``type`` keeps one kind of document from
passing for another, its ``at`` says when it was signed. A key signs only within its own time: what a retired key signs
is refused, what it signed before its retirement stays good.
Source: P12; crypto-and-evidence §§ 4, 6; RFC 8032, 8785, 7638.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from schemas.errors import InvalidMessage
from schemas.fields import IDENTIFIER, MOMENT, pattern
from schemas.shapes import Shape

SIGNATURE_HEX: Final = pattern(r"^[0-9a-f]{128}$", 128)
_RAW_KEY: Final = pattern(r"^[A-Za-z0-9_-]{43}$", 43)

PUBLIC_KEY: Final = Shape(
    "public_key",
    required={"kty": pattern("^OKP$", 3), "crv": pattern("^Ed25519$", 7), "x": _RAW_KEY, "kid": IDENTIFIER},
)
"""A party's verifying key as a JWK, with nothing but what it needs."""

DATED_KEY: Final = Shape(
    "dated_key", required={"jwk": PUBLIC_KEY.as_field, "not_before": MOMENT}, optional={"not_after": MOMENT}
)
"""A key with the time in which it may sign."""


@dataclass(frozen=True, slots=True)
class DatedKey:
    """A verifying key and the moments (:func:`schemas.fields.wire_moment`) between which it may have signed."""

    key: OKPKey
    not_before: str
    not_after: str | None = None

    @property
    def kid(self) -> str:
        return str(self.key.kid)

    @property
    def thumbprint(self) -> str:
        """RFC 7638: what a person compares."""
        return self.key.thumbprint()

    def as_json(self) -> dict[str, Any]:
        end = {} if self.not_after is None else {"not_after": self.not_after}
        return {"jwk": public_key(self.key), "not_before": self.not_before, **end}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> DatedKey:
        """Raises :class:`InvalidMessage` ``unusable_key``."""
        return cls(read_key(found["jwk"]), found["not_before"], found.get("not_after"))


def public_key(key: OKPKey) -> dict[str, Any]:
    """The public half in the form of :data:`PUBLIC_KEY`."""
    members = key.as_dict(private=False)
    return {name: members[name] for name in ("kty", "crv", "x", "kid")}


def read_key(jwk: Mapping[str, Any]) -> OKPKey:
    """A key from :data:`PUBLIC_KEY`. Raises :class:`InvalidMessage` ``unusable_key``."""
    try:
        return OKPKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "kid")})
    except (JoseError, ValueError, KeyError, TypeError):
        raise InvalidMessage("unusable_key") from None


def sign_document(body: Mapping[str, Any], key: OKPKey) -> dict[str, Any]:
    """Sign a body that has ``type`` and ``at``."""
    private = key.private_key
    if not isinstance(private, Ed25519PrivateKey):
        raise TypeError("not a private Ed25519 key")
    return {"body": dict(body), "kid": str(key.kid), "signature": private.sign(rfc8785.dumps(dict(body))).hex()}


def check_document(document: Mapping[str, Any], kind: str, keys: Mapping[str, DatedKey]) -> DatedKey:
    """The key that signed a document of this ``type``. ``keys``: by key id.

    Raises :class:`InvalidMessage`: ``wrong_kind``, ``unknown_key``, ``bad_signature``, ``key_not_yet_valid``,
    ``key_retired``.
    """
    body = document["body"]
    if body.get("type") != kind:
        raise InvalidMessage("wrong_kind")
    dated = keys.get(document["kid"])
    if dated is None:
        raise InvalidMessage("unknown_key")
    public = dated.key.public_key
    try:
        if not isinstance(public, Ed25519PublicKey):
            raise InvalidMessage("unusable_key")
        public.verify(bytes.fromhex(document["signature"]), rfc8785.dumps(body))
    except (InvalidSignature, ValueError, rfc8785.CanonicalizationError):
        raise InvalidMessage("bad_signature") from None
    if body["at"] < dated.not_before:
        raise InvalidMessage("key_not_yet_valid")
    if dated.not_after is not None and body["at"] > dated.not_after:
        raise InvalidMessage("key_retired")
    return dated


def document_shape(name: str, body: Shape) -> Shape:
    """The closed shape of a signed document whose body is of this shape."""
    return Shape(name, required={"body": body.as_field, "kid": IDENTIFIER, "signature": SIGNATURE_HEX})
