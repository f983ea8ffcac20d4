"""Signatures over raw bodies by the key of a certificate, and whether that certificate is to be believed.

RSA with SHA-256 and PKCS #1 v1.5, as FIPS 186 has it; the protocol names no other. A certificate is believed when a
named authority issued it for this very domain, it is in its time, and nobody has said that it is revoked. Pure.
Source: rights-protocols § 2 "Signature"; RFC 5280, 8017.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from schemas.errors import InvalidMessage

LEAST_BITS = 2048


def sign(key: RSAPrivateKey, body: bytes) -> str:
    """The signature of a body, in base64."""
    return base64.b64encode(key.sign(body, PKCS1v15(), SHA256())).decode()


def check_signature(certificate: x509.Certificate, body: bytes, signature: str) -> None:
    """Raises :class:`InvalidMessage` ``bad_signature``. The body is not looked into."""
    key = certificate.public_key()
    try:
        raw = base64.b64decode("".join(signature.split()), validate=True)  # it may come folded
        if not isinstance(key, RSAPublicKey) or key.key_size < LEAST_BITS:
            raise InvalidMessage("bad_signature")
        key.verify(raw, body, PKCS1v15(), SHA256())
    except (InvalidSignature, binascii.Error, ValueError):
        raise InvalidMessage("bad_signature") from None


def check_certificate(
    chain: Sequence[x509.Certificate],
    domain: str,
    anchors: Sequence[x509.Certificate],
    now: datetime,
    revoked: Collection[int] = (),
) -> None:
    """Whether to believe the first certificate of ``chain``, which the others lead from to an anchor.

    ``revoked``: serial numbers. Raises :class:`InvalidMessage` ``revoked_certificate`` or ``bad_certificate``: expired,
    not yet begun, of an authority that is not named, signed by itself, of another domain.
    """
    if any(one.serial_number in revoked for one in chain):
        raise InvalidMessage("revoked_certificate")
    if not chain or not anchors or chain[0].issuer == chain[0].subject:
        raise InvalidMessage("bad_certificate")
    try:
        policy = PolicyBuilder().store(Store(list(anchors))).time(now)
        policy.build_server_verifier(x509.DNSName(domain)).verify(chain[0], list(chain[1:]))
    except (VerificationError, ValueError):
        raise InvalidMessage("bad_certificate") from None
