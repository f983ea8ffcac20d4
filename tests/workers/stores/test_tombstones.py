"""Tombstones that are proposed, withdrawn, settled: by one, by two at once, beside an erasure, after a death."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.workers.bench import Bench
from workers.stores.tombstones import Tombstones, of_person

ONE, OTHER = of_person("one"), of_person("other")


async def test_what_is_settled_stands_and_what_is_withdrawn_does_not(bench: Bench) -> None:
    stones = bench.services.tombstones
    proposal = await stones.propose([ONE, OTHER])
    assert set(await stones.look([ONE, OTHER])) == {ONE, OTHER}
    await stones.withdraw([OTHER], proposal)
    settled = await stones.settle([ONE], proposal)
    assert settled == await stones.look([ONE, OTHER]) == {ONE: proposal.at}


async def test_of_two_who_propose_the_same_the_later_settles(bench: Bench) -> None:
    stones = bench.services.tombstones
    former = await stones.propose([ONE, OTHER])
    later = await stones.propose([ONE, OTHER])
    assert await stones.settle([ONE, OTHER], former) == {}
    await stones.withdraw([ONE, OTHER], former)  # they are not its own any more
    assert set(await stones.settle([ONE, OTHER], later)) == {ONE, OTHER}


async def test_what_was_settled_is_not_taken_over(bench: Bench) -> None:
    stones = bench.services.tombstones
    former = await stones.propose([ONE])
    settled = await stones.settle([ONE], former)
    later = await stones.propose([ONE, OTHER])
    await stones.withdraw([ONE], later)
    assert await stones.settle([ONE, OTHER], later) == settled | {OTHER: later.at}


async def test_what_was_withdrawn_meanwhile_is_settled_by_nobody(bench: Bench) -> None:
    """The first takes back what the second is about to take over: the second is to ask again."""
    stones = bench.services.tombstones
    former = await stones.propose([ONE])
    later = await stones.propose([ONE])
    bench.reader[f"{bench.prefix}_evidence"]["tombstones"].delete_one({"_id": ONE})
    assert await stones.settle([ONE], later) == await stones.settle([ONE], former) == {}


async def test_an_erasure_makes_its_own_what_is_proposed(bench: Bench) -> None:
    stones = bench.services.tombstones
    proposal = await stones.propose([ONE])
    await stones.write([ONE])
    await stones.withdraw([ONE], proposal)
    assert set(await stones.look([ONE])) == {ONE}
    assert set(await stones.settle([ONE], await stones.propose([ONE]))) == {ONE}


async def test_what_somebody_proposed_who_died_is_taken_over(bench: Bench) -> None:
    stones = bench.services.tombstones
    await stones.propose([ONE])
    proposal = await stones.propose([ONE])
    await stones.withdraw([ONE], proposal)
    assert await stones.look([ONE]) == {}


async def test_a_run_that_hears_of_no_other_is_noticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken on purpose: it settles what another has taken over, and may yet withdraw."""
    decide = Tombstones._decide

    async def unheard(self: Tombstones, tokens: Iterable[str], *, stands: bool) -> bool:
        return await decide(self, tokens, stands=stands) or stands

    monkeypatch.setattr(Tombstones, "_decide", unheard)
    with pytest.raises(AssertionError):
        await test_of_two_who_propose_the_same_the_later_settles(bench)
