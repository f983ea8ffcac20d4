"""The counter as one object: made from settings, opened on its port, drained and closed.

| call | what |
| --- | --- |
| ``GET /status/{token}`` | state and dates of a case, as a page or as JSON |
| ``GET /download/{token}`` | a page with one button; it fetches nothing: scanners of mail open links too |
| ``POST /download/{token}`` | the access package, once: 410 when it was fetched or its link has ended |
| ``/v1/…``, ``/v2/…`` | for other organisations' systems: :mod:`workers.outside` |
| ``GET /tasks``, ``POST /receipts`` | for subsidiaries without Python: :mod:`workers.counter.offices` |
| ``GET, POST /preferences/{token}`` | :mod:`workers.counter.preferences` |

A token that is not ours, or of another kind, is 404 and says nothing more.
Source: R17; design § 6 "Counter"; reliability § 8.7.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from aiohttp import web
from joserfc.jwk import OKPKey

from schemas.calendar import civil_day
from schemas.errors import InvalidMessage
from schemas.keyring import PACKAGES, read_wrapping_keys
from schemas.party_keys import read_token_keys
from schemas.register import Register, load_register
from schemas.terms import SubsidiaryKind
from schemas.tokens import MAX_CHARS, TokenKind, read_token
from workers.counter.callers import Callers
from workers.counter.handing import Handing
from workers.counter.offices import Offices
from workers.counter.pages import page, status_page
from workers.counter.preferences import PreferencesPage, open_preferences
from workers.counter.settings import CounterSettings
from workers.evidence.notes import Notes
from workers.outside.trust import OutsideTrust, Routes
from workers.services import utc_now
from workers.stores.cases import Cases
from workers.stores.keys import LocalKeyWrapper
from workers.stores.leases import Leases
from workers.stores.ledger import Ledger
from workers.stores.mongo import Databases, Document, connect
from workers.stores.packages import Packages
from workers.stores.preferences import Preferences
from workers.web import JSON, MAX_BODY, Listening, Refused, add_health, answer, as_problems

log = structlog.get_logger("greffier.counter")


@dataclass(frozen=True, slots=True)
class Counter:
    """The handlers. ``token_keys``: public, by key id."""

    databases: Databases
    cases: Cases
    handing: Handing
    preferences: PreferencesPage
    token_keys: Mapping[str, OKPKey]
    clock: Callable[[], datetime]
    offices: Offices | None = None
    outside: Sequence[Routes] = ()

    def application(self) -> web.Application:
        application = web.Application(middlewares=[as_problems], client_max_size=MAX_BODY)
        router = application.router
        router.add_get("/status/{token}", self.status)
        router.add_get("/download/{token}", self.show)
        router.add_post("/download/{token}", self.download)
        if self.offices is not None:
            self.offices.add_to(application)
        for routes in self.outside:
            routes.add_to(router)
        self.preferences.add_to(router)
        add_health(router, self.ready)
        return application

    async def ready(self) -> None:
        """Raises :class:`StoreUnavailable` while one of the two databases is away."""
        await self.databases.ping("evidence", "keys")

    async def status(self, request: web.Request) -> web.StreamResponse:
        """State and dates, no word about the person, nor about any store."""
        found = await self._case(request, TokenKind.STATUS)
        if isinstance(found, web.Response):
            return found
        case, token_id = found
        if case.get("status") != token_id:
            raise _nothing_here()
        told = status_of(case)
        if JSON in request.headers.get("Accept", ""):
            return answer(told)
        return status_page(request, told)

    async def show(self, request: web.Request) -> web.StreamResponse:
        """The page behind the mailed link."""
        found = await self._package(request)
        return found if isinstance(found, web.Response) else page(request, "download")

    async def download(self, request: web.Request) -> web.StreamResponse:
        """The package, once."""
        case = await self._package(request)
        if isinstance(case, web.Response):
            return case
        return await self.handing.over(request, case) or page(request, "gone", 410)

    async def _package(self, request: web.Request) -> Document | web.Response:
        """The case of a download link that is still good, or the page that says it is not."""
        found = await self._case(request, TokenKind.DOWNLOAD)
        if isinstance(found, web.Response):
            return found
        case, token_id = found
        package = case.get("package", {})
        if token_id in package.get("former", ()):
            return page(request, "gone", 410)
        if package.get("token") != token_id:
            raise _nothing_here()
        return page(request, "gone", 410) if "taken_at" in package or "dropped_at" in package else case

    async def _case(self, request: web.Request, kind: TokenKind) -> tuple[Document, str] | web.Response:
        """The case a token speaks of, and the token's id; a page where it has expired."""
        token = request.match_info["token"]
        try:
            if len(token) > MAX_CHARS:
                raise InvalidMessage("unknown_token")
            claims = read_token(token, self.token_keys, kind, self.clock())
        except InvalidMessage as fault:
            if fault.code == "expired_token":
                return page(request, "gone", 410)
            raise _nothing_here() from None
        case = await self.cases.get(claims.case)
        if case is None:
            raise _nothing_here()
        return case, claims.id


def status_of(case: Document) -> dict[str, Any]:
    """What a person may see of a case without proving more than that a link reached them."""
    told: dict[str, Any] = {
        "reference": case["_id"],
        "right": case["right"],
        "state": case["answer"],
        "received_on": case["received_on"],
        "due_on": case["due_on"],
        "extended": case.get("extended", False),
    }
    answered = case.get("answered_at") or case.get("refused_at")
    return {**told, "answered_on": civil_day(answered).isoformat()} if answered else told


def _nothing_here() -> Refused:
    return Refused(404, "unknown_token", "There is nothing here.")


@asynccontextmanager
async def open_counter(settings: CounterSettings, clock: Callable[[], datetime] = utc_now) -> AsyncIterator[int]:
    """A counter at work; its port. Raises :class:`schemas.errors.ConfigurationError`."""
    token_keys, wrapper = read_token_keys(settings.keys), LocalKeyWrapper(read_wrapping_keys(settings.keys, PACKAGES))
    trust = OutsideTrust.read(settings.outside) if settings.outside else None
    register, databases = load_register(settings.register_file), connect(settings)
    offices = _open_offices(settings, register, databases, clock)
    cases, notes = Cases(databases), Notes(Ledger(databases), clock)
    handing = Handing(cases, Packages(databases, wrapper), notes, clock)
    opening = trust.open(databases, notes, handing, clock) if trust else nullcontext(())
    choosing = open_preferences(register, Preferences(databases), settings.door_url, token_keys, clock)
    try:
        async with opening as outside, choosing as preferences:
            counter = Counter(databases, cases, handing, preferences, token_keys, clock, offices, outside)
            async with Listening(counter.application(), settings.counter_host, settings.counter_port) as listening:
                log.info("counter open", port=listening.port)
                yield listening.port
    finally:
        if offices is not None:
            await offices.close()
        databases.close()


def _open_offices(
    settings: CounterSettings, register: Register, databases: Databases, clock: Callable[[], datetime]
) -> Offices | None:
    """For the subsidiaries that the register serves over HTTP; none without a Redis to leave their receipts in."""
    if settings.redis_url is None:
        return None
    codes = register.served(SubsidiaryKind.HTTP)
    callers = Callers(settings.keys, codes, clock)
    lease = timedelta(seconds=settings.lease_s)
    return Offices(settings.redis_url.get_secret_value(), codes, callers, Leases(databases), clock, lease)
