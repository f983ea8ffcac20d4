"""The key by which our answers are signed, and the certificate that says whose it is.

An operator puts both into the folder of the outside: ``opendsr.key.pem`` (RSA, 2048 bits or more) and
``opendsr.cert.pem`` (the certificate, issued by an authority for the dedicated sub-domain, then those that lead to it).
Source: rights-protocols § 2 "Signature"; ASVS 11.2.3, 13.3.1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from schemas.errors import ConfigurationError, Fault
from schemas.keyfiles import naming
from workers.rules.signatures import LEAST_BITS

KEY_FILE: Final = "opendsr.key.pem"
CERTIFICATE_FILE: Final = "opendsr.cert.pem"
ANCHORS_FILE: Final = "anchors.pem"


@dataclass(frozen=True, slots=True)
class ProcessorKey:
    """``pem``: the certificate and its chain, as they are handed out."""

    private: RSAPrivateKey = field(repr=False)
    pem: bytes


def read_processor_key(folder: Path, domain: str) -> ProcessorKey:
    """Raises :class:`ConfigurationError` naming what cannot be used; whether it expires is not asked here."""
    key_file, certificate_file = _read(folder / KEY_FILE), _read(folder / CERTIFICATE_FILE)
    with naming(KEY_FILE):
        private = load_pem_private_key(key_file, password=None)
    chain = read_certificates(certificate_file, CERTIFICATE_FILE)
    if not isinstance(private, RSAPrivateKey) or private.key_size < LEAST_BITS:
        raise _fault(KEY_FILE, f"must be an RSA key of {LEAST_BITS} bits or more")
    if chain[0].public_key() != private.public_key():
        raise _fault(CERTIFICATE_FILE, f"is not of the key in {KEY_FILE}")
    if chain[0].issuer == chain[0].subject:
        raise _fault(CERTIFICATE_FILE, "is signed by itself: an authority must have issued it")
    if domain not in _names(chain[0]):
        raise _fault(CERTIFICATE_FILE, "does not name opendsr.domain as a subject alternative name")
    return ProcessorKey(private, certificate_file)


def read_certificates(pem: bytes, name: str) -> list[x509.Certificate]:
    """One or more certificates. Raises :class:`ConfigurationError`."""
    with naming(name):
        return x509.load_pem_x509_certificates(pem)


def read_anchors(folder: Path) -> tuple[x509.Certificate, ...]:
    """The authorities whose word about processors we take. Raises :class:`ConfigurationError`."""
    return tuple(read_certificates(_read(folder / ANCHORS_FILE), ANCHORS_FILE))


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return found.value.get_values_for_type(x509.DNSName)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _fault(path.name, error.strerror or "cannot be read") from None


def _fault(name: str, problem: str) -> ConfigurationError:
    return ConfigurationError("keys", Fault(name, problem))
