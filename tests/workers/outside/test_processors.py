"""An external processor is asked for an erasure, and the case waits for its signed word.

The processor of these tests is a server of its own, over TLS, with a certificate of the tests' authority.
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

from schemas.errors import ConfigurationError
from schemas.keyring import ERRANDS, read_sealer
from schemas.ledger_keys import new_ledger_keys
from tests.workers.bench import Bench
from tests.workers.cases.court import Court, mails_leave, settled
from tests.workers.cases.test_evidence_of_cases import checked
from tests.workers.outside.certificates import DAY, Authority, Issued
from tests.workers.outside.conftest import let_in
from tests.workers.outside.test_courier import Here
from workers.cases.deciding import CannotDecide, settle
from workers.cases.engine import advance
from workers.cases.errands import read_errand_sealer
from workers.cases.showing import whole
from workers.outside.processors import CALLBACKS, Processors
from workers.outside.trust import OutsideTrust
from workers.rules.opendsr_asked import read_callback
from workers.rules.signatures import sign
from workers.services import utc_now
from workers.status import look_around

DOMAIN = "opendsr.mailing.example.org"
MINUTE = timedelta(minutes=1)


@dataclass
class Mailing:
    """The processor. ``issued``: what it signs with; ``shown``: the certificate that discovery leads to."""

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
        return {**named, "request_status": self.state, "expected_completion_time": "2030-01-01T00:00:00Z"}

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/v2/discovery", self.discover)
        application.router.add_get("/v2/certificate.pem", self.certificate)
        application.router.add_post("/v2/requests", self.ask)
        application.router.add_get("/v2/requests/{id}", self.status)
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


async def test_an_erasure_is_asked_and_the_case_closes_on_the_processors_word(asking: Asking) -> None:
    reference = await asking.served()
    [errand] = asking.errands
    assert "letter" in errand
    assert "ada@" not in json.dumps(errand, default=str)
    await asking.later()
    [asked] = asking.mailing.asked
    assert asked["subject_identities"][0]["identity_value"] == "ada@example.com"
    assert (asked["subject_request_type"], asked["subject_request_id"]) == ("erasure", errand["_id"])
    assert asking.mailing.keys == ["Bearer known-by"]
    [errand] = asking.errands
    assert (errand["state"], "letter" in errand) == ("asked", False)  # nothing of the person is left of it
    assert "ada@" not in json.dumps(errand, default=str)

    assert await asking.proof(reference) == "verified"  # every store of ours proved, and still open
    assert (await asking.court.case(reference))["answer"] == "answered"  # the person did not wait for it
    assert await asking.call_back() == 202
    await advance(asking.court.desk, reference)
    assert (await asking.court.case(reference))["proof"] == "closed"
    assert await asking.call_back() == 202  # said twice
    kinds = [one["_id"].split("/")[1] for one in asking.bench.collection("ledger_pending", "evidence")]
    assert (kinds.count("processor_asked"), kinds.count("processor_answered")) == (1, 1)
    _, report = await checked(asking.court, new_ledger_keys(utc_now()), reference)
    assert report.sound
    shown = (await whole(asking.court.desk, reference))["processors"]
    assert [(one["processor"], one["state"]) for one in shown] == [("mailing", "done")]
    assert asking.mailing.fetched == 1  # its certificate is kept


async def test_a_processor_that_does_not_call_back_is_asked_how_it_stands(asking: Asking) -> None:
    await asking.served()
    await asking.later()
    await asking.later(timedelta(hours=2))
    assert asking.errands[0]["state"] == "asked"
    asking.mailing.state, asking.mailing.name = "completed", "X-OpenGDPR"  # one that knows version 1's names
    await asking.later(timedelta(hours=2))
    assert asking.errands[0]["state"] == "done"


async def test_only_an_erasure_is_asked(asking: Asking) -> None:
    for right in ("access", "objection"):
        await asking.served(right)
    assert asking.errands == []


async def test_a_processor_that_refuses_keeps_the_case_open_and_is_seen(asking: Asking) -> None:
    reference = await asking.served()
    asking.mailing.answer = 400
    await asking.later()
    assert asking.errands[0]["state"] == "refused"
    assert await asking.proof(reference) == "verified"
    status = await look_around(asking.court.desk.services, asking.bench.redis)
    assert "processor mailing: 1 request(s) refused or unanswered" in status.alarms
    decided = (reference, "mailing", "accept", "deleted by hand, letter of today", "dpo.sample")
    await settle(asking.court.desk, *decided)
    await advance(asking.court.desk, reference)
    assert (await asking.court.case(reference))["proof"] == "closed"
    with pytest.raises(CannotDecide, match="no such store"):
        await settle(asking.court.desk, *decided)


async def test_a_processor_that_is_away_is_asked_again_and_seen_before_the_date(asking: Asking) -> None:
    await asking.served()
    asking.mailing.answer = 503
    await asking.later()
    await asking.later(timedelta(seconds=1))
    assert len(asking.mailing.asked) == 1
    for _ in range(40):
        await asking.later(timedelta(days=1, hours=3))
    assert len({one["subject_request_id"] for one in asking.mailing.asked}) == 1  # the same request, every time
    assert asking.errands[0]["alarm"] == "unanswered"
    asking.mailing.answer = 201
    await asking.later(timedelta(days=2))
    assert (asking.errands[0]["state"], "alarm" in asking.errands[0]) == ("asked", False)


@pytest.mark.parametrize(
    "spoil", [{"encoded_request": "b3RoZXI="}, {"subject_request_id": "another"}, {"expected_completion_time": 5}]
)
async def test_an_answer_about_something_else_is_not_believed(asking: Asking, spoil: dict[str, Any]) -> None:
    await asking.served()
    asking.mailing.spoil = spoil
    await asking.later()
    assert (asking.errands[0]["state"], "letter" in asking.errands[0]) == ("waiting", True)


async def test_a_call_back_is_believed_in_the_written_order(asking: Asking, authority: Authority) -> None:
    """Everything is wrong at first; what is mended, step by step, changes the answer as the order has it."""
    await asking.served()
    await asking.later()
    mailing, good = asking.mailing, asking.mailing.issued
    asking.processors.certificates.clear()
    stranger = Authority.new("Stranger")
    mailing.domain, mailing.issued = "elsewhere.example.org", authority.issue("elsewhere.example.org")
    assert await asking.call_back(b"{") == 401  # 1. not on the list, whatever its certificate
    mailing.domain = DOMAIN
    for shown in (
        stranger.issue(DOMAIN),  # an authority that is not named
        stranger.own,  # signed by itself
        authority.issue("other.example.org"),
        authority.issue(DOMAIN, begins=-20 * DAY, ends=-10 * DAY),
        authority.issue(DOMAIN, begins=10 * DAY),
    ):
        mailing.shown, mailing.issued = shown.pem, shown
        asking.bench.clock.at = asking.bench.clock() + MINUTE
        assert await asking.call_back(b"{") == 401  # 2. its certificate
    mailing.shown = b"nothing"
    asking.bench.clock.at = asking.bench.clock() + MINUTE
    fetched = mailing.fetched
    for _ in range(3):  # whoever calls back with what does not hold makes us fetch once a minute, no more
        assert await asking.call_back(b"{") == 401
    assert mailing.fetched == fetched + 1
    asking.bench.clock.at = asking.bench.clock() + MINUTE
    mailing.shown, mailing.issued = good.pem, stranger.own
    assert await asking.call_back(b"{") == 400  # 3. its signature
    mailing.issued = good
    assert await asking.call_back(b"{") == 400  # 4. only now is it read
    assert await asking.call_back(status_callback_url="https://opendsr.example.com/other") == 400
    assert await asking.call_back(subject_request_id="0f4ad7a2-7e0e-4b7d-9a44-3f8e5f3d7c11") == 400
    assert await asking.call_back(request_status="denied") == 400
    assert await asking.call_back(headers={"X-OpenDSR-Signature": "x"}) == 401
    assert asking.errands[0]["state"] == "asked"
    assert await asking.call_back() == 202
    assert asking.errands[0]["state"] == "done"


async def test_a_body_that_was_altered_is_not_believed(asking: Asking) -> None:
    await asking.served()
    await asking.later()
    url = {"status_callback_url": asking.processors.callback_url}
    raw = json.dumps(asking.mailing.statement(asking.errands[0]["_id"]) | url).encode()
    headers = asking.mailing.headers(raw)
    altered = raw.replace(b"pending", b"completed")
    assert await asking.call_back(altered, headers) == 400
    said = read_callback(altered, asking.processors.callback_url)[1]
    assert said.status == "completed"  # the variant that reads first would have believed it
    assert asking.errands[0]["state"] == "asked"


async def test_a_certificate_that_was_revoked_is_fetched_anew(asking: Asking, authority: Authority) -> None:
    await asking.served()
    await asking.later()
    lost, fresh = asking.mailing.issued, authority.issue(DOMAIN)
    assert asking.processors.certificates == {DOMAIN: [lost.certificate]}
    [named] = asking.processors.peers.processors
    object.__setattr__(named, "revoked", (lost.certificate.serial_number,))  # as after the operator's next start
    assert await asking.call_back() == 401
    asking.mailing.issued, asking.mailing.shown = fresh, fresh.pem
    asking.bench.clock.at = asking.bench.clock() + MINUTE
    assert await asking.call_back() == 202


async def test_another_processors_errand_is_not_its_to_end(asking: Asking) -> None:
    await asking.served()
    await asking.later()
    collection = asking.bench.reader[f"{asking.bench.prefix}_evidence"]["errands"]
    collection.update_one({}, {"$set": {"domain": "opendsr.other.example.org"}})
    assert await asking.call_back() == 400


def test_a_register_that_asks_a_processor_needs_the_key_to_seal_errands(asking: Asking, tmp_path: Path) -> None:
    register = asking.court.desk.services.trust.register
    with pytest.raises(ConfigurationError, match="errands: is missing"):
        read_errand_sealer(tmp_path, register)
    assert read_errand_sealer(tmp_path, register.model_copy(update={"processors": {}})) is None
