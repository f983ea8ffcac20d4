"""Signatures and canonical bytes agree with what others published."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from joserfc.jwk import OKPKey

from schemas.errors import InvalidMessage
from schemas.ledger_keys import generate_ledger_keys, new_ledger_keys, read_ledger_keys, rotated
from schemas.signed import DatedKey, check_document, public_key, sign_document

VECTORS = Path(__file__).parents[1] / "vectors"


def vectors(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((VECTORS / name).read_text())
    return found


def named(vector: dict[str, Any]) -> str:
    return str(vector["name"])


@pytest.mark.parametrize("vector", vectors("canonical_json.json"), ids=named)
def test_canonical_bytes(vector: dict[str, Any]) -> None:
    assert rfc8785.dumps(json.loads(vector["input"])) == vector["output"].encode()


@pytest.mark.parametrize("value", [2**53, float("nan"), float("inf"), "\ud800"], ids=repr)
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises((rfc8785.CanonicalizationError, UnicodeEncodeError)):
        rfc8785.dumps({"value": value})


def b64(text: str) -> str:
    return base64.urlsafe_b64encode(bytes.fromhex(text)).rstrip(b"=").decode()


@pytest.mark.parametrize("vector", vectors("ed25519.json"), ids=named)
def test_ed25519(vector: dict[str, Any]) -> None:
    """Through the keys as we hold them, JWKs of joserfc."""
    public = {"kty": "OKP", "crv": "Ed25519", "x": b64(vector["public"]), "kid": "test"}
    key = OKPKey.import_key({**public, "d": b64(vector["secret"])})
    message, signature = bytes.fromhex(vector["message"]), bytes.fromhex(vector["signature"])
    assert key.private_key.sign(message) == signature  # type: ignore[union-attr, call-arg]
    OKPKey.import_key(public).public_key.verify(signature, message)  # type: ignore[union-attr, call-arg]
    assert public_key(key) == public


NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
BODY = {"type": "test", "at": "2026-11-22T09:00:00.000Z", "n": 1}


def test_a_document_holds_as_it_was_signed() -> None:
    keys = new_ledger_keys(NOW)
    document = sign_document(BODY, keys.signing)
    assert check_document(document, "test", keys.verifying).kid == keys.signing.kid
    for altered, code in (
        ({**document, "body": {**BODY, "n": 2}}, "bad_signature"),
        ({**document, "body": {**BODY, "type": "other"}}, "wrong_kind"),
        ({**document, "signature": "0" * 128}, "bad_signature"),
        ({**document, "kid": "other"}, "unknown_key"),
        (sign_document({**BODY, "at": "2026-11-22T07:00:00.000Z"}, keys.signing), "key_not_yet_valid"),
    ):
        with pytest.raises(InvalidMessage, match=code):
            check_document(altered, "test", keys.verifying)


def test_a_retired_key_no_longer_signs() -> None:
    first = new_ledger_keys(NOW)
    second = rotated(first, NOW.replace(hour=10))
    check_document(sign_document(BODY, first.signing), "test", second.verifying)
    late = sign_document({**BODY, "at": "2026-11-22T10:00:00.001Z"}, first.signing)
    with pytest.raises(InvalidMessage, match="key_retired"):
        check_document(late, "test", second.verifying)
    check_document(sign_document({**BODY, "at": "2026-11-22T10:00:00.001Z"}, second.signing), "test", second.verifying)


def test_keys_are_read_as_they_were_written_and_published_without_the_secret(tmp_path: Path) -> None:
    generate_ledger_keys(tmp_path)
    keys = read_ledger_keys(tmp_path)
    secret = keys.signing.as_dict(private=True)["d"]
    assert str(secret) not in json.dumps(keys.public())
    again = [DatedKey.from_json(one) for one in keys.public()["keys"]]
    assert [one.thumbprint for one in again] == [one.thumbprint for one in keys.verifying.values()]
