"""Uploaded files in GridFS: sealed, whole or not there, and the same whoever stores them how often."""

from __future__ import annotations

import asyncio
import secrets

from tests.factories import NOON
from tests.workers.bench import Bench
from workers.stores.files import Files
from workers.stores.keys import ACTIVE, DataKey, key_id

BIG = secrets.token_bytes(700_000)


async def _key(bench: Bench, person: str) -> DataKey:
    return (await bench.services.keys.ensure([key_id(person, ACTIVE)]))[key_id(person, ACTIVE)]


async def _put(bench: Bench, person: str, content: bytes = BIG, files: Files | None = None) -> DataKey:
    key = await _key(bench, person)
    await (files or bench.services.files).put("f1", content, key, person=person, event="e1", now=NOON)
    return key


async def test_many_who_store_one_file_store_it_once(bench: Bench) -> None:
    await asyncio.gather(*(_put(bench, "p") for _ in range(8)))
    assert len(bench.collection("files.files")) == 1
    assert len(bench.collection("files.chunks")) == 3
    assert await bench.services.files.read("f1", "p", await _key(bench, "p")) == BIG


async def test_an_upload_that_broke_off_is_finished_by_the_next(bench: Bench) -> None:
    files = bench.services.files
    await _put(bench, "p")
    bench.reader[f"{bench.prefix}_active"]["files.files"].delete_many({})
    bench.reader[f"{bench.prefix}_active"]["files.chunks"].delete_one({"n": 1})
    assert not await files.stands("f1", "p")
    key = await _put(bench, "p")
    assert await files.read("f1", "p", key) == BIG


async def test_nothing_of_it_stands_in_clear(bench: Bench) -> None:
    await _put(bench, "p", b"A life in cheese, by Testine Sampleby" * 100)
    assert all(b"Sampleby" not in bytes(chunk["data"]) for chunk in bench.collection("files.chunks"))


async def test_each_person_has_his_own_copy_and_undoing_one_leaves_the_other(bench: Bench) -> None:
    files = bench.services.files
    await _put(bench, "old")
    new = await _put(bench, "new")
    await files.undo(["f1"], "old")
    assert await files.read("f1", "new", new) == BIG
    assert not await files.stands("f1", "old")


async def test_undoing_takes_pieces_without_a_file_too(bench: Bench) -> None:
    await _put(bench, "p")
    bench.reader[f"{bench.prefix}_active"]["files.files"].delete_many({})
    await bench.services.files.undo(["f1"])
    assert bench.collection("files.chunks") == []


async def test_a_file_whose_id_begins_like_another_is_another(bench: Bench) -> None:
    files, key = bench.services.files, await _key(bench, "p")
    for file_id in ("f1", "f12", "f.1"):
        await files.put(file_id, b"x", key, person="p", event="e", now=NOON)
    await files.undo(["f1", "f.1"])
    assert [file["_id"] for file in bench.collection("files.files")] == ["f12/p"]


async def test_erasing_a_person_takes_every_file_and_piece(bench: Bench) -> None:
    await _put(bench, "p")
    await _put(bench, "q")
    assert await bench.services.files.erase(["p"]) == 1
    assert {chunk["files_id"] for chunk in bench.collection("files.chunks")} == {"f1/q"}


async def test_what_is_not_there_reads_as_nothing(bench: Bench) -> None:
    assert await bench.services.files.read("nowhere", "p", await _key(bench, "p")) is None
