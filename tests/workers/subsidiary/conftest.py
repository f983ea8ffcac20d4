"""An office at work in this process: its own keys, its own store, its own journal, a real Redis between the parties."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.workers.subsidiary.controller import CODE, ControllerSide, make_parties
from tests.workers.subsidiary.kits import URL_VARIABLE, Kit, MariaKit, MongoKit, PostgresKit, SqliteKit, mapping_of
from tests.workers.subsidiary.mariadb import MariaServer
from tests.workers.subsidiary.postgres import PostgresServer
from workers.office import Office, ReceiptQueue, RefusedLog, Trust
from workers.stores.subsidiaries import open_store
from workers.stores.subsidiaries.adapter import StoreAdapter
from workers.stores.subsidiaries.journal import Journal
from workers.subsidiary import tuning_for
from workers.subsidiary_settings import SubsidiarySettings

OpenOffice = Callable[..., Awaitable[Office]]


@pytest.fixture(scope="session")
def all_parties(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys of one controller and two subsidiaries; not to be changed."""
    return make_parties(tmp_path_factory.mktemp("parties") / "keys", CODE, "us")


@pytest.fixture
def parties(all_parties: Path, tmp_path: Path) -> Path:
    """The same, for this test to change."""
    return Path(shutil.copytree(all_parties, tmp_path / "keys"))


@pytest.fixture
def controller(parties: Path, redis_url: str) -> Iterator[ControllerSide]:
    side = ControllerSide(parties, redis_url)
    yield side
    side.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaServer]:
    with MariaServer() as server:
        yield server


KINDS = ["mongodb", "sqlite", *(pytest.param(kind, marks=pytest.mark.distro) for kind in ("postgres", "mariadb"))]


@pytest.fixture(params=KINDS)
async def kit(request: pytest.FixtureRequest, fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kit]:
    """An office's database of each kind, its tables made and empty."""
    made = make_kit(request, str(request.param), fast_path)
    monkeypatch.setenv(URL_VARIABLE, made.url)
    await made.create()
    yield made
    await made.drop()


@pytest.fixture
async def sqlite_kit(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteKit]:
    """For what does not depend on the kind of store."""
    made = SqliteKit(fast_path)
    monkeypatch.setenv(URL_VARIABLE, made.url)
    await made.create()
    yield made
    await made.drop()


@pytest.fixture
async def mongo_kit(mongo_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MongoKit]:
    """For documents."""
    made = MongoKit(mongo_url, f"office{uuid.uuid4().hex[:12]}")
    monkeypatch.setenv(URL_VARIABLE, made.url)
    yield made
    await made.drop()


def make_kit(request: pytest.FixtureRequest, kind: str, folder: Path) -> Kit:
    name = f"office{uuid.uuid4().hex[:12]}"
    if kind == "mongodb":
        return MongoKit(str(request.getfixturevalue("mongo_url")), name)
    if kind == "sqlite":
        return SqliteKit(folder)
    if kind == "mariadb":
        return MariaKit(request.getfixturevalue("mariadb"), name)
    return PostgresKit(request.getfixturevalue("postgres").url, name)


def settings_for(parties: Path, folder: Path, redis_url: str, **more: Any) -> SubsidiarySettings:
    """What a worker would be told."""
    return SubsidiarySettings(
        redis_url=redis_url, keys=parties / CODE, journal=folder / "journal" / "journal.jsonl", **more
    )


@pytest.fixture
async def open_office(parties: Path, tmp_path: Path, redis_url: str) -> AsyncIterator[OpenOffice]:
    """Opens the office, over a kit or with a given adapter; opened again, it is a new process with the old journal."""
    settings = settings_for(parties, tmp_path, redis_url)
    opened: list[AsyncExitStack] = []

    async def close_last() -> None:
        while opened:
            await opened.pop().aclose()

    async def open_one(kit: Kit | None = None, *, adapter: StoreAdapter | None = None, **more: Any) -> Office:
        await close_last()
        stack = AsyncExitStack()
        opened.append(stack)
        trust = Trust(settings.keys_of(CODE), CODE)
        journal = Journal(settings.journal_of(CODE), trust.journal_key)
        stack.callback(journal.close)
        if adapter is None:
            assert kit is not None
            adapter = open_store(more.pop("mapping", None) or mapping_of(kit), kit.url)
            stack.push_async_callback(adapter.close)
        outbox = ReceiptQueue(redis_url, CODE, tuning_for(settings))
        stack.callback(outbox.close)
        refused = RefusedLog(tmp_path / "refused")
        given = {"clock": lambda: datetime.now(UTC), **more}
        return Office(CODE, trust, adapter, journal, outbox, refused, **given)

    yield open_one
    await close_last()


async def soon(*awaitables: Awaitable[Any]) -> list[Any]:
    """All of them at once."""
    return list(await asyncio.gather(*awaitables))
