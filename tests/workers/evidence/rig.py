"""A ledger over databases of its own, with as many sequencers as a test asks for, and ways to harm it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from schemas.evidence import Entry, entry
from schemas.ledger_keys import LedgerKeys, new_ledger_keys
from workers.evidence.keeping import Keeper
from workers.evidence.notes import Notes
from workers.settings import ControllerSettings
from workers.stores.heads import Head, Heads
from workers.stores.ledger import Ledger
from workers.stores.mongo import INDEXES, Databases, connect

BEGINNING = datetime(2026, 11, 22, 8, tzinfo=UTC)


class TickingClock:
    """Each look at it is a second later."""

    def __init__(self, at: datetime = BEGINNING) -> None:
        self.at = at

    def __call__(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at


@dataclass
class LedgerRig:
    """One ledger, as one process sees it. ``another``: the same one as another process does."""

    databases: Databases
    keys: LedgerKeys
    clock: TickingClock
    ledger: Ledger
    heads: Heads
    keeper: Keeper
    notes: Notes

    def another(self, keys: LedgerKeys | None = None) -> LedgerRig:
        return over(self.databases, keys or self.keys, self.clock)

    async def all_heads(self) -> list[Head]:
        return [head async for head in self.heads.each()]

    def leaves(self) -> Any:
        """The collection as somebody with write access has it."""
        return self.databases.evidence["ledger"]

    def pending(self) -> Any:
        return self.databases.evidence["ledger_pending"]

    def signed(self) -> Any:
        return self.databases.evidence["ledger_heads"]

    async def grow(self, *counts: int) -> None:
        """Append and place so many entries at a time, with a head after each, a day after the one before."""
        for count in counts:
            self.clock.at += timedelta(days=1)
            first = await self.ledger.size()
            await self.ledger.append(*some(count, first))
            await self.keeper.settle()


def over(databases: Databases, keys: LedgerKeys, clock: TickingClock) -> LedgerRig:
    ledger = Ledger(databases)
    heads = Heads(databases, ledger, keys, clock)
    return LedgerRig(databases, keys, clock, ledger, heads, Keeper(ledger, heads, clock), Notes(ledger, clock))


@asynccontextmanager
async def open_ledger(mongo_url: str, prefix: str) -> AsyncIterator[LedgerRig]:
    settings = ControllerSettings(mongo_url=SecretStr(mongo_url), mongo_prefix=prefix, keys=Path("unused"))
    databases = connect(settings)
    await databases.evidence["ledger"].create_indexes(INDEXES["evidence"]["ledger"])
    try:
        yield over(databases, new_ledger_keys(BEGINNING), TickingClock())
    finally:
        databases.close()


def some(count: int, first: int = 0, cases: int = 3) -> list[Entry]:
    """Entries of a few cases, each another fact."""
    return [
        entry("order_issued", f"R-{n % cases}", f"fact {n}", BEGINNING, store="de", digest=f"{n:064x}")
        for n in range(first, first + count)
    ]
