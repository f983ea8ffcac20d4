"""Drift: fields that look like identifiers and stand in no mapping. What nobody has mapped, no erasure will find.

Of an office's store every table is looked at, the mapped ones less what their mapping names. In the controller's own
nothing that tells of a person stands in clear but what is listed here, each with its decision.
Source: R12, R25; docs/subsidiary.md "Drift".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from workers.rules.drift import Drift, Sampled
from workers.stores.mongo import Databases
from workers.stores.sampling import Sample, office_samples, own_samples
from workers.stores.subsidiaries.mapping import Collection as Mapped
from workers.stores.subsidiaries.mapping import Mapping as OfficeMapping

SAMPLE: Final = 500

_IN_CLEAR: Final[Mapping[tuple[str, str], Collection[str]]] = {
    ("active", "visits"): ("url", "network", "user_agent"),  # decisions/0007: a visit is not sealed
    ("evidence", "policies"): ("notices",),
    ("evidence", "mails"): ("message_id",),  # made by us, at our own domain
    ("evidence", "tasks"): ("canary",),  # who is nobody
    ("evidence", "canaries"): ("email",),
}


@dataclass(frozen=True, slots=True)
class Looked:
    """``drifts``: what looks like it; ``collections``: how many were sampled; ``first_rows``: those not by chance."""

    drifts: list[Drift]
    collections: int
    first_rows: list[str]

    def as_json(self) -> dict[str, Any]:
        found = [one.as_json() for one in self.drifts]
        return {"drift": found, "collections": self.collections, "first_rows": self.first_rows}


async def look_at_own(databases: Databases, size: int = SAMPLE) -> Looked:
    """The controller's four databases. Raises :class:`schemas.errors.StoreUnavailable`."""
    return await _look(
        own_samples(databases, size), lambda one: _IN_CLEAR.get((one.store, one.collection), ()), lone=False
    )


async def look_at_office(code: str, mapping: OfficeMapping, url: str, size: int = SAMPLE) -> Looked:
    """An office's store. Raises :class:`schemas.errors.StoreUnavailable` and :class:`ConfigurationError`."""
    known: dict[str, set[str]] = {}
    for name, entry in mapping.collections.items():
        known.setdefault(mapping.source(name), set()).update(_named(entry))
    return await _look(office_samples(code, mapping, url, size), lambda one: known.get(one.collection, ()), lone=True)


async def _look(samples: AsyncIterator[Sample], known: Callable[[Sample], Collection[str]], *, lone: bool) -> Looked:
    drifts: list[Drift] = []
    first_rows, collections = [], 0
    async for sample in samples:
        collections += 1
        seen = Sampled(sample.store, sample.collection, known(sample), lone)
        seen.name(sample.columns)
        for row in sample.rows:
            seen.add(row)
        drifts += seen.drifts()
        first_rows += [] if sample.random else [sample.collection]
    return Looked(drifts, collections, first_rows)


def _named(entry: Mapped) -> Iterator[str]:
    """Every field that a mapping's entry speaks of."""
    yield from (one.field for one in entry.found_by)
    yield from entry.fields or ()
    yield from filter(None, (entry.one_person_by, entry.fresh_by, entry.owned_by and entry.owned_by.field))
    yield from entry.canary or ()
    for mark in (entry.objection, entry.withdrawal):
        yield from (mark.set or ()) if mark else ()
    if entry.erasure is not None:
        yield from entry.erasure.anonymise or ()
    yield from (entry.rectification or {}).values()
    yield from entry.composed or ()
    yield from (entry.objection.lift or ()) if entry.objection is not None else ()
    if entry.restriction is not None:
        yield from (*entry.restriction.set, *entry.restriction.lift)
    if entry.retention is not None:
        yield from filter(None, (entry.retention.counted_from, entry.retention.hold))
    for mention in entry.mentions:
        under = f"{mention.list}." if mention.list else ""
        yield from (f"{under}{name}" for name in (mention.found_by.field, *mention.fields, *(mention.anonymise or ())))
