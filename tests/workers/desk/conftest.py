"""A desk on a real port, beside the court whose cases it shows, and accounts of three kinds."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from schemas.desk_accounts import add_account, new_account
from schemas.terms import Department
from tests.workers.bench import Bench
from tests.workers.cases.conftest import court, subsidiary_keys
from tests.workers.cases.court import Court
from workers.correspondence.mailer import MailSettings
from workers.desk.app import open_desk
from workers.desk.settings import DeskSettings

__all__ = ["court", "subsidiary_keys"]


@dataclass
class Chair:
    """A client before the desk. ``dpo`` decides, ``clerk`` looks, ``mailer`` is a mailing tool."""

    http: aiohttp.ClientSession
    accounts: Path
    dpo: str
    clerk: str
    mailer: str
    court: Court
    bench: Bench

    async def get(self, path: str, token: str | None = "dpo", **params: str) -> tuple[int, Any]:
        async with self.http.get(path, headers=self._bearer(token), params=params) as answer:
            return answer.status, await answer.json(content_type=None)

    async def post(self, path: str, body: Any = None, token: str | None = "dpo", **headers: str) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body)
        given = {"Content-Type": "application/json", **self._bearer(token), **headers}
        async with self.http.post(path, headers=given, data=data) as answer:
            return answer.status, await answer.json(content_type=None)

    def _bearer(self, token: str | None) -> dict[str, str]:
        known = {"dpo": self.dpo, "clerk": self.clerk, "mailer": self.mailer}
        return {} if token is None else {"Authorization": f"Bearer {known.get(token, token)}"}


@pytest.fixture
async def chair(
    court: Court, bench: Bench, keys: Path, mongo_url: str, redis_url: str, tmp_path: Path
) -> AsyncIterator[Chair]:
    accounts = tmp_path / "desk-accounts.json"
    dpo, entry = new_account("dpo.sample", Department.ADMINISTRATION, decides=True)
    add_account(accounts, entry)
    clerk, entry = new_account("clerk.sample", Department.IT)
    add_account(accounts, entry)
    mailer, entry = new_account("mailer.sample", Department.MARKETING_SALES)
    add_account(accounts, entry)
    settings = DeskSettings(
        redis_url=SecretStr(redis_url),
        mongo_url=SecretStr(mongo_url),
        mongo_prefix=bench.prefix,
        keys=keys / "controller",
        desk_port=0,
        desk_accounts=accounts,
    )
    mail = MailSettings(mail_from="rights@example.com", public_url="https://rights.example.com")
    async with (
        open_desk(settings, mail, bench.clock) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http,
    ):
        yield Chair(http, accounts, dpo, clerk, mailer, court, bench)
