"""A load client that costs little: prepared bytes over kept-alive connections, in a process of its own.

It speaks just enough HTTP/1.1 to tell answers apart, so that the server under test is the busy one.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

ACCEPTED: Final = b"HTTP/1.1 202 "
_LENGTH: Final = b"content-length:"

Submit = Callable[..., "Future[Any]"]


@contextmanager
def another_process() -> Iterator[Submit]:
    """Somewhere to run a function of this package beside the one that measures. Yields ``submit(function, *args)``."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool.submit


def request(path: str, body: dict[str, Any]) -> bytes:
    """One POST of JSON, as bytes."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def as_fast_as_answered(port: int, requests: Sequence[bytes], connections: int) -> float:
    """Requests per second: each connection sends its next request when the last one was answered.

    Raises RuntimeError when anything but 202 is answered.
    """
    began, answered = asyncio.run(answered_at(port, requests, connections))
    return len(requests) / (max(answered) - began)


async def answered_at(port: int, requests: Sequence[bytes], connections: int) -> tuple[float, list[float]]:
    """When the first was sent and each was answered, by the monotonic clock; sent as :func:`as_fast_as_answered`."""
    lines = [await _Line.open(port) for _ in range(connections)]
    answered, waiting = [0.0] * len(requests), iter(range(len(requests)))

    async def one_after_the_other(line: _Line) -> None:
        for number in waiting:  # shared: whoever is free takes the next
            await line.ask(requests[number])
            answered[number] = time.monotonic()

    began = time.monotonic()
    await asyncio.gather(*map(one_after_the_other, lines))
    for line in lines:
        line.close()
    return began, answered


def at_a_rate(port: int, requests: Sequence[bytes], per_second: float, connections: int) -> list[float]:
    """When each request was answered, by the monotonic clock; sent when due, whether or not earlier ones are answered.

    Raises RuntimeError when anything but 202 is answered, or when the client itself could not keep the pace.
    """
    return asyncio.run(_offer(port, requests, per_second, connections))


async def _offer(port: int, requests: Sequence[bytes], per_second: float, connections: int) -> list[float]:
    free: asyncio.Queue[_Line] = asyncio.Queue()
    for _ in range(connections):
        free.put_nowait(await _Line.open(port))
    answered = [0.0] * len(requests)

    async def send(number: int) -> None:
        line = await free.get()
        await line.ask(requests[number])
        answered[number] = time.monotonic()
        free.put_nowait(line)

    began = time.monotonic()
    async with asyncio.TaskGroup() as sending:
        for number in range(len(requests)):
            await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
            sending.create_task(send(number))
    if time.monotonic() - began > 1.1 * len(requests) / per_second + 1:
        raise RuntimeError("the offered rate was not kept")
    return answered


class _Line(asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self) -> None:
        self._seen = b""
        self._answer: asyncio.Future[None] | None = None
        self._lost = False

    @classmethod
    async def open(cls, port: int) -> _Line:
        _, line = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return line

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, content: bytes) -> asyncio.Future[None]:
        """Done when the answer is whole."""
        if self._lost:
            raise RuntimeError("connection closed by the server")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(content)
        return self._answer

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._seen += data
        head, blank, body = self._seen.partition(b"\r\n\r\n")
        if not blank or len(body) < _length(head) or self._answer is None:
            return
        self._seen = b""
        if head.startswith(ACCEPTED):
            self._answer.set_result(None)
        else:
            self._answer.set_exception(RuntimeError(head.partition(b"\r\n")[0].decode()))

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or RuntimeError("connection closed by the server"))


def _length(head: bytes) -> int:
    lower = head.lower()
    at = lower.index(_LENGTH) + len(_LENGTH)
    return int(lower[at : at + 12].split(b"\r\n", 1)[0])
