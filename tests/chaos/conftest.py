"""Keys for whoever plays here, and their calls made one by one."""

from __future__ import annotations

import pytest

from tests.chaos.stepping import call_alone
from tests.workers.cases.conftest import subsidiary_keys
from tests.workers.conftest import _ground, bench, keys, trust
from workers.stores.gathering import Gatherer

__all__ = ["_ground", "bench", "keys", "subsidiary_keys", "trust"]


@pytest.fixture
def called_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call waits to travel with others: each actor's operations are its own steps, in any order."""
    monkeypatch.setattr(Gatherer, "call", call_alone)
