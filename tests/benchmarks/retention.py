"""``retention``: moving to the archive and purging it, beside the driver alone moving and deleting as many documents.

Ours folds every record's dates, opens and seals it anew, makes and destroys keys, sets tombstones, and looks at holds,
refusals and erasures; the driver (PyMongo alone, same write concern, one connection or four, whichever is the better)
reads the documents, inserts submission and key into the archive's place, and deletes what they leave. By turns, over
copies of the same store; people a second.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from pymongo import MongoClient, WriteConcern
from uuid_utils import uuid7

from schemas.interpreter import collect_seldom
from schemas.keyring import generate_keys, read_wrapping_keys
from schemas.subject import ReferenceUse
from schemas.terms import Case
from schemas.ticks import SWEEPS
from tests import factories
from tests.benchmarks.report import Figures, rate, say
from tests.benchmarks.stage import ROOMY_CACHE_GB, chunks
from tests.workers.bench import Bench, open_bench, settings_for
from workers.local import EmbeddedMongo, EmbeddedValkey
from workers.retention.purge import purge_archive
from workers.retention.sweep import Done, sweep
from workers.services import Services, Trust
from workers.stores.keys import ACTIVE, ARCHIVE, DataKey, LocalKeyWrapper, key_id
from workers.stores.mongo import create_indexes

ROUNDS: Final = 3
_AT_ONCE: Final = 1_000
_PREFIX: Final = "retention"
_MOVED_BY: Final = datetime(2027, 3, 1, tzinfo=UTC)
"""Applications decided in November 2026: three months are over."""
_PURGED_BY: Final = datetime(2033, 1, 1, tzinfo=UTC)

Document = dict[str, Any]


def retention(people: int, rounds: int) -> Figures:
    """``people``: each with one application that was decided on."""
    with TemporaryDirectory(prefix="greffier-bench-") as folder:
        generate_keys(Path(folder) / "keys")
        mongo = EmbeddedMongo(Path(folder), cache_gb=ROOMY_CACHE_GB).start()
        valkey = EmbeddedValkey(Path(folder)).start()
        try:
            rates = asyncio.run(_measured(Path(folder) / "keys", mongo.url, valkey.url, people, rounds))
        finally:
            valkey.stop()
            mongo.stop()
    moved, raw_moved, purged, raw_purged = (rate(rates[name]) for name in ("move", "raw_move", "purge", "raw_purge"))
    figures = {
        "moved_per_s": moved,
        "raw_moved_per_s": raw_moved,
        "move_ratio": round(moved / raw_moved, 3),
        "purged_per_s": purged,
        "raw_purged_per_s": raw_purged,
        "purge_ratio": round(purged / raw_purged, 3),
    }
    ratio = min(figures["move_ratio"], figures["purge_ratio"])
    return {"bench": "retention", "people": people, "rounds": rounds, **figures, "ratio": ratio}


async def _measured(keys: Path, mongo_url: str, redis_url: str, people: int, rounds: int) -> dict[str, list[float]]:
    settings = settings_for(mongo_url, _PREFIX, keys)
    found: dict[str, list[float]] = {"move": [], "raw_move": [], "purge": [], "raw_purge": []}
    collect_seldom()  # as a worker does; both sides gain by it
    with MongoClient[Document](mongo_url, tz_aware=True, w="majority", journal=True) as driver:
        async with open_bench(settings, Trust.read(settings), keys, redis_url, driver) as bench:
            sample = await _sample(bench)
            wrapper = LocalKeyWrapper(read_wrapping_keys(keys / "controller"))
            for number in range(rounds):
                raw: dict[int, tuple[float, float]] = {}
                for connections in (1, 4):
                    await _anew(bench, sample, wrapper, people)
                    raw[connections] = await asyncio.to_thread(_by_driver, driver, people, connections)
                found["raw_move"].append(max(one for one, _ in raw.values()))
                found["raw_purge"].append(max(one for _, one in raw.values()))
                await _anew(bench, sample, wrapper, people)
                bench.clock.at = _MOVED_BY
                found["move"].append(people / await _timed(*(_shard(bench.services, shard) for shard in SWEEPS)))
                _count(bench, active=0, archive=people)
                bench.clock.at = _PURGED_BY
                found["purge"].append(people / await _timed(_whole(bench.services, purge_archive)))
                _count(bench, active=0, archive=0)
                say(f"retention round {number + 1}: " + ", ".join(f"{k} {v[-1]:,.0f}/s" for k, v in found.items()))
    return found


async def _timed(*work: Awaitable[None]) -> float:
    began = time.perf_counter()
    await asyncio.gather(*work)
    return time.perf_counter() - began


def _shard(services: Services, shard: str) -> Awaitable[None]:
    return _whole(services, lambda services: sweep(services, shard))


async def _whole(services: Services, chore: Callable[[Services], Awaitable[Done]]) -> None:
    while (await chore(services))[1]:
        pass


def _count(bench: Bench, **expected: int) -> None:
    for database, number in expected.items():
        found = bench.reader[f"{_PREFIX}_{database}"]["submissions"].count_documents({})
        assert found == number, f"{database}: {found} records, not {number}"


# ---------------------------------------------------------------------- the driver alone


def _by_driver(driver: MongoClient[Document], people: int, connections: int) -> tuple[float, float]:
    """People a second: moved, then purged."""
    persons = [one["_id"] for one in driver[f"{_PREFIX}_active"]["persons"].find({}, {"_id": 1})]
    portions = list(chunks(persons, _AT_ONCE))
    with ThreadPoolExecutor(connections) as pool:
        began = time.perf_counter()
        list(pool.map(lambda portion: _move(driver, portion), portions))
        moved = time.perf_counter()
        events = [one["_id"] for one in driver[f"{_PREFIX}_archive"]["submissions"].find({}, {"_id": 1})]
        assert len(events) == people
        began_purge = time.perf_counter()
        list(pool.map(lambda portion: _purge(driver, portion), chunks(events, _AT_ONCE)))
        return people / (moved - began), people / (time.perf_counter() - began_purge)


def _move(driver: MongoClient[Document], persons: list[str]) -> None:
    """Copy documents, then delete them."""
    active, archive = driver[f"{_PREFIX}_active"], driver[f"{_PREFIX}_archive"]
    keys = driver[f"{_PREFIX}_keys"]["keys"]
    names = [key_id(person, ACTIVE) for person in persons]
    found = list(active["submissions"].find({"person": {"$in": persons}}))
    stored = list(keys.find({"_id": {"$in": names}}))
    keys.insert_many([{**one, "_id": one["_id"].replace(ACTIVE, ARCHIVE)} for one in stored], ordered=False)
    archive["submissions"].insert_many([{**one, "refs": [secrets.token_bytes(32)]} for one in found], ordered=False)
    keys.delete_many({"_id": {"$in": names}})
    active["persons"].delete_many({"_id": {"$in": persons}})
    active["anchors"].delete_many({"about": {"$in": [one["_id"] for one in found]}})
    active["links"].delete_many({"person": {"$in": persons}})
    active["submissions"].delete_many({"person": {"$in": persons}})


def _purge(driver: MongoClient[Document], events: list[str]) -> None:
    archive = driver[f"{_PREFIX}_archive"]["submissions"]
    persons = [one["person"] for one in archive.find({"_id": {"$in": events}}, {"person": 1})]
    driver[f"{_PREFIX}_keys"]["keys"].delete_many({"_id": {"$in": [key_id(one, ARCHIVE) for one in persons]}})
    archive.delete_many({"_id": {"$in": events}})


# ---------------------------------------------------------------------- the people


async def _sample(bench: Bench) -> dict[str, list[Document]]:
    """One applicant as the actors store him."""
    applied = factories.form(Case.JOB_APPLICATION, factories.someone())
    await bench.send(applied)
    await bench.send(factories.decided(factories.NOON, about=applied.id))
    return {name: bench.collection(name) for name in ("submissions", "links", "anchors")}


async def _anew(bench: Bench, sample: dict[str, list[Document]], wrapper: LocalKeyWrapper, people: int) -> None:
    for database in ("active", "archive", "evidence", "keys"):
        await asyncio.to_thread(bench.reader.drop_database, f"{_PREFIX}_{database}")
    await create_indexes(bench.services.databases)
    await asyncio.to_thread(_fill, bench, sample, wrapper, people)
    await asyncio.to_thread(bench.reader.admin.command, "fsync")


def _fill(bench: Bench, sample: dict[str, list[Document]], wrapper: LocalKeyWrapper, people: int) -> None:
    """Others like the sample, each with key, sealed form, and references of an address of his own."""
    active = bench.reader[f"{_PREFIX}_active"]
    keys = bench.reader[f"{_PREFIX}_keys"]["keys"].with_options(write_concern=WriteConcern(w=1))
    [submission], [link], [anchor] = sample["submissions"], sample["links"], sample["anchors"]
    body = factories.form_data(Case.JOB_APPLICATION, factories.someone())
    references = bench.services.trust.references
    for portion in chunks(range(people), _AT_ONCE):
        made: dict[str, list[Document]] = {"persons": [], "keys": [], "submissions": [], "links": [], "anchors": []}
        for number in portion:
            person, event, raw = str(uuid7()), f"/forms/job-application/{uuid7()}", secrets.token_bytes(32)
            email, name = f"person{number}@example.org", key_id(person, ACTIVE)
            sealed = DataKey(name, raw).seal(f"submissions/{event}", json.dumps({**body, "email": email}).encode())
            made["persons"].append({"_id": person, "refs": [references.of_email(ReferenceUse.LOOKUP, email)]})
            made["keys"].append({"_id": name, **wrapper.wrap(name, raw)})
            made["submissions"].append({**submission, "_id": event, "person": person, "sealed": sealed})
            made["links"].append({**link, "_id": f"{event}/recruitment", "submission": event, "person": person})
            made["anchors"].append({**anchor, "_id": f"/hr/example/{uuid7()}", "about": event})
        keys.insert_many(made.pop("keys"), ordered=False)
        for name, documents in made.items():
            active[name].insert_many(documents, ordered=False)
