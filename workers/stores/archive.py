"""The archive: what is out of use and kept for a legal duty or a dispute, in a database and under keys of its own.

A record here is a copy made under its person's archive key before the one in **active** goes. It is found by the keyed
references of the address, for its person may have left **active** since. It says what it is kept for and when each of
these purposes ended; until when that lets it stay is folded when it is asked for.
Source: R13; design § 4; retention-defaults § 1 (a place and people of its own; only what the archive is for).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from workers.stores.files import Files
from workers.stores.gathering import Gathered
from workers.stores.mongo import Collection as Stored
from workers.stores.mongo import Databases, Document, available, insert_new, pieces
from workers.stores.versioned import rewrite

WITHOUT_CONTENT = ("person", "case", "received", "moved_at", "ended", "files")


def place(event: str) -> str:
    """Where a sealed body stands; it opens nowhere else."""
    return f"archive/{event}"


class Archive:
    """Records by event key, and their files."""

    def __init__(self, databases: Databases) -> None:
        self._records: Stored = databases.archive["submissions"]
        self._gathered = Gathered(self._records)
        self.files = Files(databases.archive)

    async def insert(self, documents: Sequence[Document]) -> None:
        """Records by event key: ``person``, ``refs``, ``case``, ``received``, ``moved_at``, ``sealed``, ``ended``.

        ``ended``: of each purpose it is kept for its basis, its rule, and the instant at which it ended. What stands
        already stays as it is.
        """
        await insert_new(self._records, list(documents))

    async def rewrite(self, event: str, before: bytes, sealed: bytes, fields: Iterable[str]) -> bool:
        """Correct a body, see :func:`workers.stores.versioned.rewrite`. What it is kept for stays as it is."""
        return await rewrite(self._records, event, before, sealed, {}, fields)

    async def follow(self, copy: Document, sealed: bytes, versions: Document) -> bool:
        """Put a later body of its record into a copy; ``False`` where another one stands by now, or none."""
        with available():
            done = await self._records.update_one(
                {"_id": copy["_id"], "sealed": copy["sealed"]}, {"$set": {"sealed": sealed, "versions": versions}}
            )
        return bool(done.modified_count)

    async def undo(self, owners: Mapping[str, str]) -> int:
        """Take back, or purge, what stands of these events, files included; how many records there were.

        ``owners``: event → the person whose it is; a record that is by now of none of these persons stays.
        """
        those: list[Document] = [
            {"_id": {"$in": some}, "person": {"$in": list({owners[event] for event in some})}}
            for some in pieces(list(owners))
        ]
        with_files = {"files": {"$exists": True}}
        with available():
            for one in those:
                async for record in self._records.find(one | with_files, {"person": 1, "files": 1}):
                    await self.files.undo(record["files"], record["person"])
            gone = await asyncio.gather(*(self._records.delete_many(one) for one in those))
        return sum(one.deleted_count for one in gone)

    async def of(self, refs: Iterable[bytes], *fields: str) -> list[Document]:
        """The records of whoever has these references; all fields, or only those named."""
        return await self._gathered.having("refs", refs, *fields)

    async def by_key(self, events: Iterable[str], *fields: str) -> list[Document]:
        """The records of these events; all fields, or only those named."""
        return await self._gathered.having("_id", events, *fields)

    async def of_persons(self, persons: Iterable[str], *fields: str) -> list[Document]:
        """The records of these persons; all fields, or only those named."""
        return await self._gathered.having("person", persons, *fields)

    async def page(self, after: str, size: int) -> list[Document]:
        """The next records by event key, without what they hold."""
        beyond = self._records.find({"_id": {"$gt": after}}, dict.fromkeys(WITHOUT_CONTENT, 1))
        with available():
            return await beyond.sort("_id", 1).limit(size).to_list(None)

    async def standing(self, ref: bytes, erased_at: datetime | None = None) -> dict[str, int]:
        """How many records and files stand about a reference; after an erasure, of those received by then."""
        found = await self.of([ref], "received", "files")
        older = [one for one in found if erased_at is None or one["received"] <= erased_at]
        return {"archive": len(older), "archive.files": sum(len(one.get("files", ())) for one in older)}

    async def erase(self, persons: Collection[str], kept: Collection[str] = ()) -> dict[str, int]:
        """Delete everything of these persons but the events ``kept``; collection → how many documents went."""
        records, files = await asyncio.gather(
            self._gathered.having("person", persons, "_id"), self.files.erase(persons, kept)
        )
        gone = {one["_id"]: one["person"] for one in records if one["_id"] not in kept}
        return {"archive": await self.undo(gone), "archive.files": files}
