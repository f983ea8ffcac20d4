"""An office's drill on a copy of its store: everybody who was erased comes back, and nobody is left. R26, R30; P5."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError, InvalidMessage
from schemas.party_keys import read_party
from schemas.signed import DatedKey, check_document
from tests.workers.subsidiary.controller import CODE
from tests.workers.subsidiary.kits import Kit, SqliteKit, everything, mapping_of, write_mapping
from tests.workers.subsidiary.test_serving import fill
from workers.office_drill import STATEMENT, drill, drill_office
from workers.replay import Replayed
from workers.stores.subsidiaries.adapter import StoreAdapter
from workers.stores.subsidiaries.copying import copy_of
from workers.stores.subsidiaries.journal import Journal

KEY = b"k" * 32


@pytest.mark.parametrize("kit", ["mongodb", "sqlite"], indirect=True)
async def test_nobody_is_left_and_the_real_store_is_as_it_was(kit: Kit) -> None:
    await fill(kit)
    before = await everything(kit)
    drilled = await drill("gb", mapping_of(kit), kit.url, KEY)
    assert drilled.people > 1
    assert (drilled.back, drilled.left, drilled.passed) == (drilled.people, 0, True)
    assert await everything(kit) == before


@pytest.mark.parametrize(
    "url", ["postgresql://crm.example.com/crm", "mysql://crm.example.com/crm", "sqlite://", "no URL"]
)
def test_what_cannot_be_copied_from_here_says_so(sqlite_kit: SqliteKit, tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="SQLite and MongoDB"):
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
