"""``unsubscribe``: from one click to nobody writing any more: at the next audience read, and in ten offices' stores.

``effective_*``: a click at the public door, then the page of the audience in which its person would stand, which must
be without them. ``all_subsidiaries_*``: ``n`` people who stand in the controller's store and in all ten offices' use
their links as fast as the door answers; plain clients look into every store until nobody there is written to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from pydantic import SecretStr

from schemas.party_keys import read_token_key
from schemas.routes import SUBMISSIONS
from schemas.terms import Department, Purpose
from tests.benchmarks.load import another_process, answered_at
from tests.benchmarks.offices import CODES, Group, Store
from tests.benchmarks.report import Figures, percentile, say
from tests.benchmarks.samples import Samples
from tests.benchmarks.stage import Stage, running_system
from workers.audience import Audience
from workers.gate import Reader
from workers.members import Member
from workers.one_click import OneClickLinks
from workers.services import Services, Trust, open_services
from workers.settings import ControllerSettings

LONE: Final = 100
_CONNECTIONS: Final = 64
_PATIENCE_S: Final = 300.0
_LOOK_S: Final = 1.0
_BODY: Final = b"List-Unsubscribe=One-Click"
_PURPOSE: Final = Purpose.SALES_PROSPECTING


def unsubscribe(n: int) -> Figures:
    """``n``: people who click in one burst; before it :data:`LONE` others click one after the other."""
    with TemporaryDirectory(prefix="greffier-bench-") as folder:
        group = Group(Path(folder))
        keys: list[Path] = []

        def register(data: Path) -> Path:
            keys.append(data / "keys" / "controller")
            return group.found(data)

        with running_system(register=register) as stage, group.at_work(stage) as stores:
            lone, burst = asyncio.run(_people(stage, keys[0], n + LONE))
            for store in stores.values():
                store.fill([one.member.email for one in (*lone, *burst)])
            effective = asyncio.run(_one_by_one(stage, keys[0], lone))
            say(f"unsubscribe: effective p99 {percentile(effective, 99)} ms")
            figures = _burst(stage, stores, burst)
            return {
                "bench": "unsubscribe",
                "n": n,
                "offices": len(CODES),
                "effective_p50_ms": percentile(effective, 50),
                "effective_p99_ms": percentile(effective, 99),
                **figures,
                "rss_mib": stage.rss_mib(),
            }


@dataclass(frozen=True, slots=True)
class _Clicker:
    """``before``: who stands before them in the audience; ``request``: the click, as a mail program posts it."""

    member: Member
    before: str
    request: bytes


@asynccontextmanager
async def _services(stage: Stage, keys: Path) -> AsyncIterator[Services]:
    """What a reader of the audience has."""
    settings = ControllerSettings(keys=keys, redis_url=SecretStr(stage.redis_url), mongo_url=SecretStr(stage.mongo_url))
    services = open_services(settings, Trust.read(settings))
    try:
        yield services
    finally:
        await services.close()


def _audience(services: Services) -> Audience:
    return Audience(services, Reader("bench", Department.MARKETING_SALES), _PURPOSE)


async def _people(stage: Stage, keys: Path, number: int) -> tuple[list[_Clicker], list[_Clicker]]:
    """People the controller knows, with the links that a mail to them bears: who click alone, and who at once."""
    stage.post(SUBMISSIONS, list(Samples().submissions(number)), 500)
    stage.wait_persisted(SUBMISSIONS, "submissions", number)
    people = []
    async with _services(stage, keys) as services:
        links, before = OneClickLinks(read_token_key(keys), services.trust.references, stage.door_url), ""
        async for page in _audience(services).pages():
            for member in page.members:
                headers = links.headers(member.email, member.person, services.clock())
                people.append(_Clicker(member, before, _click(stage, headers)))
                before = member.person
    assert len(people) == number, "somebody may not be written to before they said no"
    return people[:LONE], people[LONE:]


def _click(stage: Stage, headers: Mapping[str, str]) -> bytes:
    path = headers["List-Unsubscribe"].strip("<>").removeprefix(stage.door_url)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    return f"{head}Content-Length: {len(_BODY)}\r\n\r\n".encode() + _BODY


async def _one_by_one(stage: Stage, keys: Path, people: Sequence[_Clicker]) -> list[float]:
    """Milliseconds from each click until the audience was read without its person."""
    took = []
    async with _services(stage, keys) as services:
        for one in people:
            began = time.monotonic()
            await answered_at(stage.door_port, [one.request], 1)
            page = await _audience(services).page(one.before, 1)
            took.append(1000 * (time.monotonic() - began))
            assert page.members == [], "read after the 202, and still written to"
    return took


def _burst(stage: Stage, stores: Mapping[str, Store], people: Sequence[_Clicker]) -> Figures:
    """All of them click; milliseconds from each 202 until no store was seen to write to that person any more."""
    with another_process() as sender:
        clicking = sender(clicked, stage.door_port, [one.request for one in people], _CONNECTIONS)
        seen = _stopped(stores, [one.member.email for one in people], clicking)
        began, answered = clicking.result()
    stage.wait_for(lambda: not _owed(stage), _PATIENCE_S, "receipts", _LOOK_S)
    receipts = time.monotonic() - began
    waited = [1000 * (seen[one.member.email] - at) for one, at in zip(people, answered, strict=True)]
    say(f"unsubscribe: {len(people):,} clicks in {max(answered) - began:.1f} s, all receipts after {receipts:.1f} s")
    return {
        "clicks_per_s": round(len(people) / (max(answered) - began)),
        "all_subsidiaries_p50_ms": percentile(waited, 50),
        "all_subsidiaries_p99_ms": percentile(waited, 99),
        "all_receipts_ms": round(1000 * receipts),
    }


def clicked(port: int, requests: Sequence[bytes], connections: int) -> tuple[float, list[float]]:
    """When the first was sent and each was answered; called in a process of its own."""
    return asyncio.run(answered_at(port, requests, connections))


def _stopped(stores: Mapping[str, Store], emails: Sequence[str], clicking: Future[Any]) -> dict[str, float]:
    """When each was first seen to be written to by no store. Raises what the clicking fails with."""
    seen: dict[str, float] = {}
    waiting, deadline = set(emails), time.monotonic() + _PATIENCE_S
    while waiting:
        time.sleep(_LOOK_S)
        if clicking.done():
            clicking.result()
        still = set[str]().union(*(store.written_to() for store in stores.values()))
        now = time.monotonic()
        seen |= dict.fromkeys(waiting - still, now)
        waiting &= still
        if now > deadline:
            raise TimeoutError(f"{len(waiting)} people are still written to")
    return seen


def _owed(stage: Stage) -> int:
    """Rounds whose receipts are not all in, and people who are in no round yet."""
    evidence: Any = stage.database("evidence")
    asked: int = evidence["tasks"].count_documents({"people.0": {"$exists": True}})
    return asked + int(evidence["slips"].count_documents({"waiting": {"$exists": True}}))
