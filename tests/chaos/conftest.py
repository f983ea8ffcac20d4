"""Keys for whoever plays here."""

from __future__ import annotations

from tests.workers.conftest import keys, trust

__all__ = ["keys", "trust"]
