"""P5 to P8, P11: requests of one person on several offices, in any order of their operations, whatever dies or is lost.

After every schedule the network is kind and nobody dies any more: then every case closes, with every proof, nobody who
was erased is readable anywhere, and what receipts count is what went.
"""

from __future__ import annotations

import os
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from structlog.testing import capture_logs

from schemas.keyring import PACKAGES, read_wrapping_keys
from schemas.party_keys import read_party, read_subsidiaries, read_token_key
from schemas.terms import Right
from tests import factories
from tests.chaos import broken_later, broken_rights
from tests.chaos.acts import confirmation, contact_form, subscription
from tests.chaos.carrier import Luck, WorldClock
from tests.chaos.casting import ALONE, Chances, cast, rows_of
from tests.chaos.exploring import Found, chooser, play
from tests.chaos.interleaving import Bounded, Chooser, first_bounded
from tests.chaos.later import Later
from tests.chaos.offices import Branch
from tests.chaos.proofs import Auditor
from tests.chaos.stepping import AtOnce, Baton, SteppedHandle, SteppedRedis, stepped
from tests.workers.bench import Bench, open_bench, settings_for
from tests.workers.subsidiary.kits import Kit, MongoKit, SqliteKit
from workers.cases.desk import Desk
from workers.correspondence.compose import letterhead
from workers.evidence.notes import Notes
from workers.services import Trust
from workers.stores.cases import Cases
from workers.stores.keys import LocalKeyWrapper
from workers.stores.ledger import Ledger
from workers.stores.mongo import connect
from workers.stores.packages import Packages

pytestmark = pytest.mark.usefixtures("called_alone")

SEED = int(os.environ.get("GREFFIER_SEED", "20261123"))
SCHEDULES = int(os.environ.get("GREFFIER_SCHEDULES", "9"))
SECONDS = float(os.environ.get("GREFFIER_SECONDS", "600"))
SETTLE = timedelta(seconds=5)
USUAL = Chances()

SOUGHT = 60
"""Schedules within which a broken variant must be found; most fall within a few."""


@dataclass
class Stage:
    """A controller and its offices, all of whose operations are steps."""

    bench: Bench
    baton: Baton
    desk: Desk
    branches: dict[str, Branch]
    auditor: Auditor
    clock: WorldClock

    async def world(self, luck: Luck) -> Later:
        """Somebody new, held by the controller and by every office."""
        self.clock.ahead = timedelta()
        whom = factories.someone()
        for branch in self.branches.values():
            await branch.fill(rows_of(whom))
        world = Later(
            self.bench,
            self.baton,
            whom,
            desk=self.desk,
            branches=self.branches,
            auditor=self.auditor,
            clock=self.clock,
            luck=luck,
        )
        await world.already(contact_form(whom, "first"))
        return world


@pytest.fixture
async def stage(
    subsidiary_keys: Path,
    trust: Trust,
    mongo_url: str,
    mongo_prefix: str,
    redis_url: str,
    mongo_reader: MongoClient[dict[str, Any]],
    fast_path: Path,
) -> AsyncIterator[Stage]:
    """Two offices: one with documents, one with tables."""
    settings, baton, clock = settings_for(mongo_url, mongo_prefix, subsidiary_keys), Baton(), WorldClock()
    opened = open_bench(
        settings,
        trust,
        subsidiary_keys,
        redis_url,
        mongo_reader,
        skew=timedelta(),
        databases=stepped(connect(settings), baton),
    )
    async with opened as bench, AtOnce(baton).running():
        uploads = bench.services.uploads
        uploads.client = SteppedRedis(uploads.client, "redis", baton)  # type: ignore[assignment]
        kits: dict[str, Kit] = {"gb": MongoKit(mongo_url, f"office{uuid.uuid4().hex[:12]}"), "us": SqliteKit(fast_path)}
        branches = {
            code: Branch(code, kit, fast_path / code, subsidiary_keys, baton, clock) for code, kit in kits.items()
        }
        for branch in branches.values():
            await branch.build()
        evidence = mongo_reader[f"{mongo_prefix}_evidence"]
        desk = desk_over(bench, subsidiary_keys / "controller", set(kits))
        desk.packages._bucket = SteppedHandle(desk.packages._bucket, "packages", baton)  # type: ignore[assignment]
        with capture_logs():
            yield Stage(bench, baton, desk, branches, Auditor(evidence, signers(subsidiary_keys, kits), SETTLE), clock)
        for branch in branches.values():
            await branch.close()


