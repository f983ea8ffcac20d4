"""``greffier door`` as a process: it opens, drains on SIGTERM, leaves at once on the second, and follows its parent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from schemas.envelope import Opener
from tests.producers.conftest import Installation, Letters
from tests.producers.samples import CANARIES, CONTACT, NEWSLETTER
from tests.waiting import until, until_blocking


class Doorman:
    """A door in a process of its own."""

    def __init__(self, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.popen = popen
        self.log = log

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def said(self, event: str) -> dict[str, Any] | None:
        return next((line for line in self.lines() if line["event"] == event), None)

    @property
    def port(self) -> int:
        return int((self.said("door_open") or {})["port"])

    async def exited(self) -> int:
        return int(await until(lambda: None if self.popen.poll() is None else (self.popen.returncode + 1000))) - 1000


Spawn = Callable[..., Doorman]


@pytest.fixture
def spawn(installation: Installation, redis_url: str, tmp_path: Path) -> Iterator[Spawn]:
    running: list[subprocess.Popen[bytes]] = []

    def start(*prefix: str, **more: str) -> Doorman:
        log = tmp_path / f"door-{len(running)}.log"
        settings = {
            "GREFFIER_REDIS_URL": redis_url,
            "GREFFIER_DOOR_PORT": "0",
            "GREFFIER_METRICS_PORT": "0",
            "GREFFIER_KEYS": str(installation.door_keys),
            **more,
        }
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [*prefix, sys.executable, "-m", "schemas", "door"], env={**os.environ, **settings}, stderr=output
            )
        running.append(popen)
        return Doorman(popen, log)

    yield start
    for popen in running:
        popen.kill()
        popen.wait()


@pytest.fixture
async def doorman(spawn: Spawn) -> Doorman:
    found = spawn()
    await until(lambda: found.said("door_open"), timeout=60, what="the door opens")
    return found


async def test_sigterm_drains_and_exits_0(doorman: Doorman, letters: Letters) -> None:
    body = json.dumps(NEWSLETTER).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", doorman.port)
    await _begin(reader, writer, len(body))
    writer.write(body[:10])
    async with aiohttp.ClientSession(f"http://127.0.0.1:{doorman.port}") as http:
        assert (await http.post("/forms/contact", json=CONTACT)).status == 202

    doorman.popen.send_signal(signal.SIGTERM)
    await until(lambda: _refuses(doorman.port), what="no new connection is taken")
    writer.write(body[10:])
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()

    assert answer.split(b" ", 2)[1] == b"202", "what it held was answered"
    assert await doorman.exited() == 0
    assert {event.source for event in letters.events()} == {"/forms/newsletter", "/forms/contact"}
    assert (doorman.said("door_closed") or {})["seq"] == 2


async def _begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int) -> None:
    """Send the head of a request, and return when the door is known to be reading it."""
    lines = ("POST /forms/newsletter HTTP/1.1", "Host: x", "Content-Type: application/json", "Expect: 100-continue")
    writer.write("\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")


async def _refuses(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return True
    writer.close()
    return False


async def test_a_second_sigterm_leaves_at_once(doorman: Doorman) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", doorman.port)
    await _begin(reader, writer, 99)
    doorman.popen.send_signal(signal.SIGTERM)
    await until(lambda: _refuses(doorman.port), what="it drains")
    assert doorman.popen.poll() is None, "it waits for the slow sender"
    doorman.popen.send_signal(signal.SIGTERM)
    assert await doorman.exited() == 1
    writer.close()


def test_a_door_follows_its_parent(spawn: Spawn) -> None:
    """The shell in between dies; the door drains by itself."""
    parent = spawn("sh", "-c", 'export GREFFIER_PARENT_PID=$$; "$@" & wait', "sh")
    opened = until_blocking(lambda: parent.said("door_open"), timeout=60, what="the door opens")
    assert opened
    parent.popen.kill()
    until_blocking(lambda: parent.said("door_closed"), timeout=30, what="the door closes")


def test_a_fault_is_one_sentence_and_exit_code_2(spawn: Spawn, tmp_path: Path) -> None:
    faulty = [
        (spawn(**more), name)
        for more, name in (
            ({"GREFFIER_KEYS": str(tmp_path / "nowhere")}, "transit.public.json"),
            ({"GREFFIER_DOOR_PORT": "x"}, "GREFFIER_DOOR_PORT"),
            ({"GREFFIER_REGISTER": str(tmp_path / "no.yaml")}, "no.yaml"),
            ({"GREFFIER_REDIS_URL": "http://x"}, "REDIS_URL"),
        )
    ]
    for door, name in faulty:
        assert door.popen.wait(90) == 2
        text = door.log.read_text()
        assert (name in text, "Traceback" in text) == (True, False)


async def test_a_process_logs_no_person(spawn: Spawn, installation: Installation, letters: Letters) -> None:
    door = spawn(PYTHONASYNCIODEBUG="0", GREFFIER_LOG_LEVEL="debug")
    await until(lambda: door.said("door_open"), timeout=60, what="the door opens")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{door.port}") as http:
        for form in (CONTACT, {**CONTACT, "email": "x"}, {**CONTACT, CANARIES[0]: "x"}):
            await (await http.post("/forms/contact", json=form)).read()
            await (await http.get(f"/{CANARIES[0]}", params={"q": CANARIES[1]})).read()
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(f"POST /forms/{CANARIES[0]} HTTP/1.1\r\nX-Bad: {CANARIES[1]}\0\r\n\r\n".encode())
    assert CANARIES[1].encode() not in await reader.read()
    writer.close()
    door.popen.send_signal(signal.SIGTERM)
    assert await door.exited() == 0
    log = door.log.read_bytes()
    assert [word for word in CANARIES if word.encode() in log] == []
    assert isinstance(installation.opener, Opener)
