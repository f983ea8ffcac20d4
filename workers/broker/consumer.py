"""One queue's consumer in one process: fetches, checks, holds, gives back.

What it adds to dramatiq's own:

- what this process took and nobody in it holds any more goes back to the queue: when the consumer is made, again
  every quarter of a heartbeat (a fetch whose reply was lost may still run on the server *after* the new consumer
  looked), and when it is closed;
- each message is checked by itself; what fails is parked, then acknowledged, and stays where it is until it is parked;
- `ack` of a message marked ``put_back`` returns it to its queue;
- it waits on a bell instead of polling, and keeps the heartbeat while it fetches nothing.

Source: P1, P3; `reliability.md` § 6.2.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from dramatiq import Message
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.common import current_millis

from schemas.errors import InvalidMessage, Temporary
from workers.broker.checks import read_message
from workers.broker.errors import redis_errors_as_closed
from workers.broker.letters import HeldMessage, Poison, ours

if TYPE_CHECKING:
    from workers.broker.hardened import HardenedBroker

log = logging.getLogger(__name__)

MAX_UNPARKED = 64  # refused messages kept in mind while the parker is away; then the consumer fetches no more
STOPPING_S = 0.02  # between two looks at whether the thread may end


class Held:
    """The ids of one queue that this process fetched and has not acknowledged, with the moment delayed ones are due.

    Outlives any one consumer: a worker thread may hold a message while the connection, and with it the consumer, is
    made anew.
    """

    def __init__(self) -> None:
        self._due_ms: dict[str, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._due_ms)

    def __contains__(self, redis_id: str) -> bool:
        return redis_id in self._due_ms

    def add(self, redis_id: str, due_ms: int) -> None:
        with self._lock:
            self._due_ms[redis_id] = due_ms

    def release(self, *redis_ids: str) -> None:
        with self._lock:
            for redis_id in redis_ids:
                self._due_ms.pop(redis_id, None)

    def clear(self) -> None:
        with self._lock:
            self._due_ms.clear()

    def ids(self) -> set[bytes]:
        """As Redis names them."""
        with self._lock:
            return {redis_id.encode() for redis_id in self._due_ms}

    def next_due_ms(self) -> int | None:
        with self._lock:
            return min(self._due_ms.values(), default=None)


class HardenedConsumer(Consumer):
    """Made by the broker for a consumer thread; worker threads call `ack` and `nack`, the rest is that thread's."""

    def __init__(self, broker: HardenedBroker, queue: str, prefetch: int, timeout_ms: int) -> None:
        self.broker = broker
        self.queue = queue
        self.prefetch = prefetch
        self._poll_s = timeout_ms / 1000
        self._delayed = queue.endswith(".DQ")
        self._held = broker.held(queue)
        if self._delayed:
            self._held.clear()  # the consumer thread forgot its delayed messages before it asked for a new consumer
        self._bell = broker.wake.bell(queue)
        self._ready: deque[HeldMessage] = deque()
        self._unparked: list[tuple[bytes, Poison]] = []
        self._upkeep_every_s = broker.heartbeat_timeout / 4000
        self._upkeep_at = time.monotonic() + self._upkeep_every_s
        with redis_errors_as_closed():
            self.reclaim()

    # ------------------------------------------------------------------ worker threads

    def ack(self, message: MessageProxy) -> None:
        """Done with it; or, when it is marked so, put it back."""
        message = ours(message)
        if message.put_back:
            self.broker.do_requeue(self.queue, message.redis_id)
            self.broker.wake.announce(self.queue)
        else:
            self.broker.do_ack(self.queue, message.redis_id)
        self._release(message.redis_id)

    def nack(self, message: MessageProxy) -> None:
        """Give it up: to the dead letters."""
        redis_id = ours(message).redis_id
        self.broker.do_nack(self.queue, redis_id)
        self._release(redis_id)

    def _release(self, redis_id: str) -> None:
        self._held.release(redis_id)
        self._bell.set()  # there is room for one more

    # ------------------------------------------------------------------ the consumer thread

    def __next__(self) -> MessageProxy | None:
        if self._ready:
            return self._yield()
        self._bell.clear()  # before looking: a ring from here on means to look again
        with redis_errors_as_closed():
            self._keep_up()
            found = self._may_fetch() and self._fetch()
        if self._ready:
            return self._yield()
        if not found:
            self._wait()
        return None

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Put messages back that nobody in this process works on."""
        ids = [message.options["redis_message_id"] for message in messages]
        self._put_back(ids)
        self._held.release(*ids)

    def close(self) -> None:
        """Put back what was fetched and never handed out."""
        self._ready.clear()
        self._unparked.clear()
        with redis_errors_as_closed():
            self.reclaim()

    def reclaim(self) -> None:
        """Put back every id in our own ack set that nobody here holds."""
        in_mind = self._held.ids()
        in_mind.update(message.redis_id.encode() for message in self._ready)
        in_mind.update(redis_id for redis_id, _ in self._unparked)
        taken = self.broker.client.smembers(self._ack_key)
        orphans = sorted(taken - in_mind)  # an id acknowledged meanwhile is no member any more: requeue skips it
        if orphans:
            log.warning("%d message(s) of queue %s put back: taken but not held", len(orphans), self.queue)
            self._put_back(orphans)

    @property
    def _ack_key(self) -> str:
        return self.broker.ack_key(self.broker.broker_id, self.queue)

    def _put_back(self, ids: list[Any]) -> None:
        for start in range(0, len(ids), 500):
            self.broker.do_requeue(self.queue, *ids[start : start + 500])
        if ids:
            self.broker.wake.announce(self.queue)

    def _yield(self) -> HeldMessage:
        message = self._ready.popleft()
        self._held.add(message.redis_id, message.options.get("eta", 0))
        return message

    def _keep_up(self) -> None:
        """Heartbeat, reclaim and a new attempt to park, each quarter of a heartbeat, whatever else is going on."""
        if time.monotonic() < self._upkeep_at:
            return
        self._upkeep_at = time.monotonic() + self._upkeep_every_s
        self.broker.do_fetch(self.queue, 0)  # takes nothing; any call of the script is a heartbeat
        self.reclaim()
        waiting, self._unparked = self._unparked, []
        for redis_id, poison in waiting:
            self._park(redis_id, poison)

    def _may_fetch(self) -> bool:
        away = self.broker.store_pause.closed and not self._delayed  # moving a delayed message needs only Redis
        return not (self.broker.stopping or away or len(self._unparked) >= MAX_UNPARKED)

    def _fetch(self) -> bool:
        """Take what there is room for; whether there was anything."""
        room = self.prefetch - len(self._held)
        if room <= 0:
            return False
        bodies = self.broker.do_fetch(self.queue, room)
        if bodies:
            self._admit(bodies)
        return bool(bodies)

    def _wait(self) -> None:
        if self.broker.stopping:
            time.sleep(STOPPING_S)  # the bells ring for the last time when stopping begins; the thread ends soon
            return
        wait_s = min(self._poll_s, max(0.0, self._upkeep_at - time.monotonic()))
        due_ms = self._held.next_due_ms() if self._delayed else None
        if due_ms is not None:
            wait_s = min(wait_s, max(0.0, (due_ms - current_millis()) / 1000))
        self._bell.wait(wait_s)

    # ------------------------------------------------------------------ checking

    def _admit(self, bodies: list[bytes | None]) -> None:
        """Sort what was fetched into messages to hand out and entries to park.

        A fetch returns bodies without their ids. Each good message says its own; that it says the truth is cheap to
        see when all do, and looked up one by one when any does not.
        """
        read = [self._read(body) for body in bodies if body is not None]
        claimed = [message.options["redis_message_id"] for _, message, _ in read if message is not None]
        if len(set(claimed)) == len(bodies) and self._all_fetched(claimed):
            self._ready.extend(
                HeldMessage(message, message.options["redis_message_id"])
                for _, message, _ in read
                if message is not None
            )
        else:
            self._admit_one_by_one(read)

    def _all_fetched(self, claimed: list[str]) -> bool:
        if any(redis_id in self._held for redis_id in claimed):
            return False
        return all(self.broker.client.smismember(self._ack_key, claimed))

    def _read(self, body: bytes) -> tuple[bytes, Message[Any] | None, InvalidMessage | None]:
        try:
            message = read_message(body, queue=self.queue, actors=self.broker.actors, now_ms=current_millis())
        except InvalidMessage as error:
            return body, None, error
        except Exception:  # whatever it does to the checks, it is this message that did it
            return body, None, InvalidMessage("unreadable")
        return body, message, None

    def _admit_one_by_one(self, read: list[tuple[bytes, Message[Any] | None, InvalidMessage | None]]) -> None:
        stored = self._stored_now()
        for body, message, error in read:
            claimed = message.options["redis_message_id"].encode() if message is not None else b""
            redis_id = next((key for key in [claimed, *stored] if stored.get(key) == body), None)
            if redis_id is None:
                continue  # the id was pushed twice and its first copy is held, or done already
            del stored[redis_id]
            if message is not None and redis_id == claimed:
                self._ready.append(HeldMessage(message, claimed.decode()))
            else:
                fault = error or InvalidMessage("redis_message_id", "/options/redis_message_id")
                self._park(redis_id, Poison.of(self.queue, redis_id, body, code=fault.code, pointer=fault.pointer))

    def _stored_now(self) -> dict[bytes, bytes]:
        """What lies under each id that was just taken. Ids without a body, pushed twice once, are dropped."""
        known = self._held.ids() | {redis_id for redis_id, _ in self._unparked}
        stored: dict[bytes, bytes] = {}
        for redis_id in sorted(self.broker.client.smembers(self._ack_key) - known):
            body = cast("bytes | None", self.broker.client.hget(self.broker.bodies_key(self.queue), redis_id))
            if body is None:
                self.broker.do_ack(self.queue, redis_id)
            else:
                stored[redis_id] = body
        return stored

    def _park(self, redis_id: bytes, poison: Poison) -> None:
        """Hand it to the parker, then drop it from the queue. If the parker cannot keep it now, it stays."""
        try:
            self.broker.hooks.on_poison(poison)
        except Exception as error:
            log.warning("a refused message of queue %s waits: parker failed (%s)", self.queue, type(error).__name__)
            self._unparked.append((redis_id, poison))
            if isinstance(error, Temporary):
                self.broker.store_pause.close()
            return
        self.broker.do_ack(self.queue, redis_id)
        log.warning("a message of queue %s refused: %s", self.queue, poison.code, extra={"digest": poison.digest})
