"""Who read what about whom, for which purpose: one entry per read, written before the answer is given.

An entry about several persons bears their ids packed: sixteen bytes each, in order, between ``first`` and ``last``. An
audience shows a million, and an index with an entry for each of them grows, and slows every further one, for ever.
Source: R8, R9; ASVS 16.2; docs/decisions/0023.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import uuid_utils

from workers.stores.mongo import Collection, Databases, Document, available


class Reads:
    """The record of reads, in **evidence**; it names persons by id only."""

    def __init__(self, databases: Databases) -> None:
        self._reads: Collection = databases.evidence["reads"]

    async def record(
        self,
        *,
        reader: str,
        department: str,
        purpose: str,
        person: str | Sequence[str] | None,
        shown: int,
        outcome: str,
        at: datetime,
    ) -> None:
        """``person``: whose data it is, or of how many persons in one read.

        ``shown``: how many records the reader is about to see; ``outcome``: ``shown`` or why nothing was.
        """
        about = {**naming(person), "purpose": purpose, "shown": shown}
        await self._insert(reader=reader, department=department, **about, outcome=outcome, at=at)

    async def record_of_archive(
        self, *, reader: str, department: str, reason: str, persons: Sequence[str], outcome: str, at: datetime
    ) -> None:
        """A read of the archive. ``reason``: in words of staff that name nobody; ``persons``: whose records it met."""
        about = {**naming(persons), "purpose": "archive", "reason": reason}
        await self._insert(reader=reader, department=department, **about, outcome=outcome, at=at)

    async def about(self, person: str) -> list[Document]:
        """Every read that showed this person, the oldest first, without the others that it showed."""
        several = {"first": {"$lte": person}, "last": {"$gte": person}}
        with available():
            found = await self._reads.find({"$or": [{"person": person}, several]}).sort("at", 1).to_list(None)
        return [_without_persons(one) for one in found if shows(one, person)]

    async def _insert(self, **entry: Any) -> None:
        with available():
            await self._reads.insert_one({"_id": str(uuid_utils.uuid7()), **entry})


def naming(person: str | Sequence[str] | None) -> Document:
    """The part of an entry that says whom it is about; ids in the form of a UUID."""
    if isinstance(person, str) or not person:
        return {"person": person or None}
    ids = sorted(person)
    return {"first": ids[0], "last": ids[-1], "persons": _packed(ids)}


def shows(entry: Document, person: str) -> bool:
    """Whether this entry, found by the person or a range they are in, is about them."""
    if "persons" not in entry:
        return True
    packed, one = entry["persons"], _packed([person])
    return any(packed[start : start + len(one)] == one for start in range(0, len(packed), len(one)))


def _packed(ids: Sequence[str]) -> bytes:
    return bytes.fromhex("".join(ids).replace("-", ""))


def _without_persons(entry: Document) -> Document:
    return {name: value for name, value in entry.items() if name not in {"person", "first", "last", "persons"}}
