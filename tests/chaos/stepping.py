"""Handles whose every operation is a step of the schedule of the moment: databases, Redis, a journal, an outbox.

See `interleaving`. Without a schedule, and outside of any actor, they are the handles that they wrap.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from motor.motor_asyncio import AsyncIOMotorDatabase

from tests.chaos.interleaving import Schedule
from workers.stores.gathering import Gatherer
from workers.stores.mongo import Databases


class Baton:
    """What the wrapped handles ask for a turn: the schedule of the moment, if any."""

    def __init__(self) -> None:
        self.schedule: Schedule | None = None

    @asynccontextmanager
    async def operation(self, what: str) -> AsyncIterator[None]:
        if self.schedule is None:
            yield
            return
        async with self.schedule.operation(what):
            yield


@dataclass
class Blocking:
    """A call that blocks on a disk or a queue, and so is an operation: `AtOnce` gives it its turn."""

    what: str
    call: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        return self.call(*args)


class AtOnce(ThreadPoolExecutor):
    """Does at once what code gives to a thread, so that no thread's pace decides anything."""

    def __init__(self, baton: Baton) -> None:
        super().__init__(max_workers=1)
        self._baton = baton
        self._steps: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Until the end, the loop gives what it would give to a thread to this."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(self)
        try:
            yield
        finally:
            loop.set_default_executor(ThreadPoolExecutor())

    def submit(self, work: Any, /, *args: Any, **options: Any) -> Future[Any]:
        done: Future[Any] = Future()
        called = next((one for one in getattr(work, "args", ()) if isinstance(one, Blocking)), None)
        if called is None:
            _settle_by(done, lambda: work(*args, **options))
        else:
            step = asyncio.get_running_loop().create_task(self._step(done, called.what, work))
            self._steps.add(step)
            step.add_done_callback(self._steps.discard)
        return done

    async def _step(self, done: Future[Any], what: str, work: Callable[[], Any]) -> None:
        try:
            async with self._baton.operation(what):
                _settle_by(done, work)
        finally:
            done.cancel()  # of a process that died: nobody hears of it


def _settle_by(done: Future[Any], work: Callable[[], Any]) -> None:
    try:
        done.set_result(work())
    except Exception as error:
        done.set_exception(error)


class SteppedHandle:
    """Any client whose coroutine methods are operations."""

    def __init__(self, real: Any, name: str, baton: Baton) -> None:
        self._real = real
        self._name = name
        self._baton = baton

    def __getattr__(self, method: str) -> Any:
        real = getattr(self._real, method)

        async def stepped(*args: Any, **options: Any) -> Any:
            if "session" in options:  # of a transaction, which is one step
                return await real(*args, **options)
            async with self._baton.operation(f"{self._name}.{method}"):
                return await real(*args, **options)

        return stepped


class SteppedRedis(SteppedHandle):
    """Redis, of which a pipeline is one step."""

    def pipeline(self, **options: Any) -> Any:
        pipeline = self._real.pipeline(**options)
        execute = pipeline.execute

        async def stepped() -> Any:
            async with self._baton.operation(f"{self._name}.pipeline"):
                return await execute()

        pipeline.execute = stepped
        return pipeline


class SteppedCollection(SteppedHandle):
    """A collection whose every operation is a step. A cursor is read whole in one: ours fit in one reply."""

    def with_options(self, **options: Any) -> SteppedCollection:
        return SteppedCollection(self._real.with_options(**options), self._name, self._baton)

    @property
    def database(self) -> SteppedClient:
        return SteppedClient(self._real.database.client, self._name, self._baton)

    def find(self, *args: Any, **options: Any) -> SteppedCursor:
        return SteppedCursor(self._real.find(*args, **options), f"{self._name}.find", self._baton)

    def aggregate(self, *args: Any, **options: Any) -> SteppedCursor:
        return SteppedCursor(self._real.aggregate(*args, **options), f"{self._name}.aggregate", self._baton)


class SteppedClient:
    """The way from a collection to a transaction, which is one step: nobody sees it half done, and writers wait.

    Its session begins in that step: a thread does that, whose pace would else decide who is next.
    """

    def __init__(self, real: Any, name: str, baton: Baton) -> None:
        self._real = real
        self._name = name
        self._baton = baton

    @property
    def client(self) -> SteppedClient:
        return self

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[SteppedClient]:
        yield self

    async def start_session(self) -> Any:
        return self._session()

    async def with_transaction(self, together: Callable[[Any], Any]) -> Any:
        async with self._baton.operation(f"{self._name}.transaction"), await self._real.start_session() as session:
            return await session.with_transaction(together)


class SteppedCursor:
    """A cursor whose first fetch is the step."""

    def __init__(self, real: Any, name: str, baton: Baton) -> None:
        self._real = real
        self._name = name
        self._baton = baton

    def sort(self, *args: Any) -> SteppedCursor:
        return SteppedCursor(self._real.sort(*args), self._name, self._baton)

    def limit(self, number: int) -> SteppedCursor:
        return SteppedCursor(self._real.limit(number), self._name, self._baton)

    async def to_list(self, length: int | None = None) -> list[Any]:
        async with self._baton.operation(self._name):
            found: list[Any] = await self._real.to_list(length)
        return found

    async def __aiter__(self) -> AsyncIterator[Any]:
        for document in await self.to_list(None):
            yield document


class SteppedDatabase(AsyncIOMotorDatabase):  # type: ignore[type-arg]
    """A database that hands out stepped collections; a real one for whoever needs that (GridFS)."""

    def __init__(self, real: Any, baton: Baton, whose: str = "") -> None:
        super().__init__(real.client, real.name, _delegate=real.delegate)
        self._baton = baton
        self._whose = whose

    def __getitem__(self, name: str) -> Any:
        return SteppedCollection(super().__getitem__(name), self._whose + name, self._baton)

    async def command(self, command: Any, *args: Any, **options: Any) -> Any:
        async with self._baton.operation(f"{self._whose}{command}"):
            return await super().command(command, *args, **options)


async def call_alone(self: Gatherer[Any, Any], asked: Any) -> Any:
    """In the place of `Gatherer.call`: each actor's operations are its own steps, and wait for nobody's."""
    (result,) = await self._send([asked])
    if isinstance(result, Exception):
        raise result
    return result


def stepped(databases: Databases, baton: Baton) -> Databases:
    """The same databases, operation by operation."""
    return Databases(
        *(
            SteppedDatabase(real, baton)
            for real in (databases.active, databases.archive, databases.evidence, databases.keys)
        )
    )
