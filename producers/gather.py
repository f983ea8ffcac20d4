"""One enqueue in flight per queue: what arrives meanwhile is the next batch.

So a lone event leaves at once and a burst fills batches by itself, without a timer to choose. Only while the workers
have more messages waiting than they can take does a small batch stay for a moment, for others to come along: many
small messages would cost them more than they can do, and their delay would grow. Each waiting caller gets
its answer after *its own* batch was confirmed, or :class:`QueueUnavailable` when it was not; the next batch is tried
afresh. The room for waiting is bounded: beyond it the answer is an immediate "later".
Source: design § 3 "A message carries a batch"; P1.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, Protocol

from producers.intake import Taken
from producers.publisher import FileContent, Letterbox
from schemas.envelope import MAX_BATCH_BYTES, MAX_EVENTS, Event
from schemas.errors import GreffierError, QueueUnavailable

MAX_WAITING_EVENTS: Final = 20_000
MAX_WAITING_BYTES: Final = 128 * 1024 * 1024
"""Of bodies and files together, over all queues."""
STAY_S: Final = 0.01
ENOUGH_EVENTS: Final = 32
"""A batch of as many does not stay."""


class Watcher(Protocol):
    """Told of each enqueue; the door's metrics are one."""

    def enqueued(self, queue: str, events: int, seconds: float) -> None: ...
    def failed(self, queue: str, code: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Parcel:
    """What one caller hands in for one queue: it travels whole, in one message.

    ``size``: bytes of its bodies, as they count in a batch; ``held``: those and its files, as they count in memory.
    """

    events: Sequence[Event]
    files: Sequence[FileContent]
    size: int
    held: int
    done: asyncio.Future[None]


@dataclass(slots=True)
class _Line:
    """The parcels waiting for one queue, and whether a batch is on its way or stays for others to come along."""

    waiting: deque[Parcel] = field(default_factory=deque)
    busy: bool = False
    staying: asyncio.TimerHandle | None = None

    @property
    def small(self) -> bool:
        return len(self.waiting) < ENOUGH_EVENTS and sum(len(one.events) for one in self.waiting) < ENOUGH_EVENTS


class Gatherer:
    """The event loop's side of a letter box. Use from one loop; :meth:`close` drains."""

    def __init__(self, letterbox: Letterbox, watcher: Watcher | None = None) -> None:
        self._letterbox = letterbox
        self._watcher = watcher
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="letterbox")
        self._loop = asyncio.get_running_loop()
        self._lines: dict[str, _Line] = {}
        self._events = 0
        self._bytes = 0
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, queue: str, events: Sequence[Event], files: Sequence[FileContent] = ()) -> asyncio.Future[None]:
        """A future that is done when Redis has these events on disk.

        At most 500 events and 256 KiB of bodies, see :func:`in_batches`. Raises :class:`QueueUnavailable` at once when
        the waiting room is full or this process is going down; the future raises it when the enqueue failed.
        """
        if self._closing:
            raise QueueUnavailable("closing", 1)
        size = sum([len(event.body) + 1 for event in events])
        held = size + sum([len(file.content) for file in files])
        if self._events + len(events) > MAX_WAITING_EVENTS or self._bytes + held > MAX_WAITING_BYTES:
            raise QueueUnavailable("waiting_room_full", 1)
        self._events += len(events)
        self._bytes += held
        done: asyncio.Future[None] = self._loop.create_future()
        line = self._lines.setdefault(queue, _Line())
        line.waiting.append(Parcel(events, files, size, held, done))
        if not line.busy:
            self._send_or_stay(queue, line)
        elif line.staying and not line.small:
            self._send(queue, line)
        return done

    async def put_all(self, taken: Iterable[Taken]) -> None:
        """Return when Redis has all of these on disk, in as many batches as it takes.

        Raises :class:`QueueUnavailable` when one of the batches failed; others may be in all the same, so the caller
        repeats the lot under the same ids.
        """
        queues: dict[str, list[Event]] = {}
        for one in taken:
            queues.setdefault(one.queue, []).append(one.event)
        waiting: list[asyncio.Future[None]] = []
        try:
            for queue, events in queues.items():
                waiting += [self.put(queue, batch) for batch in in_batches(events)]
        finally:
            answers = await asyncio.gather(*waiting, return_exceptions=True)
        for answer in answers:
            if answer is not None:
                raise answer

    async def depths(self) -> dict[str, int]:
        """Messages per queue, as Redis says. Raises :class:`QueueUnavailable`."""
        return await self._loop.run_in_executor(self._thread, self._letterbox.depths)

    async def check(self) -> None:
        """As :meth:`Letterbox.check`, off the loop."""
        await self._loop.run_in_executor(self._thread, self._letterbox.check)

    async def close(self) -> None:
        """Take no more, wait until everything that waits has its answer, then let Redis go. Once is enough."""
        if self._closing:
            return
        self._closing = True
        await self._idle.wait()
        await self._loop.run_in_executor(self._thread, self._letterbox.close)
        self._thread.shutdown(wait=False)

    def _send_or_stay(self, queue: str, line: _Line) -> None:
        line.busy = True
        self._idle.clear()
        if line.small and self._letterbox.behind(queue):
            line.staying = self._loop.call_later(STAY_S, self._send, queue, line)
        else:
            self._send(queue, line)

    def _send(self, queue: str, line: _Line) -> None:
        if line.staying:
            line.staying.cancel()
            line.staying = None
        parcels = _next_batch(line.waiting)
        events = [event for parcel in parcels for event in parcel.events]
        files = [file for parcel in parcels for file in parcel.files]
        began = perf_counter()
        sent = self._loop.run_in_executor(self._thread, self._letterbox.post, queue, events, files)
        sent.add_done_callback(lambda future: self._sent(queue, line, parcels, future, perf_counter() - began))

    def _sent(
        self, queue: str, line: _Line, parcels: list[Parcel], future: asyncio.Future[None], seconds: float
    ) -> None:
        for parcel in parcels:
            self._events -= len(parcel.events)
            self._bytes -= parcel.held
        error = future.exception()
        _answer(parcels, error)
        self._tell(queue, sum(len(parcel.events) for parcel in parcels), seconds, error)
        if line.waiting:
            self._send_or_stay(queue, line)
        else:
            line.busy = False
            if not any(other.busy for other in self._lines.values()):
                self._idle.set()

    def _tell(self, queue: str, events: int, seconds: float, error: BaseException | None) -> None:
        if self._watcher is None:
            return
        if error is None:
            self._watcher.enqueued(queue, events, seconds)
        else:
            self._watcher.failed(queue, error.code if isinstance(error, QueueUnavailable) else "defect")


