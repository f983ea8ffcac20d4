"""The handler that the door is compared with: aiohttp, the same body read and validated alike, 202; no queue behind it.

Unlike the door it makes no event, looks at no origin, address or trace, counts nothing and guards no connection.
"""

from __future__ import annotations

import asyncio
from multiprocessing.connection import Connection

from aiohttp import web

from producers.intake import checked_id
from schemas import strict_json
from schemas.errors import InvalidMessage
from schemas.register import load_register
from schemas.routes import COOKIE_CONSENT, routes


def serve_bare(port_to: Connection) -> None:
    """Serve on a free port, which is sent through the pipe, until the process is ended."""
    asyncio.run(_serve(port_to))


async def _serve(port_to: Connection) -> None:
    shape = routes(load_register())[COOKIE_CONSENT].shape

    async def cookies(request: web.Request) -> web.Response:
        try:
            body = strict_json.parse(await request.read())
            checked_id(body.pop("id"))
            shape.clean(body)
        except InvalidMessage:
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
