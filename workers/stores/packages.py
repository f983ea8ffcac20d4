"""Sealed access packages in **evidence**, each until its one download, or until its link ends.

Their keys stand in a collection of their own, wrapped by a key of their own: whoever hands packages out, the counter,
can open these and nothing else.
Source: R17; crypto-and-evidence § 6 "Exports to people".
"""

from __future__ import annotations

from gridfs.errors import CorruptGridFile, FileExists, NoFile
from motor.motor_asyncio import AsyncIOMotorGridFSBucket

from workers.stores.keys import Keys, KeyWrapper
from workers.stores.mongo import Databases, available

_BUCKET = "packages"
_KEYS = "package_keys"


class Packages:
    """Packages by case reference. ``wrapper``: what protects their keys."""

    def __init__(self, databases: Databases, wrapper: KeyWrapper) -> None:
        self._bucket = AsyncIOMotorGridFSBucket(databases.evidence, _BUCKET)
        self._keys = Keys(databases, wrapper, _KEYS)

    async def put(self, reference: str, content: bytes) -> None:
        """Seal and store a case's package in the place of an earlier attempt's; one that was dropped stays gone."""
        key = (await self._keys.ensure([reference])).get(reference)
        await self._delete(reference)
        if key is None:
            return
        with available():
            try:
                await self._bucket.upload_from_stream_with_id(reference, "", key.seal(_place(reference), content))
            except FileExists:  # another worker was quicker, with the same content
                return

    async def get(self, reference: str) -> bytes | None:
        """The package; ``None`` where there is none, or none any more."""
        key = (await self._keys.read([reference])).get(reference)
        if key is None:
            return None
        with available():
            try:
                stream = await self._bucket.open_download_stream(reference)
                return key.open(_place(reference), await stream.read())
            except NoFile:
                return None
            except CorruptGridFile:
                if reference in await self._keys.read([reference]):
                    raise
                return None  # dropped while it was read

    async def drop(self, reference: str) -> None:
        """Destroy a package for good: its key, then its bytes. Where there is none, none can be put from now on."""
        await self._keys.destroy([reference])
        await self._delete(reference)

    async def _delete(self, reference: str) -> None:
        with available():
            try:
                await self._bucket.delete(reference)
            except NoFile:
                return


def _place(reference: str) -> str:
    return f"packages/{reference}"
