"""Reading a request's body: how much, how long, in which encoding, and only then as what.

Nothing is decoded before it is counted. Compression is undone here and not by aiohttp, so that a bomb, a corrupt stream
and an unknown encoding each get their own answer. Source: R27; reliability § 5 (items 12 to 36), A1.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Any, Final

from aiohttp import web

from producers.door.problems import Refused
from schemas import strict_json
from schemas.errors import InvalidMessage

BODY_S: Final = 30.0
"""A body that is not whole by then is cut off."""
JSON_BYTES: Final = 256 * 1024
BATCH_BYTES: Final = 1024 * 1024
BATCH_NODES: Final = 50_000
UPLOAD_BYTES: Final = 12 * 1024 * 1024

_WBITS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}


def media_type(request: web.BaseRequest) -> str:
    """The request's media type in small letters. Raises :class:`Refused` when there is none, two, or not UTF-8."""
    if len(request.headers.getall("Content-Type", ())) != 1:
        raise Refused(415, "content_type", "Exactly one Content-Type is needed.")
    charset = request.charset
    if charset is not None and charset.lower() not in ("utf-8", "utf8"):
        raise Refused(415, "charset", "Only UTF-8 is read here.")
    return request.content_type


def unsupported() -> Refused:
    """What to say to a media type that this route does not read."""
    return Refused(415, "content_type", "This Content-Type is not read here.")


async def read(request: web.BaseRequest, limit: int) -> bytes:
    """The whole body, decompressed, of at most ``limit`` bytes.

    Raises :class:`Refused` 408, 413 or 415, :class:`InvalidMessage` for compression that is broken.
    """
    encoding = _encoding(request)
    length = request.content_length
    if length is not None and length > limit:
        raise _too_large()
    content = request.content
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_S):
            while chunk := await content.readany():
                size += len(chunk)
                if size > limit:
                    raise _too_large()
                chunks.append(chunk)
    except TimeoutError:
        raise Refused(408, "too_slow", "The body did not arrive in time.", close=True) from None
    body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    return body if encoding is None else _decompress(body, encoding, limit)


async def read_json(request: web.BaseRequest, limit: int, max_nodes: int = strict_json.MAX_NODES) -> Any:
    """The body as one strict JSON document."""
    return strict_json.parse(await read(request, limit), max_nodes=max_nodes)


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
