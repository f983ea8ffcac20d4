"""Whatever bytes come as a bundle, the answer is a report with a fault in it, never a traceback and never soundness."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.ledger_keys import LedgerKeys
from schemas.signed import sign_document
from tests.workers.evidence.cases import CaseBook, trust
from tests.workers.evidence.rig import LedgerRig
from tests.workers.evidence.test_bundle import altered_at, at, places
from workers.evidence.bundle import MAX_BYTES, to_bytes
from workers.evidence.findings import Report
from workers.evidence.verify import verify
from workers.evidence.wording import rows, sentences

Document = dict[str, Any]


def told(report: Report) -> str:
    """Everything a reader would be shown; it must be sayable, whatever came."""
    return "\n".join([*sentences(report), *(" ".join(row) for row in rows(report.stores))])


@pytest.fixture
async def document(rig: LedgerRig) -> Document:
    return await (await CaseBook(rig).whole()).bundle()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00",
        b"\xff\xfe{}",
        b"null",
        b"7",
        b"[]",
        b"{}",
        b'{"body":{}}',
        b'{"body":1,"body":2}',
        b"NaN",
        b"1" * 100_000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 40 + b"]" * 40,
        b'"\\ud800"',
        b"[" + b"0," * 1_100_000 + b"0]",
        b" " * (MAX_BYTES + 1),
        b"PK\x03\x04" + bytes(1000),
    ],
    ids=lambda raw: f"{raw[:12]!r}-{len(raw)}",
)
def test_what_is_no_bundle(raw: bytes) -> None:
    report = verify(raw)
    assert not report.sound
    assert report.case is None
    assert "no evidence file" in told(report)


WRONG = [None, True, 0, -1, 2**53, 1.5, "", "x", "é" * 300, [], {}, [[]], {"a": 1}, "a" * 50_000, ["x"] * 50]


async def test_a_wrong_type_at_every_place(rig: LedgerRig, document: Document) -> None:
    """Sealed anew each time, so that nothing is found by the seal alone."""
    for n, path in enumerate(places(document["body"])):
        # A few wrong things at each place, others at the next.
        for wrong in (WRONG[(n + k) % len(WRONG)] for k in (0, 5, 10)):
            body = altered_at(document["body"], path, lambda _, wrong=wrong: wrong)
            if body == document["body"] or path[0] in ("case", "stores"):
                continue  # stated by the controller alone: his seal makes it so
            try:
                raw = to_bytes(sign_document(body, rig.keys.signing))
            except rfc8785.CanonicalizationError:
                raw = json.dumps({**document, "body": body}).encode()
            report = verify(raw, trust(rig.keys))
            assert not report.sound, path
            told(report)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


class Sealed:
    """One document for all of hypothesis' examples."""

    keys: LedgerKeys
    document: Document


@pytest.fixture
async def sealed(rig: LedgerRig, document: Document) -> Sealed:
    made = Sealed()
    made.keys, made.document = rig.keys, document
    return made


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_anything_anywhere(sealed: Sealed, data: st.DataObject) -> None:
    """Random JSON at random places: a report comes back, and it can be told."""
    every = list(places(sealed.document["body"]))
    body = sealed.document["body"]
    for path in data.draw(st.lists(st.sampled_from(every), min_size=1, max_size=2)):
        try:
            at(body, path)
        except (KeyError, IndexError, TypeError):
            continue
        body = altered_at(body, path, lambda _: data.draw(JSON))
    try:
        raw = to_bytes(sign_document(body, sealed.keys.signing))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        raw = json.dumps({**sealed.document, "body": body}).encode()
    told(verify(raw, trust(sealed.keys)))


def b64(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


HEADERS: list[Any] = [
    {"alg": "none", "kid": "KID", "typ": "greffier-receipt+jwt"},
    {"alg": "HS256", "kid": "KID", "typ": "greffier-receipt+jwt"},
    {"alg": "EdDSA", "kid": "KID", "typ": "greffier-receipt+jwt"},
    {"alg": "Ed25519", "kid": "KID", "typ": "greffier-order+jwt"},
    {"alg": "Ed25519", "kid": ["KID"], "typ": "greffier-receipt+jwt"},
    {"alg": ["Ed25519"], "kid": "KID", "typ": "greffier-receipt+jwt"},
    {"alg": "Ed25519", "kid": "KID", "typ": "greffier-receipt+jwt", "jwk": {}},
    {"alg": "Ed25519", "kid": "KID", "typ": "greffier-receipt+jwt", "crit": ["b64"], "b64": False},
    {"alg": None, "kid": None, "typ": None},
    [],
    7,
    None,
    "Ed25519",
    b"\xff\xff",
    b"",
    b"{",
]


@pytest.mark.parametrize("header", HEADERS, ids=str)
async def test_a_receipt_under_another_header(rig: LedgerRig, document: Document, header: Any) -> None:
    body = copy.deepcopy(document["body"])
    kid = body["store_keys"][1]["jwk"]["kid"]
    made = json.loads(json.dumps(header).replace("KID", kid)) if not isinstance(header, bytes) else header
    _, payload, signature = body["receipts"][1]["jws"].split(".")
    for jws in (f"{b64(made)}.{payload}.{signature}", f"{b64(made)}.{payload}.", f"{b64(made)}..", f"{b64(made)}"):
        body["receipts"][1]["jws"] = jws
        report = verify(to_bytes(sign_document(body, rig.keys.signing)), trust(rig.keys))
        assert {"receipt_missing", "not_in_normal_form"} & {fault.code for fault in report.faults}
        assert not report.sound
        told(report)


async def test_names_cannot_speak_to_a_terminal(rig: LedgerRig, document: Document) -> None:
    body = copy.deepcopy(document["body"])
    body["stores"][1]["name"] = "\x1b]0;owned\x07\x1b[2J[bold]Ltd\n\u202e"
    shown = told(verify(to_bytes(sign_document(body, rig.keys.signing)), trust(rig.keys)))
    assert not {char for char in shown if not char.isprintable() and char != "\n"}


async def test_no_value_of_the_file_is_in_a_fault(rig: LedgerRig, document: Document) -> None:
    body = copy.deepcopy(document["body"])
    body["case"]["reference"] = "jeanne@example.org"
    body["jeanne@example.org"] = 1
    report = verify(to_bytes(sign_document(body, rig.keys.signing)), trust(rig.keys))
    assert not report.sound
    assert "jeanne" not in told(report)
