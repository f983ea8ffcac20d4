"""A counter that serves other organisations' systems, beside the court whose cases they ask for."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from schemas.keyring import ApiKey, add_api_key, add_outside, read_opener
from tests.workers.bench import Bench
from tests.workers.cases.conftest import court, subsidiary_keys
from tests.workers.cases.court import Court
from tests.workers.outside.certificates import Authority
from workers.cases.engine import advance
from workers.cases.reconciler import reconcile
from workers.counter.app import open_counter
from workers.counter.settings import CounterSettings

__all__ = ["court", "subsidiary_keys"]

AGENT_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))

DIRECTORY = f"""
public_url: https://rights.example.com
drp:
  business: {{id: SAMPLE_BUSINESS, name: Sample, user_verification_url: "https://rights.example.com/proof"}}
  agents:
    - id: AGENT_ONE
      name: Agent One
      verify_key: {base64.b64encode(AGENT_KEY.public_key().public_bytes_raw()).decode()}
      web_url: https://agent.example.org/
      technical_contact: tech@agent.example.org
    - id: AGENT_TWO
      name: Agent Two
      verify_key: {OTHER_KEY.public_key().public_bytes_raw().hex()}
      web_url: https://other.example.org
opendsr:
  domain: opendsr.example.com
  controllers:
    - {{id: shop, key: shop, callback_hosts: [shop.example.org]}}
    - {{id: club, key: club}}
  processors:
    - {{domain: opendsr.mailing.example.org, url: "https://opendsr.mailing.example.org/v2", token: known-by}}
"""


@pytest.fixture(scope="session")
def outside_keys(keys: Path, authority: Authority) -> Path:
    folder = keys / "outside"
    if not folder.exists():  # the fixture serves several folders of tests, each with an instance of its own
        add_outside(keys)
        for name in ("shop", "club"):
            digest = hashlib.sha256(f"{name}-secret".encode()).hexdigest()
            add_api_key(folder, ApiKey(name, digest, types=("opendsr",)))
        processor = authority.issue("opendsr.example.com")
        (folder / "opendsr.key.pem").write_bytes(processor.key_pem)
        (folder / "opendsr.cert.pem").write_bytes(processor.pem)
    (folder / "anchors.pem").unlink(missing_ok=True)
    (folder / "anchors.pem").write_bytes(authority.own.pem)
    (folder / "outside.yaml").write_text(DIRECTORY)
    return folder


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority.new()


def let_in(court: Court, keys: Path) -> None:
    """The controller has started again, and knows the counter's letters."""
    services = court.desk.services
    trust = replace(services.trust, opener=read_opener(keys / "controller"))
    court.desk = replace(court.desk, services=replace(services, trust=trust))


def signed(body: Any, key: Ed25519PrivateKey = AGENT_KEY) -> bytes:
    """A message as an agent sends it."""
    document = json.dumps(body).encode()
    return base64.b64encode(key.sign(document) + document)


@dataclass
class Caller:
    """An agent's system before the counter."""

    http: aiohttp.ClientSession
    clock: Callable[[], datetime]
    tokens: dict[str, str] = field(default_factory=dict)

    def envelope(self, agent: str = "AGENT_ONE", **changed: Any) -> dict[str, Any]:
        now = self.clock()
        said: dict[str, Any] = {
            "agent-id": agent,
            "business-id": "SAMPLE_BUSINESS",
            "issued-at": (now - timedelta(seconds=2)).isoformat(),
            "expires-at": (now + timedelta(minutes=10)).isoformat(),
            "drp.version": "1.0",
        }
        return said | changed

    def exercise(self, agent: str = "AGENT_ONE", **changed: Any) -> dict[str, Any]:
        asked = {"exercise": "deletion", "regime": "ccpa", "email": "ada@example.com", "name": "Ada Example"}
        return {**self.envelope(agent), **asked, **changed}

    async def call(
        self, method: str, path: str, body: bytes | None = None, agent: str | None = "AGENT_ONE", **headers: str
    ) -> tuple[int, Any]:
        """Status and answer. ``agent``: whose token is shown."""
        if agent is not None and agent not in self.tokens:
            self.tokens[agent] = (await self.set_up(agent))[1]["token"]
        bearer = {"Authorization": f"Bearer {self.tokens[agent]}"} if agent else {}
        sent = {"Content-Type": "text/plain", **bearer, **headers}
        async with self.http.request(method, path, data=body, headers=sent) as answered:
            raw = await answered.read()
            return answered.status, json.loads(raw) if answered.content_type == "application/json" and raw else raw

    async def set_up(self, agent: str = "AGENT_ONE", message: bytes | None = None) -> tuple[int, Any]:
        key = AGENT_KEY if agent == "AGENT_ONE" else OTHER_KEY
        return await self.call("POST", f"/v1/agent/{agent}", message or signed(self.envelope(agent), key), agent=None)

    async def ask(self, agent: str = "AGENT_ONE", **changed: Any) -> dict[str, Any]:
        """A request that is taken; its status object."""
        key = AGENT_KEY if agent == "AGENT_ONE" else OTHER_KEY
        status, told = await self.call(
            "POST", "/v1/data-rights-request", signed(self.exercise(agent, **changed), key), agent
        )
        assert status == 200, told
        return dict(told)


@dataclass
class InCourt(Caller):
    """The same beside the court that its cases come before."""

    court: Court = field(kw_only=True)
    bench: Bench = field(kw_only=True)

    async def opened(self, request_id: str) -> str:
        """The case that the controller made of a request."""
        await reconcile(self.court.desk)
        [kept] = [one for one in self.bench.collection("outside", "evidence") if one["_id"] == request_id]
        await advance(self.court.desk, kept["case"])
        return str(kept["case"])


@pytest.fixture
async def caller(court: Court, bench: Bench, keys: Path, outside_keys: Path, mongo_url: str) -> AsyncIterator[InCourt]:
    let_in(court, keys)
    settings = CounterSettings(
        mongo_url=SecretStr(mongo_url),
        mongo_prefix=bench.prefix,
        keys=keys / "counter",
        counter_port=0,
        outside=outside_keys,
    )
    async with open_counter(settings, bench.clock) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        yield InCourt(http, bench.clock, court=court, bench=bench)
