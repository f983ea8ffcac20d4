"""What was chosen last by each link to somebody's preferences, so that the link shows it: in **evidence**, of nobody.

A link stands here by a digest of what it bears sealed, which says nothing about whose it is.
Source: R21; docs/decisions/0018.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime

from pymongo import UpdateOne

from schemas.terms import Purpose
from workers.stores.gathering import Gathered
from workers.stores.mongo import Databases


class Preferences:
    """Choices by link. They go when their link has ended (TTL index over ``expires``)."""

    def __init__(self, databases: Databases) -> None:
        self._gathered = Gathered(databases.evidence["preferences"])

    async def note(self, link: str, choices: Mapping[str, bool], at: datetime, expires: datetime) -> None:
        """What was chosen at a moment; the later choice stays, and at a tie "no". Repeatable."""
        said = {f"choices.{purpose}": {"at": at, "no": not yes} for purpose, yes in choices.items()}
        await self._gathered.write(
            UpdateOne({"_id": _name(link)}, {"$max": {**said, "expires": expires}}, upsert=True),
        )

    async def of(self, link: str) -> dict[Purpose, bool]:
        """Purpose → accepted or refused, of what was chosen by this link. Raises :class:`StoreUnavailable`."""
        found = await self._gathered.get(_name(link))
        chosen = {} if found is None else found["choices"]
        return {Purpose(purpose): not said["no"] for purpose, said in chosen.items()}


def _name(link: str) -> str:
    return hashlib.sha256(link.encode()).hexdigest()
