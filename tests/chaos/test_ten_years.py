"""P9, P10 over ten simulated years: no read past its date, nobody written to who said no, nothing held for nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from schemas.ticks import EXPIRED_VISITS, PURGE_ARCHIVE, SWEEPS
from tests.chaos.broken_later import restricted_and_written_to
from tests.chaos.decade import Decade
from tests.workers.bench import Bench
from workers import gate
from workers.actors import chores
from workers.cases import consent
from workers.services import Services
from workers.stores import people

SEED = 20_261_123


async def test_ten_years(bench: Bench) -> None:
    decade = Decade(bench, SEED)
    await decade.live()
    assert decade.looks == decade.steps
    assert all(decade.most.values()), f"there was nothing to look at: {decade.most}"


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("seed", range(SEED + 1, SEED + 6))
async def test_ten_years_at_length(bench: Bench, seed: int) -> None:
    await Decade(bench, seed, people=60, steps=500).live()


def reads_past_the_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "is_live", lambda *_: True)


def reads_without_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "ended", lambda *_: False)


def visits_outlive_their_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(chores.CHORES, EXPIRED_VISITS, nothing_due)  # type: ignore[arg-type]


def the_archive_is_never_purged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(chores.CHORES, PURGE_ARCHIVE, nothing_due)  # type: ignore[arg-type]


def one_shard_alone_is_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the other way round: whose ids fall into one shard is chance, and it may be nobody's."""
    for chore in SWEEPS[1:]:
        monkeypatch.setitem(chores.CHORES, chore, nothing_due)  # type: ignore[arg-type]


EARLY = {reads_without_the_list: SEED + 1, visits_outlive_their_consent: SEED + 1}
"""Any decade finds them; these within two years."""


def canaries_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def of_nobody(_: Any) -> frozenset[bytes]:
        return frozenset()

    monkeypatch.setattr(people, "canary_references", of_nobody)


def withdrawn_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any) -> None:
        return None

    monkeypatch.setattr(consent, "withdraw", nothing)


async def nothing_due(_: Services) -> chores.Part:
    return chores.Part({}, more=False)


BROKEN: list[Callable[[pytest.MonkeyPatch], Any]] = [
    reads_past_the_date,
    reads_without_the_list,
    visits_outlive_their_consent,
    one_shard_alone_is_swept,
    the_archive_is_never_purged,
    canaries_are_counted,
]
LATER: list[Callable[[pytest.MonkeyPatch], Any]] = [restricted_and_written_to, withdrawn_and_kept]
"""Found as well, in the long run."""


@pytest.mark.parametrize(
    "broken", [*BROKEN, *(pytest.param(one, marks=pytest.mark.slow) for one in LATER)], ids=lambda one: one.__name__
)
async def test_a_broken_variant_does_not_live_so_long(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, broken: Callable[[pytest.MonkeyPatch], Any]
) -> None:
    broken(monkeypatch)
    with pytest.raises(AssertionError, match="too much"):
        await Decade(bench, EARLY.get(broken, SEED)).live()
