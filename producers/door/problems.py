"""What the door answers when it cannot accept: RFC 9457 problems with JSON Pointers and no submitted value.

Source: design § 6 "Errors"; messaging-standards § 4.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from aiohttp import HttpVersion10, web
from pydantic_core import to_json

from schemas.errors import GreffierError, InvalidBody, InvalidMessage, Problem, QueueUnavailable

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

JSON: Final = "application/json"
PROBLEM_JSON: Final = "application/problem+json"
BASE_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Server": "greffier",
    "X-Content-Type-Options": "nosniff",
}

_SAID: Final = {
    "not_utf8": "The body is not valid UTF-8.",
    "not_json": "The body is not one JSON document.",
    "duplicate_key": "An object in the body has the same key twice.",
    "number_out_of_range": "The body holds a number that is not a safe one.",
    "too_deep": "The body is nested too deeply.",
    "too_many_values": "The body holds too many values.",
    "key_too_long": "The body holds a key that is too long.",
    "unpaired_surrogate": "The body holds half a character.",
    "malformed_form": "The body is not a well-formed form.",
    "bad_compression": "The body is not compressed as its Content-Encoding says.",
}

log = structlog.get_logger("greffier.door")


class Refused(GreffierError):
    """A request that is refused as a whole: HTTP ``status``, a ``code``, and a sentence of ours."""

    def __init__(
        self, status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, close: bool = False
    ) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers
        self.close = close
        super().__init__(code)


def accepted(content: object) -> web.Response:
    """202 with a JSON body."""
    return web.Response(body=to_json(content), status=202, content_type=JSON, headers=BASE_HEADERS)


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    problems: Sequence[Problem] = (),
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, object] | None = None,
) -> web.Response:
    """An ``application/problem+json`` answer."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "errors": errors(problems),
        **(more or {}),
    }
    return web.Response(
        body=to_json(content), status=status, content_type=PROBLEM_JSON, headers={**BASE_HEADERS, **(headers or {})}
    )


def errors(problems: Sequence[Problem]) -> list[dict[str, str]]:
    """Problems as the interface shows them."""
    return [{"detail": found.detail, "pointer": found.pointer} for found in problems]


def invalid(found: InvalidBody, more: Mapping[str, object] | None = None) -> web.Response:
    """422 for a body that its shape refuses."""
    return problem(422, found.code, "The content cannot be accepted.", problems=found.problems, more=more)


async def answer_for(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The handler's answer, or a problem for every way of failing; what is not foreseen says nothing but 500."""
    try:
        if request.version < HttpVersion10:
            raise Refused(505, "http_version", "HTTP 1.0 or 1.1 is spoken here.", close=True)
        return await handler(request)
    except InvalidBody as error:
        return invalid(error)
    except Refused as error:
        answer = problem(error.status, error.code, error.detail, headers=error.headers)
        if error.close:
            answer.force_close()
        return answer
    except InvalidMessage as error:
        return problem(400, error.code, _SAID.get(error.code, "The request cannot be read."))
    except QueueUnavailable as error:
        return later(error)
    except web.HTTPException as error:
        kept = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
        return problem(error.status, f"http_{error.status}", HTTPStatus(error.status).description, headers=kept)
    except Exception as error:  # the one place where a defect of ours meets the public
        log.error("defect", error=type(error).__name__, route=_route(request))
        return problem(500, "defect", "Something is wrong on our side; nothing was accepted.")


def later(error: QueueUnavailable) -> web.Response:
    """503: nothing was promised, try again."""
    wait = {"Retry-After": str(error.retry_after_s)}
    return problem(503, error.code, "Nothing can be accepted at this moment; try again later.", headers=wait)


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource else ""
