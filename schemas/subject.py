"""The data subject in identifiers: their normal form, and the keyed references that stand in for them.

An e-mail address is the only thing that joins records of one person. It is kept as typed for writing to, and folded
for comparing; tags and dots are never stripped, because they may be another person's box.
Source: messaging-standards § 8 (RFC 5321, 6531, IDNA2008); design § 4 "A person".
"""

from __future__ import annotations

import unicodedata
from enum import StrEnum

import phonenumbers
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from email_validator import EmailNotValidError, validate_email

from schemas.errors import InvalidMessage

REFERENCE_BYTES = 32


class ReferenceUse(StrEnum):
    """What a keyed reference is for. Each use has a key of its own: equal addresses cannot be joined across uses."""

    LOOKUP = "lookup"
    TOMBSTONE = "tombstone"
    SUPPRESSION = "suppression"
    DEVICE = "device"
    PARKED = "parked"
    DIGEST = "digest"
    CASE = "case"


class References:
    """Keyed references, HMAC-SHA-256 under keys derived from one root. Source: crypto-and-evidence § 3.

    ``root``: at least 32 random bytes that never stand in a database.
    """

    def __init__(self, root: bytes) -> None:
        if len(root) < REFERENCE_BYTES:
            raise ValueError("the root of the reference keys needs at least 32 bytes")
        # Begun once and copied for each reference: to begin one costs more than all the rest of it.
        self._begun = {use: HMAC(_derive(root, use.value), SHA256()) for use in ReferenceUse}

    def of(self, use: ReferenceUse, normal_form: str) -> bytes:
        """The 32-byte reference of an identifier already in its normal form."""
        return self._finish(use, normal_form.encode())

    def of_email(self, use: ReferenceUse, email: str) -> bytes:
        """The reference of an address as :func:`clean_email` returns it, letter case folded."""
        return self.of(use, "email:" + email.lower())

    def of_device(self, device_id: str) -> bytes:
        """The reference of a browser's device id."""
        return self.of(ReferenceUse.DEVICE, device_id)

    def digest(self, body: bytes) -> bytes:
        """What tells whether two bodies under one event id are the same, without keeping either."""
        return self._finish(ReferenceUse.DIGEST, body)

    def _finish(self, use: ReferenceUse, content: bytes) -> bytes:
        mac = self._begun[use].copy()
        mac.update(content)
        return mac.finalize()


def _derive(root: bytes, use: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=REFERENCE_BYTES, salt=None, info=f"greffier/{use}/n1".encode()).derive(root)


def clean_email(text: str) -> str:
    """The address as it is kept: trimmed, NFC, its domain in IDNA2008 A-labels, its local part as typed.

    Raises :class:`InvalidMessage` ``not_an_email`` for anything but one deliverable-looking mailbox: several
    addresses, display names, quoted local parts, address literals, control characters, overlong parts.
    """
    trimmed = unicodedata.normalize("NFC", text).strip(" ")
    if len(trimmed) > 254 or not trimmed.isprintable():
        raise InvalidMessage("not_an_email")
    try:
        checked = validate_email(trimmed, check_deliverability=False, strict=True)
    except EmailNotValidError:
        raise InvalidMessage("not_an_email") from None
    if len(checked.local_part.encode()) > 64 or not checked.ascii_domain:
        raise InvalidMessage("not_an_email")
    return f"{checked.local_part}@{checked.ascii_domain.lower()}"


def clean_phone(text: str, region: str = "FR") -> str:
    """The number in E.164. ``region``: ISO 3166 country that a number without ``+`` is read in.

    Raises :class:`InvalidMessage` ``not_a_phone``; extensions are refused rather than dropped.
    """
    if len(text) > 40:
        raise InvalidMessage("not_a_phone")
    try:
        number = phonenumbers.parse(text.replace("(0)", ""), region)
    except phonenumbers.NumberParseException:
        raise InvalidMessage("not_a_phone") from None
    if number.extension or not phonenumbers.is_possible_number(number):
        raise InvalidMessage("not_a_phone")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
