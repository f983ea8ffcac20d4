"""The offices' namespaces stay in order: what the dead took comes back, what lies there for nobody goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import redis

from schemas.orders import ORDER_QUEUE, RECEIPT_QUEUE, order_namespace, receipt_namespace
from tests.factories import someone
from tests.waiting import until
from tests.workers.cases.court import Court
from workers.broker import HardenedBroker, Hooks, Tuning, build_broker
from workers.cases.housekeeping import keep_house
from workers.cases.inbox import Inbox
from workers.cases.posting import Posting
from workers.cases.serving import dispatch
from workers.services import utc_now

SOON_DEAD = Tuning(heartbeat_ms=1)
NOBODY = Hooks(on_poison=lambda _: None, on_dead=lambda _: None)
QUEUE = f"to.gb:{ORDER_QUEUE}"


@dataclass
class House:
    """A court whose orders go through a real Redis."""

    court: Court
    posting: Posting
    inbox: Inbox
    reader: redis.Redis

    async def keep(self) -> int:
        return await keep_house(self.posting, self.inbox, self.court.desk.cases, ["gb"])

    async def ask(self) -> str:
        """A case whose order was posted to the British office."""
        reference = await self.court.ask("erasure", someone().email)
        await self.court.confirm(reference)
        await dispatch(self.court.desk, "gb")
        return reference

    async def ask_again(self, reference: str) -> None:
        task = (await self.court.tasks(reference))["gb"]
        await self.court.desk.cases.change_task(task, {"send_at": utc_now()})
        await dispatch(self.court.desk, "gb")

    def lying(self) -> list[bytes]:
        """What an independent client sees in the queue; its bodies are those and no others, but what was taken."""
        return list(self.reader.lrange(QUEUE, 0, -1))  # type: ignore[arg-type]

    def bodies(self) -> int:
        return int(self.reader.hlen(f"{QUEUE}.msgs"))  # type: ignore[arg-type]


@pytest.fixture
async def house(court: Court, redis_url: str, redis_reader: redis.Redis) -> AsyncIterator[House]:
    posting = Posting(redis_url, SOON_DEAD)
    inbox = Inbox(redis_url, ["gb"], lambda _store, _token: None, lambda *_: None, SOON_DEAD)

    async def send(store: str, token: str) -> None:
        if store == "gb":
            await asyncio.to_thread(posting.post, store, token)

    court.desk = replace(court.desk, send=send)
    yield House(court, posting, inbox, redis_reader)
    inbox.stop()
    posting.close()


def worker(redis_url: str, namespace: str) -> HardenedBroker:
    """Another process' broker, which takes and then is heard of no more."""
    return build_broker(redis_url, NOBODY, namespace=namespace, tuning=SOON_DEAD)


async def test_what_a_dead_worker_of_the_office_took_comes_back(house: House, redis_url: str) -> None:
    await house.ask()
    (order,) = house.lying()
    dead = worker(redis_url, order_namespace("gb"))
    assert len(dead.do_fetch(ORDER_QUEUE, 1)) == 1
    assert house.lying() == []

    async def given_back() -> bool:
        await house.keep()
        return house.lying() == [order]

    await until(given_back, what="the order is back in its queue")
    dead.close()


async def test_what_a_dead_controller_took_of_the_receipts_comes_back(house: House, redis_url: str) -> None:
    dead = worker(redis_url, receipt_namespace("gb"))
    dead.do_enqueue(RECEIPT_QUEUE, "a-receipt", b"{}")
    assert len(dead.do_fetch(RECEIPT_QUEUE, 1)) == 1

    async def given_back() -> bool:
        await house.keep()
        return house.reader.lrange(f"from.gb:{RECEIPT_QUEUE}", 0, -1) == [b"a-receipt"]

    await until(given_back, what="the receipt is back in its queue")
    dead.close()


async def test_of_an_office_that_is_away_one_order_waits(house: House) -> None:
    """Asked again and again: only the last order over its tasks lies there."""
    one, other = await house.ask(), await house.ask()
    for _ in range(4):
        await house.ask_again(one)
    assert len(house.lying()) == 6
    assert await house.keep() == 4
    assert (len(house.lying()), house.bodies()) == (2, 2)
    tasks = [(await house.court.tasks(reference))["gb"] for reference in (one, other)]
    orders = await house.court.desk.cases.orders(task["order"] for task in tasks)
    assert {order["message"].encode() for order in orders.values()} == set(house.lying())
    assert await house.keep() == 0


async def test_what_was_answered_in_the_meantime_is_withdrawn(house: House) -> None:
    reference = await house.ask()
    await house.ask_again(reference)
    task = (await house.court.tasks(reference))["gb"]
    await house.court.desk.cases.change_task(task, {"state": "receipted"}, "send_at")
    assert await house.keep() == 2
    assert (house.lying(), house.bodies()) == ([], 0)


async def test_what_is_being_worked_on_is_left(house: House, redis_url: str) -> None:
    """Taken between the look and the removal: it is the worker's, who finds its body."""
    reference = await house.ask()
    task = (await house.court.tasks(reference))["gb"]
    seen = house.posting.waiting("gb")
    alive = worker(redis_url, order_namespace("gb"))
    assert len(alive.do_fetch(ORDER_QUEUE, 1)) == 1
    await house.court.desk.cases.change_task(task, {"state": "receipted"}, "send_at")
    assert house.posting.withdraw("gb", seen) == 0
    assert house.bodies() == 1
    alive.do_ack(ORDER_QUEUE, seen[0])
    assert house.bodies() == 0
    alive.close()


async def test_orders_that_the_office_gave_up_do_not_pile_up(house: House) -> None:
    """Its own Redis user may not remove them; they are asked again anyhow."""
    for number in range(120):
        house.reader.zadd(f"{QUEUE}.XQ", {f"order-{number}": number})
        house.reader.hset(f"{QUEUE}.XQ.msgs", f"order-{number}", b"{}")
    await house.keep()
    assert not house.reader.exists(f"{QUEUE}.XQ", f"{QUEUE}.XQ.msgs")


async def test_who_forgets_which_orders_are_in_force_is_found(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deliberately broken variant withdraws what is awaited."""

    async def none(*_: Any) -> set[str]:
        return set()

    await house.ask()
    monkeypatch.setattr(house.court.desk.cases, "messages_in_force", none)
    await house.keep()
    assert house.lying() == []
