"""Reading a request's body: how much, how long, in which encoding, and only then as what.

Nothing is decoded before it is counted. Compression is undone here and not by aiohttp, so that a bomb, a corrupt stream
and an unknown encoding each get their own answer. Source: R27; reliability § 5 (items 12 to 36), A1.
"""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import dataclass
from email.message import Message
from functools import lru_cache
from typing import Any, Final

from aiohttp import StreamReader, web
from aiohttp.web import RequestPayloadError

from producers.door.problems import Refused
from schemas import strict_json
from schemas.errors import InvalidMessage

BODY_S: Final = 30.0
JSON_BYTES: Final = 256 * 1024
BATCH_BYTES: Final = 1024 * 1024
BATCH_NODES: Final = 50_000
UPLOAD_BYTES: Final = 12 * 1024 * 1024

_WBITS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}


def media_type(request: web.BaseRequest) -> str:
    """The request's media type in small letters. Raises :class:`Refused` when there is none, two, or not UTF-8."""
    given = request.headers.getall("Content-Type", ())
    if len(given) != 1:
        raise Refused(415, "content_type", "Exactly one Content-Type is needed.")
    found, charset = _parsed(given[0])
    if charset not in ("utf-8", "utf8"):
        raise Refused(415, "charset", "Only UTF-8 is read here.")
    return found


@lru_cache(maxsize=256)
def _parsed(content_type: str) -> tuple[str, str]:
    message = Message()
    message["Content-Type"] = content_type
    return message.get_content_type(), str(message.get_param("charset") or "utf-8").lower()


def unsupported() -> Refused:
    """What to say to a media type that this route does not read."""
    return Refused(415, "content_type", "This Content-Type is not read here.")


@dataclass(frozen=True, slots=True)
class BodyReader:
    """Reads bodies. ``body_s``: a body that is not whole by then is cut off."""

    body_s: float = BODY_S

    async def read(self, request: web.BaseRequest, limit: int) -> bytes:
        """The whole body, decompressed, of at most ``limit`` bytes.

        Raises :class:`Refused` 408, 413 or 415, :class:`InvalidMessage` for compression that is broken.
        """
        encoding = _encoding(request)
        length = request.content_length
        if length is not None and length > limit:
            raise _too_large()
        if request.content.is_eof():  # it came along with its head, as most do: nothing to wait for
            body = request.content.read_nowait()
            if len(body) > limit:
                raise _too_large()
        else:
            body = await self._collect(request.content, limit)
        return body if encoding is None else _decompress(body, encoding, limit)

    async def read_json(self, request: web.BaseRequest, limit: int, max_nodes: int = strict_json.MAX_NODES) -> Any:
        """The body as one strict JSON document."""
        return strict_json.parse(await self.read(request, limit), max_nodes=max_nodes)

    async def _collect(self, content: StreamReader, limit: int) -> bytes:
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self.body_s):
                while chunk := await content.readany():
                    size += len(chunk)
                    if size > limit:
                        raise _too_large()
                    chunks.append(chunk)
        except TimeoutError:
            raise Refused(408, "too_slow", "The body did not arrive in time.", close=True) from None
        except RequestPayloadError:  # broken chunks; a sender that went away reads no answer anyway
            raise Refused(400, "unreadable_request", "The request cannot be read.", close=True) from None
        return b"".join(chunks)


def _too_large() -> Refused:
    return Refused(413, "too_large", "The body is larger than this route takes.", close=True)


def _encoding(request: web.BaseRequest) -> str | None:
    given = request.headers.getall("Content-Encoding", ())
    if not given:
        return None
    name = given[0].strip().lower()
    if len(given) != 1 or (name not in _WBITS and name != "identity"):
        raise Refused(415, "content_encoding", "One Content-Encoding of gzip or deflate is read here, or none.")
    return None if name == "identity" else name


def _decompress(body: bytes, encoding: str, limit: int) -> bytes:
    stream = zlib.decompressobj(_WBITS[encoding])
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error:
        raise InvalidMessage("bad_compression") from None
    if len(plain) > limit:
        raise _too_large()
    if not stream.eof or stream.unused_data:
        raise InvalidMessage("bad_compression")
    return plain
