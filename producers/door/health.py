"""``/livez``, ``/readyz`` and ``/openapi.json``.

Live: this process answers. Ready: Redis would take a message now, on the terms a 202 needs.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web
from pydantic_core import to_json

from producers.door.problems import BASE_HEADERS, JSON, later
from producers.gather import Gatherer
from schemas.errors import ConfigurationError, QueueUnavailable


@dataclass(frozen=True, slots=True)
class Health:
    """The handlers. ``openapi``: the finished document."""

    gatherer: Gatherer
    openapi: bytes

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/livez", self.live)
        router.add_get("/readyz", self.ready)
        router.add_get("/openapi.json", self.describe)

    async def live(self, _: web.Request) -> web.Response:
        return _ok()

    async def ready(self, _: web.Request) -> web.Response:
        try:
            await self.gatherer.check()
            await self.gatherer.depths()
        except QueueUnavailable as error:
            return later(error)
        except ConfigurationError:
            return later(QueueUnavailable("redis_not_durable", 30))
        return _ok()

    async def describe(self, _: web.Request) -> web.Response:
        return web.Response(body=self.openapi, content_type=JSON, headers=BASE_HEADERS)


def _ok() -> web.Response:
    return web.Response(body=to_json({"status": "ok"}), content_type=JSON, headers=BASE_HEADERS)
