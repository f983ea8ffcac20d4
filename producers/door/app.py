"""The door as one object: made from settings, opened on its ports, drained and closed.

Source: design § 1, § 6.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Self, cast

import structlog
from aiohttp import web

from producers.door import openapi
from producers.door.bodies import BODY_S, BodyReader
from producers.door.connection import HEADERS_S, Connections
from producers.door.cookies import Cookies
from producers.door.crowds import Crowds
from producers.door.events import Events
from producers.door.forms import MAX_UPLOADS, Forms
from producers.door.guard import Networks, Origins, Publishers
from producers.door.health import Health
from producers.door.idempotency import Idempotency
from producers.door.metrics import DoorMetrics
from producers.door.preferences import Preferences
from producers.door.rights import Rights
from producers.door.unsubscribe import Unsubscribe
from producers.gather import Gatherer
from producers.intake import Clock, Intake, utc_now
from producers.publisher import Claims, Letterbox
from producers.settings import DoorSettings
from schemas.errors import QueueUnavailable
from schemas.keyring import read_idempotency_key, read_sealer
from schemas.party_keys import read_token_keys
from schemas.register import load_register

DRAIN_S: Final = 25.0
"""How long open requests are waited for at the end; platforms usually kill after 30."""
CUT_OFF_S: Final = 1.0
"""What is left to those who did not finish by then."""
BACKLOG: Final = 512

log = structlog.get_logger("greffier.door")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a sender may take, in seconds: for the head of a request, and for its body."""

    headers_s: float = HEADERS_S
    body_s: float = BODY_S


class Door:
    """One door process. ``async with Door(settings) as door``: open inside, drained after.

    Raises :class:`ConfigurationError` on entering when the register, a key, a setting or Redis's durability must be
    mended. A Redis that is merely away does not stop it: it answers 503 until Redis is back.
    """

    def __init__(self, settings: DoorSettings, *, clock: Clock = utc_now, patience: Patience = Patience()) -> None:
        self._settings = settings
        self._patience = patience
        redis_url = settings.redis_url.get_secret_value()
        self.intake = Intake(load_register(settings.register_file), clock)
        self.letterbox = Letterbox(redis_url, read_sealer(settings.keys), queue_limit=settings.queue_limit)
        self.metrics = DoorMetrics()
        self._publishers = Publishers(settings.keys)
        self._idempotency = Idempotency(read_idempotency_key(settings.keys), Claims(redis_url), clock)
        self._token_keys = read_token_keys(settings.keys)
        self._examiners = ThreadPoolExecutor(2, thread_name_prefix="uploads")
        self._runners: list[web.AppRunner] = []
        self._listening: list[asyncio.Server] = []
        self._connections: list[Connections] = []
        self._drained = False

    async def __aenter__(self) -> Self:
        self.gatherer = Gatherer(self.letterbox, self.metrics)
        try:
            await self.gatherer.check()
        except QueueUnavailable:
            log.warning("started_without_redis")
        self._public = await self._listen(self._application(), self._settings.door_port)
        self._private = await self._listen(self.metrics.application(self.gatherer), self._settings.metrics_port)
        log.info("door_open", door=self.letterbox.door, port=self.port, metrics_port=self.metrics_port)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.drain()

    @property
    def port(self) -> int:
        """The public port that was taken."""
        return self._public

    @property
    def metrics_port(self) -> int:
        return self._private

    async def drain(self) -> None:
        """Accept no more, answer what is held, let Redis go. Once is enough."""
        if self._drained:
            return
        self._drained = True
        for listening in self._listening:
            listening.close()
        for connections in self._connections:
            await connections.finish(DRAIN_S)
        for runner in self._runners:
            await runner.cleanup()
        await self.gatherer.close()
        self._idempotency.close()
        self._examiners.shutdown()
        log.info("door_closed", door=self.letterbox.door, seq=self.letterbox.seq)

    def _application(self) -> web.Application:
        origins = Origins(self._settings.origins)
        middlewares: list[Any] = [self.metrics.middleware]
        if self._settings.origins:
            middlewares.insert(0, origins.middleware)
        application = web.Application(middlewares=middlewares)
        networks = Networks(self._settings.trusted_proxies)
        reader = BodyReader(self._patience.body_s)
        slots = asyncio.Semaphore(MAX_UPLOADS)
        common = (self.intake, self.gatherer)
        parts = (
            Forms(*common, self._idempotency, origins, self.metrics, reader, self._examiners, slots),
            Events(*common, self._idempotency, origins, self._publishers, self.metrics, reader),
            Cookies(*common, origins, networks, self.metrics, reader),
            Rights(*common, origins, networks, Crowds(), self.metrics, reader, self._token_keys),
            Unsubscribe(*common, self.metrics, reader, self._token_keys),
            Preferences(*common, self.metrics, reader, self._token_keys),
            Health(self.gatherer, openapi.describe(dict(self.intake.routes))),
        )
        for part in parts:
            part.add_to(application.router)
        return application

    async def _listen(self, application: web.Application, port: int) -> int:
        runner = web.AppRunner(application, shutdown_timeout=CUT_OFF_S, access_log=None)
        await runner.setup()
        self._runners.append(runner)
        manager = cast(web.Server, runner.server)  # there is one after setup
        connections = Connections(manager, self._patience.headers_s)
        self._connections.append(connections)
        listening = await asyncio.get_running_loop().create_server(
            connections, self._settings.door_host, port, backlog=BACKLOG
        )
        self._listening.append(listening)
        taken: socket.socket = listening.sockets[0]
        return int(taken.getsockname()[1])
