"""The restore drill of an office: on a copy of its own store, with a journal of the drill's, by the shipped replay.

People of the store are erased in the copy, its backup is put back, and the journal is replayed before anybody reads.
What came back is counted by the store's own look. The outcome is signed by the office: counts, what of the store the
copy was without, and nobody's name.
Source: R26, R30; P5; docs/subsidiary.md "After a restore".
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from schemas.errors import ConfigurationError
from schemas.fields import wire_moment
from schemas.signed import sign_document
from schemas.terms import Right
from workers.drill import PEOPLE, Drilled
from workers.journal_replay import Replayed, replay
from workers.office import Trust
from workers.stores.subsidiaries import open_store
from workers.stores.subsidiaries.adapter import StoreAdapter, StoreRefuses, Subject
from workers.stores.subsidiaries.copying import StoreCopy, copy_of
from workers.stores.subsidiaries.decisions import normal_form
from workers.stores.subsidiaries.journal import Journal
from workers.stores.subsidiaries.mapping import Mapping, load_mapping, read_url
from workers.subsidiary_settings import read_subsidiary_settings

STATEMENT: Final = "greffier-restore-drill"
"""The ``type`` of what an office signs."""
_MORE: Final = 20
"""Addresses looked at for each person wanted: what must be kept, or is left to a person, shows nothing."""

Replay = Callable[[StoreAdapter, Journal], Awaitable[Replayed]]


def drill_office(code: str, mapping_path: Path, people: int = PEOPLE) -> tuple[Drilled, dict[str, Any]]:
    """Drill, and what the office signs of it. The worker may run: its store and journal are only read.

    Raises :class:`ConfigurationError` and :class:`schemas.errors.StoreUnavailable`.
    """
    trust = Trust(read_subsidiary_settings().keys_of(code), code)
    mapping = load_mapping(mapping_path)
    drilled = asyncio.run(drill(code, mapping, read_url(mapping.store), trust.journal_key, people))
    seen = {name: value for name, value in drilled.as_json().items() if name != "passed"}
    body = {"type": STATEMENT, "at": wire_moment(datetime.now(UTC)), **seen}
    return drilled, sign_document(body, trust.keys.signing)


async def drill(
    code: str, mapping: Mapping, url: str, journal_key: bytes, people: int = PEOPLE, replayed_by: Replay = replay
) -> Drilled:
    """Drill on a copy of the store at ``url``, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="greffier-drill-") as folder:
        copy = copy_of(mapping, url, Path(folder))
        try:
            await copy.take()
            journal = Journal(Path(folder) / "journal.jsonl", journal_key)
            try:
                return await _drill(code, copy, journal, people, replayed_by)
            finally:
                journal.close()
        finally:
            await copy.drop()


async def _drill(code: str, copy: StoreCopy, journal: Journal, people: int, replayed_by: Replay) -> Drilled:
    store = open_store(copy.mapping, copy.url)
    try:
        faults = await store.check()
        if faults:
            raise ConfigurationError("mapping", *faults)
        erased = await _erase(store, journal, people)
    finally:
        await store.close()
    await copy.put_back()
    store = open_store(copy.mapping, copy.url)
    try:
        back = await _there(store, erased)
        await replayed_by(store, journal)
        return Drilled(code, len(erased), back, await _there(store, erased), copy.without)
    finally:
        await store.close()


async def _erase(store: StoreAdapter, journal: Journal, people: int) -> list[Subject]:
    """Erase so many people of the store, each written down first; those whom it erased whole."""
    erased: list[Subject] = []
    now = datetime.now(UTC)
    for number, address in enumerate(await _some(store, people * _MORE)):
        subject = Subject((address,), now)
        try:
            if not await _left(store, subject):
                continue
            journal.begin([(f"drill-{number}", Right.ERASURE, subject, ())], now)
            await store.erase(subject)
        except StoreRefuses:  # left to a person, in a drill as in life
            continue
        if not await _left(store, subject):
            erased.append(subject)
        if len(erased) == people:
            break
    return erased


async def _some(store: StoreAdapter, most: int) -> list[str]:
    """Addresses of the store, as they come."""
    found: dict[str, None] = {}
    async with aclosing(store.identifiers()) as pages:
        async for page in pages:
            found.update(dict.fromkeys(filter(None, map(normal_form, page))))
            if len(found) >= most:
                break
    return list(found)[:most]


async def _there(store: StoreAdapter, people: Sequence[Subject]) -> int:
    return len([one for one in people if await _left(store, one)])


async def _left(store: StoreAdapter, subject: Subject) -> int:
    """Rows that nothing keeps and that an erasure would take."""
    tallies = await store.plan(Right.ERASURE, subject)
    return sum(tally.erased + tally.anonymised for tally in tallies)
