"""The data subject in identifiers: their normal form, and the keyed references that stand in for them.

An e-mail address is the only thing that joins records of one person. It is kept as typed for writing to, and folded
for comparing; tags and dots are never stripped, because they may be another person's box.
Source: messaging-standards § 8 (RFC 5321, 6531, IDNA2008); design § 4 "A person".
"""

from __future__ import annotations

import base64
import binascii
import secrets
import unicodedata
from collections.abc import Sequence
from enum import StrEnum

import phonenumbers
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from email_validator import EmailNotValidError, validate_email

from schemas.errors import InvalidMessage

REFERENCE_BYTES = 32
_NONCE_BYTES = 12


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

    ``root``: at least 32 random bytes that never stand in a database. ``later``: further roots for the suppression list
    alone, the oldest first: its entries outlive the addresses they were made from, so a key that made some is never
    given up, and an address stands under each of them.
    """

    def __init__(self, root: bytes, later: Sequence[bytes] = ()) -> None:
        if any(len(one) < REFERENCE_BYTES for one in (root, *later)):
            raise ValueError("the root of the reference keys needs at least 32 bytes")
        # Begun once and copied for each reference: to begin one costs more than all the rest of it.
        self._begun = {use: _begun(root, use) for use in ReferenceUse}
        self._suppression = [_begun(one, ReferenceUse.SUPPRESSION) for one in (*reversed(later), root)]
        self._seal = AESGCM(_derive(root, "sealed-reference"))

    def of(self, use: ReferenceUse, normal_form: str) -> bytes:
        """The 32-byte reference of an identifier already in its normal form."""
        return _finished(self._begun[use], normal_form.encode())

    def of_email(self, use: ReferenceUse, email: str) -> bytes:
        """The reference of an address as :func:`clean_email` returns it, letter case folded."""
        return self.of(use, "email:" + email.lower())

    def suppression(self, email: str) -> list[bytes]:
        """What an address as :func:`clean_email` returns it stands under on the suppression list: the current first.

        Who writes, writes all of them, and who reads, reads all: so a process that knows an older key only, and a link
        that was made with it, are understood by the others.
        """
        content = ("email:" + email.lower()).encode()
        return [_finished(begun, content) for begun in self._suppression]

    def seal(self, place: str, reference: bytes) -> str:
        """A reference that only this installation reads again, each time another text. ``place``: what it is for."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._seal.encrypt(nonce, reference, place.encode())
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def unseal(self, place: str, sealed: str) -> bytes:
        """Raises :class:`InvalidMessage` ``unknown_token`` for what :meth:`seal` did not make for this place."""
        try:
            raw = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
            return self._seal.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], place.encode())
        except (InvalidTag, binascii.Error, ValueError):
            raise InvalidMessage("unknown_token") from None

    def of_device(self, device_id: str) -> bytes:
        """The reference of a browser's device id."""
        return self.of(ReferenceUse.DEVICE, device_id)

    def digest(self, body: bytes) -> bytes:
        """What tells whether two bodies under one event id are the same, without keeping either."""
        return _finished(self._begun[ReferenceUse.DIGEST], body)


def _begun(root: bytes, use: ReferenceUse) -> HMAC:
    return HMAC(_derive(root, use.value), SHA256())


def _finished(begun: HMAC, content: bytes) -> bytes:
    mac = begun.copy()
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
