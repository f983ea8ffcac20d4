"""The desk as one object: made from settings, opened on its port, drained and closed.

| call | body | what |
| --- | --- | --- |
| ``GET /api/cases?filter=&after=`` | | ``open`` (default), ``overdue``, ``due-soon``, ``all``; a page of 50 |
| ``GET /api/cases/{reference}`` | | everything but who it is about |
| ``POST …/extend`` | ``reason, text`` | two months more, told now |
| ``POST …/refuse`` | ``refusal, text`` | the whole request, told now |
| ``POST …/hold`` | ``ground, until`` | keep the data from erasure |
| ``POST …/lift`` | | end the hold |
| ``POST …/identity`` | ``ask`` (why), or ``proved: true`` | ask for proof, or note that it came |
| ``POST …/decide`` | ``store, decision, reason`` | ``again`` or ``accept``, for a store in doubt |
| ``GET /api/audience/{purpose}`` | | who may be written to: :mod:`workers.desk.audiences` |

A decision answers 200 with the case as it stands then; 409 with a code where the case does not allow it.
Source: R30; design § 6 "Desk".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import structlog
from aiohttp import web

from schemas.errors import InvalidBody, InvalidMessage, Problem
from schemas.fields import DAY, FieldType, pattern, text
from schemas.party_keys import read_token_key
from schemas.shapes import Shape
from schemas.strict_json import parse
from workers.cases import deciding
from workers.cases.deciding import CannotDecide
from workers.cases.desk import Docket
from workers.cases.showing import Filter, listed, whole
from workers.cases.staff import open_docket
from workers.correspondence.facts import ExtensionReason
from workers.correspondence.mailer import MailSettings
from workers.desk.accounts import ACCOUNT, Staff, known_and_recorded
from workers.desk.audiences import AudienceDesk
from workers.desk.settings import DeskSettings
from workers.one_click import OneClickLinks
from workers.rules.decisions import Refusal
from workers.services import Trust, utc_now
from workers.stores.calls import Calls
from workers.web import MAX_BODY, Handler, Listening, Refused, add_health, answer, as_problems

log = structlog.get_logger("greffier.desk")


def _one_of(*words: str) -> FieldType:
    return pattern(f"^({'|'.join(words)})$", 40)


_WORDS: Final = text(4000, lines=True)
_GROUND: Final = pattern(r"^[A-Za-z0-9 ().,:/-]{1,120}$", 120)
_YES: Final = FieldType(bool, bool)

EXTEND: Final = Shape("extend", {"reason": _one_of(*ExtensionReason), "text": _WORDS})
REFUSE: Final = Shape("refuse", {"refusal": _one_of(*Refusal), "text": _WORDS})
HOLD: Final = Shape("hold", {"ground": _GROUND, "until": DAY})
LIFT: Final = Shape("lift", {})
IDENTITY: Final = Shape("identity", {}, {"ask": _WORDS, "proved": _YES})
DECIDE: Final = Shape(
    "decide", {"store": pattern("^[a-z]{2,16}$", 16), "decision": _one_of("again", "accept"), "reason": _GROUND}
)


@dataclass(frozen=True, slots=True)
class CaseDesk:
    """The handlers."""

    docket: Docket
    staff: Staff
    audiences: AudienceDesk

    def application(self) -> web.Application:
        services = self.docket.services
        checked: Any = known_and_recorded(self.staff, Calls(services.databases), services.clock)
        middlewares = [as_problems, _refusals_as_conflicts, checked]
        application = web.Application(middlewares=middlewares, client_max_size=MAX_BODY)
        router = application.router
        router.add_get("/api/cases", self.list)
        router.add_get("/api/cases/{reference}", self.show)
        for name, handler in (
            ("extend", self.extend),
            ("refuse", self.refuse),
            ("hold", self.hold),
            ("lift", self.lift),
            ("identity", self.identity),
            ("decide", self.decide),
        ):
            router.add_post(f"/api/cases/{{reference}}/{name}", handler)
        router.add_get("/api/audience/{purpose}", self.audiences.page)
        add_health(router, services.databases.ping)
        return application

    async def list(self, request: web.Request) -> web.StreamResponse:
        """A page of cases."""
        wanted = request.query.get("filter", Filter.OPEN.value)
        if wanted not in tuple(Filter):
            raise InvalidBody(Problem("unknown_filter", "/filter", f"must be one of {', '.join(Filter)}"))
        return answer(await listed(self.docket, Filter(wanted), request.query.get("after")))

    async def show(self, request: web.Request) -> web.StreamResponse:
        """One case."""
        return await self._shown(request)

    async def extend(self, request: web.Request) -> web.StreamResponse:
        said = await _body(request, EXTEND)
        reason = ExtensionReason(said["reason"])
        await deciding.extend(self.docket, _reference(request), reason, said["text"], _name(request))
        return await self._shown(request)

    async def refuse(self, request: web.Request) -> web.StreamResponse:
        said = await _body(request, REFUSE)
        refusal = Refusal(said["refusal"])
        await deciding.refuse(self.docket, _reference(request), refusal, said["text"], _name(request))
        return await self._shown(request)

    async def hold(self, request: web.Request) -> web.StreamResponse:
        said = await _body(request, HOLD)
        until = date.fromisoformat(said["until"])
        await deciding.hold(self.docket, _reference(request), said["ground"], until, _name(request))
        return await self._shown(request)

    async def lift(self, request: web.Request) -> web.StreamResponse:
        await _body(request, LIFT)
        await deciding.lift(self.docket, _reference(request), _name(request))
        return await self._shown(request)

    async def identity(self, request: web.Request) -> web.StreamResponse:
        said = await _body(request, IDENTITY)
        if ("ask" in said) is (said.get("proved") is True):
            raise InvalidBody(Problem("one_of_two", "", "must say ask, with why, or proved: true"))
        if "ask" in said:
            await deciding.ask_identity(self.docket, _reference(request), said["ask"], _name(request))
        else:
            await deciding.identity_proved(self.docket, _reference(request), _name(request))
        return await self._shown(request)

    async def decide(self, request: web.Request) -> web.StreamResponse:
        said = await _body(request, DECIDE)
        told = (said["store"], said["decision"], said["reason"])
        await deciding.settle(self.docket, _reference(request), *told, _name(request))
        return await self._shown(request)

    async def _shown(self, request: web.Request) -> web.StreamResponse:
        return answer(await whole(self.docket, _reference(request)))


@web.middleware
async def _refusals_as_conflicts(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What a case does not allow, as a problem."""
    try:
        return await handler(request)
    except CannotDecide as error:
        status = 404 if error.code in ("unknown_case", "unknown_store") else 409
        raise Refused(status, error.code, f"{error}.") from None


