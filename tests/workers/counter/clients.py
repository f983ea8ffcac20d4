"""The worked clients on stores of their own, each as `greffier conform` tries it: no controller, orders over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from schemas.fields import wire_moment
from workers.conform.bout import Bout
from workers.conform.description import read_description
from workers.conform.group import Answers, Entry
from workers.conform.running import bout_for

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
ADA, BOB = "ada@example.com", "bob@example.com"
ASKED_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
KINDS = ["node", pytest.param("shell", marks=pytest.mark.slow)]
"""The client in shell starts a hundred small programs for an order."""


@dataclass
class Desk:
    """One client at work on a store of its own, and the group that asks it."""

    kind: str
    folder: Path
    bout: Bout
    command: list[str]

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def beside(self) -> Path:
        return self.folder / "beside"

    @property
    def said(self) -> str:
        """All it has printed."""
        return (self.folder / "log").read_text()

    def fill(self, *contacts: dict[str, Any], invoices: tuple[dict[str, Any], ...] = ()) -> None:
        self.store.write_text(json.dumps({"contacts": contacts, "invoices": invoices}))

    def rows(self, name: str = "contacts") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.store.read_text())[name]
        return found

    def entry(self, email: str, right: str = "erasure", **changes: Any) -> Entry:
        return self.bout.group.entry(email, right, **{"received_at": wire_moment(ASKED_AT), **changes})

    async def ask(self, *entries: Entry) -> Answers:
        return await self.bout.send(*entries)

    async def told(self, entry: Entry) -> tuple[str, str | None]:
        """Outcome and reason of the one answer."""
        [answer] = (await self.ask(entry)).of(entry)
        return answer["outcome"], answer.get("reason")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """It, to its end, beside whichever runs."""
        own = {"GREFFIER_KEYS": str(self.bout.group.office), "GREFFIER_JOURNAL": str(self.beside / "journal.jsonl")}
        command = [*self.command, "trial", str(self.store), *words]
        environment = {**os.environ, **own, "GREFFIER_COUNTER_URL": "http://127.0.0.1:9"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


@asynccontextmanager
async def at_work(kind: str, folder: Path, examples: Path = EXAMPLES) -> AsyncIterator[Desk]:
    description = read_description(examples / "conform" / f"{kind}.yaml")
    async with bout_for(replace(description, files=()), folder) as bout:
        place = {"node": ["node", "office.mjs"], "shell": ["sh", "office.sh"]}[kind]
        yield Desk(kind, folder, bout, [place[0], str(examples / kind / place[1])])


@pytest.fixture(params=KINDS)
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    async with at_work(request.param, tmp_path) as desk:
        yield desk


def contact(number: object, email: object, **more: Any) -> dict[str, Any]:
    return {"id": number, "email": email, "name": "Sample Person", "newsletter": True, **more}


def invoice(number: object, of: object, day: object) -> dict[str, Any]:
    return {"id": number, "contact": of, "number": f"I-{number}", "issued_on": day}
