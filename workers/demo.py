"""``greffier demo``: the whole system on embedded servers, sample traffic through the public door, what became of it.

Everything shown is read back by plain clients (:mod:`workers.stores.witness`, a Redis connection of its own), never
from the system's own counters. Exit code 0 only if all of it held.
Source: design § 6 "Commands".
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiohttp
import redis
from rich.console import Console
from rich.table import Table

from schemas.routes import NAMESPACE, QUEUES
from workers.demo_rights import RightsAct
from workers.demo_rows import Row, until
from workers.demo_time import TimeAct
from workers.demo_traffic import CANARIES, FORGOTTEN, Kind, Sending, contact_again, kinds
from workers.services import Trust, open_services
from workers.settings import ControllerSettings
from workers.stores.forgetting import Forgotten
from workers.stores.witness import Witness
from workers.up import System

_PREFIX: Final = "greffier"
_HELD: Final = ("submissions", "links", "files", "persons")


class Demo:
    """One run against a running system."""

    def __init__(self, system: System) -> None:
        facts = system.facts()
        self._system = system
        self._door = facts["door"]
        self._mongo_url = facts["mongo"]
        self._witness = Witness(facts["mongo"], _PREFIX)
        self._redis = redis.Redis.from_url(facts["redis"])
        self._key = {"Authorization": f"Bearer {facts['crm_api_key']}"}

    async def run(self) -> list[Row]:
        """Send, send again, send what must be refused, forget somebody, serve a right, move time, look for leaks."""
        traffic = kinds(datetime.now(UTC))
        async with aiohttp.ClientSession(self._door) as session:
            rows = [await self._kind(session, kind) for kind in traffic]
            rows.append(await self._forget_and_be_late(session))
            rows += await RightsAct(self._system, session, self._witness).run()
            rows += await TimeAct(self._system, session, self._witness).run()
        rows.append(self._leaks())
        return rows

    def close(self) -> None:
        self._witness.close()
        self._redis.close()

    async def _kind(self, session: aiohttp.ClientSession, kind: Kind) -> Row:
        row = Row(kind.name)
        ids = [event for sending in kind.sendings for event in await self._sent(session, sending, kind.needs_key)]
        row.note(f"{len(ids)} published", bool(ids))
        standing = await self._standing(kind, ids, kind.expected)
        row.note(f"{standing} persisted", standing == kind.expected)
        again = [event for sending in kind.sendings for event in await self._sent(session, sending, kind.needs_key)]
        await until(self._queues_are_empty)
        after = self._count(kind, ids + again)
        row.note(f"{len(again)} repeated, {after - standing} more", after == standing and again == ids)
        status = (await self._post(session, kind.refused, kind.needs_key and kind.refused_with != 401))[0]
        row.note(f"refused with {status}", status == kind.refused_with)
        return row

    async def _sent(self, session: aiohttp.ClientSession, sending: Sending, needs_key: bool) -> list[str]:
        """The ids of the events that the door accepted."""
        status, answer = await self._post(session, sending, needs_key)
        if status != 202:
            return []
        return list(sending.events) or [answer["id"]]

    async def _post(
        self, session: aiohttp.ClientSession, sending: Sending, with_key: bool
    ) -> tuple[int, dict[str, str]]:
        headers = {"Content-Type": sending.content_type, **sending.headers, **(self._key if with_key else {})}
        async with session.post(sending.path, data=sending.body, headers=headers) as response:
            body = await response.json(content_type=None) if response.content_length else {}
            return response.status, body

    async def _standing(self, kind: Kind, ids: Sequence[str], expected: int) -> int:
        await until(lambda: self._count(kind, ids) >= expected)
        return self._count(kind, ids)

    def _count(self, kind: Kind, ids: Sequence[str]) -> int:
        return self._witness.count("active", kind.collection, {"event_id": {"$in": list(set(ids))}})

    async def _forget_and_be_late(self, session: aiohttp.ClientSession) -> Row:
        row, hers = Row("one person forgotten"), {"event_id": {"$in": ["crm-client", "crm-full-sync"]}}
        keys = [f"{person}/active" for person in self._witness.values("active", "submissions", hers, "person")]
        gone = (await self._forget(FORGOTTEN)).deleted
        row.note(f"{gone['submissions']} submissions and {gone['files']} file deleted", all(gone[n] for n in _HELD))
        destroyed = self._witness.count("keys", "keys", {"_id": {"$in": keys}, "wrapped": {"$exists": False}})
        row.note(f"{destroyed} key destroyed", destroyed == gone["persons"] == 1)
        await self._sent(session, contact_again(0, "crm-client"), True)
        row.note("the same message again: refused", await self._comes("evidence", "outcomes"))
        await self._sent(session, contact_again(0, "crm-full-sync"), True)
        row.note("a later CRM import: parked for staff", await self._comes("active", "parked"))
        row.note("nothing of her stands", self._witness.count("active", "submissions", hers) == 0)
        return row

    async def _comes(self, database: str, collection: str) -> bool:
        """Whether exactly one document with the reason ``erased`` comes to stand there."""
        await until(lambda: self._witness.count(database, collection, {"reason": "erased"}) > 0)
        return self._witness.count(database, collection, {"reason": "erased"}) == 1

    async def _forget(self, email: str) -> Forgotten:
        settings = ControllerSettings(
            redis_url=self._system.facts()["redis"],
            mongo_url=self._mongo_url,
            keys=self._system.data / "keys" / "controller",
        )
        services = open_services(settings, Trust.read(settings))
        try:
            return await services.forgetting.forget(email)
        finally:
            await services.close()

    def _leaks(self) -> Row:
        row = Row("names in the clear")
        logs = (self._system.data / "logs").glob("*")
        places = {
            "MongoDB": self._witness.in_the_clear(CANARIES),
            "Redis": [key.decode() for key in self._redis.scan_iter() if _holds(self._redis.dump(key))],
            "logs": [log.name for log in logs if _holds(log.read_bytes())],
        }
        for place, found in places.items():
            row.note(f"{place}: {', '.join(found) or 'none'}", not found)
        return row

    def _queues_are_empty(self) -> bool:
        return not any(self._redis.hlen(f"{NAMESPACE}:{queue}.msgs") for queue in QUEUES)


def _holds(content: bytes | None) -> bool:
    return any(canary.encode() in content for canary in CANARIES) if content else False


def run_demo(data: Path | None) -> int:
    """Run it in ``data``, or in a temporary folder that goes afterwards; the exit code."""
    console = Console()
    with ExitStack() as stack:
        folder = data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="greffier-demo-")))
        console.print("Starting Valkey, MongoDB, a door and a worker …")
        started = time.monotonic()
        system = System(folder, port=0)
        stack.callback(system.stop)
        system.start()
        console.print(
            f"… up after {time.monotonic() - started:.1f} s; sending sample traffic through {system.facts()['door']}"
        )
        demo = Demo(system)
        stack.callback(demo.close)
        rows = asyncio.run(demo.run())
        _print(console, rows)
        held = all(row.held for row in rows)
        console.print(
            f"{'All of it held' if held else 'NOT all of it held'}; {time.monotonic() - started:.1f} s in all."
        )
    return 0 if held else 1


def _print(console: Console, rows: Sequence[Row]) -> None:
    table = Table("what", "seen by an independent client", "held")
    for row in rows:
        table.add_row(row.what, ", ".join(row.seen), "yes" if row.held else "NO")
    console.print(table)
