"""Uploaded files on their way: each a sealed Redis value of its own, written before its message by the door.

Source: design § 3 "A file (CV) travels as its own sealed Redis value".
"""

from __future__ import annotations

from collections.abc import Iterable

from redis.asyncio import Redis
from redis.exceptions import RedisError

from schemas.envelope import Opener
from schemas.errors import InvalidMessage, QueueUnavailable
from schemas.routes import file_key


class Uploads:
    """Reads and clears what the door put beside a message. ``client`` must return bytes."""

    def __init__(self, client: Redis, opener: Opener) -> None:
        self.client = client
        self._opener = opener

    async def read(self, file_id: str, event: str) -> bytes:
        """The content. Raises :class:`InvalidMessage` ``file_missing`` or those of :meth:`Opener.open_file`, and
        :class:`QueueUnavailable`.
        """
        try:
            sealed: bytes | None = await self.client.get(file_key(file_id))  # type: ignore[assignment]
        except RedisError:
            raise QueueUnavailable("redis_unreachable") from None
        if sealed is None:
            raise InvalidMessage("file_missing")
        return self._opener.open_file(sealed, file_id, event)

    async def clear(self, file_ids: Iterable[str]) -> None:
        """Delete what is durably stored elsewhere now."""
        keys = [file_key(file_id) for file_id in file_ids]
        if not keys:
            return
        try:
            await self.client.delete(*keys)
        except RedisError:
            raise QueueUnavailable("redis_unreachable") from None

    async def close(self) -> None:
        await self.client.aclose()
