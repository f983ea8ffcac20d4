"""Canary drills under fire: real processes carry them, some are killed, and nobody fictional is ever listed or counted.

The drills stand in MongoDB and are moved on by whichever controller finds them; offices are processes with stores of
their own. What is shown to whoever lists people is asked all the while, and the stores are read by plain clients.
Source: R25; P6; docs/decisions/0019; issue 5 "Shown by".
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
from pydantic import SecretStr
from redis.asyncio import Redis

from schemas.errors import QueueUnavailable, StoreUnavailable
from schemas.register import load_register
from schemas.terms import Department, Purpose
from tests.chaos.asking import Asking, Mailbox, mail_server
from tests.chaos.faults import Breaker, Fault, all_up
from tests.chaos.group import Group, people
from tests.chaos.kept import HEARTBEAT_MS
from tests.chaos.proved import EVIDENCE, Calm
from tests.installation import running
from tests.waiting import until
from tests.workers.subsidiary import kits
from workers.audience import Audience
from workers.cases.canaries import SETTLING, open_drills
from workers.gate import Reader
from workers.retention.preview import preview
from workers.services import Services, Trust, services_over
from workers.settings import ControllerSettings
from workers.stores.mongo import connect
from workers.uploads import Uploads

_MAILER: Final = Reader("mailer", Department.MARKETING_SALES)
_PURPOSES: Final = (Purpose.SALES_PROSPECTING, Purpose.SALES_INFORMATION)
_RECIPES: Final = (
    ("  customers:\n", "    canary: {name: Canary, newsletter: false}\n"),
    ("  leads:\n", "    canary: {name: Canary}\n"),
)


class Aviary(Group):
    """A group each of whose offices says what its canary is; and a calm that knows of drills."""

    @property
    def collections(self) -> str:
        text = kits.COLLECTIONS
        for name, recipe in _RECIPES:
            text = text.replace(name, name + recipe, 1)
        return text


class DrillCalm(Calm):
    """Waits for drills too."""

    DUE = (*Calm.DUE, ("canaries", "look_at"))


@dataclass
class Drilled:
    """What was seen. ``outcomes``: how drills ended; ``looks``: how often whoever lists people was asked meanwhile."""

    outcomes: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    looks: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass
class Flight:
    """One run's things. ``known``: the addresses of everybody real."""

    group: Group
    services: Services
    calm: Calm
    known: frozenset[str]
    seen: Drilled = field(default_factory=Drilled)

    async def drill(self, rounds: int, faults: Sequence[Fault]) -> None:
        """So many rounds of every store, while things are killed."""
        breaker = Breaker(self.group, rounds)
        watching = asyncio.create_task(self._watch())
        share = len(faults) // rounds
        try:
            for number in range(rounds):
                await open_drills(self.services)
                await breaker.commit(faults[number * share : (number + 1) * share])
                await all_up(self.group)
                await self.calm.until(lambda: not self._drills({"look_at": {"$exists": True}}))
                # Ours reads what a majority has: an end that was just seen may not be there yet.
                await until(self._all_ended, what="the end of every drill")
                self.group.clock.move_to(self.group.clock.now() + timedelta(minutes=2))
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        self.seen.kills = Counter(name.partition("-")[0] for name in breaker.committed)
        self.seen.outcomes = Counter(str(one.get("outcome")) for one in self._drills({}))
        await self._look()
        await self._look_at_what_is_held()

    async def _all_ended(self) -> bool:
        return not await self.services.canaries.in_drill()

    def _drills(self, which: dict[str, Any]) -> list[dict[str, Any]]:
        with self.group.mongo() as reader:
            return list(reader[EVIDENCE]["canaries"].find(which))

    async def _watch(self) -> None:
        while True:
            try:
                await self._look()
            except (StoreUnavailable, QueueUnavailable):
                await asyncio.sleep(0.1)  # nobody is shown anything while a store is away

    async def _look(self) -> None:
        """Whoever is listed, or counted as left out, is somebody real."""
        for purpose in _PURPOSES:
            pages = [page async for page in Audience(self.services, _MAILER, purpose).pages()]
            listed = [member.email for page in pages for member in page.members]
            counted = len(listed) + sum(sum(page.left_out.values()) for page in pages)
            self.seen.faults += [f"{one} is in an audience" for one in listed if one not in self.known]
            if counted > len(self.known):
                self.seen.faults.append(f"{counted} counted of {len(self.known)} for {purpose}")
        found = await preview(self.services, self.services.clock() + timedelta(days=4_000))
        going = max((one["records"] for one in found.as_json()["going"]), default=0)
        self.seen.faults += [f"{going} records would go of {len(self.known)}"] * (going > len(self.known))
        self.seen.looks += 1

    async def _look_at_what_is_held(self) -> None:
        """By plain clients: no canary stands in any store, and ours holds everybody real."""
        with self.group.mongo() as reader:
            persons = reader["greffier_active"]["persons"].count_documents({})
        self.seen.faults += [f"{persons} persons in our own store"] * (persons != len(self.known))
        for code, kit in self.group.kits.items():
            self.seen.faults += [f"a canary stands in {code}"] * ("canary." in await kits.everything(kit))


@asynccontextmanager
async def flight(data: Path, *, offices: int, seed: int, person_count: int = 12) -> AsyncIterator[Flight]:
    """An installation whose people have been known for an hour."""
    mailbox = Mailbox()
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(mail_server(mailbox))
        heartbeat = {"GREFFIER_HEARTBEAT_MS": str(HEARTBEAT_MS)}
        group = Aviary(data, offices=offices, smtp_port=port, env=heartbeat, controllers=2)
        await stack.enter_async_context(running(group))
        stack.push_async_callback(group.empty)
        session = await stack.enter_async_context(aiohttp.ClientSession(group.doors[0].url))
        calm = DrillCalm(group)
        stack.callback(calm.close)
        everybody = people(person_count, group.codes, seed)
        await group.fill(everybody)
        await Asking(group, mailbox, seed, rate=1.0).known_to_the_controller(session, everybody)
        services = _services(group)
        stack.push_async_callback(services.close)
        await until(services.bookkeeping.working_since, what="that they came is noted")
        group.clock.move_to(group.clock.now() + 2 * SETTLING)
        yield Flight(group, services, calm, frozenset(one.email for one in everybody))


def _services(group: Group) -> Services:
    """What a process that lists people has."""
    keys = group.data / "keys" / "controller"
    settings = ControllerSettings(mongo_url=SecretStr(group.mongod.url), keys=keys, register_file=group.register)
    trust = Trust.read(settings)
    assert trust.register.subsidiaries == load_register(group.register).subsidiaries
    uploads = Uploads(Redis.from_url(group.valkey.url), trust.opener)
    return services_over(connect(settings), uploads, trust, group.clock.now)
