"""Who read what about whom, for which purpose: one entry per read, written before the answer is given.

Source: R8, R9; ASVS 16.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import uuid_utils

from workers.stores.mongo import Collection, Databases, available


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
        await self._insert(
            reader=reader,
            department=department,
            purpose=purpose,
            person=person if isinstance(person, str) or person is None else list(person),
            shown=shown,
            outcome=outcome,
            at=at,
        )

    async def record_of_archive(
        self, *, reader: str, department: str, reason: str, persons: Sequence[str], outcome: str, at: datetime
    ) -> None:
        """A read of the archive. ``reason``: in words of staff that name nobody; ``persons``: whose records it met."""
        about = {"person": list(persons) or None, "purpose": "archive", "reason": reason}
        await self._insert(reader=reader, department=department, **about, outcome=outcome, at=at)

    async def _insert(self, **entry: Any) -> None:
        with available():
            await self._reads.insert_one({"_id": str(uuid_utils.uuid7()), **entry})
