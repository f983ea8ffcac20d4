"""P2: the same traffic once, twice, thrice or in any order leaves the same state, to the byte.

State is what the stores say, with what is random taken out of it: persons are named by their address's reference, and
what is sealed under a random key is opened. When a message arrived, and how often, is no state.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from pymongo import MongoClient

from schemas.envelope import Event
from schemas.terms import Case, Purpose
from tests import factories
from tests.factories import NOON, ROUTES
from tests.workers.bench import Bench, open_bench, settings_for
from workers.services import Trust
from workers.stores.keys import ACTIVE, key_id

Document = dict[str, Any]
Reader = MongoClient[Document]
Play = Callable[[Bench, Sequence[Event]], Awaitable[None]]

ARRIVALS: Final = ("created_at", "wrapped", "kek", "nonce")
"""Fields that say when or under which random key something was first written."""
ACCOUNTS: Final = ("active.batches", "evidence.outcomes", "evidence.reads", "evidence.withdrawals")
"""What counts deliveries and decisions rather than states."""
SEED: Final = 20_261_122
ORDERS: Final = 5


def traffic() -> list[Event]:
    """Each event is about what others say too: people come back, dates move, consents are withdrawn."""
    ada, ben = factories.someone("ada"), factories.someone("ben")
    newsletter = factories.form(Case.NEWSLETTER, ada)
    applied = factories.form(Case.JOB_APPLICATION, ben)
    hours = [NOON - timedelta(hours=n) for n in range(6)]
    return [
        factories.form(Case.CONTACT, ada, device_id="device-1"),
        factories.choice("device-1", hours[5], received=NOON, personalisation=True),
        factories.form(Case.WHITE_PAPER, ben),
        factories.contact(Case.CLIENT, ada),
        factories.contact(Case.PROSPECT, ben, collected_at="2026-10-30"),
        newsletter,
        factories.confirmed(newsletter, NOON + timedelta(hours=1)),
        applied,
        factories.decided(NOON + timedelta(hours=2), about=applied.id),
        factories.interacted(hours[1], email=ada.email),
        factories.interacted(hours[3], email=ada.email),
        factories.ended(hours[2], email=ben.email),
        factories.informed(hours[4], email=ada.email),
        factories.informed(hours[2], email=ada.email),
        factories.agreed(ben, Purpose.EVENT_INVITATIONS, hours[4], received=NOON),
        factories.agreed(ben, Purpose.EVENT_INVITATIONS, hours[3], received=NOON, given=False),
        factories.choice("device-1", hours[5], received=NOON),
        factories.visit("device-1", hours[4], received=NOON),
        factories.choice("device-1", hours[3], received=NOON, analytics=False),
        factories.visit("device-1", hours[2], received=NOON),
        factories.choice("device-1", hours[1], received=NOON, analytics=True),
        factories.visit("device-1", hours[0], received=NOON),
        factories.visit("device-2", hours[0], received=NOON),
    ]


async def once(bench: Bench, events: Sequence[Event]) -> None:
    """Each event in a message of its own; then what the consent actor put back."""
    for event in events:
        await bench.send(event)
    await bench.second_try()


async def twice(bench: Bench, events: Sequence[Event]) -> None:
    await once(bench, events)
    await once(bench, events)


async def thrice_delivered(bench: Bench, events: Sequence[Event]) -> None:
    """The same message comes again, as it does when a worker died before it acknowledged."""
    for event in events:
        wire = await bench.send(event)
        for _ in range(2):
            await bench.deliver(wire, ROUTES[event.type].queue)
    await bench.second_try()


async def in_batches(bench: Bench, events: Sequence[Event]) -> None:
    """What is of one queue travels together, and comes again one by one."""
    for queue in {ROUTES[event.type].queue for event in events}:
        await bench.send(*(event for event in events if ROUTES[event.type].queue == queue))
    await once(bench, events)


def shuffled(seed: int) -> Play:
    async def play(bench: Bench, events: Sequence[Event]) -> None:
        mixed = [*events, *events]
        random.Random(seed).shuffle(mixed)
        await once(bench, mixed)

    play.__name__ = f"shuffled_{seed}"
    return play


PLAYS: Final = [twice, thrice_delivered, in_batches, *(shuffled(SEED + n) for n in range(ORDERS))]


class Stage:
    """Fresh databases for each play, one set of keys for all."""

    def __init__(self, keys: Path, trust: Trust, mongo_url: str, prefix: str, redis_url: str, reader: Reader) -> None:
        self._keys, self._trust, self._url, self._prefix = keys, trust, mongo_url, prefix
        self._redis_url, self._reader = redis_url, reader

    @asynccontextmanager
    async def bench(self, name: str) -> AsyncIterator[Bench]:
        settings = settings_for(self._url, f"{self._prefix}_{name}".replace("_", "-")[:30], self._keys)
        async with open_bench(settings, self._trust, self._keys, self._redis_url, self._reader) as bench:
            bench.clock.at = NOON + timedelta(days=1)
            try:
                yield bench
            finally:
                for database in self._reader.list_database_names():
                    if database.startswith(f"{settings.mongo_prefix}_"):
                        self._reader.drop_database(database)


@pytest.fixture
def stage(keys: Path, trust: Trust, mongo_url: str, mongo_prefix: str, redis_url: str, mongo_reader: Reader) -> Stage:
    return Stage(keys, trust, mongo_url, mongo_prefix, redis_url, mongo_reader)


async def state(bench: Bench) -> list[str]:
    """Everything that stands, a line a document, in one canonical order."""
    dump = bench.dump()
    names = {person["_id"]: bytes(person["refs"][0]).hex() for person in dump["active.persons"]}
    keys = await bench.services.keys.read(key_id(person, ACTIVE) for person in names)
    for submission in dump["active.submissions"]:
        key = keys[key_id(submission["person"], ACTIVE)]
        submission["sealed"] = key.open(f"submissions/{submission['_id']}", bytes(submission["sealed"])).decode()
    lines = [f"{name} {_line(one)}" for name, found in dump.items() if name not in ACCOUNTS for one in found]
    for person, name in names.items():
        lines = [line.replace(person, f"person {name}") for line in lines]
    return sorted(lines)


def _line(document: Document) -> str:
    kept = {name: value for name, value in document.items() if name not in ARRIVALS}
    return json.dumps(kept, sort_keys=True, default=_text)


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


@pytest.mark.parametrize("play", PLAYS, ids=lambda play: play.__name__)
async def test_repeats_and_reorderings_change_nothing(stage: Stage, play: Play) -> None:
    events = traffic()
    async with stage.bench("a") as bench:
        await once(bench, events)
        expected = await state(bench)
    async with stage.bench("b") as bench:
        await play(bench, events)
        assert await state(bench) == expected


async def test_the_comparison_sees_an_event_that_is_missing_or_twice(stage: Stage) -> None:
    events = traffic()
    async with stage.bench("a") as bench:
        await once(bench, events)
        expected = await state(bench)
    async with stage.bench("b") as bench:
        await once(bench, events[1:])
        assert await state(bench) != expected
        await once(bench, [events[0], events[0]._replace(id=factories.new_id())])  # a repeat under an id of its own
        assert await state(bench) != expected


@pytest.mark.parametrize("unique", [True, False])
async def test_one_person_created_by_many_at_once_exists_once_because_the_index_says_so(
    stage: Stage, unique: bool
) -> None:
    whom = factories.someone()
    async with stage.bench("c") as bench:
        persons = bench.services.databases.active["persons"]
        if not unique:
            await persons.drop_index("refs_1")
        await asyncio.gather(*(bench.send(factories.form(Case.CONTACT, whom)) for _ in range(12)))
        assert (await persons.count_documents({}) == 1) is unique
        assert len(bench.collection("submissions")) == 12
