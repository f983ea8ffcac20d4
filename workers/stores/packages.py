"""Sealed access packages in **evidence**, each until its one download, or until its link ends.

Source: R17; crypto-and-evidence § 6 "Exports to people".
"""

from __future__ import annotations

from gridfs.errors import FileExists, NoFile
from motor.motor_asyncio import AsyncIOMotorGridFSBucket

from workers.stores.mongo import Databases, available

_BUCKET = "packages"


class Packages:
    """Packages by case reference; the bytes are sealed by whoever puts them."""

    def __init__(self, databases: Databases) -> None:
        self._bucket = AsyncIOMotorGridFSBucket(databases.evidence, _BUCKET)

    async def put(self, reference: str, sealed: bytes) -> None:
        """Store a case's package in the place of an earlier attempt's."""
        await self.drop(reference)
        with available():
            try:
                await self._bucket.upload_from_stream_with_id(reference, "", sealed)
            except FileExists:  # another worker was quicker, with the same content
                return

    async def get(self, reference: str) -> bytes | None:
        """The sealed package; ``None`` where there is none."""
        with available():
            try:
                stream = await self._bucket.open_download_stream(reference)
            except NoFile:
                return None
            return await stream.read()

    async def drop(self, reference: str) -> None:
        """Delete a package; where there is none, nothing happens."""
        with available():
            try:
                await self._bucket.delete(reference)
            except NoFile:
                return
