"""An office's drill on a copy of its store: everybody who was erased comes back, and nobody is left. R26, R30; P5."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError, InvalidMessage
from schemas.party_keys import read_party
from schemas.signed import DatedKey, check_document
from tests.guarded import guarded_mongo
from tests.waiting import until
from tests.workers.subsidiary.conftest import KINDS
from tests.workers.subsidiary.controller import CODE
from tests.workers.subsidiary.kits import URL_VARIABLE, Kit, MongoKit, SqliteKit, everything, mapping_of, write_mapping
from tests.workers.subsidiary.test_serving import fill
from workers.journal_replay import Replayed
from workers.office_drill import STATEMENT, drill, drill_office
from workers.processes import Process
from workers.stores.subsidiaries.adapter import StoreAdapter
from workers.stores.subsidiaries.copying import copy_of
from workers.stores.subsidiaries.journal import Journal
from workers.stores.subsidiaries.scratch import BACKUP, new_name

COPIED = KINDS[:3]
"""MongoDB, SQLite, PostgreSQL: of MariaDB no drill makes a copy."""
KEY = b"k" * 32
ROOT = Path(__file__).parents[3]
WAITS = """
import asyncio, functools
from schemas.commands import main
from workers import office_drill

async def waits(store, journal):
    print("the copy stands", flush=True)
    await asyncio.Event().wait()

