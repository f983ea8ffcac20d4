"""A ledger that is not what was signed is found at the start, at the next head, and by whoever kept a head."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from schemas.errors import InvalidMessage, StoreUnavailable
from schemas.evidence import HEAD
from schemas.ledger_keys import LedgerKeys, new_ledger_keys, rotated
from schemas.signed import check_document, sign_document
from tests.waiting import until
from tests.workers.evidence.cases import trust
from tests.workers.evidence.rig import BEGINNING, LedgerRig, some
from workers.evidence.head_file import check_heads, heads_file, read_heads
from workers.rules.merkle import Frontier, leaf_hash
from workers.stores.ledger import LedgerBroken


async def test_a_head_is_signed_when_there_is_something_new(rig: LedgerRig) -> None:
    assert await rig.heads.sign() is None
    await rig.grow(3)
    first = await rig.heads.newest()
    assert first is not None
    assert await rig.heads.sign() == first
    assert check_document(first, HEAD, rig.keys.verifying).kid == rig.keys.signing.kid
    assert (await rig.heads.covering(2), await rig.heads.covering(3)) == (first, None)


async def test_heads_signed_at_once_agree(rig: LedgerRig) -> None:
    await rig.ledger.append(*some(9))
    await rig.keeper.sequence()
    heads = await asyncio.gather(*(rig.another().heads.sign() for _ in range(5)))
    assert all(head == heads[0] for head in heads)
    assert len(await rig.all_heads()) == 1


async def rewrite(rig: LedgerRig, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Put other leaves in the place of all, with every hash as it should be: what a careful forger would do."""
    leaves = [json.loads(leaf.text) async for leaf in rig.ledger.leaves({})]
    frontier, documents = Frontier(), []
    for seq, leaf in enumerate(change(leaves)):
        text = json.dumps(leaf | {"seq": seq}, sort_keys=True, separators=(",", ":"))
        hashes = frontier.append(leaf_hash(text.encode()))
        documents.append({"_id": seq, "entry": leaf["id"], "leaf": text, "hashes": hashes})
    await rig.leaves().delete_many({})
    await rig.leaves().insert_many(documents)


async def alter_text(rig: LedgerRig) -> None:
    leaf = await rig.leaves().find_one({"_id": 4})
    await rig.leaves().update_one({"_id": 4}, {"$set": {"leaf": leaf["leaf"].replace('"de"', '"es"')}})


async def alter_hash(rig: LedgerRig) -> None:
    await rig.leaves().update_one({"_id": 3}, {"$set": {"hashes.1": bytes(32)}})


async def remove_one(rig: LedgerRig) -> None:
    await rig.leaves().delete_one({"_id": 5})


async def remove_last(rig: LedgerRig) -> None:
    await rig.leaves().delete_many({"_id": {"$gte": 6}})


async def remove_all(rig: LedgerRig) -> None:
    await rig.leaves().delete_many({})


async def rewrite_one(rig: LedgerRig) -> None:
    await rewrite(
        rig, lambda leaves: [*leaves[:2], leaves[2] | {"at": leaves[0]["at"]}, leaves[3] | {"v": 2}, *leaves[4:]]
    )


async def rewrite_without_one(rig: LedgerRig) -> None:
    await rewrite(rig, lambda leaves: [*leaves[:2], *leaves[3:], leaves[2]])


async def rewrite_in_another_order(rig: LedgerRig) -> None:
    await rewrite(rig, lambda leaves: leaves[::-1])


async def forge_head(rig: LedgerRig) -> None:
    await rig.signed().update_one({"_id": 8}, {"$set": {"head.body.root": "0" * 64}})


async def foreign_head(rig: LedgerRig) -> None:
    head = await rig.signed().find_one({"_id": 8})
    other = sign_document(head["head"]["body"], new_ledger_keys(BEGINNING).signing)
    await rig.signed().update_one({"_id": 8}, {"$set": {"head": other}})


HARM: dict[Callable[[LedgerRig], Awaitable[None]], str] = {
    alter_text: "leaf_altered at leaf 4",
    alter_hash: "leaf_altered at leaf 3",
    remove_one: "leaf_missing at leaf 5",
    remove_last: "ledger_truncated at size 6",
    remove_all: "ledger_truncated at size 0",
    rewrite_one: "ledger_altered before size 5",
    rewrite_without_one: "ledger_altered before size 5",
    rewrite_in_another_order: "ledger_altered before size 5",
    forge_head: "head_bad_signature",
    foreign_head: "head_unknown_key",
}


@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
async def test_harm_is_found_at_the_start_and_stops_writing(
    rig: LedgerRig, harm: Callable[[LedgerRig], Awaitable[None]]
) -> None:
    await rig.grow(5, 3)
    await harm(rig)
    started = rig.another()
    await started.ledger.append(*some(2, 8))
    await asyncio.wait_for(started.keeper.keep(), 10)  # ends by itself
    assert (await started.heads.check()).faults[0] == HARM[harm]
    for write in (started.ledger.append(*some(1, 20)), started.ledger.sequence(), started.heads.sign()):
        with pytest.raises(LedgerBroken):
            await write
    assert await started.ledger.pending() == 2


@pytest.mark.parametrize("harm", [remove_last, remove_all, rewrite_one, rewrite_in_another_order])
async def test_harm_done_while_running_is_found_at_the_next_head(
    rig: LedgerRig, harm: Callable[[LedgerRig], Awaitable[None]]
) -> None:
    await rig.grow(5, 3)
    await harm(rig)
    with pytest.raises(LedgerBroken):
        await rig.heads.sign()
    with pytest.raises(StoreUnavailable):  # workers wait; no event is blamed
        await rig.ledger.append(*some(1, 20))


