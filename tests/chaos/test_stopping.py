"""Stopping on purpose: a worker under load, doors one after the other, both servers for a while. Nothing is lost.

Source: P1; reliability I23, § 4 rows 11, 18, 34, 40.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from schemas.routes import NAMESPACE
from tests.chaos.checker import leftovers
from tests.chaos.kept import prepare, rest_and_check
from tests.chaos.load import Load, Log, contacts
from tests.installation import Child, Installation, installed
from tests.waiting import until

SEED = 23
AWAY_S = 10.0
BACK_WITHIN_S = 90.0


@asynccontextmanager
async def under_load(installation: Installation, folder: Path, rate: float) -> AsyncIterator[Load]:
    """Publishing inside; everything accepted and at rest after, and checked."""
    log = Log(folder / "accepted.jsonl")
    load = Load([door.url for door in installation.doors], installation.key_header, log, SEED, rate)
    await prepare(installation, load)
    publishing = asyncio.create_task(load.run())
    try:
        await until(lambda: log.count > rate / 2, 30, what="load running")
        yield load
    finally:
        load.stop()
        await publishing
        log.close()


async def is_all_kept(installation: Installation, load: Load) -> None:
    findings, _ = await rest_and_check(installation, load)
    assert not findings.faults, findings
    assert not load.unexpected
    assert findings.events > 100


def taken(installation: Installation) -> dict[str, int]:
    """Ids in work, by worker and queue."""
    with installation.redis() as server:
        left = leftovers(server)
    return {key: size for key, size in left.items() if key.startswith(f"{NAMESPACE}:__acks__")}


async def test_a_worker_told_to_stop_finishes_or_hands_back(fast_path: Path) -> None:
    async with installed(fast_path, kept_alive=False) as installation:
        [controller] = installation.controllers
        async with under_load(installation, fast_path, 150) as load:
            await until(lambda: taken(installation), what="work in its hands")
            controller.terminate()
            await until(lambda: not controller.alive, 40, what="the worker gone")
            assert controller.exit_code == 0
            assert not taken(installation)
            controller.spawn()
        await is_all_kept(installation, load)


async def test_doors_are_replaced_one_after_the_other_and_nobody_notices(fast_path: Path) -> None:
    async with installed(fast_path, doors=2) as installation:
        async with under_load(installation, fast_path, 100) as load:
            for door in installation.doors:
                await replaced(door)
        await is_all_kept(installation, load)
        logs = [door.log.read_text() for door in installation.doors]
        assert [log.count("door_closed") for log in logs] == [2, 2]  # each was replaced, and closed at the end
        assert not any("defect" in log for log in logs)
        assert set(load.answers) <= {"202", "503", "ServerDisconnectedError", "ClientOSError", "ClientConnectorError"}


async def replaced(door: Child) -> None:
    """Its successor is ready: the keeper started it."""
    before = door.pid
    door.terminate()
    await until(lambda: door.pid != before, 40, what="another process in its place")
    await until(door.ready, 40, what="its successor ready")


async def test_both_servers_away_is_later_not_lost(fast_path: Path) -> None:
    async with installed(fast_path) as installation:
        async with under_load(installation, fast_path, 50) as load:
            installation.held_down.update(server.name for server in installation.servers)
            for server in installation.servers:
                server.terminate()
            away = asyncio.get_running_loop().time() + AWAY_S
            await until(lambda: not any(server.alive for server in installation.servers), 20, what="servers gone")
            await says_later(installation)
            await until(lambda: asyncio.get_running_loop().time() > away, AWAY_S + 1, what="the time they are away")
            installation.held_down.clear()
        await is_all_kept(installation, load)


async def says_later(installation: Installation) -> None:
    [door] = installation.doors
    asked = contacts([("later-1", "specimen@example.org")])
    async with aiohttp.ClientSession(door.url, headers=installation.key_header) as session:
        async with session.post(asked.path, data=asked.body, headers=asked.headers) as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert answer.content_type == "application/problem+json"
        async with session.get("/readyz") as ready, session.get("/livez") as live:
            assert (ready.status, live.status) == (503, 200)


@pytest.mark.slow  # more than a minute of silence
@pytest.mark.timeout(300)
async def test_with_production_settings_a_dead_workers_messages_are_done_within_90_s(fast_path: Path) -> None:
    async with installed(fast_path) as installation:
        async with under_load(installation, fast_path, 50) as load:
            installation.held_down.add(installation.mongod.name)
            installation.mongod.kill9()
            await until(lambda: taken(installation), what="work in its hands")
            installation.controllers[0].kill9()
            killed = time.monotonic()
        held = taken(installation)
        installation.held_down.clear()
        with installation.redis() as server:
            await until(lambda: not leftovers(server), BACK_WITHIN_S, what="what the dead worker held is done")
        print(f"back and done {time.monotonic() - killed:.0f} s after the worker was killed")
        assert held
        await is_all_kept(installation, load)
