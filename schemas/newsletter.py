"""The newsletter's own messages, and what people choose by the link to their preferences. The subscription itself is a
form (``schemas/submissions.py``).

Source: R14, R16, R21, R24; design § 4 "A first subscription", § 5.2 "Tokens".
"""

from __future__ import annotations

from typing import Final, NamedTuple
from uuid import UUID

from schemas.fields import CHOICES, IDENTIFIER, LANGUAGE, MOMENT, SHA256_HEX, VERSION, pattern
from schemas.shapes import Shape
from schemas.subject import REFERENCE_BYTES, References
from schemas.terms import Case

LIST: Final = Case.NEWSLETTER.value
"""The one list there is: a link bears its name, and none of another list passes for it."""

CONFIRMED: Final = Shape("newsletter.confirmed", required={"about": IDENTIFIER, "at": MOMENT})
"""The mailed link was used. ``about``: the id of the subscription's event."""

PREFERENCES: Final = "preferences"
"""What a link to somebody's preferences bears in a list's place: neither passes for the other."""

_SEALED: Final = pattern(r"^[A-Za-z0-9_-]{16,128}$", 128)

UNSUBSCRIBED: Final = Shape(
    "newsletter.unsubscribed", required={"list": pattern(f"^{LIST}$", 64), "reference": _SEALED}
)
"""The one-click link was used. ``reference``: whom the list knows by it, sealed as in the link; no address.

It bears no moment of its own, so that every use of one link has one body: when it was used, its event says."""


CHOSEN: Final = Shape(
    "preference.changed",
    required={
        "list": pattern(f"^{PREFERENCES}$", 64),
        "reference": _SEALED,
        "choices": CHOICES,
        "policy_version": VERSION,
        "notice_sha256": SHA256_HEX,
        "language": LANGUAGE,
    },
    optional={"withdraw": pattern("^yes$", 3)},
)
"""Purposes were accepted or refused by a mailed link, with what was shown. When, its event says.

``withdraw``: every consent was withdrawn with it, the newsletter's and any other.
"""


class Addressee(NamedTuple):
    """Whom a one-click link is for: as the suppression list knows them, and as whom their records stand.

    ``person``: none in links made before they named one.
    """

    reference: bytes
    person: str | None


def seal_addressee(references: References, mailing_list: str, addressee: Addressee) -> str:
    """An addressee that only this installation reads again, each time another text."""
    person = b"" if addressee.person is None else UUID(addressee.person).bytes
    return references.seal(_place(mailing_list), addressee.reference + person)


def open_addressee(references: References, mailing_list: str, sealed: str) -> Addressee:
    """Raises :class:`InvalidMessage` ``unknown_token`` for what was not sealed here, for this list."""
    raw = references.unseal(_place(mailing_list), sealed)
    reference, person = raw[:REFERENCE_BYTES], raw[REFERENCE_BYTES:]
    return Addressee(reference, str(UUID(bytes=person)) if person else None)


def _place(mailing_list: str) -> str:
    """What a list's addressees are sealed for: one of another list does not open."""
    return f"unsubscribe/{mailing_list}"
