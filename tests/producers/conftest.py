"""A door on a real Redis, its keys, and an independent look at what lies in the queues."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis

from producers.door.app import Door
from producers.settings import DoorSettings
from schemas.envelope import Batch, Opener
from schemas.keyring import ApiKey, add_api_key, generate_keys, new_api_key, read_opener
from schemas.routes import QUEUES

ORIGIN = "https://www.example.com"


@dataclass(frozen=True)
class Installation:
    """Keys of one installation; `token` may publish what a CRM publishes."""

    folder: Path
    token: str
    key: ApiKey
    opener: Opener = field(repr=False)

    @property
    def door_keys(self) -> Path:
        return self.folder / "door"

    def add_key(self, **changes: Any) -> str:
        """A further token, its entry changed as said."""
        token, entry = new_api_key()
        add_api_key(self.door_keys, replace(entry, **changes))
        return token


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = tmp_path_factory.mktemp("installation") / "keys"
    generate_keys(folder)
    types = ("greffier.contact.*", "greffier.application.*", "greffier.consent.*")
    token, key = new_api_key(types, ("https://crm.example.com*",))
    add_api_key(folder / "door", key)
    return Installation(folder, token, key, read_opener(folder / "controller"))


class Letters:
    """What lies in Redis, read by hand: no code of the publisher takes part."""

    def __init__(self, client: redis.Redis, opener: Opener) -> None:
        self.client = client
        self.opener = opener

    def messages(self, queue: str | None = None) -> list[dict[str, Any]]:
        """Raw messages, in the order they were enqueued."""
        return [
            json.loads(self.client.hget(f"dramatiq:{name}.msgs", message_id))
            for name in ([queue] if queue else QUEUES)
            for message_id in self.client.lrange(f"dramatiq:{name}", 0, -1)
        ]

    def batches(self, queue: str | None = None) -> list[Batch]:
        return [self.opener.open(message["kwargs"]["batch"]) for message in self.messages(queue)]

    def events(self, queue: str | None = None) -> list[Any]:
        return [event for batch in self.batches(queue) for event in batch.events]

    def bodies(self, queue: str | None = None) -> list[dict[str, Any]]:
        return [json.loads(event.body) for event in self.events(queue)]

    def everything(self) -> bytes:
        """Every key and every value."""
        parts: list[bytes] = []
        for key in self.client.keys("*"):
            parts += [key, self.client.dump(key) or b""]
            if self.client.type(key) == b"string":
                parts.append(self.client.get(key) or b"")
            if self.client.type(key) == b"hash":
                parts += [part for pair in self.client.hgetall(key).items() for part in pair]
        return b"\n".join(parts)


@pytest.fixture
def letters(redis_url: str, installation: Installation) -> Iterator[Letters]:
    with redis.Redis.from_url(redis_url) as client:
        yield Letters(client, installation.opener)


@dataclass
class Front:
    """An open door and a client before it."""

    door: Door
    http: aiohttp.ClientSession
    token: str

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.door.port

    async def post(self, path: str, **arguments: Any) -> tuple[int, Any]:
        """Status and body: JSON if it is, else text."""
        async with self.http.post(path, **arguments) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if "json" in answer.content_type else text


OpenDoor = Callable[..., AbstractAsyncContextManager[Front]]


@pytest.fixture(scope="session")
def settings(_redis_base: str, installation: Installation) -> DoorSettings:
    return DoorSettings(
        redis_url=_redis_base,
        door_port=0,
        metrics_port=0,
        keys=installation.door_keys,
        origins=(ORIGIN,),
    )


@pytest.fixture(scope="session")
def open_door(settings: DoorSettings, installation: Installation) -> OpenDoor:
    """Opens a door with settings changed as said."""

    @asynccontextmanager
    async def opened(*, clock: Any = None, patience: Any = None, **changes: Any) -> AsyncIterator[Front]:
        arguments = {name: value for name, value in (("clock", clock), ("patience", patience)) if value is not None}
        door = Door(settings.model_copy(update=changes), **arguments)
        async with door, aiohttp.ClientSession(f"http://127.0.0.1:{door.port}") as http:
            yield Front(door, http, installation.token)

    return opened


@pytest.fixture(scope="session")
async def front(open_door: OpenDoor) -> AsyncIterator[Front]:
    """One door for all tests that do it no harm; `letters` empties the queues."""
    async with open_door() as opened:
        yield opened
