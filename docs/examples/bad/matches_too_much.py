"""A bad adapter, for `greffier conform` to find out: it takes an address for a pattern, and others for the person."""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "adapter"))

from office import JsonOffice, Row

from workers.stores.subsidiaries.adapter import Subject


class MatchesTooMuch(JsonOffice):
    """Looks for what an address matches."""

    def is_theirs(self, row: Row, subject: Subject) -> bool:
        return any(
            re.search(email.replace("*", ".*").replace("%", ".*"), str(row["email"])) for email in subject.emails
        )


def open_office(store: str) -> JsonOffice:
    """What `greffier conform` opens."""
    return MatchesTooMuch(Path(store))
