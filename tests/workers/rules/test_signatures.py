"""Whose word a signature is, and whether the certificate that says so is believed."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1

from schemas.errors import InvalidMessage
from tests.workers.outside.certificates import DAY, Authority, Issued
from workers.rules.signatures import check_certificate, check_signature, sign

DOMAIN = "opendsr.example.org"
BODY = b'{"request_status": "completed"}'
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.new()


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    return authority.issue(DOMAIN)


def code_of(*checked: object, revoked: tuple[int, ...] = (), now: datetime = NOW, domain: str = DOMAIN) -> str:
    chain, anchors = checked
    with pytest.raises(InvalidMessage) as caught:
        check_certificate(chain, domain, anchors, now, revoked)  # type: ignore[arg-type]
    return caught.value.code


def test_a_signature_of_the_certificates_key(issued: Issued) -> None:
    signature = sign(issued.key, BODY)
    check_signature(issued.certificate, BODY, signature)
    check_signature(issued.certificate, BODY, "\n".join(signature[n : n + 80] for n in range(0, len(signature), 80)))


def test_anything_else_is_no_signature(authority: Authority, issued: Issued) -> None:
    signature = sign(issued.key, BODY)
    weak = base64.b64encode(issued.key.sign(BODY, PKCS1v15(), SHA1())).decode()
    for body, said in (
        (BODY + b" ", signature),
        (BODY, sign(authority.own.key, BODY)),
        (BODY, weak),
        (BODY, signature[:-4]),
        (BODY, "%%%"),
        (BODY, "é"),
        (BODY, ""),
    ):
        with pytest.raises(InvalidMessage, match="bad_signature"):
            check_signature(issued.certificate, body, said)


def test_a_certificate_is_believed_for_its_domain_in_its_time(authority: Authority, issued: Issued) -> None:
    anchors = [authority.own.certificate]
    check_certificate([issued.certificate], DOMAIN, anchors, NOW)
    assert code_of([issued.certificate], anchors, domain="example.org") == "bad_certificate"
    assert code_of([issued.certificate], anchors, domain="other.example.org") == "bad_certificate"
    assert code_of([issued.certificate], anchors, now=NOW + 91 * DAY) == "bad_certificate"
    assert code_of([issued.certificate], anchors, now=NOW - 2 * DAY) == "bad_certificate"
    assert code_of([issued.certificate], anchors, revoked=(issued.certificate.serial_number,)) == "revoked_certificate"


def test_an_authority_that_is_not_named_is_not_believed(authority: Authority, issued: Issued) -> None:
    stranger = Authority.new("Stranger")
    assert code_of([issued.certificate], [stranger.own.certificate]) == "bad_certificate"
    assert code_of([issued.certificate], []) == "bad_certificate"
    assert code_of([], [authority.own.certificate]) == "bad_certificate"


def test_a_certificate_signed_by_itself_is_not_believed(authority: Authority) -> None:
    assert code_of([authority.own.certificate], [authority.own.certificate]) == "bad_certificate"
