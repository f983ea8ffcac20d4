"""A ledger of its own for each test, on a real MongoDB."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.workers.evidence.rig import LedgerRig, open_ledger


@pytest.fixture
async def rig(mongo_url: str, mongo_prefix: str) -> AsyncIterator[LedgerRig]:
    async with open_ledger(mongo_url, mongo_prefix) as opened:
        yield opened
