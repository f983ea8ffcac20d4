"""OpenDSR as controller: what is asked, and what an answer must say once it is believed."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.errors import InvalidMessage
from schemas.terms import Right
from workers.rules.opendsr import V2, read_request
from workers.rules.opendsr_asked import (
    build_request,
    claimed,
    errand_id,
    read_callback,
    read_status,
    read_taken,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
URL = "https://opendsr.example.com/opendsr/callbacks"
ERRAND = errand_id("R-2222-3333-4444", "mailing/0")
SENT = build_request(ERRAND, Right.ERASURE, "ada@example.com", NOW, URL)


def code_of(call: Any) -> str:
    with pytest.raises(InvalidMessage) as caught:
        call()
    return caught.value.code


def test_what_is_asked_is_what_a_processor_reads() -> None:
    found = read_request(SENT, V2, frozenset({"opendsr.example.com"}))
    assert (found.subject_request_id, found.right, found.email) == (ERRAND, Right.ERASURE, "ada@example.com")
    assert found.callbacks == (URL,)
    assert json.loads(SENT)["submitted_time"] == "2026-11-23T12:00:00Z"


def test_an_errand_has_one_id_however_often_it_is_made() -> None:
    assert errand_id("R-2222-3333-4444", "mailing/0") == ERRAND
    assert len({errand_id(case, to) for case in ("a", "b") for to in ("mailing/0", "mailing/1")}) == 4


def test_headers_of_both_versions_claim_a_domain() -> None:
    new = {"X-OpenDSR-Processor-Domain": "P.example.org", "X-OpenDSR-Signature": "s"}
    old = {"X-OpenGDPR-Processor-Domain": "q.example.org", "X-OpenGDPR-Signature": "t"}
    assert claimed(new | old) == ("p.example.org", "s")
    assert claimed(old) == ("q.example.org", "t")
    for missing in ({}, {"X-OpenDSR-Signature": "s"}, {"X-OpenDSR-Processor-Domain": "p.example.org"}):
        assert code_of(lambda said=missing: claimed(said)) == "unknown_domain"


def taken(**changed: Any) -> bytes:
    said = {
        "controller_id": "us",
        "expected_completion_time": "2026-12-20T00:00:00Z",
        "received_time": "2026-11-23T12:00:01Z",
        "encoded_request": base64.b64encode(SENT).decode(),
        "subject_request_id": ERRAND,
    }
    return json.dumps({name: value for name, value in {**said, **changed}.items() if value is not None}).encode()


def test_a_request_that_was_taken() -> None:
    assert read_taken(taken(), SENT, ERRAND) == datetime(2026, 12, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"subject_request_id": "another"}, "other_request"),
        ({"encoded_request": base64.b64encode(SENT + b" ").decode()}, "other_request"),
        ({"encoded_request": "%"}, "other_request"),
        ({"encoded_request": None}, "other_request"),
        ({"expected_completion_time": "soon"}, "missing_moment"),
        ({"received_time": None}, "missing_moment"),
    ],
)
def test_an_answer_about_something_else_is_not_one(changed: dict[str, Any], code: str) -> None:
    assert code_of(lambda: read_taken(taken(**changed), SENT, ERRAND)) == code


def stated(**changed: Any) -> bytes:
    said = {"controller_id": "us", "subject_request_id": ERRAND, "request_status": "completed"}
    return json.dumps({**said, "status_callback_url": URL, **changed}).encode()


def test_a_statement_is_known_by_its_digest() -> None:
    raw = stated(expected_completion_time="2026-12-20T00:00:00Z")
    found = read_status(raw, ERRAND)
    assert (found.status, found.digest) == ("completed", hashlib.sha256(raw).hexdigest())
    assert read_callback(raw, URL) == (ERRAND, found)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"status_callback_url": "https://elsewhere.example.com/"}, "other_callback_url"),
        ({"subject_request_id": 7}, "other_request"),
        ({"request_status": "denied"}, "unknown_status"),
        ({"request_status": None}, "unknown_status"),
        ({"request_status": ["completed"]}, "unknown_status"),
    ],
)
def test_a_call_back_that_says_something_else_is_refused(changed: dict[str, Any], code: str) -> None:
    assert code_of(lambda: read_callback(stated(**changed), URL)) == code


@pytest.mark.parametrize("raw", [b"[]", b"{" + b" " * 70_000 + b"}", b"{", b"\xff"])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidMessage):
        read_status(raw, ERRAND)
