"""Whoever asked is told of every change, by a real call over TLS, until it is taken."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from cryptography import x509

from schemas.terms import Channel, Right
from tests.workers.bench import Bench
from tests.workers.cases.court import Court
from tests.workers.outside.certificates import Authority
from tests.workers.outside.conftest import let_in
from workers.cases.engine import advance
from workers.cases.outside import take_in
from workers.counter.handing import Handing
from workers.outside.courier import Courier, OutsideOnly, is_outside
from workers.outside.trust import OutsideTrust
from workers.outside.window import Asked, Window
from workers.rules.signatures import check_signature
from workers.rules.webhooks import AGAIN_AFTER
from workers.status import look_around
from workers.stores.outside import Outside

LONG = timedelta(days=2)


class Here(AbstractResolver):
    """Every name leads to this machine."""

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": 2, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        pass


@dataclass
class Post:
    """An agent's end: what came in, and what it answers; ``None`` in ``answers`` is a 200."""

    courier: Courier
    court: Court
    bench: Bench
    url: str = ""
    came: list[dict[str, Any]] = field(default_factory=list)
    last: tuple[bytes, Mapping[str, str]] = (b"", {})
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.came.append(await request.json())
        self.last = (await request.read(), request.headers.copy())
        status, headers = self.answers.pop(0) if self.answers else (200, {})
        return web.Response(status=status, headers=headers, text="this is never read")

    async def asked(self, url: str | None = None, peer: str = "drp:AGENT_ONE", dialect: str | None = None) -> str:
        """A request with an address to call back, whose case is open; its id."""
        made = Asked(
            peer=peer,
            key=f"{peer}/{url}",
            dialect=dialect,
            known_as="asked-1",
            channel=Channel.AGENT,
            right=Right.ERASURE,
            email="ada@example.com",
            same=b"",
            callbacks=[url or self.url],
        )
        kept = await self.courier.window.take_in(made)
        await take_in(self.court.desk)
        await advance(self.court.desk, await self.reference(kept["_id"]))
        return str(kept["_id"])

    async def reference(self, request_id: str) -> str:
        found = await self.courier.window.outside.get(request_id)
        assert found is not None
        return str(found["case"])

    async def later(self, by: timedelta) -> None:
        """Time goes by, and the courier looks."""
        self.bench.clock.at = self.bench.clock() + by
        await self.courier.tell()

    async def kept(self, request_id: str) -> dict[str, Any]:
        found = await self.courier.window.outside.get(request_id)
        assert found is not None
        return found

    @property
    def told(self) -> list[str]:
        return [one["status"] for one in self.came]


@pytest.fixture(scope="module")
def agents_end(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return authority.issue("agent.example.org", "shop.example.org").server(tmp_path_factory.mktemp("agent"))


@pytest.fixture
async def post(
    court: Court, bench: Bench, keys: Path, outside_keys: Path, authority: Authority, agents_end: ssl.SSLContext
) -> AsyncIterator[Post]:
    let_in(court, keys)
    desk = court.desk
    trust = OutsideTrust.read(outside_keys)
    window = Window(
        Outside(desk.services.databases), desk.cases, desk.evidence, trust.sealer, trust.secret, bench.clock
    )
    trusting = ssl.create_default_context(cadata=authority.own.pem.decode())
    connector = aiohttp.TCPConnector(resolver=Here(), ssl=trusting)
    async with aiohttp.ClientSession(connector=connector) as http:
        routes = trust.spoken(window, Handing(desk.cases, desk.packages, desk.evidence, bench.clock))
        found = Post(Courier(window, {one.protocol: one for one in routes}, http), court, bench)
        application = web.Application()
        application.router.add_post("/update_status", found.take)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=agents_end).start()
        found.url = f"https://agent.example.org:{runner.addresses[0][1]}/update_status"
        bench.clock.at = bench.clock()
        yield found
        await runner.cleanup()


async def test_every_change_is_told_once(post: Post) -> None:
    request_id = await post.asked()
    reference = await post.reference(request_id)
    await post.later(timedelta(minutes=1))
    assert post.told == []  # that it is open, it was answered at once
    await post.court.confirm(reference)
    await post.later(timedelta(minutes=1))
    await post.later(timedelta(minutes=1))
    assert post.told == ["in_progress"]
    assert post.came[0]["request_id"] == request_id
    await post.court.run(reference)
    await post.later(timedelta(minutes=1))
    await post.later(timedelta(days=1))
    assert post.told == ["in_progress", "fulfilled"]
    kept = await post.kept(request_id)
    assert "look_at" not in kept
    assert kept["drop_at"] - post.bench.clock() < timedelta(days=60)


@pytest.mark.parametrize(("version", "name"), [("2.0", "X-OpenDSR"), ("1.0", "X-OpenGDPR")])
async def test_a_controller_is_called_back_under_our_signature(
    post: Post, outside_keys: Path, version: str, name: str
) -> None:
    url = post.url.replace("agent.example.org", "shop.example.org")
    request_id = await post.asked(url, "opendsr:shop", version)
    reference = await post.reference(request_id)
    await post.court.confirm(reference)
    await post.later(timedelta(minutes=1))
    [told] = post.came
    assert told["status_callback_url"] == url
    assert (told["controller_id"], told["subject_request_id"]) == ("shop", "asked-1")
    assert told["request_status"] == "in_progress"
    assert told["expected_completion_time"]
    raw, headers = post.last
    assert headers[f"{name}-Processor-Domain"] == "opendsr.example.com"
    ours = x509.load_pem_x509_certificate((outside_keys / "opendsr.cert.pem").read_bytes())
    check_signature(ours, raw, headers[f"{name}-Signature"])


