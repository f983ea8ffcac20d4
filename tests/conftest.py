"""Real servers for every test that needs one.

Each process of pytest-xdist has its own pair, started when first asked for, its data in memory where the machine has
room. ``REDIS_URL`` and ``MONGO_URL`` are used instead when they are set; of such a
Redis each process takes the database of its own number, which must be empty.

| fixture | scope | what |
| --- | --- | --- |
| `valkey`, `mongo` | session | the running embedded server; not to be killed or filled |
| `redis_url` | test | a Redis database that is empty when the test starts |
| `mongo_url` | session | an operator's URI of the MongoDB |
| `mongo_prefix` | test | a fresh prefix for database names; what bears it is dropped after the test |
| `redis_reader`, `mongo_reader` | session | plain clients, independent of our code, to look at what is really there |
| `own_valkey`, `own_mongo` | test | servers of this test alone, to kill, pause, fill and restart |
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from pymongo import MongoClient

from workers.local import EmbeddedMongo, EmbeddedValkey

MEMORY = Path("/dev/shm")
MEMORY_NEEDED = 2 << 30  # bytes


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """What is collected stays: the collector of garbage need not look through thousands of tests again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def _fast_folder() -> str | None:
    """Memory, where the machine has enough: many small fsyncs then cost nothing."""
    roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_NEEDED
    return str(MEMORY) if roomy else None


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder for server data, on memory if there is room; gone at the end."""
    with tempfile.TemporaryDirectory(prefix="greffier-", dir=_fast_folder()) as folder:
        yield Path(folder)


@pytest.fixture
def fast_path() -> Iterator[Path]:
    """Like `tmp_path`, on memory if there is room, and gone after the test."""
    with tempfile.TemporaryDirectory(prefix="greffier-", dir=_fast_folder()) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def valkey(server_folder: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(server_folder).start()
    yield server
    server.kill9()  # the folder goes anyway: no need to wait for a clean end


@pytest.fixture(scope="session")
def mongo(server_folder: Path) -> Iterator[EmbeddedMongo]:
    server = EmbeddedMongo(server_folder).start()
    yield server
    server.kill9()


@pytest.fixture(scope="session")
def _redis_base(request: pytest.FixtureRequest) -> str:
    given = os.environ.get("REDIS_URL")
    if not given:
        return str(request.getfixturevalue("valkey").url)
    number = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    url = urlsplit(given)._replace(path=f"/{number}").geturl()
    with redis.Redis.from_url(url) as client:
        assert client.dbsize() == 0, f"database {number} of REDIS_URL holds something; tests empty it"
    return url


@pytest.fixture
def redis_url(_redis_base: str) -> str:
    with redis.Redis.from_url(_redis_base) as client:
        client.flushdb()
    return _redis_base


@pytest.fixture(scope="session")
def mongo_url(request: pytest.FixtureRequest) -> str:
    return os.environ.get("MONGO_URL") or str(request.getfixturevalue("mongo").url)


@pytest.fixture(scope="session")
def redis_reader(_redis_base: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(_redis_base) as client:
        yield client


@pytest.fixture(scope="session")
def mongo_reader(mongo_url: str) -> Iterator[MongoClient[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongo_url, tz_aware=True) as client:
        yield client


@pytest.fixture
def mongo_prefix(mongo_reader: MongoClient[dict[str, Any]]) -> Iterator[str]:
    prefix = f"t{uuid.uuid4().hex[:12]}"
    yield prefix
    for name in mongo_reader.list_database_names():
        if name.startswith(f"{prefix}_"):
            mongo_reader.drop_database(name)


@pytest.fixture
def own_valkey(fast_path: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(fast_path).start()
    yield server
    server.kill9()


@pytest.fixture
def own_mongo(fast_path: Path) -> Iterator[EmbeddedMongo]:
    server = EmbeddedMongo(fast_path).start()
    yield server
    server.kill9()
