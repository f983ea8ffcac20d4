"""Calls that travel together: each returns what it would have returned alone. Source: P2; design § 4."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from pymongo import DeleteMany, UpdateOne
from pymongo.errors import DuplicateKeyError

from schemas.errors import StoreUnavailable
from tests.workers.bench import Bench
from workers.stores import gathering
from workers.stores.gathering import Gathered, Gatherer

Sent = list[list[int]]


@dataclass
class Post:
    """Doubles numbers, one batch at a time, once it may; ``sent``: the batches."""

    may_leave: asyncio.Event = field(default_factory=asyncio.Event)
    sent: Sent = field(default_factory=list)
    away: bool = False

    async def send(self, asked: list[int]) -> Sequence[int | Exception]:
        self.sent.append(asked)
        await self.may_leave.wait()
        if self.away:
            raise StoreUnavailable("away")
        return [2 * number if number >= 0 else ValueError(number) for number in asked]


async def begun(gatherer: Gatherer[int, int], post: Post, *numbers: int) -> list[asyncio.Task[int]]:
    """The first call is on its way; the others have come since."""
    first, *others = numbers
    calls = [asyncio.create_task(gatherer.call(first))]
    while not post.sent:
        await asyncio.sleep(0)
    calls += [asyncio.create_task(gatherer.call(number)) for number in others]
    await asyncio.sleep(0)
    return calls


async def test_a_lone_call_leaves_at_once_and_the_next_ones_go_together() -> None:
    post = Post()
    calls = await begun(Gatherer(post.send), post, 1, 2, 3, 4)
    assert post.sent == [[1]]
    post.may_leave.set()
    assert await asyncio.gather(*calls) == [2, 4, 6, 8]
    assert post.sent == [[1], [2, 3, 4]]


async def test_no_more_travel_together_than_may() -> None:
    post = Post()
    calls = await begun(Gatherer(post.send, at_once=2), post, *range(6))
    post.may_leave.set()
    await asyncio.gather(*calls)
    assert post.sent == [[0], [1, 2], [3, 4], [5]]


async def test_a_fault_is_its_own_callers_only() -> None:
    post = Post()
    calls = await begun(Gatherer(post.send), post, 1, -2, 3)
    post.may_leave.set()
    first, second, third = await asyncio.gather(*calls, return_exceptions=True)
    assert (first, third) == (2, 6)
    assert isinstance(second, ValueError)


async def test_a_store_that_is_away_is_so_for_all_and_back_for_the_next() -> None:
    post = Post(away=True)
    gatherer = Gatherer(post.send)
    calls = await begun(gatherer, post, 1, 2)
    post.may_leave.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    post.away = False
    assert await gatherer.call(3) == 6


async def test_who_gives_up_takes_nobody_along() -> None:
    post = Post()
    calls = await begun(Gatherer(post.send), post, 1, 2, 3)
    calls[0].cancel()
    calls[1].cancel()
    post.may_leave.set()
    assert await calls[2] == 6


async def test_who_waits_when_the_loop_ends_is_told() -> None:
    post = Post()
    gatherer = Gatherer(post.send)
    calls = await begun(gatherer, post, 1, 2)
    assert gatherer._sender is not None
    gatherer._sender.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)


# ---------------------------------------------------------------------- a collection


@pytest.fixture
def things(bench: Bench) -> Gathered:
    return Gathered(bench.services.databases.active["things"])


def stored(bench: Bench) -> dict[str, dict[str, Any]]:
    return {one["_id"]: one for one in bench.collection("things")}


async def test_one_document_inserted_by_many_at_once_is_new_to_one(bench: Bench, things: Gathered) -> None:
    taken = await asyncio.gather(*(things.insert_new([{"_id": "one"}, {"_id": f"own-{n}"}]) for n in range(20)))
    assert sorted(map(sorted, taken)) == [[]] + [[0]] * 19
    assert len(stored(bench)) == 21


async def test_of_many_who_compare_and_set_one_wins_and_none_is_told_so_wrongly(bench: Bench, things: Gathered) -> None:
    await things.insert_new([{"_id": "one", "version": 1}])
    as_read = {"_id": "one", "version": 1}
    writes = [UpdateOne(as_read, {"$set": {"by": n}, "$inc": {"version": 1}}) for n in range(20)]
    told = await asyncio.gather(*map(things.change, writes))
    assert stored(bench)["one"]["version"] == 2
    assert [n for n, won in enumerate(told) if won] in ([], [stored(bench)["one"]["by"]])


async def test_a_refused_write_stops_no_other(bench: Bench, things: Gathered) -> None:
    await things.insert_new([{"_id": "held", "hold": True}])
    free, gone = {"hold": {"$exists": False}}, {"$set": {"gone": True}}
    writes = [UpdateOne({"_id": name, **free}, gone, upsert=True) for name in ("held", "free")]
    refused, made = await asyncio.gather(*map(things.write, writes), return_exceptions=True)
    assert isinstance(refused, DuplicateKeyError)
    assert made is None
    assert stored(bench)["free"] == {"_id": "free", "gone": True}


async def test_what_is_found_is_the_callers_own(things: Gathered) -> None:
    await things.insert_new([{"_id": "one", "refs": [b"a", b"b"]}])
    first, second = await asyncio.gather(things.having("refs", [b"a"]), things.having("refs", [b"b", b"a"]))
    first[0]["changed"] = True
    assert second == [{"_id": "one", "refs": [b"a", b"b"]}]


async def test_more_than_one_statement_holds_are_found_each_once(
    things: Gathered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "_IDS_AT_ONCE", 3)
    monkeypatch.setattr(gathering, "AT_ONCE", 3)
    await things.insert_new([{"_id": str(number), "refs": [number, number + 1]} for number in range(9)])
    found = await things.having("refs", range(3, 12))
    assert sorted(one["_id"] for one in found) == ["2", "3", "4", "5", "6", "7", "8"]


async def test_very_long_ids_of_very_many_are_no_statement_that_is_too_long(things: Gathered) -> None:
    """An audience's page asks about every event of ten thousand people: in one statement that passes 16 MiB."""
    await things.insert_new([{"_id": f"{number:0500}"} for number in (7, 39_000)])
    found = await things.having("_id", (f"{number:0500}" for number in range(40_000)))
    assert len(found) == 2


