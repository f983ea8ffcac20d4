"""An external processor that speaks OpenDSR, and the group that asks it.

The processor is a server of its own, over TLS, with a certificate of the tests' authority.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from schemas.keyring import ERRANDS, read_sealer
from tests.workers.bench import Bench
from tests.workers.cases.court import Court, mails_leave, settled
from tests.workers.outside.certificates import Authority, Issued
from tests.workers.outside.conftest import let_in
from tests.workers.outside.test_courier import Here
from workers.cases.engine import advance
from workers.outside.processors import CALLBACKS, Processors
from workers.outside.trust import OutsideTrust
from workers.rules.signatures import sign

DOMAIN = "opendsr.mailing.example.org"
MINUTE = timedelta(minutes=1)


@dataclass
class Mailing:
    """The processor. ``issued``: what it signs with; ``shown``: the certificate that discovery leads to.

    ``holds``: what it hands over for access, and ``results_url``, where it says that it does, if not here.
    ``shown_to``: what whoever fetched it was known by.
    """

    issued: Issued
    shown: bytes
    domain: str = DOMAIN
    name: str = "X-OpenDSR"
    answer: int = 201
    state: str = "pending"
    spoil: Any = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    fetched: int = 0
    url: str = ""
    holds: bytes | None = None
    media_type: str = "application/json"
    results_url: str | None = None
    shown_to: list[str | None] = field(default_factory=list)

    def headers(self, raw: bytes) -> dict[str, str]:
        signature = sign(self.issued.key, raw)
        return {f"{self.name}-Processor-Domain": self.domain, f"{self.name}-Signature": signature}

    def said(self, told: dict[str, Any], status: int) -> web.Response:
        raw = json.dumps(told | (self.spoil or {})).encode()
        return web.Response(body=raw, status=status, content_type="application/json", headers=self.headers(raw))

    async def discover(self, _: web.Request) -> web.Response:
        return web.json_response({"processor_certificate": f"{self.url}/certificate.pem"})

    async def certificate(self, _: web.Request) -> web.Response:
        self.fetched += 1
        return web.Response(body=self.shown)

    async def ask(self, request: web.Request) -> web.Response:
        raw = await request.read()
        self.asked.append(json.loads(raw))
        self.keys.append(request.headers.get("Authorization"))
        told = {
            "controller_id": "group",
            "expected_completion_time": "2030-01-01T00:00:00Z",
            "received_time": "2026-11-23T12:00:01Z",
            "encoded_request": base64.b64encode(raw).decode(),
            "subject_request_id": self.asked[-1]["subject_request_id"],
        }
        return self.said(told, self.answer)

    async def status(self, request: web.Request) -> web.Response:
        return self.said(self.statement(request.match_info["id"]), 200)

    def statement(self, errand: str) -> dict[str, Any]:
        named = {"controller_id": "group", "subject_request_id": errand}
        told = {**named, "request_status": self.state, "expected_completion_time": "2030-01-01T00:00:00Z"}
        if self.state != "completed" or self.holds is None:
            return told
        return told | {"results_url": self.results_url or f"{self.url}/results/{errand}", "results_count": 1}

    async def results(self, request: web.Request) -> web.Response:
        self.shown_to.append(request.headers.get("Authorization"))
        return web.Response(body=self.holds, content_type=self.media_type)

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/v2/discovery", self.discover)
        application.router.add_get("/v2/certificate.pem", self.certificate)
        application.router.add_post("/v2/requests", self.ask)
        application.router.add_get("/v2/requests/{id}", self.status)
        application.router.add_get("/v2/results/{id}", self.results)
        return application


@dataclass
class Asking:
    """The group's side: a court, what runs errands, and a client at the address for calls back."""

    court: Court
    bench: Bench
    processors: Processors
    mailing: Mailing
    http: aiohttp.ClientSession

    async def served(self, right: str = "erasure") -> str:
        reference = await self.court.ask(right, "ada@example.com")
        await self.court.confirm(reference)
        return reference

    async def later(self, by: timedelta = MINUTE) -> None:
        self.bench.clock.at = self.bench.clock() + by
        await self.processors.run()

    @property
    def errands(self) -> list[dict[str, Any]]:
        return self.bench.collection("errands", "evidence")

    async def proof(self, reference: str) -> str:
        """How far the case's proof gets when all of the group's own stores have answered and its letters have left."""
        await self.court.run(reference)
        await mails_leave(self.court, reference)
        await settled(self.court, reference)
        await advance(self.court.desk, reference)
        return str((await self.court.case(reference))["proof"])

    async def call_back(self, raw: bytes | None = None, headers: dict[str, str] | None = None, **changed: Any) -> int:
        """The processor calls back; what it is answered."""
        told = self.mailing.statement(self.errands[0]["_id"]) | {"request_status": "completed"}
        told |= {"status_callback_url": self.processors.callback_url} | changed
        raw = json.dumps(told).encode() if raw is None else raw
        async with self.http.post(CALLBACKS, data=raw, headers=headers or self.mailing.headers(raw)) as answered:
            return answered.status


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    return authority.issue(DOMAIN)


@pytest.fixture(scope="module")
def mailings_end(issued: Issued, tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return issued.server(tmp_path_factory.mktemp("mailing"))


@pytest.fixture
async def asking(
    court: Court,
    bench: Bench,
    keys: Path,
    outside_keys: Path,
    authority: Authority,
    issued: Issued,
    mailings_end: ssl.SSLContext,
) -> AsyncIterator[Asking]:
    let_in(court, keys)
    services = court.desk.services
    register = services.trust.register
    mailing = register.processors["mailing"].model_copy(update={"opendsr": DOMAIN})
    speaking = register.model_copy(update={"processors": {**register.processors, "mailing": mailing}})
    services = replace(services, trust=replace(services.trust, register=speaking))
    court.desk = replace(court.desk, services=services, errand_sealer=read_sealer(keys / "controller" / ERRANDS))
    bench.clock.at = bench.clock()
    end = Mailing(issued, issued.pem)
    trusting = ssl.create_default_context(cadata=authority.own.pem.decode())
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Here(), ssl=trusting)) as http:
        runner = web.AppRunner(end.application())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=mailings_end).start()
        end.url = f"https://{DOMAIN}:{runner.addresses[0][1]}/v2"
        trust = OutsideTrust.read(outside_keys)
        assert trust.peers.opendsr
        named = [one.model_copy(update={"url": end.url}) for one in trust.peers.opendsr.processors]
        peers = trust.peers.opendsr.model_copy(update={"processors": tuple(named)})
        trust = replace(trust, peers=trust.peers.model_copy(update={"opendsr": peers}))
        processors = trust.processors(services.databases, court.desk.evidence, court.desk.cases, bench.clock, http)
        window = web.Application()
        processors.add_to(window.router)
        counter = web.AppRunner(window)
        await counter.setup()
        await web.TCPSite(counter, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{counter.addresses[0][1]}") as client:
            yield Asking(court, bench, processors, end, client)
        await counter.cleanup()
        await runner.cleanup()
