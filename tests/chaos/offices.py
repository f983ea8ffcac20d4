"""An office of a schedule: the shipped worker over a real store, which dies, is restored from a backup, and goes on.

Its process is one `Life`, however many orders it has in hand. Its rows are written and read by a client of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.chaos.interleaving import Life
from tests.chaos.stepping import Baton, Blocking, SteppedDatabase
from tests.workers.subsidiary.kits import Kit, MongoKit, SqliteKit, mapping_of
from workers.office import Office, RefusedLog, Trust
from workers.stores.subsidiaries import open_store
from workers.stores.subsidiaries.adapter import StoreAdapter
from workers.stores.subsidiaries.journal import Journal
from workers.stores.subsidiaries.rows import Session

ROWS = ("customers", "visits", "leads")

COLLECTIONS = """
collections:
  customers:
    found_by: [email]
    fresh_by: registered_at
    fields: {email: E-mail address, name: Full name, registered_at: Day of registration}
    rectification: {last_name: name}
    restriction: {set: {on_hold: true}, lift: {on_hold: false}}
    basis: contract
    provided: [email, name]
    withdrawal: {set: {newsletter: false}}
    erasure: delete
  visits:
    owned_by: {collection: customers, field: customer_id, parent_field: id}
    fresh_by: at
    fields: {at: Moment of the visit}
    rectification: {}
    basis: legitimate-interests
    erasure: delete
  leads:
    found_by: [email]
    fields: {email: E-mail address, name: Full name}
    rectification: {last_name: name}
    restriction: {set: {restricted: true}, lift: {restricted: null}}
    basis: consent
    provided: [email, name]
    erasure: {anonymise: {email: random, name: null}}
"""

NEIGHBOURS = range(900, 1000)
"""Ids of rows that are about somebody else."""

Rows = dict[str, list[dict[str, Any]]]

Key = tuple[str, int]
"""A row: collection and id."""


@dataclass
class Process:
    """One process of an office's worker, from its start to its death."""

    office: Office
    life: Life


class SteppedJournal:
    """A journal whose writes are operations."""

    def __init__(self, real: Journal, name: str) -> None:
        self._real = real
        self.begin = Blocking(f"{name}.begin", real.begin)
        self.finish = Blocking(f"{name}.finish", real.finish)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Transactions:
    """The rows of an SQL store: a transaction is one step, since nobody sees anything between its beginning and end."""

    def __init__(self, real: Any, name: str, baton: Baton) -> None:
        self._real, self._name, self._baton = real, name, baton

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Session]:
        async with self._baton.operation(f"{self._name}.reading"), self._real.reading() as session:
            yield session

    @asynccontextmanager
    async def writing(self, **how: Any) -> AsyncIterator[Session]:
        async with self._baton.operation(f"{self._name}.writing"), self._real.writing(**how) as session:
            yield session


@dataclass
class Branch:
    """One office and all it has: keys, store, journal, and the process of the moment, if one runs.

    ``before``: its rows when the story begins, which is also its backup; ``added``: rows that came since, and whether
    they are of before the request; ``others``: the rows of other people, which nothing may change.
    """

    code: str
    kit: Kit
    folder: Path
    keys: Path
    baton: Baton
    clock: Callable[[], datetime]
    post: Callable[[str, str], None] = field(init=False)
    store: StoreAdapter = field(init=False)
    process: Process | None = None
    before: Rows = field(default_factory=dict)
    added: dict[Key, bool] = field(default_factory=dict)
    died: bool = False
    others: list[Any] = field(default_factory=list)
    _journals: list[Journal] = field(default_factory=list)

    async def build(self) -> None:
        """Make the tables, once; connect."""
        await self.kit.create()
        self.store = open_store(mapping_of(self.kit, COLLECTIONS), self.kit.url)
        if isinstance(self.kit, MongoKit):
            rows = self.store._rows  # type: ignore[attr-defined]
            rows._database = SteppedDatabase(rows._database, self.baton, f"{self.code}.")
        elif isinstance(self.kit, SqliteKit):
            store: Any = self.store
            store._rows = Transactions(store._rows, self.code, self.baton)

    async def close(self) -> None:
        """Let go of all of it."""
        self.stop()
        await self.store.close()
        await self.kit.drop()

    # ------------------------------------------------------------------ the process

    def start(self, dies_at: int | None = None) -> Process:
        """A new process; the last one must have ended."""
        trust = Trust(self.keys / "subsidiaries" / self.code, self.code)
        journal: Any = SteppedJournal(self.open_journal(), f"{self.code}.journal")
        outbox: Any = Outbox(self.code, self.post)
        refused = RefusedLog(self.folder / "refused")
        office = Office(self.code, trust, self.store, journal, outbox, refused, self.clock)
        self.process = Process(office, Life(self.code, dies_at))
        return self.process

    def stop(self) -> None:
        """What the end of a process leaves behind: no lock on the journal."""
        self.process = None
        while self._journals:
            self._journals.pop().close()

    def open_journal(self) -> Journal:
        """The journal beside the store, for a process or a replay; each time as it is on disk."""
        trust = Trust(self.keys / "subsidiaries" / self.code, self.code)
        self._journals.append(Journal(self.folder / "journal.jsonl", trust.journal_key))
        return self._journals[-1]

    # ------------------------------------------------------------------ the rows, seen from outside

    async def fill(self, rows: Rows) -> None:
        """The rows the story begins with."""
        self.stop()
        (self.folder / "journal.jsonl").unlink(missing_ok=True)
        await self.kit.empty()
        await self._insert(rows)
        self.before, self.added, self.died = rows, {}, False
        self.others = await self.neighbours()

    async def add(self, name: str, row: dict[str, Any], *, old: bool) -> None:
        """A row that the office's own people or programs write. ``old``: of before the request."""
        await self.kit.insert(name, row)
        self.added[name, row["id"]] = old

    @property
    def ids_before(self) -> set[Key]:
        """The person's rows that the story began with."""
        rows = {(name, row["id"]) for name, rows in self.before.items() for row in rows}
        return {one for one in rows if one[1] not in NEIGHBOURS}

    async def restore(self) -> None:
        """As a backup tool does it: emptied, then filled."""
        await self.kit.empty()
        await self._insert(self.before)

    async def standing(self, email: str) -> set[Key]:
        """The rows that are about somebody, as they stand."""
        found: set[Key] = set()
        for name in ("customers", "leads"):
            rows = await self.kit.rows(name)
            found |= {(name, row["id"]) for row in rows if str(row["email"]).lower() == email.lower()}
        visits = await self.kit.rows("visits")
        return found | {("visits", row["id"]) for row in visits if ("customers", row["customer_id"]) in found}

    async def neighbours(self) -> list[Any]:
        """The rows of other people."""
        rows = [(name, row) for name in ROWS for row in await self.kit.rows(name)]
        return [one for one in rows if one[1]["id"] in NEIGHBOURS]

    async def _insert(self, rows: Rows) -> None:
        for name in ROWS:
            if rows.get(name):
                await self.kit.insert(name, *rows[name])


class Outbox:
    """The way back to the controller."""

    def __init__(self, code: str, post: Callable[[str, str], None]) -> None:
        self.post = Blocking(f"{code}.outbox.post", lambda token: post(code, token))
