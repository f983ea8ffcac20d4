"""``ledger``: does proving bound the work? Noting facts beside inserting the very same documents, by turns in one run.

On an embedded MongoDB on a real disk, majority and journal. A fact is noted by itself, as actors do it; the plain
inserts are one document each, by the same number of writers over the same driver.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from schemas.evidence import Entry, entry
from schemas.ledger_keys import new_ledger_keys
from tests.benchmarks.report import Figures, middle, rate, say
from workers.evidence.keeping import Keeper
from workers.evidence.notes import Notes
from workers.local import EmbeddedMongo
from workers.settings import ControllerSettings
from workers.stores.heads import Heads
from workers.stores.ledger import Ledger
from workers.stores.mongo import Databases, connect, create_indexes

ROUNDS: Final = 3
WRITERS: Final = 4
_PER_CASE: Final = 30


def ledger(n: int, rounds: int = ROUNDS) -> Figures:
    """``n``: facts a round, by :data:`WRITERS` writers."""
    with tempfile.TemporaryDirectory(prefix="greffier-bench-") as folder:
        server = EmbeddedMongo(Path(folder)).start()
        try:
            return asyncio.run(_measured(server.url, n, rounds))
        finally:
            server.kill9()


async def _measured(mongo_url: str, n: int, rounds: int) -> Figures:
    settings = ControllerSettings(mongo_url=SecretStr(mongo_url), mongo_prefix="bench", keys=Path("unused"))
    databases = connect(settings)
    await create_indexes(databases)
    bench = _Bench(databases)
    plain, noted, both, sequenced = [], [], [], []
    for number in range(rounds):
        plain.append(await _by_writers(bench.insert, _facts(n)))
        noted.append(await _by_writers(bench.note, _facts(n)))
        sequenced.append(await bench.sequence())
        keeping = asyncio.create_task(bench.keeper.keep())
        both.append(await _by_writers(bench.note, _facts(n)))
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await bench.keeper.settle()
        say(f"ledger, round {number + 1}: plain {plain[-1]:,.0f}/s, noted {noted[-1]:,.0f}/s, {both[-1]:,.0f}/s kept")
    began = time.perf_counter()
    checked = await bench.keeper.check()
    took = time.perf_counter() - began
    if checked.faults or checked.size != 2 * n * rounds:
        raise AssertionError(f"the ledger does not hold: {checked}")
    databases.close()
    return {
        "bench": "ledger",
        "n": n,
        "writers": WRITERS,
        "plain_inserts_per_s": rate(plain),
        "noted_per_s": rate(noted),
        "noted_while_kept_per_s": rate(both),
        "ratio": middle([one / other for one, other in zip(noted, plain, strict=True)]),
        "ratio_while_kept": middle([one / other for one, other in zip(both, plain, strict=True)]),
        "sequenced_per_s": rate(sequenced),
        "checked_per_s": round(checked.size / took),
        "entries": checked.size,
    }


class _Bench:
    def __init__(self, databases: Databases) -> None:
        now = datetime.now(UTC)
        ledger = Ledger(databases)
        heads = Heads(databases, ledger, new_ledger_keys(now), _now)
        self.keeper = Keeper(ledger, heads, _now)
        self._notes = Notes(ledger, _now)
        self._plain = databases.evidence["plain"]

    async def note(self, fact: Entry) -> None:
        await self._notes.write([fact])

    async def insert(self, fact: Entry) -> None:
        await self._plain.insert_one({"_id": fact.id, "body": fact.as_json()})

    async def sequence(self) -> float:
        """Entries a second, with nobody else at it."""
        began = time.perf_counter()
        placed = await self.keeper.sequence()
        return placed / (time.perf_counter() - began)


def _now() -> datetime:
    return datetime.now(UTC)


def _facts(n: int) -> list[Entry]:
    run, now = uuid.uuid4().hex[:8].upper(), _now()
    digest = "0" * 64
    return [
        entry(
            "order_issued", f"R-{run}-{k // _PER_CASE}", str(k), now, store="de", digest=digest, ask="serve", attempt=1
        )
        for k in range(n)
    ]


async def _by_writers(write: Callable[[Entry], Awaitable[Any]], facts: Sequence[Entry]) -> float:
    """Facts a second."""
    left = iter(facts)

    async def writer() -> None:
        for fact in left:
            await write(fact)

    began = time.perf_counter()
    await asyncio.gather(*(writer() for _ in range(WRITERS)))
    return len(facts) / (time.perf_counter() - began)
