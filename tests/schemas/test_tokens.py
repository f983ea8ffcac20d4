"""People's tokens: whatever is forged, altered, late, of another kind or case is refused."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from joserfc import jws
from joserfc.jwk import OKPKey

from schemas.errors import InvalidMessage
from schemas.keyring import generate_keys
from schemas.orders import ORDER
from schemas.party_keys import read_token_key, read_token_keys
from schemas.tokens import TYP, TokenKind, read_token
from workers.rules.tokens import LIFETIMES, expires_at, make_token

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
CASE = "R-4F7K-9Q2M"
KEY = OKPKey.generate_key("Ed25519", parameters={"kid": "tokens-1"})
PUBLIC = {"tokens-1": OKPKey.import_key(KEY.as_dict(private=False))}
TOKEN_ID = secrets.token_urlsafe(16)


def made(kind: TokenKind = TokenKind.CONFIRM, key: OKPKey = KEY, case: str = CASE) -> str:
    return make_token(key, kind, case, token_id=TOKEN_ID, now=NOW)


def refusal(token: str, kind: TokenKind = TokenKind.CONFIRM, now: datetime = NOW, **more: Any) -> str:
    with pytest.raises(InvalidMessage) as refused:
        read_token(token, PUBLIC, kind, now, **more)
    return refused.value.code


def signed(header: dict[str, Any], claims: Any, key: Any = KEY) -> str:
    """A token with any header and claims, by a good key."""
    payload = claims if isinstance(claims, bytes) else rfc8785.dumps(claims)
    return jws.serialize_compact(header, payload, key, algorithms=["Ed25519"])


def claims(**changed: Any) -> dict[str, Any]:
    now = int(NOW.timestamp())
    return {"kind": "confirm", "case": CASE, "jti": TOKEN_ID, "iat": now, "exp": now + 60} | changed


HEADER = {"alg": "Ed25519", "kid": "tokens-1", "typ": TYP}


@pytest.mark.parametrize("kind", TokenKind)
def test_a_token_is_read_with_the_public_key(kind: TokenKind) -> None:
    found = read_token(made(kind), PUBLIC, kind, NOW, case=CASE)
    assert (found.kind, found.case, found.id) == (kind, CASE, TOKEN_ID)
    assert (found.issued_at, found.expires_at) == (NOW, NOW + LIFETIMES[kind])
    assert found.expires_at == expires_at(kind, NOW)


def test_the_keys_of_an_installation_fit(tmp_path: Path) -> None:
    generate_keys(tmp_path)
    token = made(key=read_token_key(tmp_path / "controller"))
    keys = read_token_keys(tmp_path / "door")
    assert read_token(token, keys, TokenKind.CONFIRM, NOW).case == CASE
    assert refusal(token) == "unknown_token", "another installation's"


def test_a_token_of_another_key_is_unknown() -> None:
    other = OKPKey.generate_key("Ed25519", parameters={"kid": "tokens-1"})
    assert refusal(made(key=other)) == "unknown_token"
    nameless = OKPKey.generate_key("Ed25519", parameters={"kid": "tokens-2"})
    assert refusal(made(key=nameless)) == "unknown_token"


def test_every_altered_character_is_found() -> None:
    """Each character in turn, the last ones too, whose spare bits base64 ignores."""
    token = made()
    for place, char in enumerate(token):
        for other in ("A", "B", "_", "."):
            if other != char:
                assert refusal(token[:place] + other + token[place + 1 :]) == "unknown_token", place


@pytest.mark.parametrize(
    "garbage", ["", ".", "..", "a.b.c", "é.é.é", "\x00", "a" * 5000, "=.=.=", made() + "=", made()[:-1]]
)
def test_garbage_is_unknown(garbage: str) -> None:
    assert refusal(garbage) == "unknown_token"


def test_no_algorithm_of_the_header_is_believed() -> None:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    assert refusal(f"{part(HEADER | {'alg': 'none'})}.{part(claims())}.") == "unknown_token"
    raw = base64.urlsafe_b64decode(str(PUBLIC["tokens-1"].as_dict()["x"]) + "=")
    for secret in (raw, PUBLIC["tokens-1"].as_pem(private=False)):
        signing = f"{part(HEADER | {'alg': 'HS256'})}.{part(claims())}"
        mac = base64.urlsafe_b64encode(hmac.digest(secret, signing.encode(), "sha256")).rstrip(b"=").decode()
        assert refusal(f"{signing}.{mac}") == "unknown_token"


@pytest.mark.parametrize(
    "header",
    [
        HEADER | {"typ": ORDER},
        {"alg": "Ed25519", "kid": "tokens-1"},
        HEADER | {"jwk": PUBLIC["tokens-1"].as_dict(private=False)},
        HEADER | {"jku": "https://keys.example.org"},
    ],
)
def test_another_header_is_unknown(header: dict[str, Any]) -> None:
    """An order's type, none, a key or a place of keys brought along."""
    assert refusal(signed(header, claims())) == "unknown_token"


@pytest.mark.parametrize(
    "payload",
    [
        claims(kind="subscribe"),
        claims(case="R/../x"),
        claims(case=""),
        claims(jti="short"),
        claims(jti=7),
        claims(exp="soon"),
        claims(exp=2**52),
        claims(exp=True),
        claims(iat=-1),
        claims(more=1),
        {name: value for name, value in claims().items() if name != "exp"},
        [],
    ],
)
def test_claims_that_are_not_ours_are_unknown(payload: Any) -> None:
    """By the right key even: a token is read whole or not at all."""
    assert refusal(signed(HEADER, payload)) == "unknown_token"


def test_a_token_ends() -> None:
    token, end = made(), NOW + LIFETIMES[TokenKind.CONFIRM]
    assert read_token(token, PUBLIC, TokenKind.CONFIRM, end - timedelta(seconds=1)).case == CASE
    assert refusal(token, now=end) == "expired_token"
    assert refusal(token, now=end + timedelta(days=900)) == "expired_token"


def test_a_token_from_the_future_is_unknown() -> None:
    assert refusal(made(), now=NOW - timedelta(minutes=6)) == "unknown_token"
    assert read_token(made(), PUBLIC, TokenKind.CONFIRM, NOW - timedelta(minutes=4)).case == CASE


@pytest.mark.parametrize("kind", TokenKind)
def test_one_kind_never_passes_for_another(kind: TokenKind) -> None:
    for other in set(TokenKind) - {kind}:
        assert refusal(made(kind), other) == "wrong_kind"


def test_a_token_of_another_case_is_unknown() -> None:
    assert refusal(made(), case="R-0000-0000") == "unknown_token"


def test_a_refusal_quotes_nothing() -> None:
    token = made()
    with pytest.raises(InvalidMessage) as refused:
        read_token(token, PUBLIC, TokenKind.STATUS, NOW)
    assert CASE not in str(refused.value)
    assert token not in str(refused.value)
