"""What a browser reports: a choice about cookies, and a page visit that such a choice may cover.

Source: R4, R15, R16; design § 6 ``POST /cookies``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from schemas.fields import AGENT, CHOICES, IDENTIFIER, LANGUAGE, MOMENT, NETWORK, SHA256_HEX, URL, VERSION
from schemas.shapes import Shape

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


@dataclass(frozen=True, slots=True)
class Choice:
    """One recorded choice of a device: purpose → yes or no, at ``happened`` (aware)."""

    happened: datetime
    choices: Mapping[str, bool]
