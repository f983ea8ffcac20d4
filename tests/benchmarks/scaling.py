"""What one person's access and erasure cost in a store that holds ten thousand people, and in one that holds a million.

At the controller's store, through the actors' own services, and at an office's, MongoDB and SQLite, through the
adapter. The people who are served were stored by the real actors; those around them are copies of their documents
under other ids. Small and large are served by turns, one person at a time, so that whatever else the machine does is in
both; each cost is a median, and ``scaling`` the worst of the ratios: only indices keep it near 1.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

from pymongo import MongoClient
from pymongo.collection import Collection
from uuid_utils import uuid7

from schemas.keyring import generate_keys
from schemas.register_reading import parse_mapping as parse_yaml
from schemas.terms import Right
from tests.benchmarks.offices import MongoStore, SqliteStore, Store
from tests.benchmarks.report import Figures, say
from tests.benchmarks.samples import Samples
from tests.benchmarks.stage import ROOMY_CACHE_GB, chunks
from tests.workers.bench import Bench, open_bench, settings_for
from workers.local import EmbeddedMongo, EmbeddedValkey
from workers.services import Trust
from workers.stores.mongo import INDEXES
from workers.stores.subsidiaries import open_store
from workers.stores.subsidiaries.adapter import StoreAdapter, Subject
from workers.stores.subsidiaries.mapping import parse_mapping
from workers.subject_access import copy_of

FEW: Final = 100
"""The small stores hold so many times fewer people than the large ones."""
_SERVED: Final = 200
_WARM_UP: Final = 20
_AT_ONCE: Final = 5_000

Document = dict[str, Any]
Serve = Callable[[str], Awaitable[object]]


def scaling(people: int) -> Figures:
    """``people``: held in each of the large stores."""
    with TemporaryDirectory(prefix="greffier-bench-") as folder:
        generate_keys(Path(folder) / "keys")
        mongo = EmbeddedMongo(Path(folder), cache_gb=ROOMY_CACHE_GB).start()
        valkey = EmbeddedValkey(Path(folder)).start()
        try:
            costs = asyncio.run(_costs(Path(folder), mongo.url, valkey.url, people))
        finally:
            valkey.stop()
            mongo.stop()
    ratios = {name: round(large / small, 3) for name, (small, large) in costs.items()}
    return {
        "people_held": people,
        "scaling": max(ratios.values()),
        "scaling_of": ratios,
        "large_ms": {name: round(1000 * large, 2) for name, (_, large) in costs.items()},
    }


@dataclass(frozen=True, slots=True)
class _World:
    """A controller's store and two offices', each with so many people, and what serves one of them."""

    emails: Sequence[str]
    serve: dict[str, Serve]


async def _costs(folder: Path, mongo_url: str, redis_url: str, people: int) -> dict[str, tuple[float, float]]:
    """Kind of service → median seconds in the small stores and in the large ones."""
    async with AsyncExitStack() as kept:
        reader: MongoClient[Document] = kept.enter_context(MongoClient(mongo_url, tz_aware=True))
        worlds = [
            await kept.enter_async_context(_world(folder, mongo_url, redis_url, reader, held))
            for held in (max(people // FEW, _SERVED), people)
        ]
        reader.admin.command("fsync")  # what was filled is written out before anything is timed
        small, large = worlds
        return {name: await _by_turns(small, large, name) for name in small.serve}


async def _by_turns(small: _World, large: _World, name: str) -> tuple[float, float]:
    took: tuple[list[float], list[float]] = ([], [])
    for pair in zip(small.emails, large.emails, strict=True):
        for world, email, times in zip((small, large), pair, took, strict=True):
            began = time.perf_counter()
            await world.serve[name](email)
            times.append(time.perf_counter() - began)
    say(f"rights, {name}: {1000 * median(took[0]):.1f} ms, {1000 * median(took[1]):.1f} ms beside many")
    return median(took[0][_WARM_UP:] or took[0]), median(took[1][_WARM_UP:] or took[1])


@asynccontextmanager
async def _world(
    folder: Path, mongo_url: str, redis_url: str, reader: MongoClient[Document], held: int
) -> AsyncIterator[_World]:
    keys, name = folder / "keys", f"held{held}"
    settings = settings_for(mongo_url, name, keys)
    stores: dict[str, Store] = {
        "mongodb_office": MongoStore(mongo_url, f"{name}-office"),
        "sqlite_office": SqliteStore(folder / f"{name}.sqlite"),
    }
    async with AsyncExitStack() as kept:
        bench = await kept.enter_async_context(open_bench(settings, Trust.read(settings), keys, redis_url, reader))
        forms = list(Samples(seed=held).submissions(_SERVED))
        await bench.send(*forms)
        emails = [json.loads(form.body)["email"] for form in forms]
        began = time.monotonic()
        await asyncio.gather(
            asyncio.to_thread(_fill_controller, reader, name, held - _SERVED),
            *(asyncio.to_thread(_fill_office, store, emails, held) for store in stores.values()),
        )
        say(f"rights: {held:,} people in each store, in {time.monotonic() - began:.0f} s")
        serve = _at_the_controller(bench)
        for kind, store in stores.items():
            adapter = open_store(parse_mapping(*parse_yaml(store.mapping.encode())), store.url)
            kept.push_async_callback(adapter.close)
            serve |= {f"{kind}_{what}": how for what, how in _at_an_office(adapter).items()}
        yield _World(emails, serve)


def _at_the_controller(bench: Bench) -> dict[str, Serve]:
    async def access(email: str) -> None:
        assert (await copy_of(bench.services, [email]))["collections"], "nothing of a person we hold"

    async def erase(email: str) -> None:
        assert await bench.services.standing.of(email)
        assert (await bench.services.forgetting.forget(email)).anything

    return {"controller_access": access, "controller_erasure": erase}


def _at_an_office(adapter: StoreAdapter) -> dict[str, Serve]:
    async def access(email: str) -> None:
        assert [page async for page in adapter.access(_subject(email))], "nothing of a person the office holds"

    async def erase(email: str) -> None:
        planned = await adapter.plan(Right.ERASURE, _subject(email))
        assert any(tally.erased for tally in await adapter.erase(_subject(email), planned))

    return {"access": access, "erasure": erase}


def _subject(email: str) -> Subject:
    return Subject((email,), datetime.now(UTC))


# ---------------------------------------------------------------------- those around them


def _fill_office(store: Store, emails: Sequence[str], held: int) -> None:
    store.fill(emails)
    for size in _portions(held - len(emails)):
        store.fill([f"{secrets.token_hex(8)}@example.org" for _ in range(size)])


def _fill_controller(reader: MongoClient[Document], prefix: str, others: int) -> None:
    """Copies of one person's documents, whose every id, reference and sealed value is another."""
    active, keys = reader[f"{prefix}_active"], reader[f"{prefix}_keys"]["keys"]
    person = active["persons"].find_one() or {}
    key = keys.find_one({"_id": f"{person['_id']}/active"}) or {}
    submission = active["submissions"].find_one({"person": person["_id"]}) or {}
    links = list(active["links"].find({"person": person["_id"]}))
    for name in ("submissions", "links"):
        active[name].drop_indexes()  # to make them at the end costs less
    for size in _portions(others):
        ids = [(str(uuid7()), secrets.token_hex(16)) for _ in range(size)]
        _insert(active["persons"], [{**person, "_id": one, "refs": [secrets.token_bytes(32)]} for one, _ in ids])
        _insert(keys, [{**key, "_id": f"{one}/active", "wrapped": secrets.token_bytes(60)} for one, _ in ids])
        _insert(active["submissions"], [_other(submission, one, event) for one, event in ids])
        mine = [_other(link, one, f"{event}/{link['purpose']}") for one, event in ids for link in links]
        _insert(active["links"], [link | {"submission": link["_id"].partition("/")[0]} for link in mine])
    for name in ("submissions", "links"):
        active[name].create_indexes(INDEXES["active"][name])


def _other(document: Document, person: str, name: str) -> Document:
    sealed = {"sealed": secrets.token_bytes(len(document["sealed"]))} if "sealed" in document else {}
    return {**document, "_id": name, "person": person, **sealed}


def _insert(collection: Collection[Document], documents: list[Document]) -> None:
    collection.insert_many(documents, ordered=False)


def _portions(count: int) -> list[int]:
    return [len(portion) for portion in chunks(range(count), _AT_ONCE)]
