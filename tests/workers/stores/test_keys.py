"""Data keys: minted once, destroyed for good, kept by a hold, wrapped so that none can stand in for another."""

from __future__ import annotations

import asyncio

import pytest

from tests.workers.bench import Bench
from workers.stores.keys import ACTIVE, DataKey, KeyHeld, LocalKeyWrapper, Unreadable, key_id

OWNER = key_id("somebody", ACTIVE)
TEXT = b"what is kept of a person"


async def test_many_who_mint_one_key_at_once_get_the_same(bench: Bench) -> None:
    minted = await asyncio.gather(*(bench.services.keys.ensure([OWNER]) for _ in range(20)))
    sealed = minted[0][OWNER].seal("place", TEXT)
    assert [keys[OWNER].open("place", sealed) for keys in minted] == [TEXT] * 20
    assert len(bench.collection("keys", "keys")) == 1


async def test_a_destroyed_key_is_never_minted_again(bench: Bench) -> None:
    keys = bench.services.keys
    await keys.ensure([OWNER])
    await keys.destroy([OWNER])
    assert await keys.ensure([OWNER]) == {}
    assert await keys.read([OWNER]) == {}
    (left,) = bench.collection("keys", "keys")
    assert set(left) == {"_id", "destroyed_at"}


async def test_a_key_can_be_destroyed_before_it_ever_was(bench: Bench) -> None:
    """A late event must not mint the key of somebody who was erased before it came."""
    await bench.services.keys.destroy([OWNER])
    assert await bench.services.keys.ensure([OWNER]) == {}


async def test_minting_and_destroying_at_once_leaves_it_destroyed(bench: Bench) -> None:
    keys = bench.services.keys
    await asyncio.gather(*(keys.ensure([OWNER]) for _ in range(8)), keys.destroy([OWNER]))
    assert await keys.read([OWNER]) == {}


async def test_a_restored_key_is_destroyed_again_and_the_date_of_the_first_time_stays(bench: Bench) -> None:
    keys, stored = bench.services.keys, bench.reader[f"{bench.prefix}_keys"]["keys"]
    await keys.ensure([OWNER])
    backup = stored.find_one({"_id": OWNER})
    await keys.destroy([OWNER])
    first = stored.find_one({"_id": OWNER})
    await keys.destroy([OWNER])
    assert stored.find_one({"_id": OWNER}) == first
    assert backup is not None
    stored.replace_one({"_id": OWNER}, backup)
    await keys.destroy([OWNER])
    assert await keys.read([OWNER]) == {}


async def test_a_hold_refuses_destruction_and_the_others_go(bench: Bench) -> None:
    keys, other = bench.services.keys, key_id("other", ACTIVE)
    await keys.ensure([OWNER, other])
    bench.reader[f"{bench.prefix}_keys"]["keys"].update_one({"_id": OWNER}, {"$set": {"hold": "court order 12"}})
    with pytest.raises(KeyHeld):
        await keys.destroy([OWNER, other])
    assert set(await keys.read([OWNER, other])) == {OWNER}


async def test_a_sealed_value_opens_in_its_place_only(bench: Bench) -> None:
    key = (await bench.services.keys.ensure([OWNER]))[OWNER]
    sealed = key.seal("submissions/1", TEXT)
    assert key.open("submissions/1", sealed) == TEXT
    with pytest.raises(Unreadable):
        key.open("submissions/2", sealed)
    for position in range(len(sealed)):
        with pytest.raises(Unreadable):
            key.open("submissions/1", sealed[:position] + bytes([sealed[position] ^ 1]) + sealed[position + 1 :])


def test_sealing_alike_is_the_same_each_time_and_never_for_something_else() -> None:
    key, other = DataKey("one", b"1" * 32), DataKey("two", b"2" * 32)
    assert key.seal_alike("p", TEXT) == key.seal_alike("p", TEXT)
    nonces = {
        sealed[:12]
        for sealed in (
            key.seal_alike("p", TEXT),
            key.seal_alike("q", TEXT),
            key.seal_alike("p", TEXT + b"."),
            other.seal_alike("p", TEXT),
        )
    }
    assert len(nonces) == 4
    assert key.open("p", key.seal_alike("p", TEXT)) == TEXT


def test_a_wrapped_key_cannot_stand_in_for_another() -> None:
    wrapper = LocalKeyWrapper({"new": b"n" * 32, "old": b"o" * 32})
    stored = wrapper.wrap("a/active", b"k" * 32)
    assert wrapper.unwrap("a/active", stored) == b"k" * 32
    with pytest.raises(Unreadable):
        wrapper.unwrap("b/active", stored)


def test_keys_wrapped_before_a_rotation_still_open_and_an_unknown_wrapper_is_named_as_such() -> None:
    before, after = LocalKeyWrapper({"old": b"o" * 32}), LocalKeyWrapper({"new": b"n" * 32, "old": b"o" * 32})
    stored = before.wrap("a/active", b"k" * 32)
    assert after.unwrap("a/active", stored) == b"k" * 32
    assert after.wrap("a/active", b"k" * 32)["kid"] == "new"
    with pytest.raises(Unreadable):
        LocalKeyWrapper({"new": b"n" * 32}).unwrap("a/active", stored)
