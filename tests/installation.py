"""A whole installation of a test's own: servers, doors, controllers; each may be killed, paused, replaced, restarted.

`workers.up` runs the same processes for one machine; here there may be several doors, other commands in the place of
ours (a variant that is known to be broken), and a server may be kept down for as long as a test wants.
Start and look after it from the main thread: the kernel kills a child when the thread that started it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import redis
from pymongo import MongoClient

from schemas.acl import CONTROLLER, DOOR
from tests.waiting import until
from workers.local import HOST, EmbeddedMongo, EmbeddedServer, EmbeddedValkey, start_together
from workers.processes import Keeper, Process, free_port
from workers.sample_keys import make_keys

I = TypeVar("I", bound="Installation")  # noqa: E741

ROOT = Path(__file__).resolve().parent.parent
START_S = 60.0
LOOK_EVERY_S = 0.05
DOOR_GRACE_S = 30.0
CONTROLLER_GRACE_S = 30.0


class Child(Process):
    """A door or a controller, with the port on which it says whether it is ready, and that of its metrics."""

    def __init__(self, name: str, argv: Sequence[str], log: Path, env: Mapping[str, str], ready: int, metrics: int):
        super().__init__(name, [sys.executable, *argv], log=log, env={**env, "PYTHONPATH": str(ROOT)})
        self.url = f"http://{HOST}:{ready}"
        self.metrics_url = f"http://{HOST}:{metrics}/metrics"

    async def ready(self) -> bool:
        """Whether it answers 200 on ``/readyz``."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}/readyz") as answer:
                return answer.status == 200
        return False


class Installation:
    """See the module. ``door`` and ``controller``: what is run in their place, after the interpreter."""

    def __init__(
        self,
        data: Path,
        *,
        doors: int = 1,
        controllers: int = 1,
        env: Mapping[str, str] | None = None,
        door: Sequence[str] = ("-m", "schemas", "door"),
        controller: Sequence[str] = ("-m", "schemas", "controller"),
    ) -> None:
        self.data = data
        self.valkey = EmbeddedValkey(data)
        self.mongod = EmbeddedMongo(data)
        self.keeper = Keeper()
        self.held_down: set[str] = set()
        self.doors: list[Child] = []
        self.controllers: list[Child] = []
        self._wanted = (doors, controllers)
        self._commands = (door, controller)
        self._env = dict(env or {})
        self.crm_api_key = ""

    # ------------------------------------------------------------------ start, stop

    async def start(self) -> None:
        """Start everything; return when everything is ready."""
        self.crm_api_key = make_keys(self.data / "keys")
        self.found()
        start_together(self.valkey, self.mongod)
        await self.staff(*self._wanted)
        for child in self.children:
            child.spawn()
        await self.all_ready()
        self.keeper.keep(*self.children)

    def found(self) -> None:
        """What must be there before the servers start, beside the keys."""

    async def staff(self, doors: int, controllers: int) -> None:
        """Make the children, now that the servers' ports are known."""
        self.doors = [self._door(number) for number in range(1, doors + 1)]
        self.controllers = [self._controller(number) for number in range(1, controllers + 1)]

    async def all_ready(self) -> None:
        """Until every child says so."""
        await until(self._all_ready, START_S, what="every process ready")

    async def _all_ready(self) -> bool:
        states = [(child, child.alive, await child.ready()) for child in self.children]
        kept = bool(self.keeper.pids())
        dead = [child.last_words(20) for child, alive, _ in states if not (alive or kept)]
        assert not dead, dead
        return all(ready for _, _, ready in states)

    def stop(self) -> None:
        """In the order in which work flows."""
        for child in self.children:
            child.terminate()
        for child in self.children:
            child.stop(CONTROLLER_GRACE_S)
        for server in self.servers:
            server.kill9()

    @property
    def children(self) -> list[Child]:
        return [*self.doors, *self.controllers]

    def of_kind(self, kind: str) -> list[Child]:
        """Those that do the same work."""
        return {"door": self.doors, "controller": self.controllers}[kind]

    def redis_url_for(self, user: str) -> str:
        """Redis, as a kind of process reaches it."""
        return self.valkey.url

    @property
    def servers(self) -> tuple[EmbeddedServer, EmbeddedServer]:
        return self.valkey, self.mongod

    def _door(self, number: int) -> Child:
        port, metrics = free_port(), free_port()
        env = {
            "GREFFIER_REDIS_URL": self.redis_url_for(DOOR),
            "GREFFIER_DOOR_HOST": HOST,
            "GREFFIER_DOOR_PORT": str(port),
            "GREFFIER_METRICS_PORT": str(metrics),
            "GREFFIER_KEYS": str(self.data / "keys" / "door"),
            **self._env,
        }
        name = f"door-{number}"
        return Child(name, self._commands[0], self.data / "logs" / f"{name}.log", env, port, metrics)

    def _controller(self, number: int) -> Child:
        port = free_port()
        env = {
            "GREFFIER_REDIS_URL": self.redis_url_for(CONTROLLER),
            "GREFFIER_MONGO_URL": self.mongod.url,
            "GREFFIER_METRICS_PORT": str(port),
            "GREFFIER_KEYS": str(self.data / "keys" / "controller"),
            "GREFFIER_MAIL_FROM": "rights@example.com",
            "GREFFIER_PUBLIC_URL": f"http://{HOST}",
            "GREFFIER_SMTP_STARTTLS": "false",
            **self._env,
        }
        name = f"controller-{number}"
        return Child(name, self._commands[1], self.data / "logs" / f"{name}.log", env, port, port)

    # ------------------------------------------------------------------ looking after it

    @contextlib.asynccontextmanager
    async def looked_after(self) -> AsyncIterator[None]:
        """Inside, whatever dies is started again; a server only once nobody holds it down."""
        stopping = asyncio.Event()
        keeping = asyncio.create_task(self._look_after(stopping))
        try:
            yield
        finally:
            stopping.set()
            await keeping

    async def _look_after(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            self.keeper.look()
            for server in self.servers:
                if not server.alive and server.name not in self.held_down:
                    server.spawn()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), LOOK_EVERY_S)

    # ------------------------------------------------------------------ looking at it

    def redis(self) -> redis.Redis:
        """A plain client."""
        return redis.Redis.from_url(self.valkey.url)

    def mongo(self) -> MongoClient[dict[str, Any]]:
        """A plain client."""
        return MongoClient(self.mongod.url, tz_aware=True)

    @property
    def key_header(self) -> dict[str, str]:
        """What the sample CRM sends along."""
        return {"Authorization": f"Bearer {self.crm_api_key}"}


@contextlib.asynccontextmanager
async def installed(data: Path, *, kept_alive: bool = True, **options: Any) -> AsyncIterator[Installation]:
    """A running installation; gone at the end. ``kept_alive``: what dies is started again.

    ``options``: as :class:`Installation`.
    """
    async with running(Installation(data, **options), kept_alive=kept_alive) as installation:
        yield installation


@contextlib.asynccontextmanager
async def running(installation: I, *, kept_alive: bool = True) -> AsyncIterator[I]:
    """The same, of any kind."""
    try:
        await installation.start()
        async with installation.looked_after() if kept_alive else contextlib.nullcontext():
            yield installation
    finally:
        installation.stop()