def _reference(request: web.Request) -> str:
    return request.match_info["reference"]


def _name(request: web.Request) -> str:
    return request[ACCOUNT].name


async def _body(request: web.Request, shape: Shape) -> dict[str, Any]:
    """What was decided, held against its shape. Raises :class:`InvalidMessage`, :class:`InvalidBody`."""
    raw = await request.read()
    if raw and request.content_type != "application/json":
        raise Refused(415, "unsupported_media_type", "JSON is spoken here.")
    said = parse(raw) if raw else {}
    if not isinstance(said, dict):
        raise InvalidMessage("not_an_object")
    return shape.clean(said)


@asynccontextmanager
async def open_desk(
    settings: DeskSettings, mail: MailSettings, clock: Callable[[], datetime] = utc_now
) -> AsyncIterator[int]:
    """A desk at work; its port. Raises :class:`schemas.errors.ConfigurationError`."""
    trust, staff = Trust.read(settings), Staff(settings.desk_accounts)
    links = OneClickLinks(read_token_key(settings.keys), trust.references, mail.public_url, mail.counter_url)
    async with open_docket(settings, trust, mail, clock) as docket:
        desk = CaseDesk(docket, staff, AudienceDesk(docket.services, links))
        async with Listening(desk.application(), settings.desk_host, settings.desk_port) as listening:
            log.info("desk open", port=listening.port, one_click_links=links.public_url)
            yield listening.port
