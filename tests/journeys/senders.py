"""Ways to hand something in: through a door, or straight into Redis as a publisher or a forger would."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any

import aiohttp
import uuid_utils

from schemas.envelope import Event
from schemas.fields import wire_moment
from schemas.keyring import read_sealer
from schemas.routes import NAMESPACE
from tests.chaos.checker import leftovers
from tests.installation import Child, Installation
from tests.journeys.traffic import Asked
from tests.waiting import until
from workers.services import utc_now

DOOR = "door-of-a-test"


class Sender:
    """``answers``: what the doors said, by request."""

    def __init__(self, system: Installation) -> None:
        self._system = system
        self._sealer = read_sealer(system.data / "keys" / "door")
        self._numbers = 0
        self.answers: dict[str, bytes] = {}

    async def ask(self, *requests: Asked, door: Child | None = None) -> None:
        """Send and compare the status."""
        at = door or self._system.doors[0]
        async with aiohttp.ClientSession(at.url) as session:
            for number, asked in enumerate(requests):
                headers = {**self._system.key_header, **asked.headers} if asked.path == "/events" else asked.headers
                async with session.post(asked.path, data=asked.body, headers=headers) as answer:
                    content = await answer.read()
                    assert answer.status == asked.status, (number, asked.path, asked.status, answer.status, content)
                    said = b"\n".join([content, *(f"{k}: {v}".encode() for k, v in answer.headers.items())])
                    self.answers[f"answer {len(self.answers)} to {asked.path[:20]}"] = said

    def seal(self, *events: Event) -> dict[str, Any]:
        """A batch as a publisher with a key seals it, whatever it says."""
        self._numbers += 1
        return self._sealer.seal(str(uuid_utils.uuid7()), DOOR, self._numbers, events)

    def post(self, queue: str, *events: Event) -> None:
        """Into Redis, past the door and its checks."""
        self.forge(queue, message(queue, self.seal(*events)))

    def forge(self, queue: str, body: bytes | dict[str, Any]) -> None:
        """Anything at all into a queue."""
        redis_id = body["options"]["redis_message_id"] if isinstance(body, dict) else str(uuid.uuid4())
        raw = json.dumps(body).encode() if isinstance(body, dict) else body
        with self._system.redis() as server:
            server.hset(f"{NAMESPACE}:{queue}.msgs", redis_id, raw)
            server.rpush(f"{NAMESPACE}:{queue}", redis_id)
            server.publish(f"{NAMESPACE}:wake", queue)

    async def at_rest(self, timeout: float = 60.0) -> None:
        """Until Redis holds nothing more to do."""
        with self._system.redis() as server:
            await until(lambda: not leftovers(server), timeout, what="at rest")


def message(queue: str, batch: object, **changes: Any) -> dict[str, Any]:
    """A dramatiq message as the door makes it, but for ``changes``."""
    return {
        "queue_name": queue,
        "actor_name": queue,
        "args": [],
        "kwargs": {"batch": batch},
        "options": {"redis_message_id": str(uuid.uuid4())},
        "message_id": str(uuid.uuid4()),
        "message_timestamp": 1_780_000_000_000,
    } | changes


def raw_event(event_type: str, source: str, event_id: str, body: bytes) -> Event:
    """An event whose body nobody has looked at."""
    return Event(event_id, source, event_type, wire_moment(utc_now()), body)


def reasons(letters: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Reason → letters."""
    return {reason: sum(one["reason"] == reason for one in letters) for reason in {one["reason"] for one in letters}}
