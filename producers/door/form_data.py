"""Three ways to send a form, one result: a nested body and the files that came along.

In the form-encoded and multipart ways names are dotted (``postal_address.city``), a field left empty is a field not
given, and the consents' boxes say ``on``, ``true`` or ``false``. In JSON a file is ``{"name", "content"}``, base64.
Source: R1; design § 6 ``POST /forms/*``; reliability § 5 (items 85 to 88), § 8.6.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

import aiohttp
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.multipart import content_disposition_filename, parse_content_disposition

from producers.door import bodies
from producers.door.bodies import BodyReader
from producers.door.problems import Refused
from producers.intake import FILE_FIELDS
from producers.uploads import MAX_FILES, Upload
from schemas.errors import InvalidBody, InvalidMessage, Problem
from schemas.submissions import MAX_FILE_BYTES

MAX_FIELDS: Final = 60
MAX_PARTS: Final = 60
MAX_PART_HEADERS: Final = 8
MAX_FIELD_BYTES: Final = 128 * 1024

FORM: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"
_NESTED: Final = ("postal_address", "consents")
_UNENCODED: Final = ("binary", "8bit", "7bit")
_BOXES: Final = {"on": True, "true": True, "false": False}


@dataclass(frozen=True, slots=True)
class FormData:
    """What was sent. ``plain``: by a plain HTML form, so that a browser may want a page for an answer."""

    data: Any
    files: dict[str, Upload] = field(default_factory=dict)
    plain: bool = False


async def read_form(request: web.BaseRequest, reader: BodyReader, *, files: bool) -> FormData:
    """Read a form in whichever way it came. ``files``: whether this form may bring any.

    Raises :class:`Refused` 413 or 415, :class:`InvalidMessage` for what cannot be read, :class:`InvalidBody`.
    """
    media_type = bodies.media_type(request)
    if media_type == "application/json":
        data = await reader.read_json(request, bodies.UPLOAD_BYTES if files else bodies.JSON_BYTES)
        return _from_json(data) if files else FormData(data)
    if media_type == FORM:
        fields = _urlencoded(await reader.read(request, bodies.JSON_BYTES))
        return FormData(_nested(fields), plain=True)
    if media_type == MULTIPART:
        body = await reader.read(request, bodies.UPLOAD_BYTES if files else bodies.JSON_BYTES)
        fields, uploads = await _multipart(request, body)
        return FormData(_nested(fields), uploads, plain=True)
    raise bodies.unsupported()


def _from_json(data: Any) -> FormData:
    if not isinstance(data, dict):
        return FormData(data)
    uploads, rest, problems = {}, dict(data), []
    for name in FILE_FIELDS:
        if isinstance(data.get(name), dict):
            try:
                uploads[name] = _upload(rest.pop(name))
            except InvalidMessage as error:
                problems.append(Problem(error.code, f"/{name}", "must be {name, content} with base64 content"))
    if problems:
        raise InvalidBody(*problems)
    return FormData(rest, uploads)


def _upload(given: dict[str, Any]) -> Upload:
    name, content = given.get("name"), given.get("content")
    if set(given) != {"name", "content"} or not isinstance(name, str) or not isinstance(content, str):
        raise InvalidMessage("not_a_file")
    try:
        return Upload(name, base64.b64decode(content, validate=True))
    except (binascii.Error, ValueError):
        raise InvalidMessage("not_base64") from None


def _urlencoded(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:  # not ASCII, not UTF-8 behind the percent signs, a field without "=", too many fields
        raise InvalidMessage("malformed_form") from None


def _nested(fields: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Dotted names become nested ones; the same name twice is refused, because two readers would choose differently."""
    body: dict[str, Any] = {}
    for name, value in fields:
        if not value:
            continue
        outer, dot, inner = name.partition(".")
        nested = bool(dot) and outer in _NESTED
        target: Any = body.setdefault(outer, {}) if nested else body
        key = inner if nested else name
        if not isinstance(target, dict) or key in target:
            raise InvalidMessage("malformed_form")
        target[key] = _BOXES.get(value, value) if nested and outer == "consents" else value
    return body


async def _multipart(request: web.BaseRequest, body: bytes) -> tuple[list[tuple[str, str]], dict[str, Upload]]:
    fields: list[tuple[str, str]] = []
    uploads: dict[str, Upload] = {}
    try:
        reader = aiohttp.MultipartReader(
            request.headers, _stream(body), max_headers=MAX_PART_HEADERS, max_field_size=4096
        )
        for _ in range(MAX_PARTS):
            part = await reader.next()
            if part is None:
                return fields, uploads
            await _take(part, fields, uploads)
    except (ValueError, RuntimeError, AssertionError, aiohttp.ClientError, aiohttp.http.HttpProcessingError):
        raise InvalidMessage("malformed_form") from None
    raise Refused(413, "too_many_parts", "The form has too many parts.")


async def _take(part: Any, fields: list[tuple[str, str]], uploads: dict[str, Upload]) -> None:
    if not isinstance(part, aiohttp.BodyPartReader):  # a multipart inside a multipart
        raise InvalidMessage("malformed_form")
    name, filename = _names(part)
    content = bytes(await part.read())
    if "Content-Length" in part.headers and part.headers["Content-Length"] != str(len(content)):
        raise InvalidMessage("malformed_form")
    if filename is None:
        fields.append((name, _text(content)))
    elif filename or content:  # a file field left empty arrives with neither
        if name in uploads or len(uploads) == MAX_FILES:
            raise InvalidMessage("malformed_form")
        if len(content) > MAX_FILE_BYTES:
            raise InvalidBody(Problem("file_too_large", f"/{name}" if name in FILE_FIELDS else "", "is too large"))
        uploads[name] = Upload(filename, content)


def _names(part: aiohttp.BodyPartReader) -> tuple[str, str | None]:
    """A part's field name and, for a file, the name its sender gave it."""
    found = part.headers.getall("Content-Disposition", ())
    if len(found) != 1 or part.headers.get("Content-Transfer-Encoding", "binary").lower() not in _UNENCODED:
        raise InvalidMessage("malformed_form")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is odd in a header is judged below, not printed
        kind, parameters = parse_content_disposition(found[0])
    name = parameters.get("name")
    if kind != "form-data" or not name:
        raise InvalidMessage("malformed_form")
    return name, content_disposition_filename(parameters)


def _text(content: bytes) -> str:
    if len(content) > MAX_FIELD_BYTES:
        raise Refused(413, "too_large", "A field of the form is too large.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidMessage("not_utf8") from None


def _stream(body: bytes) -> aiohttp.StreamReader:
    loop = asyncio.get_running_loop()
    stream = aiohttp.StreamReader(BaseProtocol(loop), limit=len(body) + 1, loop=loop)
    stream.feed_data(body)
    stream.feed_eof()
    return stream
