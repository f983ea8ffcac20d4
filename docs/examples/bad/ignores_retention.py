"""A bad adapter, for `greffier conform` to find out: it erases what the law has it keep, and reports that truly."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "adapter"))

from office import JsonOffice, Row


class IgnoresRetention(JsonOffice):
    """Keeps nothing."""

    def _must_stay(self, invoices: Sequence[Row]) -> Iterator[tuple[tuple[str, Any], date]]:
        return iter(())


def open_office(store: str) -> JsonOffice:
    """What `greffier conform` opens."""
    return IgnoresRetention(Path(store))
