"""Who is woken is looked at here, once at a time; what is too much or fails is left to the queue. Source: P6."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from schemas.errors import StoreUnavailable
from tests.waiting import until
from workers.cases.waking import InHand


@dataclass
class Bureau:
    """What was begun, how many of one case ran at the same time at most, and what was left to others."""

    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    begun: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    fails_with: Exception | None = None
    running: set[str] = field(default_factory=set)

    async def advance(self, reference: str) -> None:
        assert reference not in self.running
        self.running.add(reference)
        self.begun.append(reference)
        await self.may_end.wait()
        self.running.discard(reference)
        if self.fails_with is not None:
            raise self.fails_with

    async def leave(self, reference: str) -> None:
        self.left.append(reference)


@pytest.fixture
def bureau() -> Bureau:
    return Bureau()


async def test_who_is_woken_again_while_in_hand_is_looked_at_again(bureau: Bureau) -> None:
    hand = InHand(bureau.advance, bureau.leave)
    await hand.wake("R-1")
    await until(lambda: bureau.begun == ["R-1"])
    for _ in range(5):
        await hand.wake("R-1")
    assert bureau.begun == ["R-1"]
    bureau.may_end.set()
    await until(lambda: bureau.begun == ["R-1", "R-1"])
    await hand.close()
    assert not bureau.left


async def test_what_is_too_much_at_once_is_left_to_the_queue(bureau: Bureau) -> None:
    hand = InHand(bureau.advance, bureau.leave, in_hand=2)
    for reference in ("R-1", "R-2", "R-3", "R-1"):
        await hand.wake(reference)
    await until(lambda: bureau.begun == ["R-1", "R-2"])
    assert bureau.left == ["R-3"]
    bureau.may_end.set()
    await hand.close()


async def test_so_many_at_a_time_and_the_others_in_their_turn(bureau: Bureau) -> None:
    hand = InHand(bureau.advance, bureau.leave, at_once=2)
    for reference in ("R-1", "R-2", "R-3"):
        await hand.wake(reference)
    await until(lambda: bureau.begun == ["R-1", "R-2"])
    bureau.may_end.set()
    await until(lambda: bureau.begun == ["R-1", "R-2", "R-3"])
    await hand.close()
    assert not bureau.left


@pytest.mark.parametrize("error", [StoreUnavailable("away"), ValueError("a fault")])
async def test_what_fails_is_tried_again_from_the_queue(bureau: Bureau, error: Exception) -> None:
    bureau.fails_with = error
    bureau.may_end.set()
    hand = InHand(bureau.advance, bureau.leave)
    await hand.wake("R-1")
    await until(lambda: bureau.left == ["R-1"])
    bureau.fails_with = None
    await hand.wake("R-1")
    await until(lambda: len(bureau.begun) == 2)
    await hand.close()


async def test_closing_does_not_wait_for_those_that_wait_for_their_turn(bureau: Bureau) -> None:
    hand = InHand(bureau.advance, bureau.leave, at_once=1)
    for reference in ("R-1", "R-2", "R-3"):
        await hand.wake(reference)
    await until(lambda: bureau.begun == ["R-1"])
    closing = asyncio.create_task(hand.close())
    await asyncio.sleep(0)  # it has begun
    bureau.may_end.set()
    await closing
    assert (bureau.begun, bureau.left) == (["R-1"], ["R-2", "R-3"])


async def test_closing_ends_what_is_in_hand_and_begins_nothing(bureau: Bureau) -> None:
    hand = InHand(bureau.advance, bureau.leave)
    await hand.wake("R-1")
    await until(lambda: bureau.begun == ["R-1"])
    closing = asyncio.create_task(hand.close())
    await asyncio.sleep(0)  # it has begun
    await hand.wake("R-2")
    assert not closing.done()
    bureau.may_end.set()
    await closing
    assert (bureau.begun, bureau.left) == (["R-1"], ["R-2"])
