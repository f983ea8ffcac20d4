"""What a worker that died left behind: a tombstone only proposed, a copy of a record that is in use. P5, P9."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest

from schemas.terms import Case
from tests import factories
from tests.workers.bench import Bench
from tests.workers.retention.people import (
    APPLICATION_OVER,
    Killed,
    applicant,
    archived,
    in_use,
    nobody_yet,
    purge_all,
    sweep_all,
    sweep_theirs,
)
from workers.retention import moving, purge
from workers.retention import sweep as sweeping
from workers.stores.tombstones import Proposal, Tombstones


@pytest.mark.parametrize("prepare", [applicant, nobody_yet])
async def test_who_comes_back_as_the_worker_dies_is_not_left_behind_a_tombstone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, prepare: Callable[[Bench], Awaitable[factories.Someone]]
) -> None:
    """Theirs was proposed, for they held nothing else; a form of theirs came before, and nobody lived to see it."""
    whom = await prepare(bench)
    bench.clock.at = APPLICATION_OVER
    propose = Tombstones.propose

    async def after_a_form(self: Tombstones, ids: Iterable[str]) -> Proposal:
        await bench.send(factories.form(Case.CONTACT, whom, received=APPLICATION_OVER))
        return await propose(self, ids)

    async def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(Tombstones, "propose", after_a_form)
        dying.setattr(Tombstones, "withdraw", die)
        with pytest.raises(Killed):
            await sweep_theirs(bench, bench.services)
    assert await bench.read(whom.email) == []
    await sweep_all(bench.services)
    assert len(await bench.read(whom.email)) == 1


# ---------------------------------------------------------------------- a copy


async def _copied(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An application whose copy stands for two days, for nobody lived to delete the original."""
    await applicant(bench)
    bench.clock.at = APPLICATION_OVER

    async def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(moving, "_erased", die)
        with pytest.raises(Killed):
            await sweep_theirs(bench, bench.services)
    bench.clock.at += timedelta(days=2)


async def test_a_copy_whose_record_stays_in_use_goes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await _copied(bench, monkeypatch)
    [application] = bench.collection("submissions")
    await bench.send(factories.decided(bench.clock.at, about=application["event_id"], received=bench.clock.at))
    assert (await purge_all(bench.services))["left_behind"] == 1
    assert archived(bench) == {}
    assert in_use(bench)["submissions"] == [application]


async def test_a_purge_in_the_middle_of_a_move_leaves_what_it_needs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy stands already, the original is about to go, and the other chore looks at both."""
    await _copied(bench, monkeypatch)
    real = sweeping._forget

    async def purged_first(*asked: Any) -> frozenset[str]:
        await purge_all(bench.services)
        return await real(*asked)

    monkeypatch.setattr(sweeping, "_forget", purged_first)
    await sweep_all(bench.services)
    assert (in_use(bench), len(archived(bench).get("submissions", ()))) == ({}, 1)


async def test_a_purge_that_takes_every_copy_of_what_is_in_use_is_noticed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def every(_: Any, events: Iterable[str]) -> set[str]:
        return set(events)

    monkeypatch.setattr(purge, "_staying", every)
    with pytest.raises(AssertionError):
        await test_a_purge_in_the_middle_of_a_move_leaves_what_it_needs(bench, monkeypatch)
