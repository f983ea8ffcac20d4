"""What staff did at the desk, by name: one entry a call, written before it is answered. Source: R8, R30; ASVS 16.2."""

from __future__ import annotations

from datetime import datetime

import uuid_utils

from workers.stores.mongo import Collection, Databases, available


class Calls:
    """The record of calls, in **evidence**; it names cases by reference only."""

    def __init__(self, databases: Databases) -> None:
        self._calls: Collection = databases.evidence["desk_calls"]

    async def record(
        self, *, name: str, department: str, what: str, case: str | None, outcome: str, at: datetime
    ) -> None:
        """``what``: method and route; ``outcome``: ``asked`` before it is tried, or the code it was refused with."""
        entry = {"name": name, "department": department, "what": what, "case": case, "outcome": outcome, "at": at}
        with available():
            await self._calls.insert_one({"_id": str(uuid_utils.uuid7()), **entry})
