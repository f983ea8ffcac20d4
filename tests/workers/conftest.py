"""The controller over real servers: keys and databases once, emptied for each test."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pymongo import MongoClient

from schemas.keyring import generate_keys
from tests.workers.bench import DATABASES, Bench, SettableClock, open_bench, settings_for
from workers.services import Trust, services_over


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every key of one installation."""
    folder = tmp_path_factory.mktemp("keys") / "installation"
    generate_keys(folder)
    return folder


@pytest.fixture(scope="session")
def trust(keys: Path) -> Trust:
    return Trust.read(settings_for("mongodb://nowhere.example.org", "t", keys))


@pytest_asyncio.fixture(scope="session")
async def _ground(
    keys: Path, trust: Trust, mongo_url: str, _redis_base: str, mongo_reader: MongoClient[dict[str, Any]]
) -> AsyncIterator[Bench]:
    settings = settings_for(mongo_url, f"t{uuid.uuid4().hex[:12]}", keys)
    async with open_bench(settings, trust, keys, _redis_base, mongo_reader) as opened:
        yield opened
    for database in DATABASES:
        mongo_reader.drop_database(f"{settings.mongo_prefix}_{database}")


@pytest.fixture
def bench(_ground: Bench, redis_url: str) -> Bench:
    """A controller whose stores are empty."""
    _ground.wipe()
    clock, ground = SettableClock(), _ground.services
    services = services_over(ground.databases, ground.uploads, ground.trust, clock, ground.skew)
    return replace(_ground, services=services, clock=clock, later=[])
