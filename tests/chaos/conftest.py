"""Keys for whoever plays here."""

from __future__ import annotations

from tests.workers.cases.conftest import subsidiary_keys
from tests.workers.conftest import keys, trust

__all__ = ["keys", "subsidiary_keys", "trust"]