def signers(keys: Path, codes: Any) -> dict[str, Any]:
    """Store → the public key it signs with."""
    folders = {"controller": keys / "controller"} | {code: keys / "subsidiaries" / code for code in codes}
    return {store: read_party(folder).signing for store, folder in folders.items()}


def desk_over(bench: Bench, keys: Path, codes: set[str]) -> Desk:
    """A desk for these offices alone; who it wakes, each process says for itself."""
    services = bench.services
    register = services.trust.register
    few = register.model_copy(update={"subsidiaries": {code: register.subsidiaries[code] for code in sorted(codes)}})
    services = replace(services, trust=replace(services.trust, register=few))

    async def nobody(*_: str) -> None:
        raise AssertionError("of no process")

    return Desk(
        services=services,
        cases=Cases(services.databases),
        packages=Packages(services.databases, LocalKeyWrapper(read_wrapping_keys(keys, PACKAGES))),
        evidence=Notes(Ledger(services.databases), services.clock),
        party=read_party(keys),
        peers=read_subsidiaries(keys),
        token_key=read_token_key(keys),
        send=nobody,
        wake_case=nobody,
        wake_store=nobody,
        wake_mail=nobody,
        wake_rounds=nobody,
        settle=SETTLE,
        public_url="https://rights.example.com",
        letterhead=letterhead(few.controller, "rights@example.com"),
    )


async def explore(stage: Stage, schedules: int, seed: int = SEED, chances: Chances = USUAL) -> int:
    """Play schedules of consecutive seeds; how many operations they had. Raises `Found` at the first broken promise."""
    operations = 0
    for number in range(seed, seed + schedules):
        operations += await play(*await story(stage, number, chances), number)
    return operations


async def story(stage: Stage, seed: int, chances: Chances = USUAL) -> tuple[Later, Chooser]:
    rng = random.Random(seed)
    world = await stage.world(chances.luck(rng))
    await cast(world, rng, chances)
    return world, chooser(rng, length=400)


async def test_nobody_is_readable_or_unproved(stage: Stage) -> None:
    operations = await explore(stage, SCHEDULES)
    print(f"{SCHEDULES} schedules, {operations} operations")


@pytest.mark.slow
@pytest.mark.timeout(7200)
async def test_nobody_is_readable_or_unproved_at_length(stage: Stage) -> None:
    """All that is found in so much time, each with its seed. ``GREFFIER_SECONDS``, ``GREFFIER_SEED``."""
    found, operations, number, until = [], 0, SEED + 1_000_000, time.monotonic() + SECONDS
    while time.monotonic() < until:
        try:
            operations += await explore(stage, 1, number)
        except Found as fault:
            found.append(fault)
        number += 1
    print(f"{number - SEED - 1_000_000} schedules, {operations} operations, from seed {SEED + 1_000_000}")
    assert not found, "\n\n".join(f"{one.seed}: {one.faults}" for one in found) + f"\n\n{found[0]}"


async def test_an_office_may_die_at_any_operation(stage: Stage) -> None:
    """Each of its operations in turn is the one it does not live to send; the second office lives."""
    died_at = 0
    while True:
        world = await stage.world(Luck(office_dies_at=died_at))
        world.asks(Right.ERASURE)
        await play(world, Bounded(preemptions=0), seed=died_at)
        if not stage.branches["gb"].died:
            break
        died_at += 1
    print(f"{died_at} operations")
    assert died_at > 10


