"""A certificate authority of the tests: what it issues is trusted by who is told to trust it, and by nobody else."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)


@cache
def _key(_: str) -> rsa.RSAPrivateKey:
    """Made once for each authority, and once for all whom they issue for: to make one takes longer than most tests."""
    return rsa.generate_private_key(65537, 2048)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


@dataclass(frozen=True)
class Issued:
    """A key and its certificate."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def server(self, folder: Path) -> ssl.SSLContext:
        """What a server of this name shows."""
        (folder / "server.pem").write_bytes(self.pem + self.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
        return context


@dataclass(frozen=True)
class Authority:
    """Issues certificates for a domain."""

    own: Issued

    @classmethod
    def new(cls, name: str = "Test Authority") -> Authority:
        key, now = _key(name), datetime.now(UTC)
        built = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 400 * DAY)
            .not_valid_after(now + 400 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        return cls(Issued(key, built.sign(key, hashes.SHA256())))

    def issue(self, domain: str, *others: str, begins: timedelta = -DAY, ends: timedelta = 90 * DAY) -> Issued:
        key, now = _key("whoever it issues for"), datetime.now(UTC)
        names = x509.SubjectAlternativeName([x509.DNSName(one) for one in (domain, *others)])
        authority = self.own.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        built = (
            x509.CertificateBuilder()
            .subject_name(_name(domain))
            .issuer_name(self.own.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority), critical=False)
        )
        return Issued(key, built.sign(self.own.key, hashes.SHA256()))
