"""After a restore: hold the store against its journal, and serve again whatever the backup brought back.

Also the dry run of a mapping against the live store, and of a disposal. Both go through the adapter alone.
Source: R26; P5; design § 5.5; reliability § 4 row 57.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from schemas.calendar import civil_day
from schemas.errors import Fault
from schemas.register import Register, load_register
from schemas.terms import Right
from workers.office import Trust
from workers.stores.subsidiaries.adapter import (
    AcceptingAdapter,
    DisposingAdapter,
    Period,
    RestrictingAdapter,
    StoreAdapter,
    StoreRefuses,
    Subject,
    Tally,
    Terms,
    WithdrawingAdapter,
)
from workers.stores.subsidiaries.decisions import normal_form
from workers.stores.subsidiaries.journal import Journal, Tombstone
from workers.stores.subsidiaries.mapping import load_mapping
from workers.subsidiary import opened
from workers.subsidiary_settings import read_subsidiary_settings


@dataclass
class Replayed:
    """What a replay found and did. ``looked_at``: identifiers, repeated ones included; ``refused``: reason → people."""

    looked_at: int = 0
    people: int = 0
    erased: int = 0
    anonymised: int = 0
    restricted: int = 0
    retained: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def add(self, tallies: Sequence[Tally]) -> None:
        """Count what was done for one person."""
        for tally in tallies:
            self.erased += tally.erased
            self.anonymised += tally.anonymised
            self.restricted += tally.restricted
            self.retained += tally.retained

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "refused": dict(self.refused)}


@dataclass(frozen=True, slots=True)
class Checked:
    """What a mapping would do. ``example``: right → counts for one person of the store; empty where it holds nobody.

    ``without_retention``: collections of which nothing ever goes because its time is over; ``over``: what would go of
    the others today, where a register says for how long it may be held.
    """

    faults: list[Fault]
    example: dict[str, list[dict[str, Any]]]
    without_retention: list[str]
    over: list[dict[str, Any]] | None = None

    def as_json(self) -> dict[str, Any]:
        faults = [{"path": fault.path, "problem": fault.problem} for fault in self.faults]
        told = {"faults": faults, "example": self.example, "without_retention": self.without_retention}
        return told if self.over is None else told | {"over": self.over}


def replay_journal(code: str, mapping_path: Path) -> Replayed:
    """Serve the whole journal again on the store of the mapping; the worker must not be running.

    Raises :class:`schemas.errors.ConfigurationError`, also while the worker has the journal, and
    :class:`schemas.errors.StoreUnavailable`.
    """
    settings = read_subsidiary_settings()
    mapping = load_mapping(mapping_path)
    journal = Journal(settings.journal_of(code), Trust(settings.keys_of(code), code).journal_key)

    async def run() -> Replayed:
        async with opened(mapping) as store:
            return await replay(store, journal)

    try:
        return asyncio.run(run())
    finally:
        journal.close()


async def replay(store: StoreAdapter, journal: Journal) -> Replayed:
    """The same with a store and a journal that are open. Repeating it changes nothing."""
    replayed = Replayed()
    tombstones = journal.tombstones()
    back: dict[str, Tombstone] = {}
    async with aclosing(store.identifiers()) as pages:
        async for page in pages:
            replayed.looked_at += len(page)
            for address in filter(None, map(normal_form, page)):
                tombstone = tombstones.get(journal.mark(address))
                if tombstone is not None:
                    back[address] = tombstone
    for address, tombstone in back.items():
        replayed.people += 1
        for right, received_at in sorted(tombstone.received_at.items()):
            await _serve_again(store, right, Subject((address,), received_at), replayed)
        if tombstone.accepted_at is not None:
            await _accept_again(store, Subject((address,), tombstone.accepted_at), replayed)
    return replayed


async def _serve_again(store: StoreAdapter, right: Right, subject: Subject, replayed: Replayed) -> None:
    try:
        if right is Right.ERASURE:
            replayed.add(await store.erase(subject))
        elif right is Right.OBJECTION:
            replayed.add(await store.object(subject))
        elif right is Right.RECTIFICATION:
            replayed.refused["corrections"] += 1  # what was corrected, and to what, the journal does not know
        elif isinstance(store, RestrictingAdapter) and right is Right.RESTRICTION:
            replayed.add(await store.restrict(subject))
        elif isinstance(store, WithdrawingAdapter) and right is Right.WITHDRAWAL:
            replayed.add(await store.withdraw(subject))
    except StoreRefuses as error:
        replayed.refused[error.reason] += 1


async def _accept_again(store: StoreAdapter, subject: Subject, replayed: Replayed) -> None:
    try:
        if isinstance(store, AcceptingAdapter):
            replayed.add(await store.accept(subject))
    except StoreRefuses as error:
        replayed.refused[error.reason] += 1


def check_mapping(mapping_path: Path, register_path: Path | None = None) -> Checked:
    """A mapping against its live store: every fault, and what would be done for the first person found there.

    ``register_path``: the group's register, to count what is over by it today.
    Changes nothing and names nobody. Raises :class:`schemas.errors.ConfigurationError` and
    :class:`schemas.errors.StoreUnavailable`.
    """
    mapping = load_mapping(mapping_path)
    register = load_register(register_path) if register_path is not None else None

    async def run() -> Checked:
        async with opened(mapping) as store:
            faults = await store.check()
            if faults:
                return Checked(faults, {}, mapping.without_retention())
            over = await _over(store, register) if register is not None else None
            return Checked(faults, await _example(store), mapping.without_retention(), over)

    return asyncio.run(run())


async def _over(store: StoreAdapter, register: Register) -> list[dict[str, Any]]:
    if not isinstance(store, DisposingAdapter):
        return [{"refused": "not-supported"}]
    periods = {name: Period(rule.active, rule.archive) for name, rule in register.retention.items()}
    try:
        tallies = await store.plan_disposal(Terms(civil_day(datetime.now(UTC)), periods))
    except StoreRefuses as error:
        return [{"refused": error.reason}]
    return [tally.as_outcome() for tally in tallies]


async def _example(store: StoreAdapter) -> dict[str, list[dict[str, Any]]]:
    address = await _somebody(store)
    if address is None:
        return {}
    subject = Subject((address,), datetime.now(UTC))
    return {right.value: await _planned(store, right, subject) for right in Right}


async def _somebody(store: StoreAdapter) -> str | None:
    async with aclosing(store.identifiers()) as pages:
        async for page in pages:
            for address in filter(None, map(normal_form, page)):
                return address
    return None


async def _planned(store: StoreAdapter, right: Right, subject: Subject) -> list[dict[str, Any]]:
    try:
        return [tally.as_outcome() for tally in await store.plan(right, subject)]
    except StoreRefuses as error:
        return [{"refused": error.reason}]