office_drill.drill = functools.partial(office_drill.drill, replayed_by=waits)
main()
"""
"""The command, which comes no further than the replay."""
BACKGROUND = 'trap \'\' INT; exec "$0" "$@"'
"""As a shell starts what is to run in the background."""


@pytest.mark.parametrize("kit", COPIED, indirect=True)
async def test_nobody_is_left_and_the_real_store_is_as_it_was(kit: Kit) -> None:
    await fill(kit)
    before = await everything(kit)
    drilled = await drill("gb", mapping_of(kit), kit.url, KEY)
    assert drilled.people > 1
    assert (drilled.back, drilled.left, drilled.passed) == (drilled.people, 0, True)
    assert await everything(kit) == before


@pytest.mark.parametrize("url", ["mysql://crm.example.com/crm", "sqlite://", "no URL"])
def test_what_cannot_be_copied_from_here_says_so(sqlite_kit: SqliteKit, tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="SQLite, PostgreSQL and MongoDB"):
        copy_of(mapping_of(sqlite_kit), url, tmp_path)


async def test_without_the_replay_it_fails(sqlite_kit: SqliteKit) -> None:
    async def nothing(_: StoreAdapter, __: Journal) -> Replayed:
        return Replayed()

    await fill(sqlite_kit)
    drilled = await drill("gb", mapping_of(sqlite_kit), sqlite_kit.url, KEY, people=2, replayed_by=nothing)
    assert (drilled.people, drilled.left, drilled.passed) == (2, 2, False)


async def test_a_store_of_nobody_shows_nothing(sqlite_kit: SqliteKit) -> None:
    drilled = await drill("gb", mapping_of(sqlite_kit), sqlite_kit.url, KEY)
    assert (drilled.people, drilled.passed) == (0, False)


async def test_the_copy_is_gone_when_the_drill_breaks(sqlite_kit: SqliteKit) -> None:
    async def breaks(_: StoreAdapter, __: Journal) -> Replayed:
        raise RuntimeError("broken off")

    await fill(sqlite_kit)
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.office_drill.copy_of", lambda *given: seen.append(given[2]) or copy_of(*given))
        with pytest.raises(RuntimeError):
            await drill("gb", mapping_of(sqlite_kit), sqlite_kit.url, KEY, replayed_by=breaks)
    [folder] = seen
    assert not folder.exists()


async def test_the_office_signs_what_came_of_it(
    sqlite_kit: SqliteKit, parties: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(sqlite_kit)
    keys = parties / CODE
    monkeypatch.setenv("GREFFIER_KEYS", str(keys))
    drilled, statement = await asyncio.to_thread(drill_office, CODE, write_mapping(sqlite_kit, tmp_path), 2)
    signing = read_party(keys).signing
    dated = DatedKey(signing, "2026-01-01T00:00:00.000Z")
    check_document(statement, STATEMENT, {str(signing.kid): dated})
    assert (statement["body"]["store"], statement["body"]["left"], drilled.passed) == (CODE, 0, True)
    assert "@" not in json.dumps(statement)
    altered = statement | {"body": statement["body"] | {"people": 9}}
    with pytest.raises(InvalidMessage, match="bad_signature"):
        check_document(altered, STATEMENT, {str(signing.kid): dated})


@pytest.fixture
def waiting(parties: Path, tmp_path: Path, kit: Kit) -> Iterator[Process]:
    """A drill in a process of its own, with its temporary files in a folder of its own, up to the replay."""
    (tmp_path / "own").mkdir()
    drill = ["restore-drill", CODE, "--mapping", str(write_mapping(kit, tmp_path))]
    command = ["/bin/sh", "-c", BACKGROUND, sys.executable, "-c", WAITS, *drill]
    environment = {"PYTHONPATH": str(ROOT), "GREFFIER_KEYS": str(parties / CODE), "TMPDIR": str(tmp_path / "own")}
    process = Process("drill", command, log=tmp_path / "log", env={**environment, URL_VARIABLE: kit.url})
    yield process
    process.kill9()


@pytest.mark.parametrize("kit", [pytest.param("mongodb", marks=pytest.mark.slow), *COPIED[1:]], indirect=True)
async def test_the_copy_is_gone_when_somebody_ends_the_drill(kit: Kit, waiting: Process, tmp_path: Path) -> None:
    await fill(kit)
    before = await everything(kit)
    await stands(waiting)
    assert await kit.scratch() or any((tmp_path / "own").iterdir())
    os.kill(waiting.pid, signal.SIGTERM)
    await until(lambda: not waiting.alive, 60, what="its end")
    assert (await kit.scratch(), [*(tmp_path / "own").iterdir()]) == ([], [])
    assert waiting.exit_code not in (0, -signal.SIGTERM)
    assert "Traceback" not in waiting.log.read_text()
    assert await everything(kit) == before


@pytest.mark.parametrize("kit", [pytest.param("postgres", marks=pytest.mark.distro)], indirect=True)
async def test_what_a_killed_drill_left_goes_with_the_next(kit: Kit, waiting: Process) -> None:
    await fill(kit)
    await stands(waiting)
    waiting.kill9()
    left = await kit.scratch()
    assert len(left) == 2
    assert (await drill("gb", mapping_of(kit), kit.url, KEY)).passed
    assert await kit.scratch() == []


async def test_what_is_a_day_old_goes_with_the_next_in_mongodb_too(mongo_kit: MongoKit) -> None:
    """That server cannot tell whether a drill lives, so one that began today is left alone."""
    await mongo_kit.create()
    await fill(mongo_kit)
    client = mongo_kit.database.client
    old, today, foreign = "drill_20260101000000_0a0a0a", new_name(), "drill_of_the_fire_brigade"
    for name in (old, old + BACKUP, today, today + BACKUP, foreign):
        client[name].people.insert_one({"email": "anna@example.com"})
    try:
        assert (await drill("gb", mapping_of(mongo_kit), mongo_kit.url, KEY)).passed
        assert await mongo_kit.scratch() == sorted([today, today + BACKUP, foreign])
    finally:
        for name in await mongo_kit.scratch():
            client.drop_database(name)


@pytest.mark.slow
async def test_a_right_that_is_missing_in_mongodb_is_named(fast_path: Path) -> None:
    with guarded_mongo(fast_path) as server:
        kit = MongoKit(server.url, "office")
        await kit.create()
        await fill(kit)
        office = server.make_user("office", {"role": "readWrite", "db": "office"})
        with pytest.raises(ConfigurationError, match="dbAdminAnyDatabase"):
            await drill("gb", mapping_of(kit), office, KEY)
        drills = server.make_user("drills", "readWriteAnyDatabase", "dbAdminAnyDatabase")
        assert (await drill("gb", mapping_of(kit), drills, KEY)).passed
        assert await kit.scratch() == []
        await kit.drop()


async def stands(drilling: Process) -> None:
    """Until the copy of a drill stands, and somebody's rows with it."""
    drilling.spawn()
    await until(lambda: not drilling.alive or "the copy stands" in drilling.log.read_text(), 60, what="the copy")
    assert drilling.alive, drilling.log.read_text()
