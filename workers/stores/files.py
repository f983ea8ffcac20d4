"""Uploaded files (CV, cover letter), sealed under the person's key, in GridFS.

A file stands under its own id and its owner's. Storing it only inserts, and the bytes are the same each time: a
redelivery, or a second worker with the same message, repeats what is there and breaks nothing; an upload that broke off
is finished by the next. It can be read only through a submission, which is inserted after it.
Source: R1, R19; P1, P2; reliability § 8.6.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from gridfs.errors import NoFile
from motor.motor_asyncio import AsyncIOMotorGridFSBucket

from workers.stores.gathering import Gathered
from workers.stores.keys import DataKey
from workers.stores.mongo import Collection, Database, Document, available, insert_new

_BUCKET: Final = "files"
_CHUNK_BYTES: Final = 255 * 1024


class Files:
    """Sealed file contents by file id and person, in **active** or in **archive**."""

    def __init__(self, database: Database) -> None:
        self._bucket = AsyncIOMotorGridFSBucket(database, _BUCKET)
        self._files: Collection = database[f"{_BUCKET}.files"]
        self._gathered = Gathered(self._files)
        self._chunks: Collection = database[f"{_BUCKET}.chunks"]

    async def stands(self, file_id: str, person: str) -> bool:
        """Whether the file is there, whole."""
        with available():
            return await self._files.find_one({"_id": _stored(file_id, person)}, {"_id": 1}) is not None

    async def put(self, file_id: str, content: bytes, key: DataKey, *, person: str, event: str, now: datetime) -> None:
        """Seal and store, pieces first; what stands already stays as it is."""
        stored = _stored(file_id, person)
        sealed = key.seal_alike(f"files/{stored}", content)
        pieces = [sealed[start : start + _CHUNK_BYTES] for start in range(0, len(sealed), _CHUNK_BYTES)]
        chunks = [{"_id": f"{stored}/{n}", "files_id": stored, "n": n, "data": piece} for n, piece in enumerate(pieces)]
        await insert_new(self._chunks, chunks)
        file: Document = {
            "_id": stored,
            "length": len(sealed),
            "chunkSize": _CHUNK_BYTES,
            "uploadDate": now,
            "metadata": {"person": person, "event": event},
        }
        await insert_new(self._files, [file])

    async def read(self, file_id: str, person: str, key: DataKey) -> bytes | None:
        """The content, or ``None`` where there is no such file. Raises :class:`workers.stores.keys.Unreadable`."""
        stored = _stored(file_id, person)
        with available():
            try:
                stream = await self._bucket.open_download_stream(stored)
            except NoFile:
                return None
            return key.open(f"files/{stored}", await stream.read())

    async def undo(self, file_ids: Iterable[str], person: str | None = None) -> None:
        """Take files back, pieces without a file too: those of this person, or whoever's they are."""
        for file_id in file_ids:
            ids = {"$regex": _of_anybody(file_id)} if person is None else _stored(file_id, person)
            with available():
                await self._chunks.delete_many({"files_id": ids})
                await self._files.delete_many({"_id": ids})

    async def undo_others(self, file_ids: Iterable[str], person: str) -> None:
        """Take back these files as others than this person have them."""
        for file_id in file_ids:
            ids = {"$regex": _of_anybody(file_id), "$ne": _stored(file_id, person)}
            with available():
                await self._chunks.delete_many({"files_id": ids})
                await self._files.delete_many({"_id": ids})

    async def erase(self, persons: Iterable[str], kept: Iterable[str] = ()) -> int:
        """Delete every file of these persons but those of the events ``kept``; how many there were."""
        left = frozenset(kept)
        found = await self._gathered.having("metadata.person", persons, "metadata.event")
        ids = [file["_id"] for file in found if file["metadata"]["event"] not in left]
        if ids:
            with available():
                await self._chunks.delete_many({"files_id": {"$in": ids}})
                await self._files.delete_many({"_id": {"$in": ids}})
        return len(ids)


def _of_anybody(file_id: str) -> str:
    return f"^{re.escape(file_id)}/"


def _stored(file_id: str, person: str) -> str:
    return f"{file_id}/{person}"
