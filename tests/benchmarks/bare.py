"""The handler that the door is compared with: aiohttp, the same body, the same shape, 202; no queue behind it."""

from __future__ import annotations

import asyncio
import json
from multiprocessing.connection import Connection

from aiohttp import web

from schemas.errors import InvalidBody
from schemas.register import load_register
from schemas.routes import COOKIE_CONSENT, routes


def serve_bare(port_to: Connection) -> None:
    """Serve on a free port, which is sent through the pipe, until the process is ended."""
    asyncio.run(_serve(port_to))


async def _serve(port_to: Connection) -> None:
    shape = routes(load_register())[COOKIE_CONSENT].shape

    async def cookies(request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        body.pop("id", None)
        try:
            shape.clean(body)
        except InvalidBody:
            return web.json_response({"accepted": 0}, status=422)
        return web.json_response({"accepted": 1, "refused": []}, status=202)

    application = web.Application()
    application.router.add_post("/cookies", cookies)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port_to.send(runner.addresses[0][1])
    await asyncio.Event().wait()
