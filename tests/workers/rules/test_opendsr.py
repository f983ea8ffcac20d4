"""OpenDSR's rules as processor: both shapes, identities of every kind, and each state's word."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.terms import Right
from workers.rules.decisions import Refusal
from workers.rules.opendsr import RIGHTS, V1, V2, Unserved, may_cancel, read_request, status_word, subject_request_id
from workers.rules.outside import Stage, Standing

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOSTS = frozenset({"shop.example.org"})
EMAIL = {"identity_type": "email", "identity_value": "Ada@Example.com", "identity_format": "raw"}


def hashed(form: str, text: str = "ada@example.com") -> dict[str, str]:
    digest = hashlib.new(form, text.encode(), usedforsecurity=False).hexdigest()
    return {"identity_type": "email", "identity_value": digest, "identity_format": form}


def body(**changed: Any) -> dict[str, Any]:
    said = {
        "regulation": "gdpr",
        "subject_request_id": "0f4ad7a2-7e0e-4b7d-9a44-3f8e5f3d7c11",
        "subject_request_type": "erasure",
        "submitted_time": "2026-11-20T08:30:00Z",
        "subject_identities": [EMAIL],
        "api_version": "2.0",
        "status_callback_urls": ["https://shop.example.org/opendsr/callbacks"],
        "extensions": {"opendsr.example.com": {"account": 123456}, "other.example.org": {"id": 654321}},
    }
    return {name: value for name, value in {**said, **changed}.items() if value is not None}


def read(version: str = V2, **changed: Any) -> Any:
    return read_request(json.dumps(body(**changed)).encode(), version, HOSTS)


def refused(version: str = V2, **changed: Any) -> str:
    with pytest.raises(Unserved) as caught:
        read(version, **changed)
    assert caught.value.status == 400
    assert caught.value.body["error"]["code"] == 400
    assert "ada" not in json.dumps(caught.value.body).lower()
    return caught.value.reason


def test_a_request_of_version_2() -> None:
    found = read()
    assert (found.right, found.email) == (Right.ERASURE, "Ada@example.com")
    assert found.callbacks == ("https://shop.example.org/opendsr/callbacks",)


def test_a_request_of_version_1_has_no_regulation() -> None:
    assert read(V1, regulation=None, api_version="1.0").right is Right.ERASURE
    assert read(V1, regulation="ccpa", api_version=None).right is Right.ERASURE
    assert refused(V2, regulation=None) == "bad_regulation"


def test_the_object_shape_that_calls_itself_3_is_read() -> None:
    identities = {
        "email": {"value": "ada@example.com", "encoding": "raw"},
        "android_id": {"value": "x", "encoding": "raw"},
    }
    extensions = {"opendsr.mparticle.com": {"skip_waiting_period": True, "subject_identities": {}}}
    found = read(api_version="3.0", subject_identities=identities, group_id="7", extensions=extensions)
    assert found.email == "ada@example.com"
    assert refused(api_version="3.0", subject_identities={"email": "ada@example.com"}) == "bad_identity_format"


@pytest.mark.parametrize("word", list(RIGHTS))
def test_every_word_of_the_protocol_that_is_served(word: str) -> None:
    assert read(subject_request_type=word).right.value == word


@pytest.mark.parametrize("word", ["rectification", "objection", "restriction", "Erasure", "", None, 1, ["erasure"]])
def test_what_has_no_word_there_is_refused(word: Any) -> None:
    assert refused(subject_request_type=word) == "unsupported_request_type"


@pytest.mark.parametrize("form", ["md5", "sha1", "sha256"])
def test_a_hash_may_stand_beside_its_address(form: str) -> None:
    assert read(subject_identities=[hashed(form), EMAIL]).email == "Ada@example.com"
    assert read(subject_identities=[EMAIL, hashed(form, "Ada@example.com")])
    assert refused(subject_identities=[EMAIL, hashed(form, "eve@example.com")]) == "several_people"
    assert refused(subject_identities=[hashed(form)]) == "unsupported_identities"


def test_other_identities_may_stand_beside_it_and_find_nobody_alone() -> None:
    customer = {"identity_type": "controller_customer_id", "identity_value": "77", "identity_format": "raw"}
    assert read(subject_identities=[customer, EMAIL])
    assert refused(subject_identities=[customer]) == "unsupported_identities"
    assert refused(subject_identities=[]) == "unsupported_identities"


def test_one_request_is_about_one_address() -> None:
    other = EMAIL | {"identity_value": "eve@example.com"}
    assert refused(subject_identities=[EMAIL, other]) == "several_people"
    assert read(subject_identities=[EMAIL, EMAIL | {"identity_value": "ada@example.com"}])


@pytest.mark.parametrize(
    ("identity", "reason"),
    [
        (EMAIL | {"identity_value": "ada"}, "bad_identity_value"),
        (EMAIL | {"identity_value": ""}, "bad_identity_value"),
        (EMAIL | {"identity_value": 5}, "bad_identity_value"),
        (EMAIL | {"identity_value": "a" * 400}, "bad_identity_value"),
        (EMAIL | {"identity_format": "sha512"}, "bad_identity_format"),
        (EMAIL | {"identity_format": ["raw"]}, "bad_identity_format"),
        (EMAIL | {"identity_format": "sha256"}, "bad_identity_value"),
        (hashed("sha1") | {"identity_format": "sha256"}, "bad_identity_value"),
        (hashed("md5") | {"identity_value": "z" * 32}, "bad_identity_value"),
        (EMAIL | {"identity_type": "phone"}, "bad_identity_type"),
        (EMAIL | {"identity_type": {}}, "bad_identity_type"),
        ("ada@example.com", "bad_identity_type"),
        (None, "bad_identity_type"),
    ],
)
def test_a_malformed_identity_is_refused(identity: Any, reason: str) -> None:
    assert refused(subject_identities=[EMAIL, identity]) == reason


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"subject_identities": None}, "no_identities"),
        ({"subject_identities": "ada@example.com"}, "no_identities"),
        ({"subject_identities": [EMAIL] * 51}, "too_many_identities"),
        ({"regulation": "lgpd"}, "bad_regulation"),
        ({"api_version": "4.0"}, "unsupported_api_version"),
        ({"submitted_time": None}, "bad_submitted_time"),
        ({"submitted_time": "yesterday"}, "bad_submitted_time"),
        ({"submitted_time": 5}, "bad_submitted_time"),
        ({"subject_request_id": None}, "bad_subject_request_id"),
        ({"subject_request_id": "0F4AD7A2-7E0E-4B7D-9A44-3F8E5F3D7C11"}, "bad_subject_request_id"),
        ({"subject_request_id": "0f4ad7a2-7e0e-1b7d-9a44-3f8e5f3d7c11"}, "bad_subject_request_id"),
        ({"subject_request_id": "ada@example.com"}, "bad_subject_request_id"),
        ({"extensions": []}, "bad_extensions"),
        ({"status_callback_urls": "https://shop.example.org/"}, "bad_callback_urls"),
        ({"status_callback_urls": ["https://shop.example.org/"] * 6}, "bad_callback_urls"),
        ({"status_callback_urls": ["http://shop.example.org/"]}, "bad_callback_urls"),
        ({"status_callback_urls": ["https://evil.example.org/"]}, "bad_callback_urls"),
        ({"status_callback_urls": [7]}, "bad_callback_urls"),
    ],
)
def test_a_request_that_cannot_be_served_is_refused(changed: dict[str, Any], reason: str) -> None:
    assert refused(**changed) == reason


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"{", "not_json"),
        (b'{"a": 1,}', "not_json"),
        (b'{"a": 1, "a": 2}', "duplicate_key"),
        (b"\xff", "not_utf8"),
        (b"[]", "not_an_object"),
    ],
)
def test_what_is_no_json_is_refused(raw: bytes, reason: str) -> None:
    """The published examples end a list with a comma: they are not valid by their own text."""
    with pytest.raises(Unserved) as caught:
        read_request(raw, V2, HOSTS)
    assert caught.value.reason == reason


def test_two_bodies_say_the_same_whatever_their_order() -> None:
    turned = dict(reversed(body().items()))
    assert read_request(json.dumps(turned, indent=2).encode(), V2, HOSTS).same == read().same
    assert read(subject_request_type="access").same != read().same


def test_states_in_the_protocols_words() -> None:
    def word(stage: Stage, **more: Any) -> str:
        return status_word(Standing(stage, NOW, NOW + timedelta(days=30), **more))

    assert [word(stage) for stage in Stage] == [
        *("pending", "in_progress", "in_progress", "completed", "completed", "cancelled", "cancelled")
    ]
    assert word(Stage.ANSWERED, word_follows=True) == "in_progress"
    assert word(Stage.REFUSED, refusal=Refusal.EXCESSIVE) == "completed"


def test_only_what_is_pending_may_be_cancelled() -> None:
    assert [stage for stage in Stage if may_cancel(Standing(stage, NOW, NOW))] == [Stage.RECEIVED]


def test_an_id_is_a_uuid_of_version_4() -> None:
    with pytest.raises(Unserved):
        subject_request_id("../../etc")
