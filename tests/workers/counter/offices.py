"""Subsidiaries before the counter, by a client of the test's own: what they may call, and what the controller gets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import redis
import yaml

from schemas.jose import Keys, sign
from schemas.orders import CALL, COUNTER, RECEIPT_QUEUE, receipt_namespace
from schemas.register import SHIPPED
from schemas.register_reading import read_mapping
from tests.workers.bench import Bench
from tests.workers.cases.court import Court, mails_leave
from workers.cases.engine import advance

OVER_HTTP = ("us", "gb")


def register_file(folder: Path, *codes: str) -> Path:
    """The shipped register for the court's subsidiaries, of which these are served over HTTP."""
    raw, _ = read_mapping(SHIPPED)
    kinds = {code: "http" if code in codes else "worker" for code in ("de", "gb", "us")}
    raw["subsidiaries"] = {code: {**raw["subsidiaries"][code], "kind": kind} for code, kind in kinds.items()}
    path = folder / "register.yaml"
    path.write_text(yaml.safe_dump(raw, allow_unicode=True, sort_keys=False))
    return path


@dataclass
class Counters:
    """A counter that serves ``us`` and ``gb`` over HTTP, the court behind it, and Redis as it really is."""

    url: str
    http: aiohttp.ClientSession
    court: Court
    bench: Bench
    redis: redis.Redis
    keys: Path

    def call(self, code: str, *, by: Keys | None = None, now: datetime | None = None, **more: Any) -> dict[str, str]:
        """The headers of a call. ``more``: ``kind``, ``audience``, ``lifetime``, or claims."""
        token = sign(
            by or self.court.stores[code].keys,
            more.pop("kind", CALL),
            {"jti": "call-1", **more.pop("claims", {})},
            audience=more.pop("audience", COUNTER),
            now=now or self.bench.clock(),
            lifetime=more.pop("lifetime", timedelta(minutes=2)),
        )
        return {"Authorization": f"Bearer {token}"}

    async def fetch(self, code: str, headers: Mapping[str, str] | None = None, wait: object = 0) -> tuple[int, Any]:
        """``GET /tasks``: status, and the order or the problem."""
        headers = self.call(code) if headers is None else headers
        async with self.http.get("/tasks", params={"wait": str(wait)}, headers=headers) as answer:
            return answer.status, None if answer.status == 204 else await answer.json(content_type=None)

    async def bring(self, code: str, receipt: object, headers: Mapping[str, str] | None = None) -> int:
        """``POST /receipts``: the status."""
        headers = self.call(code) if headers is None else headers
        async with self.http.post("/receipts", json={"receipt": receipt}, headers=headers) as answer:
            return answer.status

    def brought(self, code: str) -> list[str]:
        """The receipts that lie in a subsidiary's namespace now, oldest first, taken out."""
        queue = f"{receipt_namespace(code)}:{RECEIPT_QUEUE}"
        found = []
        while (name := self.redis.lpop(queue)) is not None:
            body = self.redis.hget(f"{queue}.msgs", name)  # type: ignore[arg-type]
            self.redis.hdel(f"{queue}.msgs", name)  # type: ignore[arg-type]
            found.append(json.loads(body)["kwargs"]["token"])  # type: ignore[arg-type]
        return found

    async def take_all(self) -> int:
        """The controller works off what was brought; how much that was."""
        tokens = [(code, token) for code in OVER_HTTP for token in self.brought(code)]
        for code, token in tokens:
            await self.court.take(code, token)
        return len(tokens)

    async def served(self, right: str = "erasure", email: str = "ada@example.com", **more: Any) -> str:
        """A confirmed case whose orders are out."""
        reference = await self.court.ask(right, email, **more)
        await self.court.confirm(reference)
        await self.post()
        return reference

    async def post(self) -> None:
        """Every store's due orders go out; those of ``de``, which has a worker, are answered."""
        await self.court.post()
        self.court.posted[:] = [(store, token) for store, token in self.court.posted if store not in OVER_HTTP]
        await self.court.deliver()

    async def closed(self, reference: str) -> dict[str, Any]:
        """Every letter has left; the case as it stands."""
        await mails_leave(self.court, reference)
        await advance(self.court.desk, reference)
        return await self.court.case(reference)

    async def settle(self, reference: str) -> None:
        """Past the settling time: the second look is asked for."""
        case = await self.court.case(reference)
        if "settle_at" not in case:
            return
        past = {"settle_at": self.court.desk.services.clock() - timedelta(seconds=1)}
        await self.court.desk.cases.change(case, past)
        await advance(self.court.desk, reference)
        await self.post()