async def test_what_fails_is_told_again_as_it_stands_by_then(post: Post) -> None:
    request_id = await post.asked()
    reference = await post.reference(request_id)
    post.answers = [(503, {}), (302, {"Location": "https://agent.example.org/else"})]
    await post.court.confirm(reference)
    await post.later(timedelta(minutes=1))
    await post.later(timedelta(seconds=1))
    assert post.told == ["in_progress"]
    await post.later(timedelta(seconds=6))
    await post.later(timedelta(minutes=4))
    assert post.told == ["in_progress"] * 2
    await post.court.run(reference)
    await post.later(timedelta(minutes=1))  # news: told at once, not when the old word's turn comes
    await post.later(LONG)
    assert post.told == ["in_progress", "in_progress", "fulfilled"]


async def test_after_ten_tries_it_is_given_up_and_somebody_sees_it(post: Post) -> None:
    request_id = await post.asked()
    post.answers = [(500, {})] * 50
    await post.court.confirm(await post.reference(request_id))
    await post.later(timedelta(minutes=1))
    for pause in AGAIN_AFTER:
        await post.later(pause * 1.2)
    await post.later(LONG)
    assert post.told == ["in_progress"] * 10
    assert (await post.kept(request_id))["alarm"] == "given_up"
    status = await look_around(post.court.desk.services, post.bench.redis)
    assert any(alarm.startswith("outside: 1 request(s)") for alarm in status.alarms)
    post.answers = []
    await post.court.run(await post.reference(request_id))
    await post.later(timedelta(minutes=1))  # what is new is tried again, and the alarm ends
    assert post.told[-1] == "fulfilled"
    assert "alarm" not in await post.kept(request_id)


async def test_a_try_that_comes_after_the_due_date_is_an_alarm_before(post: Post) -> None:
    request_id = await post.asked()
    reference = await post.reference(request_id)
    await post.court.confirm(reference)
    due = (await post.court.case(reference))["answer_by"]
    post.answers = [(429, {"Retry-After": "7200"})]
    await post.later(due - timedelta(hours=1) - post.bench.clock())
    assert (await post.kept(request_id))["alarm"] == "late"


async def test_who_wants_no_more_calls_gets_none(post: Post) -> None:
    request_id = await post.asked()
    reference = await post.reference(request_id)
    post.answers = [(410, {})]
    await post.court.confirm(reference)
    await post.later(timedelta(minutes=1))
    await post.court.run(reference)
    await post.later(LONG)
    assert post.told == ["in_progress"]
    assert "alarm" not in await post.kept(request_id)


async def test_a_host_that_is_named_no_more_is_not_called(post: Post) -> None:
    request_id = await post.asked(post.url.replace("agent.example.org", "left.example.org"))
    await post.court.confirm(await post.reference(request_id))
    await post.later(timedelta(minutes=1))
    assert post.told == []
    assert (await post.kept(request_id))["calls"][0]["unwanted"]


async def test_two_couriers_tell_it_once(post: Post) -> None:
    request_id = await post.asked()
    await post.court.confirm(await post.reference(request_id))
    post.bench.clock.at = post.bench.clock() + timedelta(minutes=1)
    looked = await asyncio.gather(*(post.courier.tell() for _ in range(4)))
    assert sum(looked) == 1
    assert post.told == ["in_progress"]


async def test_the_variant_that_only_looks_tells_it_twice(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the lease that goes with finding, the test above would see it."""
    request_id = await post.asked()
    await post.court.confirm(await post.reference(request_id))
    post.bench.clock.at = post.bench.clock() + timedelta(minutes=1)
    found = await post.kept(request_id)

    async def only_look(*_: Any) -> list[dict[str, Any]]:
        return [found]

    monkeypatch.setattr(Outside, "due", only_look)
    await asyncio.gather(*(post.courier.tell() for _ in range(2)))
    assert post.told == ["in_progress"] * 2


async def test_a_server_without_the_right_certificate_is_not_told(post: Post) -> None:
    strict = aiohttp.TCPConnector(resolver=Here())  # knows the public authorities only
    async with aiohttp.ClientSession(connector=strict) as http:
        request_id = await post.asked()
        await post.court.confirm(await post.reference(request_id))
        post.bench.clock.at = post.bench.clock() + timedelta(minutes=1)
        await Courier(post.courier.window, post.courier.tellers, http).tell()
    assert post.told == []
    assert (await post.kept(request_id))["calls"][0]["tries"] == 1


@pytest.mark.parametrize(
    ("address", "outside"),
    [
        ("192.88.99.9", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
    ],
)
def test_addresses_inside_a_network(address: str, outside: bool) -> None:
    assert is_outside(address) is outside


async def test_a_public_name_for_an_inner_address_is_not_resolved() -> None:
    guarded, open_to_all = OutsideOnly(), ThreadedResolver()
    assert await open_to_all.resolve("localhost", 443)  # the variant that would call it
    with pytest.raises(OSError, match="no public address"):
        await guarded.resolve("localhost", 443)
