"""``audience``: who may be written to now, beside a cursor that merely opens the same fields.

Ours is the command's walk: it looks at links, dates, anchors, agreements, keys, tombstones and the suppression list and
records each page, in as many processes as there are processors, their start included; the cursor (PyMongo alone) reads
every submission and its key, a thousand at a time, and opens it, in one. By turns, over the same store, garbage being
collected as seldom as in a worker; members a second.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.database import Database
from uuid_utils import uuid7

from schemas.interpreter import collect_seldom
from schemas.keyring import generate_keys, read_wrapping_keys
from schemas.subject import ReferenceUse
from schemas.terms import Department, Purpose
from tests.benchmarks.report import Figures, rate, say
from tests.benchmarks.samples import Samples
from tests.benchmarks.stage import ROOMY_CACHE_GB, chunks
from tests.workers.bench import Bench, open_bench, settings_for
from workers.audience import PAGE
from workers.audience_shared import Wanted, in_parts
from workers.gate import Reader
from workers.local import EmbeddedMongo, EmbeddedValkey
from workers.services import Trust
from workers.settings import ControllerSettings
from workers.stores.keys import ACTIVE, DataKey, LocalKeyWrapper, key_id
from workers.stores.mongo import INDEXES

ROUNDS: Final = 3
_AT_ONCE: Final = 5_000
_PREFIX: Final = "audience"
_SAID_NO: Final = 20
"""One in so many is on the suppression list."""
_MINUTES: Final = 1_000_000
"""People came over nearly two years."""

Document = dict[str, Any]


def audience(people: int, rounds: int) -> Figures:
    """``people``: held, each with one contact form."""
    with TemporaryDirectory(prefix="greffier-bench-") as folder:
        generate_keys(Path(folder) / "keys")
        mongo = EmbeddedMongo(Path(folder), cache_gb=ROOMY_CACHE_GB).start()
        valkey = EmbeddedValkey(Path(folder)).start()
        try:
            ours, raw = asyncio.run(_measured(Path(folder) / "keys", mongo.url, valkey.url, people, rounds))
        finally:
            valkey.stop()
            mongo.stop()
    figures = {"members_per_s": rate(ours), "cursor_per_s": rate(raw), "ratio": round(rate(ours) / rate(raw), 3)}
    return {"bench": "audience", "people_held": people, "rounds": rounds, **figures}


async def _measured(
    keys: Path, mongo_url: str, redis_url: str, people: int, rounds: int
) -> tuple[list[float], list[float]]:
    settings = settings_for(mongo_url, _PREFIX, keys).model_copy(update={"redis_url": SecretStr(redis_url)})
    ours, raw = [], []
    collect_seldom()
    with MongoClient[Document](mongo_url, tz_aware=True) as reader:
        async with open_bench(settings, Trust.read(settings), keys, redis_url, reader) as bench:
            wrapper = LocalKeyWrapper(read_wrapping_keys(keys / "controller"))
            await bench.send(*Samples().submissions(1))
            began = time.monotonic()
            await asyncio.to_thread(_fill, bench, wrapper, people - 1)
            reader.admin.command("fsync")
            say(f"audience: {people:,} people, in {time.monotonic() - began:.0f} s")
            for number in range(rounds):
                raw.append(await asyncio.to_thread(_by_cursor, reader, wrapper, people))
                ours.append(await _by_ours(bench, settings, people))
                say(f"audience round {number + 1}: {ours[-1]:,.0f} members/s, cursor {raw[-1]:,.0f}/s")
    return ours, raw


async def _by_ours(bench: Bench, settings: ControllerSettings, people: int) -> float:
    wanted = Wanted(settings, Reader("bench", Department.MARKETING_SALES), Purpose.SALES_PROSPECTING)
    began, members, left_out = time.perf_counter(), 0, 0
    async for part in in_parts(bench.services, wanted):
        members += len(part.lines)
        left_out += part.left_out.total()
    took = time.perf_counter() - began
    assert (members + left_out, left_out) == (people, (people - 1) // _SAID_NO), "somebody is missing"
    return people / took


def _by_cursor(reader: MongoClient[Document], wrapper: LocalKeyWrapper, people: int) -> float:
    began, opened = time.perf_counter(), 0
    for portion in _portions(reader[f"{_PREFIX}_active"]):
        ids = [key_id(one["person"], ACTIVE) for one in portion]
        stored = {key["_id"]: key for key in reader[f"{_PREFIX}_keys"]["keys"].find({"_id": {"$in": ids}})}
        for one, name in zip(portion, ids, strict=True):
            key = DataKey(name, wrapper.unwrap(name, stored[name]))
            opened += "email" in json.loads(key.open(f"submissions/{one['_id']}", bytes(one["sealed"])))
    assert opened == people
    return people / (time.perf_counter() - began)


def _portions(active: Database[Document]) -> Iterator[list[Document]]:
    portion: list[Document] = []
    for one in active["submissions"].find({}, {"person": 1, "sealed": 1}, batch_size=PAGE):
        portion.append(one)
        if len(portion) == PAGE:
            yield portion
            portion = []
    yield portion


# ---------------------------------------------------------------------- the people


def _fill(bench: Bench, wrapper: LocalKeyWrapper, others: int) -> None:
    """People like the one who stands there, each with key, sealed form, and references of an address of his own."""
    active, keys = bench.reader[f"{_PREFIX}_active"], bench.reader[f"{_PREFIX}_keys"]["keys"]
    stones = bench.reader[f"{_PREFIX}_evidence"]["suppressions"]
    submission, links = active["submissions"].find_one() or {}, list(active["links"].find())
    body = {**json.loads(next(Samples().submissions(1)).body)}
    references, register = bench.services.trust.references, bench.services.trust.register
    said_at = bench.services.clock()
    for name in ("submissions", "links"):
        active[name].drop_indexes()  # to make them at the end costs less
    for portion in chunks(range(others), _AT_ONCE):
        made: dict[str, list[Document]] = {"persons": [], "keys": [], "submissions": [], "links": [], "said_no": []}
        for number in portion:
            person, event, raw = str(uuid7()), f"door/{uuid7()}", secrets.token_bytes(32)
            email, name = f"person{number}@example.org", key_id(person, ACTIVE)
            sealed = DataKey(name, raw).seal(f"submissions/{event}", json.dumps({**body, "email": email}).encode())
            made["persons"].append({"_id": person, "refs": [references.of_email(ReferenceUse.LOOKUP, email)]})
            made["keys"].append({"_id": name, **wrapper.wrap(name, raw)})
            received = said_at - timedelta(minutes=number % _MINUTES)
            own = {"person": person, "received": received, "sealed": sealed}
            made["submissions"].append({**submission, "_id": event, **own})
            about = {"submission": event, "person": person, "since": received}
            made["links"] += [{**link, "_id": f"{event}/{link['purpose']}", **about} for link in links]
            if number % _SAID_NO == _SAID_NO - 1:
                no = {str(one): {"at": said_at, "ground": "objection"} for one in register.prospecting}
                made["said_no"] += [{"_id": ref, "no": no} for ref in references.suppression(email)]
        keys.insert_many(made.pop("keys"), ordered=False)
        if made["said_no"]:
            stones.insert_many(made["said_no"], ordered=False)
        del made["said_no"]
        for name, documents in made.items():
            active[name].insert_many(documents, ordered=False)
    for name in ("submissions", "links"):
        active[name].create_indexes(INDEXES["active"][name])
