"""What was appended stands once, in one order, whoever else appends, sequences or dies meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from datetime import timedelta

import pytest

from schemas.errors import Conflict, InvalidMessage
from schemas.evidence import KINDS, OF_NO_CASE, check_leaf, entry
from tests.workers.evidence.rig import BEGINNING, LedgerRig, open_ledger, some
from workers.local import EmbeddedMongo
from workers.rules.merkle import leaf_hash, root_of, verify_consistency, verify_inclusion
from workers.stores.ledger import Ledger


async def texts(rig: LedgerRig) -> list[str]:
    return [leaf.text async for leaf in rig.ledger.leaves({})]


async def whole(rig: LedgerRig, entries: int) -> None:
    """Every entry has one leaf, places have no gap, each case's entries are chained, and the ledger checks."""
    leaves = [check_leaf(json.loads(text)) for text in await texts(rig)]
    assert [leaf["seq"] for leaf in leaves] == list(range(entries))
    assert len({leaf["id"] for leaf in leaves}) == entries
    ends: dict[str, tuple[int, str]] = {}
    for leaf, text in zip(leaves, await texts(rig), strict=True):
        before = ends.get(leaf["case"])
        assert (leaf["number"], leaf.get("previous")) == ((before[0] + 1, before[1]) if before else (0, None))
        ends[leaf["case"]] = (leaf["number"], leaf_hash(text.encode()).hex())
    await rig.keeper.settle()
    checked = await rig.heads.check()
    assert (checked.size, checked.pending, checked.faults) == (entries, 0, ())


async def test_an_entry_appended_again_stands_once(rig: LedgerRig) -> None:
    """Before it has its place, and after."""
    first, *rest = some(5)
    assert await rig.ledger.append(first, first) == (first.id, first.id)
    await rig.ledger.append(first, *rest)
    await rig.keeper.settle()
    later = entry("order_issued", "R-0", "fact 0", BEGINNING + timedelta(days=1), store="de", digest=f"{0:064x}")
    await rig.ledger.append(later)
    await rig.keeper.settle()
    await whole(rig, 5)
    assert json.loads((await texts(rig))[0])["at"] == first.at


async def test_one_id_with_another_content_is_refused_and_kept(rig: LedgerRig) -> None:
    first = some(1)[0]
    other = entry("order_issued", "R-0", "fact 0", BEGINNING, store="fr", digest=f"{0:064x}")
    assert other.id == first.id
    await rig.ledger.append(first)
    with pytest.raises(Conflict):
        await rig.ledger.append(other)
    await rig.keeper.settle()
    await rig.ledger.append(other)  # its leaf is found when it is to have a place
    await rig.keeper.settle()
    assert await rig.ledger.size() == 1
    assert (await rig.heads.check()).faults == ("entries_contradict: 1",)


async def test_sequencers_at_once_never_share_a_place(rig: LedgerRig) -> None:
    rigs = [rig.another() for _ in range(4)]
    batches = [some(25, 25 * n, cases=7) for n in range(16)]

    async def write(one: LedgerRig, mine: list[list]) -> None:  # type: ignore[type-arg]
        for batch in mine:
            await one.ledger.append(*batch)
            await one.keeper.settle()

    await asyncio.gather(*(write(one, batches[n::4]) for n, one in enumerate(rigs)))
    await whole(rig, 400)


OPERATIONS = ["find", "aggregate", "insert_many", "delete_many"]


class Dies(Exception):
    """Stands for a process that is killed."""


class DyingCollection:
    """A collection whose user is killed just before, or just after, one operation of his."""

    def __init__(self, real: object, operation: str, after: bool) -> None:
        self._real, self._operation, self._after = real, operation, after

    def __getattr__(self, name: str) -> object:
        found = getattr(self._real, name)
        if name != self._operation or name in ("find", "aggregate"):
            if name == self._operation:
                raise Dies(name)
            return found

        async def call(*args: object, **options: object) -> object:
            if not self._after:
                raise Dies(name)
            await found(*args, **options)
            raise Dies(name)

        return call


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("collection", ["_pending", "_leaves"])
async def test_a_sequencer_killed_at_any_step(rig: LedgerRig, collection: str, operation: str, after: bool) -> None:
    """Whatever it left, another one finishes, and nothing stands twice."""
    await rig.grow(3)
    await rig.ledger.append(*some(10, 3))
    doomed = rig.another().ledger
    setattr(doomed, collection, DyingCollection(getattr(doomed, collection), operation, after))
    with contextlib.suppress(Dies):
        await doomed.sequence()
    await rig.keeper.settle()
    await whole(rig, 13)


