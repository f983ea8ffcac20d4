"""What other organisations' systems asked for: each request by the id they know it by, and what was told of it.

In **evidence**, beside the cases they become. Until the controller has opened its case, a request lies here as the
counter sealed it: whoever reads this collection, the counter too, reads no person. Every change is a compare-and-set.
Source: rights-protocols § 4; design § 1 "counter".
"""

from __future__ import annotations

from datetime import datetime

from pymongo.errors import DuplicateKeyError

from workers.stores.mongo import Collection, Databases, Document, available
from workers.stores.versioned import Versioned


class Outside(Versioned):
    """Requests by ``_id`` (ours) and ``key`` (their own id, scoped by who asked); tokens of agents; signatures seen."""

    def __init__(self, databases: Databases) -> None:
        super().__init__(databases.evidence["outside"])
        self._tokens: Collection = databases.evidence["outside_tokens"]
        self._seen: Collection = databases.evidence["outside_seen"]

    # ------------------------------------------------------------------ requests

    async def keep(self, request: Document) -> Document:
        """Insert a request, or find the one of that ``key`` which was there before; what stands."""
        while True:
            with available():
                try:
                    await self.collection.insert_one({**request, "version": 1})
                    return {**request, "version": 1}
                except DuplicateKeyError:
                    found = await self.collection.find_one({"key": request["key"]})
            if found is not None:  # else it was dropped this very moment, and what was said first no longer binds
                return found

    async def find(self, key: str) -> Document | None:
        """One request by who asked and their own id."""
        with available():
            return await self.collection.find_one({"key": key})

    async def due(self, field: str, now: datetime, lease_until: datetime, limit: int) -> list[Document]:
        """Requests whose ``opens_at`` or ``look_at`` has come, each handed to one caller until ``lease_until``."""
        found: list[Document] = []
        while len(found) < limit and (taken := await self.take(field, now, lease_until)):
            found.append(taken)
        return found

    async def alarms(self) -> dict[str, int]:
        """Why somebody should look (``given_up``, ``late``) → of how many requests."""
        with available():
            return {why: await self.collection.count_documents({"alarm": why}) for why in ("given_up", "late")}

    # ------------------------------------------------------------------ agents

    async def set_token(self, agent: str, sha256: str, at: datetime) -> None:
        """Give an agent a token, by its digest; one that it had before is dead."""
        with available():
            await self._tokens.replace_one({"_id": agent}, {"_id": agent, "sha256": sha256, "at": at}, upsert=True)

    async def agent_of(self, sha256: str) -> str | None:
        """Whose token has this digest."""
        with available():
            found = await self._tokens.find_one({"sha256": sha256})
        return str(found["_id"]) if found else None

    async def first_for(self, message: str, use: str, until: datetime) -> bool:
        """Remember that a signed message was used for something; ``False`` if it was used for something else.

        ``message``: its digest; kept until it has expired (a TTL index), and refused for its age from then on.
        """
        with available():
            try:
                await self._seen.insert_one({"_id": message, "use": use, "until": until})
            except DuplicateKeyError:
                found = await self._seen.find_one({"_id": message})
                return found is None or found["use"] == use
        return True
