"""Choices about cookies as a stream of events, and the visits that they cover.

A device stands here as a keyed reference; a visit has lost its query, its fragment and the end of its address.
Source: R4, R15, R16; design § 4 "Consent is a stream of events".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from dateutil.relativedelta import relativedelta
from pymongo import UpdateOne

from schemas.consent import Choice
from schemas.fields import wire_moment
from workers.stores.events import Inserted, insert_events
from workers.stores.gathering import Gathered
from workers.stores.mongo import Collection, Databases, Document, available, insert_new

_PAGE: Final = 5_000
_VISIT: Final = {"device": 1, "happened": 1}
_SHOWN: Final = {"happened": "$happened", "url": "$url"}


@dataclass(frozen=True, slots=True)
class Withdrawals:
    """What came of withdrawals: how many, milliseconds from arrival to deletion, since when the oldest open one waits.

    Source: R14.
    """

    deleted: int
    mean_ms: int
    most_ms: int
    waiting_since: str | None


class Consents:
    """Consents and visits, in **active**; in **evidence**, by the same key, which have run out or were withdrawn."""

    def __init__(self, databases: Databases) -> None:
        self._consents: Collection = databases.active["consents"]
        self._visits: Collection = databases.active["visits"]
        self._expired: Collection = databases.evidence["expired_consents"]
        self._renewals: Collection = databases.evidence["renewals"]
        self._withdrawals: Collection = databases.evidence["withdrawals"]
        self._gathered_visits = Gathered(self._visits)

    async def insert(self, documents: Sequence[Document]) -> Inserted:
        """Consent events by event key, with ``device``, ``happened``, ``choices`` and their proof."""
        return await insert_events(self._consents, documents)

    async def insert_visits(self, documents: Sequence[Document]) -> Inserted:
        """Visits by event key, with ``device`` and ``happened``."""
        return await insert_events(self._visits, documents)

    async def choices(self, devices: Iterable[bytes]) -> dict[bytes, list[Choice]]:
        """Every choice of these devices, in no order."""
        found: dict[bytes, list[Choice]] = defaultdict(list)
        wanted = list(dict.fromkeys(devices))
        if wanted:
            fields = {"device": 1, "happened": 1, "choices": 1}
            with available():
                async for event in self._consents.find({"device": {"$in": wanted}}, fields):
                    found[bytes(event["device"])].append(Choice(event["happened"], event["choices"]))
        return found

    async def note_expired(self, now: datetime, *, limit: int) -> int:
        """Record once of each consent whose last choice has ended that it has; how many, ``limit`` at most.

        The record first, in **evidence**, then the note on the consent: broken off in between, the next run repeats it.
        """
        wanted: Document = {"expired_noted": None, "valid_until": {"$lte": now}}
        with available():
            found = self._consents.find(wanted, {"device": 1, "valid_until": 1}).sort("valid_until", 1).limit(limit)
            over = await found.to_list(None)
        await insert_new(self._expired, [{**consent, "noted_at": now} for consent in over])
        with available():
            await self._consents.update_many(
                {"_id": {"$in": [consent["_id"] for consent in over]}}, {"$set": {"expired_noted": True}}
            )
        return len(over)

    async def unasked(
        self, until: datetime, older: Iterable[str], others: Iterable[str], *, limit: int
    ) -> list[Document]:
        """Choices whose renewal is due and not noted, ``limit`` at most: what ends by then, or was made under an older
        version of the policy (``device``, ``happened``, ``choices``, ``policy_version``, ``asks_again``).

        ``older``, ``others``: the versions that there are, so that each index range is a narrow one.
        """
        older, others = list(older), list(others)
        known, ends = [*older, *others], {"asks_again": {"$lte": until}}
        wanted = (
            {"policy_version": {"$in": older}, "asks_again": {"$exists": True}},
            {"policy_version": {"$in": others}, **ends},
            {"policy_version": {"$nin": known}, **ends},
        )
        fields = dict.fromkeys(("device", "happened", "choices", "policy_version", "asks_again"), 1)
        found: list[Document] = []
        for query in wanted:
            with available():
                found += await self._consents.find(query, fields).limit(limit - len(found)).to_list(None)
            if len(found) == limit:
                break
        return found

    async def note_renewals(self, due: Sequence[Document], looked_at: Iterable[str]) -> None:
        """Record of each of these choices, once, that its renewal is due; the others that were looked at need none.

        The record first, in **evidence**: broken off in between, the next run repeats it.
        """
        await insert_new(self._renewals, list(due))
        with available():
            await self._consents.update_many({"_id": {"$in": list(looked_at)}}, {"$unset": {"asks_again": ""}})

    async def renewals(self, after: str, size: int) -> list[Document]:
        """The next records of renewals due, by the choice's event key (``why``, ``ends``, ``noted_at``)."""
        with available():
            return await self._renewals.find({"_id": {"$gt": after}}).sort("_id", 1).limit(size).to_list(None)

    async def by_key(self, events: Iterable[str]) -> list[Document]:
        """The choices of these events (``device``, ``happened``, ``choices``)."""
        with available():
            fields = {"device": 1, "happened": 1, "choices": 1}
            return await self._consents.find({"_id": {"$in": list(events)}}, fields).to_list(None)

    async def noted(self, now: datetime) -> tuple[int, int]:
        """Of how many choices it is recorded that renewal is due, of those that have not ended; how many ran out."""
        with available():
            due = await self._renewals.count_documents({"ends": {"$gt": now}})
            return due, await self._expired.estimated_document_count()

    async def purge_proofs(self, now: datetime, period: relativedelta, spared: Sequence[bytes], *, limit: int) -> int:
        """Delete consents whose last choice ended a ``period`` ago, but of these devices; how many, ``limit`` at most.

        The records of their renewal, their end and what a withdrawal deleted go with them.
        """
        wanted = {"expired_noted": True, "device": {"$nin": list(spared)}, **_ended_by(now, period)}
        with available():
            found = self._consents.find(wanted, {"_id": 1}).sort("valid_until", 1).limit(limit)
            over = [consent["_id"] for consent in await found.to_list(None)]
            if over:
                await self._withdrawals.delete_many({"_id": {"$in": over}})
                await self._renewals.delete_many({"_id": {"$in": over}})
                await self._expired.delete_many({"_id": {"$in": over}})
                await self._consents.delete_many({"_id": {"$in": over}})
        return len(over)

    async def over(self, now: datetime, period: relativedelta) -> tuple[int, int]:
        """How many visits and consents would be deleted by then, whoever's they are."""
        with available():
            visits = await self._visits.count_documents({"expires": {"$lte": now}})
            return visits, await self._consents.count_documents(_ended_by(now, period))

    async def proofs_over(self, now: datetime, period: relativedelta, devices: Sequence[bytes]) -> int:
        """How many consents of these devices :meth:`purge_proofs` would delete if nothing spared them."""
        with available():
            return await self._consents.count_documents({**_ended_by(now, period), "device": {"$in": list(devices)}})

    async def visits_of(self, devices: Iterable[bytes]) -> list[Document]:
        """The stored visits of these devices (``_id``, ``device``, ``happened``)."""
        with available():
            return await self._visits.find({"device": {"$in": list(devices)}}, _VISIT).to_list(None)

    async def newest_visits(self, devices: Iterable[bytes], at_most: int) -> dict[bytes, list[Document]]:
        """The newest stored visits of each of these devices (``happened``, ``url``); no device is left out."""
        found: dict[bytes, list[Document]] = {device: [] for device in devices}
        stages: list[Document] = [
            {"$match": {"device": {"$in": list(found)}}},
            {"$sort": {"device": -1, "happened": -1}},  # as the index stands, backwards
            {"$group": {"_id": "$device", "visits": {"$firstN": {"input": _SHOWN, "n": at_most}}}},
        ]
        if found:
            with available():
                async for one in self._visits.aggregate(stages):
                    found[bytes(one["_id"])] = one["visits"]
        return found

    async def visits_over(self, now: datetime, spared: Sequence[bytes], *, limit: int) -> list[Document]:
        """Visits whose ``expires`` has come, but of these devices, ``limit`` at most (``_id``, ``device``,
        ``happened``).
        """
        wanted: Document = {"expires": {"$lte": now}, "device": {"$nin": list(spared)}}
        with available():
            return await self._visits.find(wanted, _VISIT).sort("expires", 1).limit(limit).to_list(None)

    async def count_over(self, now: datetime, devices: Sequence[bytes]) -> int:
        """How many visits of these devices there are whose ``expires`` has come."""
        with available():
            return await self._visits.count_documents({"expires": {"$lte": now}, "device": {"$in": list(devices)}})

    async def visits_last(self, until: Mapping[str, datetime]) -> None:
        """Visit → its new ``expires``."""
        writes = [UpdateOne({"_id": key}, {"$set": {"expires": end}}) for key, end in until.items()]
        if writes:
            with available():
                await self._visits.bulk_write(writes, ordered=False)

    async def begin_withdrawals(self, withdrawals: Sequence[Document]) -> None:
        """Note of each of these "no"s, by its event key, when it was said and came, and what it ends: once each.

        Before anything is deleted, so that however often that breaks off, the time it took in all is known.
        """
        await insert_new(self._withdrawals, list(withdrawals))

    async def end_withdrawals(self, keys: Iterable[str], now: datetime) -> None:
        """Note that what they ended is deleted: of those that were begun, the first time."""
        with available():
            await self._withdrawals.update_many(
                {"_id": {"$in": list(keys)}, "deleted_at": None}, {"$set": {"deleted_at": now}}
            )

    async def withdrawals(self, since: datetime) -> Withdrawals:
        """How long deletion took after a withdrawal, of those done since then, and what is not deleted yet."""
        took = {"$subtract": ["$deleted_at", "$received_at"]}
        stages: list[Document] = [
            {"$match": {"deleted_at": {"$gte": since}}},
            {"$group": {"_id": None, "count": {"$sum": 1}, "mean": {"$avg": took}, "most": {"$max": took}}},
        ]
        with available():
            done = await self._withdrawals.aggregate(stages).to_list(None)
            oldest = await self._withdrawals.find_one({"deleted_at": None}, sort=[("received_at", 1)])
        [all_of_them] = done or [{"count": 0, "mean": 0, "most": 0}]
        waiting = wire_moment(oldest["received_at"]) if oldest else None
        return Withdrawals(all_of_them["count"], round(all_of_them["mean"]), round(all_of_them["most"]), waiting)

    async def first_visit(self, since: datetime) -> Document | None:
        """The earliest stored visit from that moment on (``happened``)."""
        with available():
            return await self._visits.find_one({"happened": {"$gte": since}}, {"happened": 1}, sort=[("happened", 1)])

    async def visits_between(self, start: datetime, end: datetime) -> AsyncGenerator[list[Document], None]:
        """Pages of the visits from ``start`` until before ``end`` (``device``, ``happened``, ``url``, ``language``)."""
        wanted = {"happened": {"$gte": start, "$lt": end}}
        fields = {"_id": 0, "device": 1, "happened": 1, "url": 1, "language": 1}
        cursor = self._visits.find(wanted, fields, batch_size=_PAGE)
        while True:
            with available():
                page = await cursor.to_list(_PAGE)
            if not page:
                return
            yield page

    async def undo(self, keys: Iterable[str]) -> None:
        """Take back what these events wrote."""
        gone = list(keys)
        if gone:
            with available():
                await self._visits.delete_many({"_id": {"$in": gone}})
                await self._consents.delete_many({"_id": {"$in": gone}})

    async def delete_visits(self, keys: Iterable[str]) -> int:
        """Delete visits by event key; how many there were."""
        gone = list(keys)
        if not gone:
            return 0
        with available():
            return (await self._visits.delete_many({"_id": {"$in": gone}})).deleted_count

    async def erase_visits(self, devices: Iterable[bytes]) -> int:
        """Delete every visit of devices that were linked to an erased person; how many there were."""
        return await self._gathered_visits.delete("device", devices)


def _ended_by(now: datetime, period: relativedelta) -> Document:
    """Of consents whose last choice ended a civil period ago, and a day for the length of days."""
    return {"valid_until": {"$lte": now - period - timedelta(days=1)}}