async def test_a_sequencer_cancelled_anywhere(rig: LedgerRig) -> None:
    """Cancelled at each turn of the event loop in its first pass, one after the other."""
    for turn in range(0, 60, 4):
        await rig.ledger.append(*some(4, 4 * (turn // 4)))
        task = asyncio.create_task(rig.another().ledger.sequence())
        for _ in range(turn):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await rig.keeper.settle()
    await whole(rig, 60)


async def test_a_leaf_without_its_pending_entry_gone_is_not_placed_again(rig: LedgerRig) -> None:
    """Killed between the leaf and the end of its pending entry."""
    entries = some(6)
    await rig.ledger.append(*entries)
    await rig.keeper.settle()
    await rig.pending().insert_many([{"_id": one.id, "body": one.as_json()} for one in entries])
    assert (await rig.ledger.sequence()).placed == 0
    await whole(rig, 6)


class Careless(Ledger):
    """Does not look whether an entry has its leaf already, and has no unique index to fall back on."""

    async def _without_standing(self, bodies: list) -> list:  # type: ignore[type-arg]
        return bodies


async def test_a_careless_sequencer_is_found(rig: LedgerRig) -> None:
    entries = some(3)
    await rig.grow(3)
    await rig.leaves().drop_index("entry_1")
    await rig.pending().insert_many([{"_id": one.id, "body": one.as_json()} for one in entries])
    await Careless(rig.databases).sequence()
    with pytest.raises(AssertionError):
        await whole(rig, 3)


async def test_every_leaf_and_every_pair_of_heads_is_proved(rig: LedgerRig) -> None:
    await rig.grow(1, 2, 4, 1, 9, 3)
    leaves = [leaf async for leaf in rig.ledger.leaves({})]
    heads = await rig.all_heads()
    assert [head["body"]["size"] for head in heads] == [1, 3, 7, 8, 17, 20]
    for head in heads:
        size, root = head["body"]["size"], bytes.fromhex(head["body"]["root"])
        assert root == root_of(leaf_hash(leaf.text.encode()) for leaf in leaves[:size])
        for seq, proof in (await rig.ledger.inclusions(range(size), size)).items():
            assert verify_inclusion(leaves[seq].hashes[0], seq, size, proof, root)
    for older in heads:
        for newer in heads:
            sizes = older["body"]["size"], newer["body"]["size"]
            if sizes[0] <= sizes[1]:
                roots = [bytes.fromhex(head["body"]["root"]) for head in (older, newer)]
                assert verify_consistency(*sizes, *roots, await rig.ledger.consistency(*sizes))


async def test_notes_at_once_share_writes_and_stand_once(rig: LedgerRig) -> None:
    async def note(n: int) -> None:
        await rig.notes.note("order_issued", f"R-{n % 5}", f"{n // 2}", store="de", digest=f"{n // 2 % 5:064x}")

    outcomes = await asyncio.gather(*(note(n) for n in range(200)), return_exceptions=True)
    assert Counter(type(outcome) for outcome in outcomes)[type(None)] == 200
    await rig.keeper.settle()
    await whole(rig, 200)


async def test_a_contradicting_note_fails_alone(rig: LedgerRig) -> None:
    await rig.notes.note("order_issued", "R-1", "one", store="de", digest="0" * 64)
    outcomes = await asyncio.gather(
        rig.notes.note("order_issued", "R-1", "two", store="de", digest="0" * 64),
        rig.notes.note("order_issued", "R-1", "one", store="es", digest="0" * 64),
        rig.notes.note("order_issued", "R-1", "three", store="de", digest="0" * 64),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), Conflict, type(None)]
    await rig.keeper.settle()
    await whole(rig, 3)


async def test_a_note_that_cannot_be_written_says_so(rig: LedgerRig) -> None:
    rig.ledger.stop("by this test")
    with pytest.raises(Exception, match="by this test"):
        await rig.notes.note("closed", "R-1", "closed")


def test_no_kind_has_room_for_a_person() -> None:
    """Unknown kinds, unknown details, and words where codes stand are refused before anything is written."""
    for kind, case, details in (
        ("something", "R-1", {}),
        ("closed", None, {}),
        ("key_known", "R-1", {"store": "de", "key": "x" * 43}),
        ("closed", "R-1", {"email": "jeanne@example.org"}),
        ("request_received", "R-1", {"right": "erasure", "subject": "a" * 64}),
        ("request_refused", "R-1", {"ground": "jeanne@example.org"}),
        ("receipt_refused", "R-1", {"store": "de", "reason": "Jeanne Exemple"}),
        ("closed", "jeanne@example.org", {}),
    ):
        with pytest.raises(InvalidMessage) as refused:
            entry(kind, case, "fact", BEGINNING, **details)
        assert "jeanne" not in str(refused.value).lower()
    assert set(KINDS) > OF_NO_CASE


async def test_entries_keep_their_order_over_a_crash_of_the_server(own_mongo: EmbeddedMongo) -> None:
    """A server that crashed replays its oplog with several threads: what was noted later may come to stand before."""
    entries = some(400)
    async with open_ledger(own_mongo.url, "crashed") as rig:
        for one in entries:
            await rig.ledger.append(one)
        own_mongo.kill9()
        own_mongo.start()
        await rig.keeper.settle()
        placed = [json.loads(text)["id"] for text in await texts(rig)]
    assert placed == [one.id for one in entries]
