"""Cases, their tasks, the orders they went out with, the receipts that came back, and the mails: in **evidence**.

They survive a restore of the other databases: a person's request must not vanish with a backup. Identifiers and mails
are sealed under the case's own key; everything else is without personal data. Every change of a case or a task is a
compare-and-set on its version, so that two workers never both take a step.
Source: design § 4 "Case, task, attempt, receipt"; P6, P7.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, Final

from pymongo import DeleteMany, UpdateOne

from schemas.fields import wire_moment
from workers.stores.gathering import Gathered
from workers.stores.mongo import Collection, Databases, Document, available, insert_new

OPEN_ANSWERS: Final = ("received", "identity_pending", "accepted")


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """How long withdrawals of consent took to the last store's receipt, in milliseconds; how many wait, since when."""

    answered: int
    last_ms: int | None
    longest_ms: int | None
    waiting: int
    waiting_since: str | None


class Cases:
    """The five collections of a rights request."""

    def __init__(self, databases: Databases) -> None:
        self._cases: Collection = databases.evidence["cases"]
        self._tasks: Collection = databases.evidence["tasks"]
        self._orders: Collection = databases.evidence["attempts"]
        self._receipts: Collection = databases.evidence["receipts"]
        self._copies: Collection = databases.evidence["copies"]
        self._mails: Collection = databases.evidence["mails"]
        self._gathered_cases = Gathered(self._cases)
        self._gathered_tasks = Gathered(self._tasks)
        self._gathered_orders = Gathered(self._orders)
        self._gathered_receipts = Gathered(self._receipts)
        self._gathered_mails = Gathered(self._mails)
        self._gathered_copies = Gathered(self._copies)

    # ------------------------------------------------------------------ cases

    async def open(self, case: Document) -> bool:
        """Insert a case; ``False`` when its reference, or an open case of the same person and right, is there already.

        The second rests on a partial unique index over ``joins``, which a case loses when its answer is final.
        """
        return not await self._gathered_cases.insert_new([{**case, "version": 1}])

    async def get(self, reference: str) -> Document | None:
        """One case."""
        return await self._gathered_cases.get(reference)

    async def whole(self, references: Sequence[str]) -> list[Document]:
        """Cases by reference, with what is sealed."""
        return await self._gathered_cases.having("_id", references)

    async def joined(self, joins: bytes) -> str | None:
        """The reference of the open case of this person and right."""
        found = await self._gathered_cases.having("joins", [joins])
        return str(found[0]["_id"]) if found else None

    async def change(self, case: Mapping[str, Any], changes: Mapping[str, Any], *unset: str) -> bool:
        """Change a case unless somebody did since it was read; ``False``: read it again."""
        with available():
            result = await self._cases.update_one(_as_read(case), _update(changes, unset))
        return bool(result.modified_count)

    async def step(self, case: Mapping[str, Any], changes: Mapping[str, Any], *unset: str) -> None:
        """The same for who reads the case again anyhow: many cases' changes travel together, and none hears its own."""
        await self._gathered_cases.change(UpdateOne(_as_read(case), _update(changes, unset)))

    async def change_and_write(
        self, case: Mapping[str, Any], changes: Mapping[str, Any], mail: Document | None, *unset: str
    ) -> bool:
        """Change a case and put the letter that tells of it into the outbox: both, or neither.

        ``False`` when somebody changed the case since it was read. A letter of that id that stands stays as it is.
        """
        if mail is None:
            return await self.change(case, changes, *unset)

        async def together(session: Any) -> bool:
            result = await self._cases.update_one(_as_read(case), _update(changes, unset), session=session)
            if result.modified_count:
                await self._mails.update_one({"_id": mail["_id"]}, {"$setOnInsert": mail}, upsert=True, session=session)
            return bool(result.modified_count)

        with available():
            async with await self._cases.database.client.start_session() as session:
                return bool(await session.with_transaction(together))

    async def due(self, now: datetime, lease_until: datetime, limit: int) -> list[str]:
        """Cases whose ``wake_at`` has come, each handed to one caller until ``lease_until``."""
        found: list[str] = []
        with available():
            async for case in self._cases.find({"wake_at": {"$lte": now}}, {"wake_at": 1}).limit(limit):
                taken = await self._cases.update_one(
                    {"_id": case["_id"], "wake_at": case["wake_at"]}, {"$set": {"wake_at": lease_until}}
                )
                if taken.modified_count:
                    found.append(case["_id"])
        return found

    async def find(self, query: Document, *, limit: int = 1000) -> list[Document]:
        """Cases by a query of ours, the nearest due date first, then by reference; without what is sealed."""
        order = [("due_on", 1), ("_id", 1)]
        with available():
            return await self._cases.find(query, {"sealed": 0}).sort(order).limit(limit).to_list(None)

    async def packages_over(self, now: datetime, limit: int) -> list[Document]:
        """Cases whose access package was downloaded, or whose link has ended, and that still have it."""
        over = [
            {"package.expires": {"$lte": now}},
            {"package.expires": {"$exists": True}, "package.taken_at": {"$lte": now}},
        ]
        with available():
            return await self._cases.find({"$or": over}, {"sealed": 0}).limit(limit).to_list(None)

    async def withdrawals(self, since: datetime) -> Withdrawn:
        """The withdrawals of consent from that moment on, and any before it that waits for a receipt. Source: R14."""
        asked = {"withdrawn_at": {"$exists": True}}
        waiting = {**asked, "receipts_took_ms": {"$exists": False}, "proof": {"$ne": "closed"}}
        with available():
            took = [
                case["receipts_took_ms"]
                async for case in self._cases.find(
                    {"withdrawn_at": {"$gte": since}, "receipts_took_ms": {"$exists": True}}, {"receipts_took_ms": 1}
                ).sort("withdrawn_at", 1)
            ]
            oldest = await self._cases.find(waiting, {"withdrawn_at": 1}).sort("withdrawn_at", 1).to_list(None)
        first = wire_moment(oldest[0]["withdrawn_at"]) if oldest else None
        return Withdrawn(len(took), took[-1] if took else None, max(took, default=None), len(oldest), first)

    # ------------------------------------------------------------------ tasks

    async def open_tasks(self, tasks: Sequence[Document]) -> None:
        """Insert tasks by ``<reference>/<store>``; those that are there stay as they are."""
        await self._gathered_tasks.insert_new([{**task, "version": 1} for task in tasks])

    async def tasks_of(self, reference: str) -> list[Document]:
        """A case's tasks, by store."""
        return sorted(await self._gathered_tasks.having("case", [reference]), key=itemgetter("store"))

    async def states_of(self, references: Iterable[str]) -> dict[str, list[Document]]:
        """By case, its tasks with no more than :func:`workers.rules.cases.next_step` asks for."""
        told: defaultdict[str, list[Document]] = defaultdict(list)
        for task in await self._gathered_tasks.having("case", references, "store", "state", "look_asked"):
            told[task["case"]].append(task)
        return told

    async def tasks(self, ids: Iterable[str]) -> dict[str, Document]:
        """Tasks by id."""
        return {task["_id"]: task for task in await self._gathered_tasks.having("_id", ids)}

    async def to_send(self, store: str, now: datetime, limit: int) -> list[Document]:
        """Tasks of a store that wait for an order and are due for one."""
        wanted = {"store": store, "send_at": {"$lte": now}}
        with available():
            return await self._tasks.find(wanted).sort("send_at", 1).limit(limit).to_list(None)

    async def stores_to_send(self, now: datetime) -> list[str]:
        """The stores that have such tasks."""
        with available():
            return sorted(await self._tasks.distinct("store", {"send_at": {"$lte": now}}))

    async def change_task(self, task: Mapping[str, Any], changes: Mapping[str, Any], *unset: str) -> bool:
        """Change a task unless somebody did since it was read."""
        with available():
            result = await self._tasks.update_one(_as_read(task), _update(changes, unset))
        return bool(result.modified_count)

    async def step_tasks(self, changed: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], *unset: str) -> bool:
        """The same for several tasks, each with its own; ``False``: perhaps not for all, read them again."""
        changes = [UpdateOne(_as_read(task), _update(changes, unset)) for task, changes in changed]
        return await self._gathered_tasks.change(*changes)

    async def tasks_held(self, keys: Sequence[str]) -> list[Document]:
        """Our own store's tasks of which a hold on one of these keys kept something."""
        with available():
            return await self._tasks.find({"held": {"$in": list(keys)}}).to_list(None)

    async def holding(self, keys: Sequence[str], right: str) -> bool:
        """Whether a case of this right bears a hold on one of these keys."""
        wanted = {"hold.keys": {"$in": list(keys)}, "right": right}
        with available():
            return await self._cases.find_one(wanted, {"_id": 1}) is not None

    async def change_with_task(
        self,
        case: Mapping[str, Any],
        changes: Mapping[str, Any],
        task: Mapping[str, Any],
        task_changes: Mapping[str, Any],
        task_unset: Sequence[str],
    ) -> bool:
        """Change a case and one of its tasks: both, or neither where somebody changed one since it was read."""

        async def together(session: Any) -> bool:
            if not (await self._cases.update_one(_as_read(case), _update(changes), session=session)).modified_count:
                return False
            update = _update(task_changes, task_unset)
            if not (await self._tasks.update_one(_as_read(task), update, session=session)).modified_count:
                await session.abort_transaction()
                return False
            return True

        with available():
            async with await self._cases.database.client.start_session() as session:
                return bool(await session.with_transaction(together))

    async def claim_tasks(self, tasks: Sequence[Document], order: str, again_at: datetime) -> list[Document]:
        """Take tasks for one order: each counts up its attempt and names it. Those somebody else took are left."""
        writes = [
            UpdateOne(
                {"_id": task["_id"], "version": task["version"]},
                {"$set": {"order": order, "send_at": again_at}, "$inc": {"version": 1, "attempt": 1}},
            )
            for task in tasks
        ]
        if not writes:
            return []
        with available():
            await self._tasks.bulk_write(writes, ordered=False)
            taken = {"_id": {"$in": [task["_id"] for task in tasks]}, "order": order}
            return await self._tasks.find(taken).to_list(None)

    # ------------------------------------------------------------------ orders, receipts, copies

    async def keep_order(self, order: Document) -> Document:
        """An order as it was sealed, by its ``jti``; it waits here, not in Redis. As it stands: the first one stays."""
        if not await self._gathered_orders.insert_new([order]):
            return order
        return (await self._gathered_orders.having("_id", [order["_id"]]))[0]

    async def orders(self, ids: Iterable[str]) -> dict[str, Document]:
        """Orders by ``jti``."""
        return {order["_id"]: order for order in await self._gathered_orders.having("_id", ids)}

    async def messages_in_force(self, store: str) -> set[str]:
        """The ids of the messages that carry the orders which a store's waiting tasks name."""
        waiting = {"store": store, "send_at": {"$exists": True}}
        with available():
            orders = await self._tasks.distinct("order", waiting)
            found = self._orders.find({"_id": {"$in": orders}, "message": {"$exists": True}}, {"message": 1})
            return {order["message"] async for order in found}

    async def keep_receipt(self, receipt: Document) -> bool:
        """A receipt as it was signed, by its digest; ``False`` when the very same was there."""
        return not await self._gathered_receipts.insert_new([receipt])

    async def receipt_speaks_of(self, digest: str, reference: str) -> None:
        """A kept receipt speaks of one more case: what it says of that one was not believed before."""
        with available():
            await self._receipts.update_one({"_id": digest}, {"$addToSet": {"cases": reference}})

    async def receipts_of(self, reference: str) -> list[Document]:
        """Every receipt that speaks of a case, in the order they came."""
        with available():
            return await self._receipts.find({"cases": reference}).sort("at", 1).to_list(None)

    async def keep_parts(self, parts: Sequence[Document]) -> None:
        """Parts of access copies, sealed under the case key, by ``<task>/<digest of the copy>/<place>``."""
        await insert_new(self._copies, list(parts))

    async def parts_of(self, task: str, digest: str) -> list[Document]:
        """What has come of one copy, in order."""
        with available():
            return await self._copies.find({"task": task, "copy": digest}).sort("place", 1).to_list(None)

    async def count_parts(self, task: str, digest: str) -> int:
        """How much has come of one copy."""
        with available():
            return await self._copies.count_documents({"task": task, "copy": digest})

    async def copies_begun(self, task: str) -> list[str]:
        """The digests of a task's copies of which something has come, the one begun first at the beginning."""
        grouped: list[Document] = [
            {"$match": {"task": task}},
            {"$group": {"_id": "$copy", "at": {"$min": "$at"}}},
            {"$sort": {"at": 1, "_id": 1}},
        ]
        with available():
            return [found["_id"] async for found in self._copies.aggregate(grouped)]

    async def drop_parts(self, task: str, digests: Sequence[str]) -> None:
        """Delete what has come of these copies."""
        with available():
            await self._copies.delete_many({"task": task, "copy": {"$in": list(digests)}})

    async def drop_copies(self, reference: str) -> None:
        """Delete a case's access copies once they were delivered or have lapsed."""
        await self._gathered_copies.write(DeleteMany({"case": reference}))

    # ------------------------------------------------------------------ mails

    async def put_mail(self, mail: Document) -> None:
        """A mail by ``<reference>/<kind>``: one of each kind, whatever is repeated."""
        await self._gathered_mails.insert_new([mail])

    async def mails_due(self, now: datetime, lease_until: datetime, limit: int) -> list[str]:
        """The ids of mails that are to be sent now, each handed to one caller until ``lease_until``."""
        due = {"send_at": {"$lte": now}, "handed_until": {"$not": {"$gt": now}}}
        handed: list[str] = []
        with available():
            async for mail in self._mails.find(due, {"_id": 1}).limit(limit):
                taken = await self._mails.update_one(
                    {"_id": mail["_id"], **due}, {"$set": {"handed_until": lease_until}}
                )
                if taken.modified_count:
                    handed.append(mail["_id"])
        return handed

    async def mail(self, mail: str) -> Document | None:
        """One mail that has not left yet."""
        with available():
            return await self._mails.find_one({"_id": mail, "sealed": {"$exists": True}})

    async def take_mail(self, mail: str, now: datetime, lease_until: datetime) -> Document | None:
        """One mail that is due, for whoever asks first, until ``lease_until``; ``None`` for everybody else."""
        leased = {"$set": {"send_at": lease_until}, "$inc": {"tries": 1}}
        with available():
            return await self._mails.find_one_and_update({"_id": mail, "send_at": {"$lte": now}}, leased)

    async def mails_waiting(self, reference: str) -> bool:
        """Whether a mail of this case has not left yet."""
        return any("send_at" in mail for mail in await self._gathered_mails.having("case", [reference], "send_at"))

    async def mail_done(self, mail: str, outcome: str, at: datetime) -> None:
        """A mail was handed over, or failed for good; its content goes."""
        done = {"$set": {"outcome": outcome, "at": at}, "$unset": {"send_at": "", "sealed": ""}}
        await self._gathered_mails.write(UpdateOne({"_id": mail}, done))

    async def mail_later(self, mail: str, send_at: datetime) -> None:
        """A mail could not be sent now."""
        with available():
            await self._mails.update_one(
                {"_id": mail, "sealed": {"$exists": True}},
                {"$set": {"send_at": send_at}, "$unset": {"handed_until": ""}},
            )

    async def mails_of(self, reference: str) -> list[Document]:
        """What was mailed about a case, without content."""
        with available():
            return await self._mails.find({"case": reference}, {"sealed": 0}).to_list(None)


def _as_read(document: Mapping[str, Any]) -> Document:
    """A case or a task, unless somebody changed it since it was read."""
    return {"_id": document["_id"], "version": document["version"]}


def _update(changes: Mapping[str, Any], unset: Iterable[str] = ()) -> Document:
    return {"$set": dict(changes), "$inc": {"version": 1}, "$unset": dict.fromkeys(unset, "")}
