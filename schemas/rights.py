"""A data subject's request, as the website or staff hand it in, and the confirmation of its address.

Source: R17, R19, R20, R22; design § 5, § 6 ``POST /rights``.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from typing import Any, Final

from schemas.corrections import CORRECTIONS, patches_of
from schemas.errors import InvalidBody, Problem
from schemas.fields import EMAIL, IDENTIFIER, LETTER, MOMENT, FieldType, listed, pattern
from schemas.orders import MAX_ADDRESSES
from schemas.shapes import Shape
from schemas.terms import Channel, Right

_ALPHABET: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"  # read over the telephone without mistakes: no 0/O, 1/I
REFERENCE_PATTERN: Final = r"^R-[2-9A-HJ-NP-Z]{4}-[2-9A-HJ-NP-Z]{4}-[2-9A-HJ-NP-Z]{4}$"

PEER: Final = pattern(r"^(drp|opendsr):[A-Za-z0-9_.-]{1,50}$", 58)
"""Another organisation's system: by which protocol it speaks, and its name there."""

REFERENCE: Final = pattern(REFERENCE_PATTERN, 16)
LANGUAGES: Final = ("fr", "en")


def new_reference() -> str:
    """A case's reference: 60 random bits, so that nobody finds a case by trying."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(3))
    return "-".join(("R", *groups))


def reference_from(event: str) -> str:
    """A case's reference made from the key of the event that opens it: the same whenever that comes again."""
    digest = hashlib.sha256(event.encode()).digest()
    text = "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:12])
    return "-".join(("R", text[:4], text[4:8], text[8:]))


def _one_of(*words: str) -> FieldType:
    return pattern(f"^({'|'.join(words)})$", 20)


_RIGHT = _one_of(*(right.value for right in Right))
_LANGUAGE = _one_of(*LANGUAGES)

ASKED: Final = Shape(
    "rights",
    required={"right": _RIGHT, "email": EMAIL},
    optional={"language": _LANGUAGE, "details": LETTER, "corrections": CORRECTIONS.as_field},
)
"""What a person may say at the door. ``corrections``: of a rectification, and of nothing else (:func:`check_asked`)."""

REQUESTED: Final = Shape(
    "rights.requested",
    required={"reference": REFERENCE, "right": _RIGHT, "email": EMAIL, "channel": _one_of(*Channel)},
    optional={
        "language": _LANGUAGE,
        "details": LETTER,
        "received_at": MOMENT,
        "confirmed": _one_of("yes"),
        "also": listed(EMAIL, 1, MAX_ADDRESSES - 1),
        "ground": _one_of("child"),
        "crowded": _one_of("yes"),
        "corrections": CORRECTIONS.as_field,
        "peer": PEER,
    },
)
"""A request on its way to its case. From staff alone, who enter what arrived by e-mail or letter, come the true time of
receipt, that the addresses were proved by other means (R22), whose
else besides ``email`` they are (``also``), and the ground of an erasure (R7). From the door alone
comes ``crowded``: the network asked more often than a person would, so its links are mailed more slowly. From the
counter alone comes ``peer``: which other organisation's system asked in the person's name."""


def check_asked(asked: Mapping[str, Any]) -> None:
    """A rectification says what is wrong, and nothing else does. Raises :class:`InvalidBody`."""
    says = bool(patches_of(asked.get("corrections", {})))
    if (asked["right"] == Right.RECTIFICATION) is not says:
        problem = "is no part of this right" if says else "is required: field by field, what stands and what should"
        raise InvalidBody(Problem("extra_forbidden" if says else "missing", "/corrections", problem))


CONFIRMED: Final = Shape("rights.confirmed", required={"reference": REFERENCE, "token": IDENTIFIER, "at": MOMENT})
"""The mailed link was used. ``token``: its id, which is good once."""
