"""The numbered corpus of bad input, items 31 to 44, over raw sockets: size, speed, smuggling, odd paths and methods.

None may store anything, stop the door, or be quoted back.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator

import pytest

from producers.door.app import Patience
from tests.producers.conftest import Front, Letters, OpenDoor
from tests.producers.samples import CONTACT, NEWSLETTER, consent
from tests.waiting import until

BODY = json.dumps(NEWSLETTER).encode()
JSON = {"Content-Type": "application/json"}


def head(path: str = "/forms/newsletter", *lines: str, method: str = "POST", length: int | None = len(BODY)) -> bytes:
    counted = [f"Content-Length: {length}"] if length is not None else []
    typed = ["Content-Type: application/json"]
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: door", *typed, *counted, *lines, "", ""]).encode()


async def talk(front: Front, *pieces: bytes) -> bytes:
    """Send the pieces, and read until the door closes or has answered once."""
    reader, writer = await asyncio.open_connection(*front.address)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(20):
            return await _answer(reader)
    except (ConnectionResetError, BrokenPipeError):
        return b""
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    found = b""
    while b"\r\n\r\n" not in found:
        piece = await reader.read(65536)
        if not piece:
            return found
        found += piece
    return found


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


@pytest.fixture(scope="module")
async def hasty(open_door: OpenDoor) -> AsyncIterator[Front]:
    """A door that waits 0.3 seconds for anything."""
    async with open_door(patience=Patience(headers_s=0.3, body_s=0.3)) as front:
        yield front


@pytest.mark.parametrize(
    ("path", "limit"),
    [("/forms/newsletter", 256 * 1024), ("/cookies", 1024 * 1024), ("/forms/job-application", 12 << 20)],
)
async def test_31_and_32_a_body_over_the_limit_is_refused(
    front: Front, letters: Letters, path: str, limit: int
) -> None:
    assert status(await talk(front, head(path, length=limit + 1))) == 413
    assert status(await talk(front, head(path, length=10**9))) == 413
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    endless = [head(path, "Transfer-Encoding: chunked", length=None), *[chunk] * (limit // 0x10000 + 2)]
    assert status(await talk(front, *endless)) in (413, 0), "33: chunked without end"
    assert letters.messages() == []


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])
async def test_34_a_bomb_is_refused_at_the_limit(front: Front, letters: Letters, compress: object) -> None:
    name = "gzip" if compress is gzip.compress else "deflate"
    bomb = compress(b" " * (64 << 20))  # type: ignore[operator]
    found, _ = await front.post("/forms/newsletter", data=bomb, headers={**JSON, "Content-Encoding": name})
    assert (found, letters.messages()) == (413, [])


@pytest.mark.parametrize(
    ("body", "encoding", "expected"),
    [
        pytest.param(gzip.compress(BODY), "gzip", 202, id="gzip"),
        pytest.param(zlib.compress(BODY), "deflate", 202, id="deflate"),
        pytest.param(BODY, "identity", 202, id="identity"),
        pytest.param(b"\x1f\x8b" + b"x" * 40, "gzip", 400, id="35 corrupt"),
        pytest.param(gzip.compress(BODY)[:-9], "gzip", 400, id="35 cut short"),
        pytest.param(gzip.compress(BODY) + b"more", "gzip", 400, id="35 more behind it"),
        pytest.param(BODY, "gzip", 400, id="35 not compressed at all"),
        pytest.param(BODY, "br", 415, id="36 unknown"),
        pytest.param(gzip.compress(gzip.compress(BODY)), "gzip, gzip", 415, id="36 stacked"),
    ],
)
async def test_35_and_36_compression(front: Front, body: bytes, encoding: str, expected: int) -> None:
    found, _ = await front.post("/forms/newsletter", data=body, headers={**JSON, "Content-Encoding": encoding})
    assert found == expected


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(("Transfer-Encoding: chunked",), id="CL and TE"),
        pytest.param((f"Content-Length: {len(BODY) + 1}",), id="two CLs"),
        pytest.param((f"Content-Length: {len(BODY)}",), id="the same CL twice"),
        pytest.param(("Transfer-Encoding: chunked, identity",), id="odd TE"),
        pytest.param(("Transfer-Encoding : chunked",), id="space before the colon"),
        pytest.param((" folded: yes",), id="folded header"),
    ],
)
async def test_37_two_readings_of_one_request_are_none(front: Front, letters: Letters, lines: tuple[str, ...]) -> None:
    smuggled = head("/cookies", length=2) + b"{}"
    answer = await talk(front, head("/forms/newsletter", *lines) + BODY + smuggled)
    assert status(answer) in (0, 400)
    assert letters.messages() == []


@pytest.mark.parametrize("length", ["+4", "-4", "0x4", "4 4", "٤", "", "1_0"])
async def test_37_a_length_is_digits(front: Front, letters: Letters, length: str) -> None:
    answer = await talk(front, head(length=None)[:-2] + f"Content-Length: {length}\r\n\r\n".encode() + b"null")
    assert status(answer) in (0, 400)
    assert letters.messages() == []


@pytest.mark.parametrize(
    "chunk", [b"-1\r\n", b"+4\r\nnull\r\n0\r\n\r\n", b"4 4\r\nnull\r\n", b"zz\r\n", b"fffffffffffffffff\r\n"]
)
async def test_37_a_chunk_has_a_plain_size(front: Front, letters: Letters, chunk: bytes) -> None:
    answer = await talk(front, head("/forms/newsletter", "Transfer-Encoding: chunked", length=None) + chunk)
    assert status(answer) in (0, 400)
    assert letters.messages() == []


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(("X-Long: " + "x" * 65_536,), id="one of 64 KB"),
        pytest.param(tuple(f"X-{n}: 1" for n in range(10_000)), id="ten thousand"),
        pytest.param(("X-Control: a\0b",), id="NUL"),
        pytest.param(("X-Bare: a\rb",), id="bare CR"),
        pytest.param(("No colon at all",), id="no colon"),
    ],
)
async def test_38_and_41_headers_are_bounded_and_clean(front: Front, letters: Letters, lines: tuple[str, ...]) -> None:
    answer = await talk(front, head("/forms/newsletter", *lines) + BODY)
    assert status(answer) in (0, 400)
    assert b"X-" not in answer.replace(b"X-Content-Type-Options", b"")
    assert letters.messages() == []


@pytest.mark.parametrize(
    "piece", [b"", b"POST /forms/newsl", head()[:-2], b"\r\n\r\n"], ids=["nothing", "line", "head", "blank"]
)
async def test_39_a_slow_head_is_cut_off(hasty: Front, piece: bytes) -> None:
    assert await talk(hasty, piece) == b""


async def test_39_a_slow_second_head_is_cut_off_too(hasty: Front) -> None:
    reader, writer = await asyncio.open_connection(*hasty.address)
    writer.write(head() + BODY)
    assert status(await reader.readuntil(b"\r\n\r\n")) == 202
    writer.write(b"POST /forms")
    async with asyncio.timeout(20):
        assert b"HTTP" not in await reader.read()
    writer.close()


async def test_39_a_dripping_head_is_cut_off(hasty: Front) -> None:
    _, writer = await asyncio.open_connection(*hasty.address)
    dripped = iter(head("/forms/newsletter", *[f"X-{n}: 1" for n in range(40)]))

    def drip() -> bool:
        writer.write(bytes([next(dripped)]))
        return writer.is_closing()

    await until(drip, timeout=20, what="the door hangs up on a sender that drips")


async def test_39_a_slow_body_is_cut_off(hasty: Front, letters: Letters) -> None:
    answer = await talk(hasty, head() + BODY[:-1])
    assert status(answer) == 408
    assert letters.messages() == []


async def test_39_an_idle_connection_after_an_answer_is_kept(hasty: Front) -> None:
    """Only a head that was begun is hurried: a proxy keeps its connections."""
    reader, writer = await asyncio.open_connection(*hasty.address)
    for _ in range(2):
        writer.write(head() + BODY)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert status(answer) == 202
        await reader.readexactly(int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        other = await talk(hasty, b"POST /slow")  # takes as long as a slow head may
        assert other == b""
    writer.close()


@pytest.mark.parametrize(
    ("request_line", "statuses"),
    [
        pytest.param(b"GET /livez\r\n\r\n", (0, 400, 505), id="40 HTTP/0.9"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", (0, 400), id="40 TLS to a plain port"),
        pytest.param(
            b"GET http://evil.example.org/livez HTTP/1.1\r\nHost: evil.example.org\r\n\r\n",
            (200, 400),
            id="40 absolute",
        ),
        pytest.param(b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", (400,), id="40 two hosts"),
        pytest.param(b"CONNECT door:80 HTTP/1.1\r\nHost: door\r\n\r\n", (400, 404, 405), id="44 CONNECT"),
        pytest.param(b"TRACE /livez HTTP/1.1\r\nHost: door\r\n\r\n", (405,), id="44 TRACE"),
        pytest.param(b"HEAD /forms/newsletter HTTP/1.1\r\nHost: door\r\n\r\n", (405,), id="44 HEAD of a form"),
        pytest.param(b"HEAD /livez HTTP/1.1\r\nHost: door\r\n\r\n", (200,), id="44 HEAD"),
        pytest.param(b"GET /forms/newsletter HTTP/1.1\r\nHost: door\r\n\r\n", (405,), id="44 GET of a form"),
        pytest.param(b"GET //livez HTTP/1.1\r\nHost: door\r\n\r\n", (400, 404), id="43 two slashes"),
        pytest.param(b"GET /..;/livez HTTP/1.1\r\nHost: door\r\n\r\n", (404,), id="43 ..;"),
        pytest.param(b"GET /x/%2e%2e/livez HTTP/1.1\r\nHost: door\r\n\r\n", (404,), id="43 %2e%2e"),
        pytest.param(b"GET /livez%00 HTTP/1.1\r\nHost: door\r\n\r\n", (400, 404), id="43 %00"),
        pytest.param(b"GET /livez\x00 HTTP/1.1\r\nHost: door\r\n\r\n", (0, 400), id="43 NUL"),
        pytest.param(b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: door\r\n\r\n", (0, 400, 414), id="43 long"),
    ],
)
async def test_odd_request_lines(front: Front, request_line: bytes, statuses: tuple[int, ...]) -> None:
    answer = await talk(front, request_line)
    assert status(answer) in statuses
    assert b"evil" not in answer


async def test_44_a_method_cannot_be_overridden(front: Front, letters: Letters) -> None:
    for name in ("X-HTTP-Method-Override", "X-Method-Override"):
        async with front.http.get("/forms/newsletter", headers={name: "POST"}, data=BODY) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "OPTIONS,POST")
    async with front.http.post("/forms/newsletter?_method=DELETE", json=NEWSLETTER) as answer:
        assert answer.status == 202
    assert len(letters.messages()) == 1


async def test_29_content_type_missing_or_twice(front: Front, letters: Letters) -> None:
    missing = head().replace(b"Content-Type: application/json\r\n", b"")
    twice = head("/forms/newsletter", "Content-Type: text/plain")
    for start in (missing, twice):
        assert status(await talk(front, start + BODY)) in (400, 415)
    assert letters.messages() == []


async def test_pipelined_requests_each_get_their_answer(front: Front, letters: Letters) -> None:
    reader, writer = await asyncio.open_connection(*front.address)
    bodies = [json.dumps(consent(f"c-{number}")).encode() for number in range(20)]
    writer.write(b"".join(head("/cookies", length=len(body)) + body for body in bodies))
    async with asyncio.timeout(20):
        for _ in bodies:
            answer = await reader.readuntil(b"\r\n\r\n")
            assert status(answer) == 202
            await reader.readexactly(int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
    writer.close()
    assert [event.id for event in letters.events("consent")] == [f"c-{number}" for number in range(20)]


async def test_errors_answer_in_one_shape_without_quoting(front: Front) -> None:
    marker = "Zyzzogeton"
    for path in (f"/{marker}", f"/forms/{marker}", f"/forms/contact/{marker}?{marker}"):
        async with front.http.post(path, json=CONTACT) as answer:
            text = await answer.text()
            assert (answer.status, answer.content_type) == (404, "application/problem+json")
            assert (json.loads(text)["status"], marker in text) == (404, False)
            assert answer.headers["Server"] == "greffier"
