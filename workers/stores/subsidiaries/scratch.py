"""What a drill calls schemas or databases that it makes on the office's server; the name says when it made them.

What a drill that was killed left behind holds real people; by the name the next one knows it, and drops it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

BACKUP: Final = "_backup"
"""What the name of a copy's backup ends in."""
_NAME: Final = re.compile(r"drill_[0-9]{14}_[0-9a-f]{6}")
_MOMENT: Final = "%Y%m%d%H%M%S"


def new_name() -> str:
    """The name of a drill that begins now, and of its copy."""
    return f"drill_{datetime.now(UTC):{_MOMENT}}_{secrets.token_hex(3)}"


def drills(names: Iterable[str]) -> list[str]:
    """The drills to which some of these belong, copies or backups; nobody else's are among them."""
    return sorted({drill for name in names if _NAME.fullmatch(drill := name.removesuffix(BACKUP))})


def number_of(drill: str) -> int:
    """A number of 24 bits, a drill's own."""
    return int(drill[-6:], 16)


def is_before(drill: str, moment: datetime) -> bool:
    """Whether it began before a moment (aware)."""
    return drill < f"drill_{moment.astimezone(UTC):{_MOMENT}}"
