"""Published versions of the policy, and by what means people were told of each: in **evidence**.

Who of the people held was told by a message to them stands with the person, in **active**, and goes with them
(:meth:`workers.stores.people.People.tell`).
Source: R16.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from workers.stores.mongo import Collection, Databases, Document, available, insert_new


class Policies:
    """By version."""

    def __init__(self, databases: Databases) -> None:
        self._policies: Collection = databases.evidence["policies"]

    async def all(self) -> Mapping[str, Document]:
        """Version → ``digest``, ``effective_on``, ``notices``, ``published_at``, ``by``; ``told``: means → since."""
        with available():
            return {one["_id"]: one async for one in self._policies.find()}

    async def publish(self, document: Document) -> bool:
        """Keep a version, by its ``_id``; ``False`` where it stands already."""
        return not await insert_new(self._policies, [document])

    async def told(self, version: str, means: str, at: datetime) -> None:
        """Note that people were told of a version by these means; the first time stays."""
        field = f"told.{means}"
        with available():
            await self._policies.update_one({"_id": version, field: None}, {"$set": {field: at}})