async def test_who_removes_heads_too_is_found_by_one_kept_elsewhere(rig: LedgerRig) -> None:
    await rig.grow(5, 3)
    kept = await rig.heads.newest()
    assert kept is not None
    await remove_last(rig)
    await rig.signed().delete_many({"_id": 8})
    assert (await rig.heads.check()).faults == ()
    again = rig.another()
    assert "ledger_truncated at size 6" in (await again.heads.check([kept])).faults
    await rig.ledger.append(*some(4, 50))
    await rig.keeper.settle()
    assert (await rig.another().heads.check()).faults == ()
    assert (await rig.another().heads.check([kept])).faults == ("ledger_altered before size 8",)


async def test_two_heads_of_one_size_are_a_fork(rig: LedgerRig) -> None:
    await rig.grow(4)
    head = await rig.heads.newest()
    assert head is not None
    other = sign_document({**head["body"], "root": "0" * 64}, rig.keys.signing)
    assert (await rig.heads.check([other])).faults == ("ledger_forked at size 4",)


async def test_a_retired_key_signs_no_head_and_its_old_heads_stay_good(rig: LedgerRig) -> None:
    await rig.grow(3)
    new = rotated(rig.keys, rig.clock())
    later = rig.another(new)
    await later.grow(2)
    assert (await later.heads.check()).faults == ()
    thief = rig.another(LedgerKeys(rig.keys.log, rig.keys.signing, new.verifying))
    await thief.grow(2)
    assert (await thief.heads.check()).faults == ("head_key_retired",)


async def test_a_head_dated_before_its_key_is_refused(rig: LedgerRig) -> None:
    early = {"type": HEAD, "log": rig.keys.log, "size": 1, "root": "0" * 64, "at": "2026-01-01T00:00:00.000Z"}
    with pytest.raises(InvalidMessage, match="key_not_yet_valid"):
        check_document(sign_document(early, rig.keys.signing), HEAD, rig.keys.verifying)


async def test_no_head_is_dated_before_the_one_it_follows(rig: LedgerRig) -> None:
    await rig.grow(1)
    behind = rig.another()
    behind.clock.at = BEGINNING
    await behind.grow(1)
    first, second = await rig.all_heads()
    assert second["body"]["at"] >= first["body"]["at"]


async def test_a_keeper_places_what_a_dead_process_noted_and_signs(rig: LedgerRig) -> None:
    await rig.another().ledger.append(*some(5))  # nobody there will sequence it
    rig.ledger.news.set()
    keeping = asyncio.create_task(rig.keeper.keep())
    try:
        await until(rig.heads.newest)
        await rig.notes.note("closed", "R-9", "closed")
        await until(lambda: _size_is(rig, 6))
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    assert (await rig.heads.check()).faults == ()


async def _size_is(rig: LedgerRig, size: int) -> bool:
    return await rig.ledger.size() == size


async def test_a_head_that_was_sent_is_noted(rig: LedgerRig) -> None:
    await rig.grow(2)
    head = await rig.heads.newest()
    assert head is not None
    await rig.keeper.note_sent(head, "auditor")
    await rig.keeper.note_sent(head, "auditor")
    await rig.keeper.settle()
    assert await rig.ledger.size() == 3


async def heads_bytes(rig: LedgerRig) -> bytes:
    return json.dumps(await heads_file(rig.keeper, rig.keys)).encode()


async def test_a_file_of_heads_holds_and_contains_every_older_one(rig: LedgerRig) -> None:
    await rig.grow(2, 3)
    older = await heads_bytes(rig)
    await rig.grow(1, 5)
    newer = await heads_bytes(rig)
    assert [head["body"]["size"] for head in check_heads(newer, trust(rig.keys), read_heads(older))] == [2, 5, 6, 11]
    with pytest.raises(InvalidMessage, match="known_head_missing"):
        check_heads(older, trust(rig.keys), read_heads(newer))
    with pytest.raises(InvalidMessage, match="no_trusted_key"):
        check_heads(older, trust(new_ledger_keys(BEGINNING)))


async def test_a_file_of_heads_stays_short_and_forgets_none_that_was_handed_out(rig: LedgerRig) -> None:
    """Of one day it holds the last, and whatever somebody may hold already."""
    sizes = []
    for size in range(1, 6):
        await rig.ledger.append(*some(1, size))
        await rig.keeper.settle()
        if size in (2, 5):
            found = check_heads(await heads_bytes(rig), trust(rig.keys))
            sizes.append([head["body"]["size"] for head in found])
    assert sizes == [[2], [2, 5]]
    assert len(await rig.all_heads()) == 5


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda found: found["heads"].reverse(), "heads_not_consistent"),
        (lambda found: found["heads"].pop(1), "heads_not_consistent"),
        (lambda found: found["proofs"].pop(), "heads_not_consistent"),
        (lambda found: found["proofs"][0].append("0" * 64), "heads_not_consistent"),
        (lambda found: found["heads"][0]["body"].update(root="0" * 64), "head_bad_signature"),
        (lambda found: found["heads"][0].update(kid="other"), "head_unknown_key"),
        (lambda found: found["proofs"].__setitem__(0, [7]), "not_in_normal_form"),
        (lambda found: found.update(heads=None), "not_in_normal_form"),
    ],
)
async def test_an_altered_file_of_heads_is_found(
    rig: LedgerRig, change: Callable[[dict[str, Any]], object], code: str
) -> None:
    await rig.grow(2, 3, 4)
    found = json.loads(await heads_bytes(rig))
    change(found)
    with pytest.raises(InvalidMessage, match=code):
        check_heads(json.dumps(found).encode(), trust(rig.keys))
