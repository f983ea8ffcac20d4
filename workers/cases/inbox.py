"""Where receipts come in: one namespace per subsidiary, all of them drained by one thread of a controller process.

A dramatiq worker per namespace would cost threads and polls for each subsidiary; here one thread waits for the bells of
all and takes what is there. A receipt is acknowledged once it is kept, or once it is parked as not to be believed.
Source: design § 3 "one dramatiq namespace per subsidiary and direction".
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

import dramatiq
import structlog
from dramatiq.errors import BrokerConnectionError

from schemas.errors import InvalidMessage, Temporary
from schemas.orders import RECEIPT_QUEUE, receipt_namespace
from workers.broker import HardenedBroker, Hooks, Tuning, build_broker
from workers.broker.consumer import HardenedConsumer

log = structlog.get_logger("greffier.inbox")

_AT_ONCE: Final = 4
"""Receipts of one store in memory: one about 500 people has a fifth of a megabyte."""
_POLL_S: Final = 5.0
_PAUSE_S: Final = 2.0

Take = Callable[[str, str], None]
"""Keeps one sealed receipt (second) of a store (first). Raises InvalidMessage, or Temporary."""

Park = Callable[[str, str, bytes], None]
"""Keeps what is not to be believed: store, reason, bytes."""


class Inbox:
    """Drains every subsidiary's ``from.<code>``."""

    def __init__(self, redis_url: str, stores: Iterable[str], take: Take, park: Park, tuning: Tuning) -> None:
        self._take = take
        self._park = park
        self._stopping = threading.Event()
        self._rung = threading.Event()
        self._brokers = {store: self._broker(redis_url, store, tuning) for store in stores}
        self._thread = threading.Thread(target=self._run, name="inbox", daemon=True)

    def _broker(self, redis_url: str, store: str, tuning: Tuning) -> HardenedBroker:
        hooks = Hooks(
            on_poison=lambda poison: self._park(store, poison.code, poison.raw),
            on_dead=lambda letter: self._park(store, letter.reason, letter.raw),
        )
        broker = build_broker(redis_url, hooks, namespace=receipt_namespace(store), tuning=tuning)
        dramatiq.actor(broker=broker, queue_name=RECEIPT_QUEUE, actor_name=RECEIPT_QUEUE)(_receipts)
        return broker

    def start(self) -> threading.Thread:
        """Begin; the thread, for the watchdog."""
        for broker in self._brokers.values():
            broker.wake.hang(RECEIPT_QUEUE, _Bell(self._rung))
            broker.wake.start()
        self._thread.start()
        return self._thread

    def stop(self) -> None:
        """Finish what is in hand and put the rest back."""
        self._stopping.set()
        self._rung.set()
        if self._thread.is_alive():
            self._thread.join(_POLL_S)
        for broker in self._brokers.values():
            try:
                broker.hand_back()
            except BrokerConnectionError:
                log.warning("receipts not handed back: redis is away")
            broker.close()

    def look_after(self, store: str) -> None:
        """Give back what a dead controller took out of a store's namespace. Raises redis' and dramatiq's errors."""
        self._brokers[store].give_back_the_dead()

    def _run(self) -> None:
        consumers: dict[str, HardenedConsumer] = {}
        while not self._stopping.is_set():
            self._rung.clear()
            busy = False
            for store, broker in self._brokers.items():
                try:
                    if store not in consumers:
                        consumers[store] = HardenedConsumer(broker, RECEIPT_QUEUE, _AT_ONCE, 0)
                    busy |= self._drain(store, consumers[store])
                except BrokerConnectionError:
                    consumers.pop(store, None)
                except Temporary:
                    self._stopping.wait(_PAUSE_S)
            if not busy:
                self._rung.wait(_POLL_S)

    def _drain(self, store: str, consumer: HardenedConsumer) -> bool:
        """Work off what is there now; whether there was anything."""
        worked = False
        while not self._stopping.is_set():
            message = next(consumer)
            if message is None:
                return worked
            worked = True
            try:
                self._work(store, message)
            except BaseException:
                consumer.requeue([message])
                raise
            consumer.ack(message)
        return worked

    def _work(self, store: str, message: Any) -> None:
        token = message.kwargs["token"]
        try:
            self._take(store, token)
        except InvalidMessage as fault:
            log.warning("receipt refused", store=store, code=fault.code)
            self._park(store, f"receipt_{fault.code}", token.encode())


class _Bell(threading.Event):
    """One namespace's bell, which is heard by the thread that waits for all."""

    def __init__(self, heard_by: threading.Event) -> None:
        super().__init__()
        self._heard_by = heard_by

    def set(self) -> None:
        super().set()
        self._heard_by.set()


def _receipts(token: str) -> None:
    """The shape of a receipt message; never run as an actor."""
