"""Persons whose records are to be looked at now, and since when they wait: whoever said "no" or withdrew.

The daily walk would find them too; here they are found within minutes, so that what rested on a consent stays only as
long as its deletion takes. To name somebody twice, or somebody of whom nothing has ended, changes nothing.
Source: R14, R20, R24; P9.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pymongo import DeleteOne, UpdateOne

from workers.stores.gathering import Gathered
from workers.stores.mongo import Collection, Databases, available


@dataclass(frozen=True, slots=True)
class Waiting:
    """``since``: when the first of what is still to be followed was said. ``call``: the last call for this person."""

    person: str
    since: datetime
    call: str


class Due:
    """By person's id, in **active**."""

    def __init__(self, databases: Databases) -> None:
        self._due: Collection = databases.active["due"]
        self._gathered = Gathered(self._due)

    async def add(self, persons: Iterable[str], since: datetime) -> None:
        """Have these persons looked at. ``since``: when what is to be followed was said, aware. Repeatable.

        Call it when what they said is stored: they may be looked at at once.
        """
        said = {"$min": {"since": since}, "$set": {"call": secrets.token_hex(8)}}
        await self._gathered.write(*(UpdateOne({"_id": one}, said, upsert=True) for one in dict.fromkeys(persons)))

    async def take(self, limit: int) -> list[Waiting]:
        """Who has waited longest, ``limit`` at most. They wait on until :meth:`settle`: whoever dies leaves them."""
        with available():
            found = await self._due.find({"since": {"$exists": True}}).sort("since", 1).limit(limit).to_list(None)
        return [Waiting(one["_id"], one["since"], one["call"]) for one in found]

    async def count(self) -> int:
        """How many wait."""
        with available():
            return await self._due.count_documents({})

    async def settle(self, looked_at: Sequence[Waiting]) -> None:
        """They were looked at; who was called for again meanwhile waits on."""
        await self._gathered.write(*(DeleteOne({"_id": one.person, "call": one.call}) for one in looked_at))
