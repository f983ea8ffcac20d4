"""The newsletter's own messages. The subscription itself is a form (``schemas/submissions.py``).

Source: R14, R16, R24; design § 4 "A first subscription".
"""

from __future__ import annotations

from typing import Final

from schemas.fields import IDENTIFIER, MOMENT
from schemas.shapes import Shape

CONFIRMED: Final = Shape("newsletter.confirmed", required={"about": IDENTIFIER, "at": MOMENT})
"""The mailed link was used. ``about``: the id of the subscription's event."""