async def test_a_deletion_leaves_what_is_kept_and_counts_its_own(
    bench: Bench, things: Gathered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "_IDS_AT_ONCE", 2)
    await things.insert_new([{"_id": f"{owner}{n}", "person": owner} for owner in "ab" for n in range(5)])
    went = await asyncio.gather(things.delete("person", ["a"], {"a3"}), things.delete("person", ["b", "c"]))
    assert went == [4, 5]
    assert set(stored(bench)) == {"a3"}


async def test_a_deletion_leaves_what_became_somebody_elses(
    bench: Bench, things: Gathered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking and deleting an act starts anew: under its id stands what the person who came back gave."""
    await things.insert_new([{"_id": "act", "person": "old"}, {"_id": "other act", "person": "old"}])
    having = Gathered.having

    async def found_then_moved(self: Gathered, *asked: Any) -> Any:
        found = await having(self, *asked)
        bench.reader[f"{bench.prefix}_active"]["things"].update_one({"_id": "act"}, {"$set": {"person": "new"}})
        return found

    monkeypatch.setattr(Gathered, "having", found_then_moved)
    await things.delete("person", ["old"])
    assert stored(bench) == {"act": {"_id": "act", "person": "new"}}


async def _ask(things: Gathered, rng: random.Random) -> Any:
    """One of the calls that there are, with what it says; ids are the caller's own where it writes."""
    values = rng.sample(range(12), rng.randrange(4))
    match rng.randrange(4):
        case 0:
            return sorted(one["_id"] for one in await things.having("refs", values))
        case 1:
            return [(one["_id"], "kind" in one) for one in await things.having("inner.of", values, "kind")]
        case 2:
            return await things.count("inner.of", values)
        case _:
            return (await things.get(str(rng.randrange(40))) or {}).get("kind")


async def _many(things: Gathered, seed: int, *, together: bool) -> list[Any]:
    asked = [_ask(things, random.Random(seed + n)) for n in range(60)]
    return list(await asyncio.gather(*asked)) if together else [await one for one in asked]


@pytest.fixture
async def furnished(things: Gathered) -> Gathered:
    rng = random.Random(7)
    documents = [
        {
            "_id": str(n),
            "refs": rng.sample(range(12), rng.randrange(4)),
            "inner": {"of": rng.randrange(12)},
            "kind": n % 3,
        }
        for n in range(30)
    ]
    await things.insert_new(documents)
    return things


@pytest.mark.parametrize("seed", range(0, 3000, 1000))
async def test_together_everybody_hears_what_he_would_alone(furnished: Gathered, seed: int) -> None:
    assert await _many(furnished, seed, together=True) == await _many(furnished, seed, together=False)


async def test_a_neighbours_answer_would_be_noticed(furnished: Gathered, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = await _many(furnished, 0, together=False)
    everything = gathering._each_once
    monkeypatch.setattr(gathering, "_each_once", lambda by_value, _: everything(by_value, list(by_value)))
    assert await _many(furnished, 0, together=True) != alone


async def test_nothing_asked_for_is_not_asked(things: Gathered) -> None:
    assert await things.having("refs", []) == []
    assert await things.count("refs", []) == 0
    assert await things.insert_new([]) == set()
    assert await things.change()
    await things.write()
    assert not things._finds


async def test_deletions_of_others_are_nobodys_count(bench: Bench, things: Gathered) -> None:
    await things.insert_new([{"_id": n, "person": n} for n in range(3)])
    _, went = await asyncio.gather(things.write(DeleteMany({"person": 0})), things.delete("person", [1]))
    assert went == 1
    assert set(stored(bench)) == {2}
