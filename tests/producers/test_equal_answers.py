"""A stranger who asks learns nothing about anybody: neither by the bytes of an answer nor by its time.

Source: R17, R22; reliability § 8.7 "the same answer for known and unknown".
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from joserfc.jwk import OKPKey

from producers.door.form_data import read_form
from producers.door.problems import accepted
from producers.door.rights import Rights
from schemas.rights import new_reference
from schemas.routes import NAMESPACE
from tests.apart import ALIKE, PAIRS, apart
from tests.producers.conftest import Front, Letters, OpenDoor
from tests.producers.samples import CONTACT
from tests.producers.test_rights import RIGHTS, token_key, token_of

__all__ = ["token_key"]

FEW = 300
KNOWN = tuple(f"known-{number:02}@example.com" for number in range(20))
Question = tuple[str, dict[str, str]]
"""Path and body."""
_OWN = re.compile(rb"\r\nDate: [^\r]*|R(-\w{4}){3}")
"""What may differ between two answers: the moment, and the reference that each request is given."""


@dataclass
class Stranger:
    """One kept-alive connection; everything it was answered, and how long each answer took."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    answers: set[bytes] = field(default_factory=set)

    async def ask(self, question: bytes) -> float:
        """Seconds until the whole answer was there."""
        began = time.perf_counter()
        self.writer.write(question)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", answer)
        assert length is not None, answer
        answer += await self.reader.readexactly(int(length[1]))
        took = time.perf_counter() - began
        self.answers.add(_OWN.sub(b"", answer))
        return took

    async def told_apart(
        self,
        known: Callable[[], Question],
        other: Callable[[], Question],
        pairs: int = PAIRS,
        between: Callable[[], None] = lambda: None,
    ) -> float:
        """How far the times are apart in so many pairs; which of a pair is asked first is drawn. ``between`` the pairs.

        Every question is put into words before the first is asked: what that costs shall not be in any answer's time.
        """
        draw = random.Random(20261122)
        prepared = [{True: as_bytes(*known()), False: as_bytes(*other())} for _ in range(pairs)]
        times: dict[bool, list[float]] = {True: [], False: []}
        for pair in prepared:
            between()
            for is_known in draw.sample([True, False], 2):
                times[is_known].append(await self.ask(pair[is_known]))
        return apart(times[True], times[False])


@dataclass
class Workers:
    """Workers that keep up with the door: else every request stays for a moment, which would hide what tells apart."""

    letters: Letters
    taken: list[bytes] = field(default_factory=list)

    def take(self) -> None:
        """All that waits."""
        self.taken += self.letters.client.lpop(self._queue, 100) or []

    def hand_back(self) -> None:
        """So that `letters` can be read."""
        self.letters.client.rpush(self._queue, *self.taken)

    @property
    def _queue(self) -> str:
        return f"{NAMESPACE}:{RIGHTS}"


def as_bytes(path: str, said: dict[str, str]) -> bytes:
    content = json.dumps(said).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: door\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


@asynccontextmanager
async def stranger(front: Front) -> AsyncIterator[Stranger]:
    reader, writer = await asyncio.open_connection(*front.address)
    yield Stranger(reader, writer)
    writer.close()
    await writer.wait_closed()


def somebody_known() -> Question:
    return "/rights", {"right": "erasure", "email": random.choice(KNOWN)}


def nobody() -> Question:
    return "/rights", {"right": "erasure", "email": f"{uuid.uuid4().hex[:8]}@example.com"}


async def make_known(front: Front) -> None:
    """The door sees each of them twice before: by a form, and by a request of the same right."""
    for email in KNOWN:
        assert (await front.post("/forms/contact", json={**CONTACT, "email": email}))[0] == 202
        assert (await front.post("/rights", json={"right": "erasure", "email": email}))[0] == 202


async def references(front: Front, many: int) -> list[str]:
    """Of as many requests, made at once."""
    asked = await asyncio.gather(*(front.post("/rights", json=nobody()[1]) for _ in range(many)))
    return [said["reference"] for _, said in asked]


@pytest.mark.timeout(300)
async def test_known_and_unknown_people_are_answered_alike(front: Front, letters: Letters) -> None:
    await make_known(front)
    workers = Workers(letters)
    async with stranger(front) as asking:
        distance = await asking.told_apart(somebody_known, nobody, between=workers.take)
    workers.hand_back()
    print(f"told apart: {distance:.3f}")
    assert len(asking.answers) == 1, asking.answers
    assert distance < ALIKE
    assert len(letters.events(RIGHTS)) == len(KNOWN) + 2 * PAIRS, "and each is an event"


@pytest.mark.timeout(300)
async def test_a_wrong_token_says_nothing_about_a_case(front: Front, letters: Letters, token_key: OKPKey) -> None:
    """``known``: references that this door gave; a good token of another case makes the wrong one a real one.

    Each is asked about once, like those that nobody was given: a path that was asked before is quicker to take apart.
    """
    given = [reference for _ in range(PAIRS // FEW + 1) for reference in await references(front, FEW)]
    asked_about = iter(given)
    wrong, _ = token_of(token_key, new_reference())
    async with stranger(front) as asking:
        distance = await asking.told_apart(
            lambda: (f"/rights/{next(asked_about)}/confirm", {"token": wrong}),
            lambda: (f"/rights/{new_reference()}/confirm", {"token": wrong}),
        )
    print(f"told apart: {distance:.3f}")
    assert len(asking.answers) == 1, asking.answers
    assert distance < ALIKE
    assert len(letters.events(RIGHTS)) == len(given)


@pytest.mark.timeout(300)
async def test_a_door_that_looks_first_is_told_by_its_time(
    open_door: OpenDoor, letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes are the same: that alone would not have found it."""

    async def look_first(self: Rights, request: web.Request) -> web.StreamResponse:
        form = await read_form(request, self.bodies, files=False)
        reference = new_reference()
        taken = self.intake.right(form.data, reference, None)
        if form.data["email"] in KNOWN:
            await self.gatherer.put(taken.queue, (taken.event,))
        return accepted({"reference": reference})

    monkeypatch.setattr(Rights, "ask", look_first)
    async with open_door() as front, stranger(front) as asking:
        distance = await asking.told_apart(somebody_known, nobody, FEW, Workers(letters).take)
    print(f"told apart: {distance:.3f}")
    assert len(asking.answers) == 1
    assert distance > ALIKE
