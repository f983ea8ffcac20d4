"""Connections to a SQL database: by an asyncio driver, or with one that blocks, in threads of their own.

PostgreSQL and MySQL go by an asyncio driver. SQLite goes by the standard library's, which blocks: one thread hop per
statement costs a quarter of what an asyncio wrapper around the same thread does. Any other driver that SQLAlchemy knows
works in the same way. Errors leave here as ours, without the driver's text, which may quote a row.
Source: R28; reliability § 8.8.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from schemas.errors import ConfigurationError, Fault, StoreUnavailable
from workers.stores.subsidiaries import mysql
from workers.stores.subsidiaries.adapter import StoreRefuses

T = TypeVar("T")

_WAIT_S: Final = 5
"""For a lock of SQLite's or MySQL's, and for a connection."""
_STATEMENT_S: Final = 30.0
_RENEW_S: Final = 600
_CONNECTIONS: Final = 8
_ASYNC_DRIVERS: Final = {"postgresql": "asyncpg", "mysql": "aiomysql", "mariadb": "aiomysql"}
_PASSING_STATES: Final = ("08", "40", "53", "55P03", "57", "58")
"""SQLSTATE beginnings that speak of the server or of a conflict, not of the statement."""
_NO_RIGHT: Final = "42501"
_WRITES: Final = "greffier_writes"


class Link(Protocol):
    """One connection, in one transaction or several in a row; what is not committed is undone at the end."""

    async def call(self, work: Callable[[Connection], T]) -> T:
        """Do something with the connection. Raises StoreUnavailable or StoreRefuses, with no text of the driver's."""
        ...


def open_links(url: str, *, statement_s: float | None = _STATEMENT_S) -> AsyncLinks | ThreadLinks:
    """Connects on first use. Raises ConfigurationError, which does not quote the URL.

    ``statement_s``: how long one call may take by an asyncio driver; None: as long as it needs.
    """
    try:
        target = make_url(url)
        driver = _ASYNC_DRIVERS.get(target.drivername)
        if driver is not None:
            target = target.set(drivername=f"{target.drivername}+{driver}")
        if target.get_dialect().is_async:
            return AsyncLinks(target, statement_s)
        return ThreadLinks(target)
    except (ArgumentError, NoSuchModuleError, TypeError, ValueError):
        raise ConfigurationError("mapping", Fault("store", "the URL is not a database URL")) from None
    except ModuleNotFoundError as error:
        raise ConfigurationError("mapping", Fault("store", f"its driver is not installed: {error.name}")) from None


class AsyncLinks:
    """By an asyncio driver."""

    def __init__(self, target: URL, statement_s: float | None) -> None:
        self._statement_s = statement_s
        self._free = asyncio.Semaphore(_CONNECTIONS)
        self._engine: AsyncEngine = create_async_engine(target, max_overflow=0, **_pooled(target))

    @asynccontextmanager
    async def open(self, *, writes: bool) -> AsyncIterator[Link]:
        async with self._free:
            with answering():
                async with asyncio.timeout(2 * _WAIT_S):
                    connection = await self._engine.connect()
            try:
                yield _AsyncLink(connection, self._statement_s)
            finally:
                with answering():
                    await connection.close()

    async def close(self) -> None:
        await self._engine.dispose()


class _AsyncLink:
    def __init__(self, connection: AsyncConnection, statement_s: float | None) -> None:
        self._connection = connection
        self._statement_s = statement_s

    async def call(self, work: Callable[[Connection], T]) -> T:
        with answering():
            async with asyncio.timeout(self._statement_s):
                return await self._connection.run_sync(work)


class ThreadLinks:
    """By a driver that blocks. SQLite: one connection, because a second one would only wait for the first."""

    def __init__(self, target: URL) -> None:
        sqlite = target.get_backend_name() == "sqlite"
        size = 1 if sqlite else _CONNECTIONS
        self._free = asyncio.Semaphore(size)
        self._engine = _sqlite(target) if sqlite else create_engine(target, **_pooled(target))
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="store")

    @asynccontextmanager
    async def open(self, *, writes: bool) -> AsyncIterator[Link]:
        async with self._free:
            link = _ThreadLink(await self._run(lambda: self._connect(writes)), self._run)
            try:
                yield link
            finally:
                await self._run(link.connection.close)

    async def close(self) -> None:
        await self._run(self._engine.dispose)
        self._threads.shutdown(wait=False)

    def _connect(self, writes: bool) -> Connection:
        return self._engine.connect().execution_options(**{_WRITES: writes})

    async def _run(self, work: Callable[[], T]) -> T:
        with answering():
            doing = asyncio.get_running_loop().run_in_executor(self._threads, work)
            try:
                return await asyncio.shield(doing)
            except asyncio.CancelledError:
                # A thread cannot be stopped; the connection is free only once it has ended.
                await asyncio.wait([doing])
                raise


class _ThreadLink:
    def __init__(self, connection: Connection, run: Callable[[Callable[[], Any]], Any]) -> None:
        self.connection = connection
        self._run = run

    async def call(self, work: Callable[[Connection], T]) -> T:
        done: T = await self._run(lambda: work(self.connection))
        return done


def _pooled(target: URL) -> dict[str, Any]:
    pool: dict[str, Any] = {"pool_size": _CONNECTIONS, "pool_recycle": _RENEW_S}
    if target.get_backend_name() not in mysql.BACKENDS:
        return pool
    return {**pool, "isolation_level": mysql.ISOLATION, "connect_args": mysql.settings(_WAIT_S)}


def _sqlite(target: URL) -> Engine:
    """The driver would begin a transaction at the first write only: after the rows were read."""
    engine = create_engine(target, pool_size=1, max_overflow=0, connect_args={"timeout": _WAIT_S})

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def answering() -> Iterator[None]:
    """What speaks of the server becomes StoreUnavailable, what it forbids StoreRefuses."""
    try:
        yield
    except (TimeoutError, OSError, PoolTimeout) as error:
        raise StoreUnavailable(type(error).__name__) from None
    except DBAPIError as error:
        raise _ours(error) from None
    except SQLAlchemyError:
        raise StoreRefuses("store-rejects") from None


def _ours(error: DBAPIError) -> StoreUnavailable | StoreRefuses:
    number = mysql.number_of(error.orig)
    if number is not None and not error.connection_invalidated:
        return StoreUnavailable(type(error).__name__) if number in mysql.PASSING else StoreRefuses(mysql.reason(number))
    if isinstance(error, InterfaceError | OperationalError):
        return StoreUnavailable(type(error).__name__)
    if isinstance(error, IntegrityError):
        return StoreRefuses("constraint")
    state = str(getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None) or "")
    if error.connection_invalidated or state.startswith(_PASSING_STATES):
        return StoreUnavailable(type(error).__name__)
    return StoreRefuses("store-forbids" if state == _NO_RIGHT else "store-rejects")
