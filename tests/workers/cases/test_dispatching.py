"""Orders leave one at a time per store: alone at once, many together. Source: design § 3; P6."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from schemas.errors import StoreUnavailable
from tests.waiting import until
from workers.cases.dispatching import Dispatcher

NEVER_S = 3600.0


@dataclass
class Orders:
    """What is due, and the orders that were made of it: (store, tasks)."""

    due: dict[str, int] = field(default_factory=dict)
    made: list[tuple[str, int]] = field(default_factory=list)
    away: bool = False
    may_leave: asyncio.Event = field(default_factory=asyncio.Event)

    async def dispatch(self, store: str) -> int:
        await self.may_leave.wait()
        if self.away:
            raise StoreUnavailable("away")
        tasks = self.due.pop(store, 0)
        if tasks:
            self.made.append((store, tasks))
        return tasks

    def add(self, store: str) -> None:
        self.due[store] = self.due.get(store, 0) + 1


@pytest.fixture
def orders() -> Orders:
    made = Orders()
    made.may_leave.set()
    return made


@pytest.fixture
async def patient(orders: Orders) -> AsyncIterator[Dispatcher]:
    """Waits for every answer, however long it takes."""
    dispatcher = Dispatcher(orders.dispatch, answer_s=NEVER_S)
    yield dispatcher
    await dispatcher.close()


async def due(orders: Orders, dispatcher: Dispatcher, store: str) -> None:
    orders.add(store)
    await dispatcher.wake(store)


async def test_what_falls_due_while_an_order_is_out_goes_together(orders: Orders, patient: Dispatcher) -> None:
    await due(orders, patient, "de")
    await until(lambda: orders.made == [("de", 1)])
    for _ in range(40):
        await due(orders, patient, "de")
        await asyncio.sleep(0)
    assert orders.made == [("de", 1)]
    patient.answered("de")
    await until(lambda: orders.made == [("de", 1), ("de", 40)])


async def test_one_store_does_not_wait_for_another(orders: Orders, patient: Dispatcher) -> None:
    await due(orders, patient, "de")
    await until(lambda: orders.made == [("de", 1)])
    await due(orders, patient, "us")
    await until(lambda: orders.made == [("de", 1), ("us", 1)])


async def test_a_silent_store_still_gets_its_orders(orders: Orders) -> None:
    dispatcher = Dispatcher(orders.dispatch, answer_s=0)
    await due(orders, dispatcher, "de")
    await until(lambda: orders.made == [("de", 1)])
    await due(orders, dispatcher, "de")
    await until(lambda: orders.made == [("de", 1), ("de", 1)])
    await dispatcher.close()


async def test_what_failed_is_sent_when_it_is_woken_again(orders: Orders, patient: Dispatcher) -> None:
    orders.away = True
    await due(orders, patient, "de")
    await until(lambda: not patient.busy("de"))
    orders.away = False
    await patient.wake("de")
    await until(lambda: orders.made == [("de", 1)])


async def test_an_order_in_hand_is_finished_and_no_other_begun(orders: Orders, patient: Dispatcher) -> None:
    orders.may_leave.clear()
    await due(orders, patient, "de")
    closing = asyncio.create_task(patient.close())
    await asyncio.sleep(0)  # it has begun
    await due(orders, patient, "us")
    orders.may_leave.set()
    await closing
    assert orders.made == [("de", 1)]
