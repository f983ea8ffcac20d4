"""Somebody of each kind that a sweep meets, and the shipped chores on a bench."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import count

from schemas.subject import ReferenceUse
from schemas.terms import Case
from schemas.ticks import SWEEPS
from tests import factories
from tests.chaos.stepping import Baton, stepped
from tests.factories import NOON, Someone
from tests.workers.bench import Bench, Document
from workers.retention.purge import purge_archive
from workers.retention.sweep import ENDINGS, Done, sweep
from workers.services import Services, services_over
from workers.stores.keys import ACTIVE, key_id

APPLICATION_OVER = datetime(2027, 2, 20, 23, tzinfo=UTC)
"""Decided at noon of 20 November: three months, in Paris."""
ARCHIVE_OVER = datetime(2032, 2, 20, 23, tzinfo=UTC)
RELATION_OVER = datetime(2029, 11, 20, 23, tzinfo=UTC)
"""A form of that noon: three years."""


async def applicant(bench: Bench, whom: Someone | None = None, *, decided: bool = True) -> Someone:
    """An application with its CV, and the decision on it."""
    whom, cv = whom or factories.someone(), factories.file()
    applied = factories.form(Case.JOB_APPLICATION, whom, cv=cv.field)
    await bench.upload(cv, applied)
    await bench.send(applied)
    if decided:
        await bench.send(factories.decided(NOON, about=applied.id))
    return whom


async def correspondent(bench: Bench, whom: Someone | None = None) -> Someone:
    """A contact form."""
    whom = whom or factories.someone()
    await bench.send(factories.form(Case.CONTACT, whom))
    return whom


async def nobody_yet(bench: Bench) -> factories.Someone:
    """A person and a key, of whom a dead worker made no more."""
    whom, services = factories.someone(), bench.services
    ref = services.trust.references.of_email(ReferenceUse.LOOKUP, whom.email)
    made = await services.people.resolve([ref], NOON, {})
    await services.keys.ensure([key_id(made[ref], ACTIVE)])
    return whom


async def sweep_all(services: Services) -> dict[str, int]:
    """The daily walk; what it counted."""
    return await _all(*(lambda shard=shard: sweep(services, shard) for shard in SWEEPS))


async def sweep_theirs(bench: Bench, services: Services) -> None:
    """The walk over the shards of those who stand, and no other: the same steps each time."""
    ends = {one["_id"][-1] for one in bench.collection("persons")}
    for shard in SWEEPS:
        if ends & set(ENDINGS[shard]):
            await sweep(services, shard)


async def purge_all(services: Services) -> dict[str, int]:
    """The walk over the archive."""
    return await _all(lambda: purge_archive(services))


async def _all(*chores: Callable[[], Awaitable[Done]]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for chore in chores:
        more = True
        while more:
            counts, more = await chore()
            counted = {name: counted.get(name, 0) + counts.get(name, 0) for name in {*counted, *counts}}
    return counted


def in_use(bench: Bench) -> dict[str, list[Document]]:
    """What is left in **active** that could be somebody's."""
    names = ("persons", "submissions", "links", "anchors", "confirmations", "files.files", "files.chunks", "due")
    return {name: found for name in names if (found := bench.collection(name))}


def archived(bench: Bench) -> dict[str, list[Document]]:
    """What stands in **archive**."""
    names = ("submissions", "files.files", "files.chunks")
    return {name: found for name in names if (found := bench.collection(name, "archive"))}


def living_keys(bench: Bench) -> set[str]:
    """The classes of the keys that live."""
    return {key["_id"].partition("/")[2] for key in bench.collection("keys", "keys") if "wrapped" in key}


class AtStep:
    """In the place of a schedule: does something just before one operation on a store."""

    def __init__(self, step: int, act: Callable[[], Awaitable[None]]) -> None:
        self.seen, self._step, self._act = 0, step, act

    @property
    def reached(self) -> bool:
        return self.seen >= self._step

    @asynccontextmanager
    async def operation(self, _: str) -> AsyncIterator[None]:
        self.seen += 1
        if self.seen == self._step:
            await self._act()
        yield


async def at_every_step(
    bench: Bench,
    prepare: Callable[[], Awaitable[None]],
    run: Callable[[Services], Awaitable[object]],
    act: Callable[[], Awaitable[None]],
    then: Callable[[], Awaitable[None]],
) -> int:
    """For each operation that ``run`` makes: prepare anew, run with ``act`` before it, then look; how many they are."""
    for step in count(1):
        bench.wipe()
        await prepare()
        baton, at = Baton(), AtStep(step, act)
        real = bench.services
        services = services_over(stepped(real.databases, baton), real.uploads, real.trust, bench.clock, real.skew)
        baton.schedule = at  # type: ignore[assignment]
        with suppress(Killed):
            await run(services)
        baton.schedule = None
        if not at.reached:
            return step - 1
        await then()
    raise AssertionError


class Killed(Exception):
    """The worker does not live to make this call."""
