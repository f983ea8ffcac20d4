"""A counter on a real port, beside the court whose cases it shows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import redis
from pydantic import SecretStr

from schemas.party_keys import read_token_key
from schemas.terms import Case
from schemas.tokens import TokenKind
from tests.factories import Someone, form, someone
from tests.workers.bench import Bench
from tests.workers.cases.conftest import court, subsidiary_keys
from tests.workers.cases.court import Court
from tests.workers.counter.offices import OVER_HTTP, Counters, register_file
from workers.counter.app import open_counter
from workers.counter.settings import CounterSettings
from workers.rules.tokens import make_token

__all__ = ["court", "subsidiary_keys"]


@dataclass
class Window:
    """A client before the counter, and what makes tokens as the controller does."""

    http: aiohttp.ClientSession
    court: Court
    bench: Bench

    def token(self, kind: TokenKind, reference: str, token_id: str) -> str:
        clock = self.court.desk.services.clock
        return make_token(self.court.desk.token_key, kind, reference, token_id=token_id, now=clock())

    async def status_token(self, reference: str) -> str:
        return self.token(TokenKind.STATUS, reference, (await self.court.case(reference))["status"])

    async def download_token(self, reference: str) -> str:
        return self.token(TokenKind.DOWNLOAD, reference, (await self.court.case(reference))["package"]["token"])

    async def answered(self, whom: Someone | None = None) -> str:
        """An access case whose package waits."""
        whom = whom or someone()
        await self.bench.send(form(Case.CONTACT, whom))
        reference = await self.court.ask("access", whom.email)
        await self.court.confirm(reference)
        assert (await self.court.run(reference))["answer"] == "answered"
        return reference


@pytest.fixture
async def window(court: Court, bench: Bench, keys: Path, mongo_url: str) -> AsyncIterator[Window]:
    settings = CounterSettings(
        mongo_url=SecretStr(mongo_url), mongo_prefix=bench.prefix, keys=keys / "counter", counter_port=0
    )
    async with open_counter(settings, bench.clock) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        assert read_token_key(keys / "controller").kid == court.desk.token_key.kid
        yield Window(http, court, bench)


@pytest.fixture
async def counters(
    court: Court, bench: Bench, subsidiary_keys: Path, mongo_url: str, redis_url: str, tmp_path: Path
) -> AsyncIterator[Counters]:
    settings = CounterSettings(
        mongo_url=SecretStr(mongo_url),
        mongo_prefix=bench.prefix,
        keys=subsidiary_keys / "counter",
        counter_port=0,
        redis_url=SecretStr(redis_url),
        register_file=register_file(tmp_path, *OVER_HTTP),
    )
    async with open_counter(settings, bench.clock) as port:
        url = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession(url) as http:
            with redis.Redis.from_url(redis_url) as client:
                yield Counters(url, http, court, bench, client, subsidiary_keys)