def _next_batch(waiting: deque[Parcel]) -> list[Parcel]:
    parcels: list[Parcel] = []
    events = size = 0
    while waiting:
        events += len(waiting[0].events)
        size += waiting[0].size
        if parcels and (events > MAX_EVENTS or size > MAX_BATCH_BYTES):
            break
        parcels.append(waiting.popleft())
    return parcels


def _answer(parcels: list[Parcel], error: BaseException | None) -> None:
    for parcel in parcels:
        if parcel.done.done():  # its caller has gone
            continue
        if error is None:
            parcel.done.set_result(None)
        else:
            # Each waiter gets its own: one exception raised in many tasks would grow one traceback for ever.
            parcel.done.set_exception(_again(error))


def _again(error: BaseException) -> BaseException:
    if isinstance(error, QueueUnavailable):
        return QueueUnavailable(error.code, error.retry_after_s)
    return GreffierError("enqueue_failed")


def in_batches(events: Sequence[Event]) -> list[list[Event]]:
    """Cut into pieces that one message can hold."""
    batches: list[list[Event]] = []
    size = 0
    for event in events:
        size += len(event.body) + 1
        if not batches or len(batches[-1]) == MAX_EVENTS or size > MAX_BATCH_BYTES:
            batches.append([])
            size = len(event.body) + 1
        batches[-1].append(event)
    return batches
