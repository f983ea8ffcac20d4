"""Every way of failing, as the protocol that is spoken says it: its caller reads no other error.

Source: rights-protocols § 2 "400 error", § 3 "Error body".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from schemas.errors import Temporary
from workers.rules.outside import Fault
from workers.web import answer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def in_its_words(handler: Handler, away: Fault, too_large: Fault) -> Handler:
    """The handler, with whatever it raises put into words."""

    async def told(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Fault as refused:
            return _said(refused)
        except Temporary:
            return _said(away)
        except web.HTTPRequestEntityTooLarge:
            return _said(too_large)

    return told


def _said(fault: Fault) -> web.Response:
    return answer(fault.body, fault.status)
