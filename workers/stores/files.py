"""Uploaded files (CV, cover letter), sealed under the person's key, in GridFS.

A file is written whole or not at all as far as anyone can see: it can be read only through a submission, which is
inserted after it. A broken upload leaves chunks; the redelivery that follows removes them first.
Source: R1, R19; reliability § 8.6.
"""

from __future__ import annotations

from collections.abc import Iterable

from gridfs.errors import NoFile
from motor.motor_asyncio import AsyncIOMotorGridFSBucket

from workers.stores.keys import DataKey
from workers.stores.mongo import Collection, Databases, Document, available

_BUCKET = "files"


class Files:
    """Sealed file contents by file id."""

    def __init__(self, databases: Databases) -> None:
        self._bucket = AsyncIOMotorGridFSBucket(databases.active, _BUCKET)
        self._files: Collection = databases.active[f"{_BUCKET}.files"]
        self._chunks: Collection = databases.active[f"{_BUCKET}.chunks"]

    async def stands(self, file_id: str) -> bool:
        """Whether the file is there, whole."""
        with available():
            return await self._files.find_one({"_id": file_id}, {"_id": 1}) is not None

    async def put(self, file_id: str, content: bytes, key: DataKey, *, person: str, event: str) -> None:
        """Seal and store; a file that stands already stays as it is."""
        if await self.stands(file_id):
            return
        with available():
            await self._chunks.delete_many({"files_id": file_id})
            metadata = {"person": person, "event": event}
            await self._bucket.upload_from_stream_with_id(
                file_id, "", key.seal(_place(file_id), content), metadata=metadata
            )

    async def read(self, file_id: str, key: DataKey) -> bytes | None:
        """The content, or ``None`` where there is no such file. Raises :class:`workers.stores.keys.Unreadable`."""
        with available():
            try:
                stream = await self._bucket.open_download_stream(file_id)
            except NoFile:
                return None
            return key.open(_place(file_id), await stream.read())

    async def undo(self, events: Iterable[str]) -> None:
        """Take back the files of these events."""
        await self._delete({"metadata.event": {"$in": list(events)}})

    async def erase(self, persons: Iterable[str]) -> int:
        """Delete every file of these persons; how many there were."""
        return await self._delete({"metadata.person": {"$in": list(persons)}})

    async def _delete(self, query: Document) -> int:
        with available():
            ids = [found["_id"] async for found in self._files.find(query, {"_id": 1})]
            if ids:
                await self._files.delete_many({"_id": {"$in": ids}})
                await self._chunks.delete_many({"files_id": {"$in": ids}})
        return len(ids)


def _place(file_id: str) -> str:
    return f"files/{file_id}"
