"""What stands about an address, counted: before an erasure, and again for the second look.

Source: P6; R17, R19.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from schemas.subject import References, ReferenceUse, clean_email
from workers.stores.mongo import Databases, available
from workers.stores.people import not_younger
from workers.stores.tombstones import Tombstones, of_address


class Standing:
    """Counts per collection of **active**. Letters parked *because* of an erasure are what it leads to: not counted."""

    def __init__(self, databases: Databases, references: References) -> None:
        self._active = databases.active
        self._stones = Tombstones(databases)
        self._references = references

    async def left(self, email: str) -> dict[str, int]:
        """The same after an erasure: only what it had to take. Who came back since by an act of their own is new."""
        address = clean_email(email)
        stone = of_address(self._references.of_email(ReferenceUse.TOMBSTONE, address))
        return await self.of(email, (await self._stones.look([stone])).get(stone))

    async def of(self, email: str, erased_at: datetime | None = None) -> dict[str, int]:
        """Collection → how many documents. ``erased_at``: leave out whoever is younger than an erasure of that moment.

        Raises :class:`schemas.errors.InvalidMessage` for what is no address.
        """
        address = clean_email(email)
        ref = self._references.of_email(ReferenceUse.LOOKUP, address)
        parked = self._references.of_email(ReferenceUse.PARKED, address)
        older = {"refs": ref} if erased_at is None else {"refs": ref, **not_younger(erased_at)}
        until = {} if erased_at is None else {"received": {"$lte": erased_at}}
        with available():
            persons = [found["_id"] async for found in self._active["persons"].find(older, {"_id": 1})]
            owned = {"person": {"$in": persons}}
            fields = {"device": 1}
            held = await self._active["submissions"].find(owned, fields).to_list(None)
        keys = [one["_id"] for one in held]
        devices = [one["device"] for one in held if "device" in one]
        wanted: dict[str, dict[str, Any]] = {
            "persons": older,
            "submissions": owned,
            "links": owned,
            "anchors": {"$or": [{"refs": ref, **until}, {"about": {"$in": keys}}]},
            "confirmations": {"about": {"$in": keys}},
            "visits": {"device": {"$in": devices}},
            "files.files": {"metadata.person": {"$in": persons}},
            "parked": {"refs": parked, "reason": {"$ne": "erased"}, **until},
        }
        counts = [
            [{"$match": query}, {"$group": {"_id": name, "documents": {"$sum": 1}}}] for name, query in wanted.items()
        ]
        first, *others = zip(wanted, counts, strict=True)
        joined = [{"$unionWith": {"coll": name, "pipeline": stages}} for name, stages in others]
        with available():  # all of them in one round trip
            found = self._active[first[0]].aggregate([*first[1], *joined])
            return {one["_id"]: one["documents"] async for one in found}
