"""Until when the person of each contact must be told where their data is from: with the submission, in **active**.

``notice_by`` is the instant from which that is late, ``informed_at`` when they were told; the one gives way to the
other. Both only ever move to earlier moments, so neither order nor repetition matters. In **evidence**, once for each
submission: that a notice was due soon, that it was overdue.
Source: R2; GDPR Art. 14.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from pymongo import UpdateOne

from workers.stores.mongo import Collection, Databases, Document, available, insert_new

DUE_SOON: Final = "due_soon"
OVERDUE: Final = "overdue"
_FIELDS: Final = {"person": 1, "collected_at": 1, "notice_by": 1}


class NoticeDates:
    """By the contact's event key."""

    def __init__(self, databases: Databases) -> None:
        self._submissions: Collection = databases.active["submissions"]
        self._noted: Collection = databases.evidence["notices"]

    async def of(self, events: Iterable[str], persons: Iterable[str] = ()) -> list[Document]:
        """The contacts of these events and of these persons (``person``, ``collected_at``, ``notice_by``)."""
        whose = {"$or": [{"_id": {"$in": list(events)}}, {"person": {"$in": list(persons)}}]}
        with available():
            return await self._submissions.find({**whose, "collected_at": {"$exists": True}}, _FIELDS).to_list(None)

    async def late(self, moment: datetime, *, unnoted: str | None = None, limit: int) -> list[Document]:
        """Contacts whose notice is late at that moment, the oldest first, ``limit`` at most.

        ``unnoted``: only those of which that is not noted yet.
        """
        with available():
            found = self._submissions.find(_late(moment, unnoted), _FIELDS).sort("notice_by", 1)
            return await found.limit(limit).to_list(None)

    async def count_late(self, moment: datetime) -> int:
        """How many contacts' notices are late at that moment."""
        with available():
            return await self._submissions.count_documents(_late(moment, None))

    async def set(self, due: Mapping[str, datetime], informed: Mapping[str, datetime]) -> None:
        """Event → what is known of it now: until when somebody is to be told, or when they were."""
        told = [
            UpdateOne({"_id": key}, {"$min": {"informed_at": at}, "$unset": {"notice_by": ""}})
            for key, at in informed.items()
        ]
        # Whoever did not see the notice yet must not bring back what it has settled.
        dated = [UpdateOne({"_id": key, "informed_at": None}, {"$min": {"notice_by": at}}) for key, at in due.items()]
        if told or dated:
            with available():
                await self._submissions.bulk_write(told + dated, ordered=False)

    async def note(self, contacts: Sequence[Document], standing: str, now: datetime) -> None:
        """Record of these contacts, once each, that their notice is due soon or overdue."""
        await insert_new(
            self._noted,
            [
                {
                    "_id": f"{one['_id']} {standing}",
                    "submission": one["_id"],
                    "standing": standing,
                    "late_from": one["notice_by"],
                    "noted_at": now,
                }
                for one in contacts
            ],
        )
        with available():
            await self._submissions.update_many(
                {"_id": {"$in": [one["_id"] for one in contacts]}}, {"$set": {"notice_noted": standing}}
            )


def _late(moment: datetime, unnoted: str | None) -> Document:
    known: Mapping[str | None, list[str | None]] = {
        None: [None, DUE_SOON, OVERDUE],
        DUE_SOON: [None],
        OVERDUE: [None, DUE_SOON],
    }
    return {"notice_noted": {"$in": known[unnoted]}, "notice_by": {"$lte": moment}}
