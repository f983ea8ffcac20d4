"""What desk and counter share as HTTP services: RFC 9457 problems and headers.

Source: design § 6 "Errors"; ASVS 3.4, 14.3; messaging-standards § 4.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from aiohttp import web
from pydantic_core import to_json

from schemas.errors import GreffierError, InvalidBody, InvalidMessage, Problem, Temporary

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

JSON: Final = "application/json"
PROBLEM_JSON: Final = "application/problem+json"
BASE_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Server": "greffier",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
}
MAX_BODY: Final = 64 * 1024

_RETRY_AFTER_S: Final = 5
_DRAIN_S: Final = 10.0
_LINGER_S: Final = 1.0
"""How long the rest of a body is read that was refused, so that the answer is read at the other end."""

log = structlog.get_logger("greffier.web")


class Refused(GreffierError):
    """A request that is refused: HTTP ``status``, a ``code``, and a sentence of ours."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers
        super().__init__(code)


def answer(content: object, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=to_json(content), status=status, content_type=JSON, headers=BASE_HEADERS)


def problem(
    status: int, code: str, detail: str, problems: Sequence[Problem] = (), headers: Mapping[str, str] | None = None
) -> web.Response:
    """An ``application/problem+json`` answer; none of it was said by the asker."""
    content = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "errors": [{"detail": found.detail, "pointer": found.pointer} for found in problems],
    }
    all_headers = {**BASE_HEADERS, **(headers or {})}
    return web.Response(body=to_json(content), status=status, content_type=PROBLEM_JSON, headers=all_headers)


@web.middleware
async def as_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The handler's answer, or a problem for every way of failing; what is not foreseen says nothing but 500."""
    try:
        return await handler(request)
    except InvalidBody as error:
        return problem(422, error.code, "The content cannot be accepted.", error.problems)
    except Refused as error:
        return problem(error.status, error.code, error.detail, headers=error.headers)
    except InvalidMessage as error:
        found = [Problem(error.code, error.pointer, "is not as it must be")] if error.pointer else []
        return problem(400, error.code, "The request cannot be read.", found)
    except Temporary:
        return problem(503, "store_unavailable", "Try again later.", headers={"Retry-After": str(_RETRY_AFTER_S)})
    except web.HTTPException as error:
        kept = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
        return problem(error.status, f"http_{error.status}", HTTPStatus(error.status).description, headers=kept)
    except Exception as error:  # the one place where a defect of ours meets the outside
        log.error("defect", error=type(error).__name__, route=_route(request))
        return problem(500, "defect", "Something is wrong on our side.")


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource else ""


def add_health(router: web.UrlDispatcher, ping: Callable[[], Awaitable[None]]) -> None:
    """``/livez`` and ``/readyz``. ``ping``: raises :class:`Temporary` while a store is away."""

    async def live(_: web.Request) -> web.StreamResponse:
        return answer({"status": "ok"})

    async def ready(_: web.Request) -> web.StreamResponse:
        await ping()
        return answer({"status": "ok"})

    router.add_get("/livez", live)
    router.add_get("/readyz", ready)


class Listening:
    """One application on one port. ``async with Listening(...) as found``: open inside, drained after."""

    def __init__(self, application: web.Application, host: str, port: int) -> None:
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=_DRAIN_S, lingering_time=_LINGER_S)
        self._host = host
        self._port = port

    async def __aenter__(self) -> Listening:
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def port(self) -> int:
        """The port that was taken."""
        address: Any = self._runner.addresses[0]
        return int(address[1])
