"""What somebody agrees to: a choice about cookies, a page visit that such a choice may cover, and an express agreement
to a purpose that a record was not collected for.

Source: R4, R8, R15, R16; design § 3 "Types", § 6 ``POST /cookies``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from schemas.fields import (
    AGENT,
    CHOICES,
    EMAIL,
    IDENTIFIER,
    LANGUAGE,
    MOMENT,
    NETWORK,
    SHA256_HEX,
    URL,
    VERSION,
    pattern,
)
from schemas.shapes import Shape
from schemas.terms import Purpose

CONSENT: Final = Shape(
    "cookie.consent",
    required={
        "device_id": IDENTIFIER,
        "at": MOMENT,
        "choices": CHOICES,
        "policy_version": VERSION,
        "notice_sha256": SHA256_HEX,
        "language": LANGUAGE,
    },
)
"""A choice with its proof: what was shown (version and hash), when, what was chosen."""

VISIT: Final = Shape(
    "cookie.visit",
    required={"device_id": IDENTIFIER, "at": MOMENT, "url": URL},
    optional={"user_agent": AGENT, "language": LANGUAGE, "network": NETWORK},
)
"""A page visit. ``network`` is the truncated address of the connection, set by the door alone."""

_AGREED = {"email": EMAIL, "purpose": pattern(f"^({'|'.join(Purpose)})$", 40), "at": MOMENT}
_PROOF = {"policy_version": VERSION, "notice_sha256": SHA256_HEX, "language": LANGUAGE}

GIVEN: Final = Shape("consent.given", required=_AGREED | _PROOF)
"""An express agreement with its proof: what was shown, when, in which language; how, the event's source says (R8)."""

WITHDRAWN: Final = Shape("consent.withdrawn", required=_AGREED, optional=_PROOF)
"""Its end. To take it back needs to be shown nothing."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One recorded choice, of a device or a person: purpose → yes or no, at ``happened`` (aware)."""

    happened: datetime
    choices: Mapping[str, bool]
