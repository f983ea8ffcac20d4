"""Persons: an id that stands for somebody, found by the keyed reference of a normalised e-mail address alone.

The document holds no personal data, only references; ``refs`` is a list so that during a key rotation every writer
writes both hashes, and its index is unique, so that one person published at once to many workers exists once.
``after`` is the erasure of the same address that this person is known to be younger than: whoever comes back after
having been forgotten is a new person, and nothing of the old one is his.
Source: design § 4 "A person"; P2, P5.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime

import uuid_utils
from pymongo import DeleteMany

from workers.stores.canaries import canary_references
from workers.stores.gathering import AT_ONCE, Gathered
from workers.stores.mongo import Collection, Databases, Document, available, insert_new


class People:
    """Finds and creates persons by reference."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases
        self._persons: Collection = databases.active["persons"]
        self._gathered = Gathered(self._persons)

    async def find(self, refs: Iterable[bytes]) -> dict[bytes, str]:
        """Reference → person id, for those that exist."""
        found = await self._gathered.having("refs", refs)
        return {bytes(ref): person["_id"] for person in found for ref in person["refs"]}

    async def page(self, after: str, size: int, ending: str = "", last: str = "") -> list[Document]:
        """The next persons by id: each with its references, ``after`` where it has one, and what :meth:`tell` noted.

        Canaries are left out: nobody is counted, written to or told who is nobody.
        ``ending``: only those whose id ends with one of these characters; ``last``: none beyond this one.
        """
        of_these = ({"$regex": f"[{ending}]$"} if ending else {}) | ({"$lte": last} if last else {})
        fields = {"refs": 1, "after": 1, "told": 1}
        known = await canary_references(self._databases)
        while True:
            nobody = {"refs": {"$nin": list(known)}} if known else {}
            beyond = self._persons.find({"_id": {"$gt": after, **of_these}, **nobody}, fields, batch_size=size)
            with available():
                page = await beyond.sort("_id", 1).limit(size).to_list(None)
            before, known = known, await canary_references(self._databases)
            if known <= before:  # whoever is planted was known first: none of these can be one
                return page

    async def stretches(self, size: int) -> AsyncIterator[tuple[str, str]]:
        """All persons in stretches of ``size`` by id: after whom each begins, and its last one; none for the last."""
        after = ""
        while True:
            beyond = self._persons.find({"_id": {"$gt": after}}, {"_id": 1}).sort("_id", 1).skip(size - 1).limit(1)
            with available():
                found = await beyond.to_list(None)
            if not found:
                yield after, ""
                return
            yield after, found[0]["_id"]
            after = found[0]["_id"]

    async def by_id(self, persons: Iterable[str]) -> list[Document]:
        """The documents of these persons, as :meth:`page` gives them."""
        return await self._gathered.having("_id", persons, "refs", "after")

    async def refs_of(self, person: str) -> list[bytes]:
        """The references of one person; empty where there is none."""
        found = await self._gathered.get(person)
        return [bytes(ref) for ref in found["refs"]] if found else []

    async def refs_of_all(self, persons: Iterable[str]) -> dict[str, list[bytes]]:
        """Person → references, for those that stand."""
        found = await self._gathered.having("_id", persons)
        return {person["_id"]: [bytes(ref) for ref in person["refs"]] for person in found}

    async def told(self, persons: Iterable[str]) -> dict[str, list[Document]]:
        """Person → the versions of the policy that they were told of (``version``, ``means``, ``at``)."""
        found = await self._gathered.having("_id", persons, "told")
        return {person["_id"]: person.get("told", []) for person in found}

    async def tell(self, persons: Iterable[str], version: str, means: str, at: datetime) -> int:
        """Note of persons that they were told of a version of the policy, the first time; of how many."""
        wanted = {"_id": {"$in": list(persons)}, "told.version": {"$ne": version}}
        note = {"$push": {"told": {"version": version, "means": means, "at": at}}}
        with available():
            return (await self._persons.update_many(wanted, note)).modified_count

    async def resolve(self, refs: Iterable[bytes], now: datetime, after: Mapping[bytes, datetime]) -> dict[bytes, str]:
        """Reference → person id; who was not there is created, once, whoever else creates him at the same moment.

        ``after``: reference → the latest erasure of that address; a person created here is known to be younger.
        """
        wanted = list(dict.fromkeys(refs))
        known = await self.find(wanted)
        missing = [ref for ref in wanted if ref not in known]
        fresh = {ref: str(uuid_utils.uuid7()) for ref in missing}
        documents = [
            {"_id": person, "refs": [ref], "created_at": now, **({"after": after[ref]} if ref in after else {})}
            for ref, person in fresh.items()
        ]
        taken = await insert_new(self._persons, documents)
        if taken:
            known |= await self.find(missing[position] for position in taken)
        return {ref: person for position, (ref, person) in enumerate(fresh.items()) if position not in taken} | known

    async def of_before(self, ref: bytes, erased_at: datetime) -> list[str]:
        """The persons of this reference who are not known to be younger than an erasure at ``erased_at``."""
        return [person["_id"] for person in await self.standing(ref, erased_at)]

    async def standing(self, ref: bytes, erased_at: datetime | None = None) -> list[Document]:
        """The documents of this reference; after an erasure, of those who are not known to be younger than it."""
        found = await self._gathered.having("refs", [ref])
        return found if erased_at is None else [person for person in found if not is_younger(person, erased_at)]

    async def younger(self, persons: Iterable[str], erased_at: datetime) -> frozenset[str]:
        """Those of these persons who stand and are known to be younger than an erasure at ``erased_at``."""
        wanted = {"_id": {"$in": list(dict.fromkeys(persons))}, "after": {"$gte": erased_at}}
        with available():
            return frozenset([person["_id"] async for person in self._persons.find(wanted, {"_id": 1})])

    async def retire(self, erased: Mapping[str, datetime]) -> int:
        """Remove the documents of persons older than their erasure; how many there were.

        ``erased``: person → when he was erased.
        """
        if len(erased) > AT_ONCE:
            return await self._retire_all(erased)
        found = await self._gathered.having("_id", erased)
        # What somebody is younger than is known from his creation on.
        gone = [person["_id"] for person in found if not is_younger(person, erased[person["_id"]])]
        if gone:
            await self._gathered.write(DeleteMany({"_id": {"$in": gone}}))
        return len(gone)

    async def _retire_all(self, erased: Mapping[str, datetime]) -> int:
        by_moment: defaultdict[datetime, list[str]] = defaultdict(list)
        for person, at in erased.items():
            by_moment[at].append(person)
        gone = 0
        for at, persons in by_moment.items():
            older = {"_id": {"$in": persons}, "after": {"$not": {"$gte": at}}}
            with available():
                gone += (await self._persons.delete_many(older)).deleted_count
        return gone


def is_younger(person: Document, erased_at: datetime) -> bool:
    """Whether a person's document says that he is younger than an erasure."""
    return "after" in person and bool(person["after"] >= erased_at)
