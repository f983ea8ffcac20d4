"""Submissions, their purpose links, and what is said about them.

A submission keeps its own fields, sealed under its person's key; nothing overwrites an earlier one. A purpose link is
an event of its own, one per (submission, purpose). What is said about a record names an address or an event, never a
person, so that it may arrive before what it is about (:mod:`workers.stores.remarks`).
Source: R1, R2, R13; design § 4 "A person", "Purpose links".
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from pymongo import UpdateOne

from workers.stores.events import Inserted, insert_events
from workers.stores.gathering import ONE_REPLY, Gathered
from workers.stores.mongo import Collection, Databases, Document, available, insert_new
from workers.stores.remarks import Remarks
from workers.stores.versioned import rewrite

_READABLE: Final = dict.fromkeys(("person", "case", "received", "sealed", "device", "collected_at", "notice_by"), 1)
_BEARING: Final = {"_id": 0} | dict.fromkeys(
    ("submission", "person", "case", "purpose", "basis", "anchor", "since", "confirmed"), 1
)


def link_id(submission: str, purpose: str) -> str:
    """The identity of a purpose link: repeats of a submission make no second one."""
    return f"{submission}/{purpose}"


class Submissions:
    """What came in about persons, in **active**."""

    def __init__(self, databases: Databases) -> None:
        self._submissions: Collection = databases.active["submissions"]
        self._links: Collection = databases.active["links"]
        self._gathered = Gathered(self._submissions)
        self._gathered_links = Gathered(self._links)
        self.anchors = Remarks(databases, "anchors")
        self.notices = Remarks(databases, "notices")
        self.agreements = Remarks(databases, "agreements")
        self.remarks = {"anchors": self.anchors, "notices": self.notices, "agreements": self.agreements}

    async def insert(self, documents: Sequence[Document]) -> Inserted:
        """Submissions by event key, with ``person``, ``case``, ``sealed``, ``digest`` and what need not be sealed."""
        return await insert_events(self._submissions, documents)

    async def insert_links(self, documents: Sequence[Document]) -> None:
        """Purpose links by :func:`link_id`; those that stand already stay as they are."""
        await insert_new(self._links, list(documents))

    async def confirm_links(self, documents: Sequence[Document]) -> None:
        """Purpose links with ``confirmed``; one that stands already counts from the earliest confirmation known."""
        taken = await insert_new(self._links, list(documents))
        earliest = ("since", "expires", "confirmed")
        await self._gathered_links.write(
            *(
                UpdateOne({"_id": link["_id"]}, {"$min": {name: link[name] for name in earliest}})
                for link in (documents[position] for position in sorted(taken))
            )
        )

    async def find(self, query: Document, *fields: str) -> list[Document]:
        """Submissions by a query of ours (never one from outside); all fields, or only those named."""
        with available():
            return await self._submissions.find(query, dict.fromkeys(fields, 1) if fields else None).to_list(None)

    async def unsettled(self, case: str, until: datetime, *, skip: int, limit: int) -> list[Document]:
        """Submissions of a case received by ``until`` that nobody has settled, the oldest first: of ``_id``, person
        and ``received``.
        """
        wanted: Document = {"case": case, "settled": None, "received": {"$lte": until}}
        with available():
            found = self._submissions.find(wanted, {"person": 1, "received": 1}).sort("received", 1).skip(skip)
            return await found.limit(limit).to_list(None)

    async def settle(self, keys: Iterable[str]) -> None:
        """Note of submissions that nothing about them is open any more."""
        with available():
            await self._submissions.update_many({"_id": {"$in": list(keys)}}, {"$set": {"settled": True}})

    async def of(self, persons: Iterable[str], *fields: str) -> list[Document]:
        """The submissions of these persons; all fields, or only those named."""
        return await self._gathered.having("person", persons, *fields)

    async def by_key(self, events: Iterable[str]) -> list[Document]:
        """The submissions of these events."""
        return await self._gathered.having("_id", events)

    async def owners_of(self, devices: Iterable[bytes]) -> dict[bytes, set[str]]:
        """Device → the persons whose submissions name it."""
        owners: dict[bytes, set[str]] = {}
        for one in await self._gathered.having("device", devices, "person"):
            owners.setdefault(bytes(one["device"]), set()).add(one["person"])
        return owners

    async def between(self, first: str, last: str, cases: Iterable[str]) -> list[Document]:
        """What a reader needs of the submissions of these cases, of the persons from ``first`` to ``last``."""
        wanted: Document = {"person": {"$gte": first, "$lte": last}, "case": {"$in": list(cases)}}
        with available():
            return await self._submissions.find(wanted, _READABLE, batch_size=ONE_REPLY).to_list(None)

    async def links_between(self, first: str, last: str, bearing: tuple[str, str]) -> list[Document]:
        """The links of the same persons that say this of themselves, live or not: all but the rule."""
        wanted: Document = {"person": {"$gte": first, "$lte": last}, bearing[0]: bearing[1]}
        with available():
            return await self._links.find(wanted, _BEARING, batch_size=ONE_REPLY).to_list(None)

    async def links_of_all(self, persons: Iterable[str]) -> list[Document]:
        """The links of these persons, live or not."""
        return await self._gathered_links.having("person", persons)

    async def links_of(self, person: str, purpose: str | None = None) -> list[Document]:
        """A person's links, live or not: for one purpose, or all."""
        found = await self._gathered_links.having("person", [person])
        return [link for link in found if purpose in (None, link["purpose"])]

    async def anchors_about(self, refs: Iterable[bytes], events: Iterable[str]) -> list[Document]:
        """The anchor events about these references and these submissions."""
        return await self.anchors.about(refs, events)

    async def rewrite(self, event: str, before: bytes, sealed: bytes, changes: Document, fields: Iterable[str]) -> bool:
        """Correct a body, see :func:`workers.stores.versioned.rewrite`."""
        return await rewrite(self._submissions, event, before, sealed, changes, fields)

    async def corrected(self, persons: Iterable[str]) -> list[Document]:
        """The bodies of these persons' submissions that were ever corrected, with the versions of their fields."""
        wanted: Document = {"person": {"$in": list(persons)}, "versions": {"$exists": True}}
        with available():
            return await self._submissions.find(wanted, {"sealed": 1, "versions": 1}).to_list(None)

    async def undo(self, keys: Iterable[str], persons: Iterable[str]) -> int:
        """Take back these persons' submissions of these events, and their links; how many submissions there were."""
        gone: Document = {"$in": list(keys)}
        owned: Document = {"person": {"$in": list(persons)}}
        if not gone["$in"]:
            return 0
        with available():
            await self._links.delete_many({"submission": gone, **owned})
            return (await self._submissions.delete_many({"_id": gone, **owned})).deleted_count

    async def undo_own(self, digests: Mapping[str, bytes]) -> None:
        """Take back the submissions that these events wrote, whoever's they are. ``digests``: of each, its body's.

        Asked for with their digest as they go: another body may stand under that id at any moment, and stays.
        """
        if digests:
            own = [{"_id": key, "digest": digest} for key, digest in digests.items()]
            with available():
                await self._submissions.delete_many({"$or": own})
            await self.undo_links_of_nothing(digests)

    async def undo_links_of_nothing(self, submissions: Iterable[str]) -> None:
        """Take back the links of those of these submissions that are gone."""
        asked: Document = {"$in": list(submissions)}
        with available():
            # The links before what they hang on: those that a new body under this id brings are not among them.
            links = await self._links.find({"submission": asked}, {"submission": 1, "person": 1}).to_list(None)
            standing = {one["_id"] async for one in self._submissions.find({"_id": asked}, {"_id": 1})}
            gone = [{"_id": one["_id"], "person": one["person"]} for one in links if one["submission"] not in standing]
            if gone:
                await self._links.delete_many({"$or": gone})

    async def undo_said_about(self, events: Iterable[str]) -> None:
        """Take back what is said about these events."""
        gone = list(events)
        await asyncio.gather(*(remarks.undo_about(gone) for remarks in self.remarks.values()))

    async def undo_links_of_others(self, submission: str, person: str) -> None:
        """Take back the links of a submission that are not this person's."""
        with available():
            await self._links.delete_many({"submission": submission, "person": {"$ne": person}})

    async def undo_links(self, submission: str, person: str) -> None:
        """Take back this person's links of a submission."""
        with available():
            await self._links.delete_many({"submission": submission, "person": person})

    async def erase_links(self, persons: Iterable[str]) -> None:
        """Delete the links of very many persons."""
        owned = {"person": {"$in": list(persons)}}
        if owned["person"]["$in"]:
            with available():
                await self._links.delete_many(owned)

    async def erase_all(self, persons: Iterable[str]) -> int:
        """Delete the submissions of very many persons; how many there were. Their links are what goes before."""
        owned = {"person": {"$in": list(persons)}}
        if not owned["person"]["$in"]:
            return 0
        with available():
            return (await self._submissions.delete_many(owned)).deleted_count

    async def erase(
        self,
        persons: Sequence[str],
        refs: Iterable[bytes],
        events: Iterable[str],
        kept: Iterable[str] = (),
        kept_links: Iterable[str] = (),
    ) -> dict[str, int]:
        """Delete everything of these persons but what is ``kept``; collection → how many documents went."""
        # The submissions last: they are what names the others, should this be run again.
        links = await self._gathered_links.delete("person", persons, frozenset(kept_links))
        named, doomed = list(refs), list(events)
        erased = await asyncio.gather(*(remarks.erase(named, doomed) for remarks in self.remarks.values()))
        said = dict(zip(self.remarks, erased, strict=True))
        submissions = await self._gathered.delete("person", persons, frozenset(kept))
        return {"links": links, **said, "submissions": submissions}
