"""What stands about an address, counted: before an erasure, and again for the second look.

Source: P6; R17, R19.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime

from schemas.subject import References, ReferenceUse, clean_email
from workers.stores.archive import Archive
from workers.stores.gathering import Gathered
from workers.stores.mongo import Databases, Document
from workers.stores.people import People
from workers.stores.remarks import REMARKS
from workers.stores.submissions import Submissions
from workers.stores.tombstones import Tombstones, of_address


class Standing:
    """Counts per collection of **active** and of what is archived.

    Letters parked *because* of an erasure are what it leads to: not counted.
    """

    def __init__(
        self,
        databases: Databases,
        references: References,
        people: People,
        submissions: Submissions,
        tombstones: Tombstones,
        archive: Archive,
    ) -> None:
        self._references = references
        self._people = people
        self._submissions = submissions
        self._stones = tombstones
        names = ("links", *REMARKS, "confirmations", "visits", "files.files", "parked")
        self._archive = archive
        self._gathered = {name: Gathered(databases.active[name]) for name in names}

    async def left(self, email: str, began: datetime | None = None) -> dict[str, int]:
        """The same after an erasure: only what it had to take. Who came back since by an act of their own is new.

        ``began``: when it did, if another may have followed it, which is to take them and may be held.
        """
        address = clean_email(email)
        stone = of_address(self._references.of_email(ReferenceUse.TOMBSTONE, address))
        erased_at = (await self._stones.look([stone])).get(stone)
        return await self.of(email, min(erased_at, began) if erased_at and began else erased_at)

    async def of(self, email: str, erased_at: datetime | None = None) -> dict[str, int]:
        """Collection → how many documents. ``erased_at``: leave out whoever is younger than an erasure of that moment.

        Raises :class:`schemas.errors.InvalidMessage` for what is no address.
        """
        address = clean_email(email)
        ref = self._references.of_email(ReferenceUse.LOOKUP, address)
        parked = self._references.of_email(ReferenceUse.PARKED, address)
        persons = [person["_id"] for person in await self._people.standing(ref, erased_at)]
        held = await self._submissions.of(persons, "device")
        keys = [one["_id"] for one in held]
        devices = [one["device"] for one in held if "device" in one]
        said, letters, (links, confirmations, visits, files) = await asyncio.gather(
            asyncio.gather(*(self._said(kind, ref, keys, erased_at) for kind in REMARKS)),
            self._gathered["parked"].having("refs", [parked], "received", "reason"),
            asyncio.gather(
                self._gathered["links"].count("person", persons),
                self._gathered["confirmations"].count("about", keys),
                self._gathered["visits"].count("device", devices),
                self._gathered["files.files"].count("metadata.person", persons),
            ),
        )
        return {
            "persons": len(persons),
            "submissions": len(held),
            "links": links,
            **dict(zip(REMARKS, said, strict=True)),
            "confirmations": confirmations,
            "visits": visits,
            "files.files": files,
            **await self._archive.standing(ref, erased_at),
            "parked": _until((letter for letter in letters if letter["reason"] != "erased"), erased_at),
        }

    async def _said(self, kind: str, ref: bytes, events: list[str], erased_at: datetime | None) -> int:
        """How many remarks of a kind are about an address, or about these events."""
        named, about = await asyncio.gather(
            self._gathered[kind].having("refs", [ref], "received"), self._gathered[kind].count("about", events)
        )
        return about + _until(named, erased_at)


def _until(documents: Iterable[Document], moment: datetime | None) -> int:
    """How many of these had been received by a moment."""
    return sum(moment is None or document["received"] <= moment for document in documents)