@pytest.mark.timeout(600)
async def test_two_workers_on_one_case_wherever_one_is_stopped(stage: Stage) -> None:
    """Both take the last steps of a case."""
    assert await each_goes_first(stage, last_steps) > 40


async def each_goes_first(stage: Stage, cast: Callable[[Later], Awaitable[None]], *, in_turn: bool = True) -> int:
    """At every operation of anybody in a cast, each of the others goes first once; how many schedules that is."""
    played, chosen = 0, first_bounded(1, in_turn=in_turn)
    while chosen is not None:
        world = await stage.world(Luck())
        await cast(world)
        await play(world, chosen, seed=played)
        played, chosen = played + 1, chosen.restart()
    print(f"{played} schedules")
    return played


async def last_steps(world: Later) -> None:
    request = await world.asked_already(Right.ERASURE)
    world.worker("one", request)
    world.worker("other", request)


async def crossed(world: Later) -> None:
    """A correction beside an erasure, in our own store."""
    world.correction("Crossby")
    world.erasure("erasure")


async def restricted_meanwhile(world: Later) -> None:
    """Two workers at our own store's part of a withdrawal, while a restriction sets in."""
    news = subscription(world.whom, "news")
    await world.already(news, timedelta(hours=1))
    await world.already(confirmation(news, "used link"), timedelta(hours=1))
    withdrawal, restriction = [await world.accepted_already(one) for one in (Right.WITHDRAWAL, Right.RESTRICTION)]
    world.own_part("one", withdrawal)
    world.own_part("other", withdrawal)
    world.own_part("restricts", restriction)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("cast", "in_turn", "break_it", "fault"),
    [
        (crossed, False, broken_later.correction_without_comparing, "still stands"),
        (restricted_meanwhile, True, broken_later.each_worker_decides, "contradicting_receipts"),
    ],
    ids=["correction and erasure", "withdrawal and restriction"],
)
async def test_every_order_of_what_meets_in_our_own_store(
    stage: Stage,
    cast: Callable[[Later], Awaitable[None]],
    in_turn: bool,
    break_it: Callable[[pytest.MonkeyPatch], None],
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await each_goes_first(stage, cast, in_turn=in_turn) > 20
    break_it(monkeypatch)
    with pytest.raises(Found) as found:
        await each_goes_first(stage, cast, in_turn=in_turn)
    print(f"found by schedule {found.value.seed + 1}: {found.value.faults}")
    assert any(fault in one for one in found.value.faults)


@pytest.mark.parametrize("variant", broken_rights.VARIANTS, ids=lambda variant: variant.name)
async def test_what_is_broken_is_found(
    stage: Stage, variant: broken_rights.Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant.break_it(monkeypatch)
    with pytest.raises(Found) as found:
        await explore(stage, SOUGHT, SEED, replace(ALONE, **variant.chances))
    print(f"{variant.name}: found by schedule {found.value.seed - SEED + 1}: {found.value.faults}")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "some", [broken_later.FEW, pytest.param(broken_later.MORE, marks=pytest.mark.slow)], ids=["few", "more"]
)
async def test_what_breaks_a_later_right_is_found(
    stage: Stage, some: tuple[broken_rights.Variant, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variant in some:
        with monkeypatch.context() as broken:
            variant.break_it(broken)
            with pytest.raises(Found) as found:
                await explore(stage, SOUGHT, SEED, replace(ALONE, **variant.chances))
        print(f"{variant.name}: found by schedule {found.value.seed - SEED + 1}: {found.value.faults}")
        assert any(variant.fault in one for one in found.value.faults)


async def test_a_seed_is_a_schedule(stage: Stage) -> None:
    """What was found can be played again."""
    traces = []
    for _ in range(2):
        world, chosen = await story(stage, SEED)
        await play(world, chosen, SEED)
        traces.append(world.schedule.trace)
    assert traces[0] == traces[1]
