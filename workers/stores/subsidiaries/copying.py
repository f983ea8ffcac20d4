"""A copy of an office's store, for a drill: taken, backed up, put back and removed by the database's own means.

SQLite: files in a folder of the drill's. MongoDB: two databases of the drill's on the same server, filled by the server
itself; PostgreSQL: two schemas, likewise. What they hold is real, so nothing of it outlives the drill.
Source: R26; reliability § 7 (8).
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import OperationFailure
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from schemas.errors import ConfigurationError, Fault, StoreUnavailable
from workers.stores.mongo import available
from workers.stores.subsidiaries.copying_postgres import PostgresCopy
from workers.stores.subsidiaries.mapping import Mapping, StoreKind
from workers.stores.subsidiaries.scratch import BACKUP, drills, is_before, new_name

_FORBIDDEN: Final = 13
"""MongoDB's word for a right that is missing."""
_DEAD: Final = timedelta(days=1)
"""MongoDB cannot tell whether a drill lives. One that began so long ago does not."""


class StoreCopy(Protocol):
    """A store like the office's. ``mapping`` and ``url``: how it is opened.

    ``without``: what of the store may meet an erasure and is not in the copy, in words; known once it is taken.
    """

    mapping: Mapping
    url: str
    without: tuple[str, ...]

    async def take(self) -> None:
        """Copy the office's store, and keep a backup of the copy."""

    async def put_back(self) -> None:
        """Restore the copy from the backup; nobody has it open."""

    async def drop(self) -> None:
        """Remove both."""


def copy_of(mapping: Mapping, url: str, folder: Path) -> StoreCopy:
    """Where a copy would stand. Raises :class:`ConfigurationError` for a database that cannot be copied from here."""
    if mapping.store.kind is StoreKind.MONGODB:
        return _MongoCopy(mapping, url)
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    if parsed is not None and parsed.get_backend_name() == "postgresql":
        return PostgresCopy(mapping, url)
    if parsed is None or parsed.get_backend_name() != "sqlite" or not parsed.database:
        problem = "only SQLite, PostgreSQL and MongoDB are copied"
        raise ConfigurationError(
            "restore drill", Fault("store", f"{problem}; restore a backup elsewhere, --replay there")
        )
    return _SqliteCopy(mapping, parsed.database, folder)


class _SqliteCopy:
    without: tuple[str, ...] = ()

    def __init__(self, mapping: Mapping, database: str, folder: Path) -> None:
        self.mapping = mapping
        self._original = database
        self._copy, self._backup = folder / "store.sqlite", folder / "backup.sqlite"
        self.url = f"sqlite:///{self._copy}"

    async def take(self) -> None:
        await asyncio.to_thread(self._take)

    async def put_back(self) -> None:
        await asyncio.to_thread(self._put_back)

    async def drop(self) -> None:
        """They go with their folder."""

    def _take(self) -> None:
        where = self._original if self._original.startswith("file:") else Path(self._original).absolute().as_uri()
        readonly = where if "mode=" in where else f"{where}?mode=ro"
        try:
            original, backup = sqlite3.connect(readonly, uri=True), sqlite3.connect(self._backup)
            with closing(original), closing(backup):
                original.backup(backup)
        except sqlite3.Error as error:
            raise StoreUnavailable(type(error).__name__) from None
        self._put_back()

    def _put_back(self) -> None:
        for beside in ("-wal", "-shm", "-journal"):
            self._copy.with_name(self._copy.name + beside).unlink(missing_ok=True)
        shutil.copyfile(self._backup, self._copy)


class _MongoCopy:
    without: tuple[str, ...] = ()

    def __init__(self, mapping: Mapping, url: str) -> None:
        name = new_name()
        self._original, self._copy, self._backup = str(mapping.store.database), name, name + BACKUP
        self._names = [mapping.source(name) for name in mapping.collections]
        self.mapping = mapping.model_copy(update={"store": mapping.store.model_copy(update={"database": name})})
        self.url = url
        self._client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(url, serverSelectionTimeoutMS=5000)

    async def take(self) -> None:
        with _allowed():
            for drill in drills(await self._client.list_database_names()):
                if is_before(drill, datetime.now(UTC) - _DEAD):
                    await self._drop(drill)
        await self._fill(self._original, self._backup)
        await self.put_back()

    async def put_back(self) -> None:
        await self._fill(self._backup, self._copy)

    async def drop(self) -> None:
        try:
            with _allowed():
                await self._drop(self._copy)
        finally:
            self._client.close()

    async def _drop(self, drill: str) -> None:
        for name in (drill, drill + BACKUP):
            await self._client.drop_database(name)

    async def _fill(self, source: str, target: str) -> None:
        """Every mapped collection replaces the one of its name; one that is empty is made."""
        with _allowed():
            for name in self._names:
                await self._client[target].drop_collection(name)
                await self._client[target].create_collection(name)
                await self._client[source][name].aggregate([{"$out": {"db": target, "coll": name}}]).to_list(None)


@contextmanager
def _allowed() -> Iterator[None]:
    """As ``available``; a right that is missing is named."""
    try:
        with available():
            yield
    except OperationFailure as error:
        if error.code != _FORBIDDEN:
            raise
        problem = "its user may not make, fill and drop databases: grant readWriteAnyDatabase and dbAdminAnyDatabase"
        raise ConfigurationError("restore drill", Fault("store", problem)) from None
