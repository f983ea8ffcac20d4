"""After a restore: hold the store against its journal, and serve again whatever the backup brought back.

It goes through the adapter alone; what the group replays in its own databases is :mod:`workers.tombstone_replay`.
Source: R26; P5; design § 5.5; reliability § 4 row 57.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.terms import Right
from workers.office import Trust
from workers.stores.subsidiaries.adapter import (
    AcceptingAdapter,
    RestrictingAdapter,
    StoreAdapter,
    StoreRefuses,
    Subject,
    Tally,
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
