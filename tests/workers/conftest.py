"""The controller over real servers: keys once, databases of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from schemas.keyring import generate_keys
from tests.workers.bench import Bench, open_bench, settings_for
from workers.services import Trust


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every key of one installation."""
    folder = tmp_path_factory.mktemp("keys") / "installation"
    generate_keys(folder)
    return folder


@pytest.fixture(scope="session")
def trust(keys: Path) -> Trust:
    return Trust.read(settings_for("mongodb://nowhere.example.org", "t", keys))


@pytest.fixture
async def bench(
    keys: Path,
    trust: Trust,
    mongo_url: str,
    mongo_prefix: str,
    redis_url: str,
    mongo_reader: MongoClient[dict[str, Any]],
) -> AsyncIterator[Bench]:
    settings = settings_for(mongo_url, mongo_prefix, keys)
    async with open_bench(settings, trust, keys, redis_url, mongo_reader) as opened:
        yield opened
