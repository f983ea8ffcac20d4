"""A whole system for the journeys of one process: two doors, three controllers, every log at DEBUG."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.installation import Installation, installed


@pytest.fixture(scope="session")
async def system(server_folder: Path) -> AsyncIterator[Installation]:
    """Nobody kills it; whoever sends something waits until it came to rest."""
    env = {"GREFFIER_LOG_LEVEL": "DEBUG"}
    async with installed(server_folder / "system", doors=2, controllers=3, env=env) as running:
        yield running
