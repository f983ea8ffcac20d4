"""Tokens that people are mailed: a link that proves an address, shows a status, or fetches a package once.

A compact JWS, signed by the controller; the door and the counter hold the public key and can tell a forged token, not
make one. It names a kind and a case, no person and no address. That a token is used once is the worker's to keep, by
its id. A one-click link names a mailing list in place of the case, and its id is what the list knows the person by,
sealed: it needs no record to be kept of it, so it is good after an erasure too. Whoever can be told nothing is told
nothing: every token that is not ours is ``unknown_token``.

Source: P7; design § 5.2; RFC 7515, 8037, 8725; ASVS 9.1, 9.2; reliability § 8.7.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import rfc8785
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from schemas.errors import InvalidMessage
from schemas.jose import CLOCK_LEEWAY, SIGNATURE
from schemas.strict_json import parse

TYP: Final = "greffier-token+jwt"
"""The header's ``typ``: no order or receipt can pass for a token of a person, nor the other way round."""
MAX_CHARS: Final = 1024

_CASE = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9_-]{16,128}", re.ASCII)
_MEMBERS: Final = {"kind", "case", "jti", "iat", "exp"}
_LATEST: Final = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp())


class TokenKind(StrEnum):
    """What a token is good for; one kind never passes for another."""

    CONFIRM = "confirm"
    STATUS = "status"
    DOWNLOAD = "download"
    UNSUBSCRIBE = "unsubscribe"
    PREFERENCES = "preferences"


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a token says. ``case``: or the list; ``id``: for single use, or the person on that list, sealed.

    ``expires_at``: aware, in whole seconds.
    """

    kind: TokenKind
    case: str
    id: str
    issued_at: datetime
    expires_at: datetime


def sign_token(key: OKPKey, kind: TokenKind, case: str, *, token_id: str, now: datetime, lifetime: timedelta) -> str:
    """A token that holds from ``now`` for ``lifetime``. ``token_id``: unguessable, it is what is used up."""
    issued = int(now.timestamp())
    claims = {
        "kind": kind.value,
        "case": case,
        "jti": token_id,
        "iat": issued,
        "exp": issued + int(lifetime.total_seconds()),
    }
    header = {"alg": SIGNATURE, "kid": key.kid, "typ": TYP}
    return jws.serialize_compact(header, rfc8785.dumps(claims), key, algorithms=[SIGNATURE])


def read_token(
    token: str, keys: Mapping[str, OKPKey], kind: TokenKind, now: datetime, *, case: str | None = None
) -> TokenClaims:
    """What a token of this kind (and of this case, where one is named) says.

    ``keys``: public, by key id. Raises :class:`InvalidMessage` with ``unknown_token`` for whatever was not signed by
    one of them, or is of another case; ``wrong_kind`` for a token of ours that is good for something else;
    ``expired_token`` for one that was good. The first two are 404 to the outside, the third is a page.
    """
    claims = _claims(_payload(token, keys))
    if claims.issued_at > now + CLOCK_LEEWAY or (case is not None and claims.case != case):
        raise InvalidMessage("unknown_token")
    if claims.kind is not kind:
        raise InvalidMessage("wrong_kind")
    if now >= claims.expires_at:
        raise InvalidMessage("expired_token")
    return claims


def _payload(token: str, keys: Mapping[str, OKPKey]) -> bytes:
    """The signed bytes, once the signature holds. The algorithm is ours, never the header's (RFC 8725)."""
    parts = token.split(".")
    if len(token) > MAX_CHARS or len(parts) != 3 or not all(map(_is_canonical, parts)):
        raise InvalidMessage("unknown_token")
    try:
        header = json.loads(base64.urlsafe_b64decode(_padded(parts[0])))
        key = keys[header["kid"]]
        if header != {"alg": SIGNATURE, "kid": key.kid, "typ": TYP}:
            raise InvalidMessage("unknown_token")
        return jws.deserialize_compact(token, key, algorithms=[SIGNATURE]).payload
    except (JoseError, ValueError, KeyError, TypeError, RecursionError):
        raise InvalidMessage("unknown_token") from None


def _is_canonical(part: str) -> bool:
    """Base64url has spare bits at its end; without this, one token could be written in several ways."""
    try:
        raw = base64.b64decode(_padded(part), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return False
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == part


def _padded(part: str) -> str:
    return part + "=" * (-len(part) % 4)


def _claims(payload: bytes) -> TokenClaims:
    found = parse(payload)
    if not _is_sound(found):
        raise InvalidMessage("unknown_token")
    issued, expires = (datetime.fromtimestamp(found[name], UTC) for name in ("iat", "exp"))
    return TokenClaims(TokenKind(found["kind"]), found["case"], found["jti"], issued, expires)


def _is_sound(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and set(found) == _MEMBERS
        and found["kind"] in tuple(TokenKind)
        and all(type(found[name]) is int and 0 <= found[name] < _LATEST for name in ("iat", "exp"))
        and isinstance(found["case"], str)
        and _CASE.fullmatch(found["case"]) is not None
        and isinstance(found["jti"], str)
        and _ID.fullmatch(found["jti"]) is not None
    )
