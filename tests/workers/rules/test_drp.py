"""The Data Rights Protocol's rules: what is believed, in which order, and what each state is called."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.terms import Right
from workers.rules.decisions import Refusal
from workers.rules.drp import (
    Rejected,
    check_envelope,
    check_revocation,
    check_setup,
    open_signed,
    read_exercise,
    read_key,
    status_of,
)
from workers.rules.outside import Stage, Standing
from workers.rules.urls import is_https

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
RAW = KEY.public_key().public_bytes_raw()
HOSTS = frozenset({"agent.example.org"})


def envelope(**changed: Any) -> dict[str, Any]:
    said = {
        "agent-id": "AGENT_ONE",
        "business-id": "SAMPLE_BUSINESS",
        "issued-at": "2026-11-23T11:59:00Z",
        "expires-at": "2026-11-23T12:09:00Z",
        "drp.version": "1.0",
    }
    return {name: value for name, value in {**said, **changed}.items() if value is not None}


def exercise(**changed: Any) -> dict[str, Any]:
    said = {
        "agent-request-id": "asked-1",
        "exercise": "deletion",
        "regime": "ccpa",
        "relationships": ["customer", "marketing"],
        "status_callback": "https://agent.example.org/update_status",
        "name": "Ada Example",
        "email": "ada@example.com",
        "email_verified": True,
        "power_of_attorney": "https://agent.example.org/poa/1",
    }
    return envelope(**{**said, **changed})


def wire(body: Any, key: Ed25519PrivateKey = KEY) -> bytes:
    document = body if isinstance(body, bytes) else json.dumps(body).encode()
    return base64.b64encode(key.sign(document) + document)


def refused(call: Callable[[], Any]) -> tuple[int, bool]:
    with pytest.raises(Rejected) as caught:
        call()
    assert "ada" not in str(caught.value)
    return caught.value.status, caught.value.fatal


@pytest.mark.parametrize(
    "text", [RAW.hex(), RAW.hex().upper(), base64.b64encode(RAW).decode(), base64.b64encode(RAW).decode().rstrip("=")]
)
def test_a_directory_key_is_hex_or_base64(text: str) -> None:
    assert read_key(text).public_bytes_raw() == RAW


@pytest.mark.parametrize("text", ["", "AAAA", RAW.hex()[:-2], base64.b64encode(RAW + b"!").decode(), "é" * 32])
def test_what_is_no_key_is_a_fault(text: str) -> None:
    with pytest.raises(ValueError, match=r"key|base64|ASCII|ascii|32|[Pp]adding"):
        read_key(text)


def test_a_signed_message_opens() -> None:
    assert open_signed(wire(exercise()), KEY.public_key()).body["exercise"] == "deletion"


def test_nothing_is_read_before_the_signature_holds() -> None:
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32))
    document = json.dumps(exercise()).encode()
    forged = base64.b64encode(KEY.sign(document) + document.replace(b"ada@", b"eve@"))
    assert refused(lambda: open_signed(b"%%%", KEY.public_key())) == (400, False)
    assert refused(lambda: open_signed(b"", KEY.public_key())) == (403, False)
    assert refused(lambda: open_signed(base64.b64encode(bytes(63)), KEY.public_key())) == (403, False)
    assert refused(lambda: open_signed(wire(b"{not json", stranger), KEY.public_key())) == (403, False)
    assert refused(lambda: open_signed(forged, KEY.public_key())) == (403, False)
    assert refused(lambda: open_signed(wire(b"{not json"), KEY.public_key())) == (400, False)
    assert refused(lambda: open_signed(wire(b'{"a": 1, "a": 2}'), KEY.public_key())) == (400, False)
    assert refused(lambda: open_signed(wire(b"[]"), KEY.public_key())) == (400, False)


def check(**changed: Any) -> datetime:
    return check_envelope(envelope(**changed), "AGENT_ONE", "SAMPLE_BUSINESS", NOW)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"agent-id": "AGENT_TWO"}, (403, False)),
        ({"agent-id": None}, (403, False)),
        ({"business-id": "OTHER_BUSINESS"}, (403, False)),
        ({"business-id": 7}, (403, False)),
        ({"issued-at": "2026-11-23T12:00:00Z"}, (400, False)),  # the very moment is not after it
        ({"issued-at": "2026-11-23T12:00:01Z"}, (400, False)),
        ({"issued-at": "soon"}, (400, False)),
        ({"issued-at": 1700000000}, (400, False)),
        ({"expires-at": "2026-11-23T12:00:00Z"}, (400, True)),
        ({"expires-at": None}, (400, False)),
        ({"expires-at": "9999-12-31T23:59:59-23:00"}, (400, False)),
        ({"drp.version": "0.8"}, (400, True)),
        ({"drp.version": None}, (400, True)),
    ],
)
def test_each_wrong_step_has_its_code(changed: dict[str, Any], found: tuple[int, bool]) -> None:
    assert refused(lambda: check(**changed)) == found


def test_the_order_is_the_protocols() -> None:
    """With everything wrong at once, the first step speaks; mended one by one, the next does."""
    wrong = {
        "agent-id": "AGENT_TWO",
        "business-id": "OTHER_BUSINESS",
        "issued-at": "2027-01-01T00:00:00Z",
        "expires-at": "2026-01-01T00:00:00Z",
        "drp.version": "0.8",
    }
    words = []
    while wrong:
        with pytest.raises(Rejected) as caught:
            check(**wrong)
        words.append(caught.value.message.split()[0])
        del wrong[next(iter(wrong))]
    assert words == ["agent-id", "business-id", "issued-at", "The", "drp.version"]
    assert check() == datetime(2026, 11, 23, 12, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    "moment", ["2026-11-23T11:59:00", "20261123T115900Z", "2026-11-23 12:59+01:00", "2026-W48-1T11:59:00Z"]
)
def test_moments_are_iso_8601(moment: str) -> None:
    assert check(**{"issued-at": moment})


def test_key_setup_is_its_envelope_alone() -> None:
    check_setup(envelope())
    assert refused(lambda: check_setup(exercise())) == (403, False)


@pytest.mark.parametrize(
    ("word", "right"),
    [
        ("deletion", Right.ERASURE),
        ("access", Right.ACCESS),
        ("access:categories", Right.ACCESS),
        ("access:specific", Right.ACCESS),
    ],
)
def test_rights_that_have_an_equal(word: str, right: Right) -> None:
    asked = read_exercise(exercise(exercise=word, regime=None), HOSTS)
    assert (asked.right, asked.email, asked.agent_request_id) == (right, "ada@example.com", "asked-1")
    assert asked.callback == "https://agent.example.org/update_status"


@pytest.mark.parametrize(
    "word", ["sale:opt-out", "sale:opt_out", "sale:opt-in", "portability", "DELETION", "", None, []]
)
def test_rights_that_have_none_are_refused(word: Any) -> None:
    assert refused(lambda: read_exercise(exercise(exercise=word), HOSTS)) == (400, True)


@pytest.mark.parametrize(
    "changed",
    [
        {"regime": "gdpr"},
        {"email": None},
        {"email": "ada@example.com, eve@example.com"},
        {"email": ["ada@example.com"]},
        {"agent-request-id": "ada@example.com"},
        {"agent-request-id": ""},
        {"agent-request-id": 5},
        {"status_callback": "http://agent.example.org/update_status"},
        {"status_callback": "https://elsewhere.example.org/update_status"},
        {"status_callback": "https://agent.example.org@10.0.0.1/"},
        {"status_callback": "https://agent.example.org:port/"},
        {"status_callback": "https://127.0.0.1/"},
        {"status_callback": {}},
    ],
)
def test_a_request_that_cannot_be_served_is_refused(changed: dict[str, Any]) -> None:
    assert refused(lambda: read_exercise(exercise(**changed), HOSTS)) == (400, True)


def test_two_messages_ask_for_the_same_when_only_their_times_differ() -> None:
    first = read_exercise(exercise(), HOSTS).same
    assert first == read_exercise(exercise(**{"issued-at": "x", "expires-at": "y"}), HOSTS).same
    assert first != read_exercise(exercise(email="eve@example.com"), HOSTS).same
    assert first != read_exercise(exercise(exercise="access"), HOSTS).same


def test_a_revocation_says_a_reason_at_most() -> None:
    args = ("AGENT_ONE", "SAMPLE_BUSINESS", NOW)
    assert check_revocation({}, *args) is None
    assert check_revocation({"reason": "changed my mind"}, *args) is None
    assert check_revocation(envelope(reason="r"), *args) == datetime(2026, 11, 23, 12, 9, tzinfo=UTC)
    assert refused(lambda: check_revocation({"reason": 5}, *args)) == (400, False)
    assert refused(lambda: check_revocation(exercise(), *args)) == (400, False)
    assert refused(lambda: check_revocation({"agent-id": "AGENT_TWO"}, *args)) == (403, False)
    assert refused(lambda: check_revocation(envelope(**{"expires-at": "2026-11-23T11:00:00Z"}), *args)) == (400, True)


@pytest.mark.parametrize("url", ["https://agent.example.org", "https://agent.example.org:8443/a?b=c"])
def test_urls_to_call_back(url: str) -> None:
    assert is_https(url, HOSTS)


def told(stage: Stage, **more: Any) -> dict[str, str]:
    standing = Standing(stage, NOW, NOW + timedelta(days=30), **more)
    return status_of("id-1", "asked-1", standing, "https://verify.example.com", "https://results.example.com")


def test_states_in_the_protocols_words() -> None:
    known = {"request_id": "id-1", "agent_request_id": "asked-1", "received_at": "2026-11-23T12:00:00Z"}
    by = {"expected_by": "2026-12-23T11:59:59Z"}
    assert told(Stage.RECEIVED) == known | {"status": "open"}
    assert told(Stage.ACCEPTED) == known | by | {"status": "in_progress"}
    assert told(Stage.REVOKED) == known | {"status": "revoked"}
    assert told(Stage.ANSWERED) == known | {"status": "fulfilled"}
    pending = told(Stage.IDENTITY_PENDING)
    assert (pending["status"], pending["reason"]) == ("in_progress", "need_user_verification")
    assert pending["user_verification_url"] == "https://verify.example.com"
    assert told(Stage.ACCEPTED, extended=True)["processing_details"]


def test_results_are_named_once_there_are_any() -> None:
    found = told(Stage.ANSWERED, results_until=NOW + timedelta(days=7))
    assert (found["results_url"], found["expires_at"]) == ("https://results.example.com", "2026-11-30T12:00:00Z")


def test_an_answer_that_promised_more_is_not_fulfilled() -> None:
    found = told(Stage.ANSWERED, word_follows=True, results_until=NOW + timedelta(days=7))
    assert found["status"] == "in_progress"
    assert "results_url" not in found


@pytest.mark.parametrize("refusal", list(Refusal))
def test_every_refusal_has_a_reason_of_the_protocol(refusal: Refusal) -> None:
    found = told(Stage.REFUSED, refusal=refusal)
    assert found["status"] == "denied"
    assert found["reason"] in {"no_match", "insuf_verification", "too_many_requests", "claim_not_covered", "other"}


def test_a_link_that_nobody_used_is_no_proof() -> None:
    assert told(Stage.LAPSED)["reason"] == "insuf_verification"
    assert told(Stage.REFUSED)["reason"] == "other"
