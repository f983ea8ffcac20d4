"""The newsletter's own messages. The subscription itself is a form (``schemas/submissions.py``).

Source: R14, R16, R24; design § 4 "A first subscription", § 5.2 "Tokens".
"""

from __future__ import annotations

from typing import Final

from schemas.fields import IDENTIFIER, MOMENT, pattern
from schemas.shapes import Shape
from schemas.terms import Case

LIST: Final = Case.NEWSLETTER.value
"""The one list there is: a link bears its name, and none of another list passes for it."""

CONFIRMED: Final = Shape("newsletter.confirmed", required={"about": IDENTIFIER, "at": MOMENT})
"""The mailed link was used. ``about``: the id of the subscription's event."""

UNSUBSCRIBED: Final = Shape(
    "newsletter.unsubscribed",
    required={"list": pattern(f"^{LIST}$", 64), "reference": pattern(r"^[A-Za-z0-9_-]{16,128}$", 128)},
)
"""The one-click link was used. ``reference``: whom the list knows by it, sealed as in the link; no address.

It bears no moment of its own, so that every use of one link has one body: when it was used, its event says."""


def sealed_for(mailing_list: str) -> str:
    """The place that a list's references are sealed for: one of another list does not open."""
    return f"unsubscribe/{mailing_list}"
