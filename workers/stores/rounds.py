"""A "no" on its way to the subsidiaries: slips that wait for a round, and the rounds themselves; in **evidence**.

A slip holds who said no in one message, a round up to 500 people of any slips; both are sealed, each under a key of its
own. What each store is asked about a round is a task beside those of cases (:mod:`workers.stores.cases`).
Source: R20, R24, R25; P2, P10; docs/decisions/0013.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo.errors import DuplicateKeyError

from schemas.fields import wire_moment
from workers.stores.mongo import Collection, Databases, Document, available


@dataclass(frozen=True, slots=True)
class Owing:
    """What a store has not answered: ``rounds`` and the ``people`` of them, of ``wishes`` of whom what they wish.

    ``since``: when the oldest began, as the wire writes it; ``reasons``: why it refused, or was not asked.
    """

    store: str
    rounds: int
    people: int
    since: str
    reasons: tuple[str, ...]
    wishes: int = 0


@dataclass(frozen=True, slots=True)
class Unserved:
    """Of how many people a store said, to the end, that it cannot serve what they wish: it stays with their "no".

    ``latest``: when a round ended so, as the wire writes it; ``reasons``: the store's.
    """

    store: str
    people: int
    latest: str
    reasons: tuple[str, ...]


class Rounds:
    """Slips and rounds. No slip says what another one said: its facts are unique among all there ever were."""

    def __init__(self, databases: Databases) -> None:
        self._slips: Collection = databases.evidence["slips"]
        self._rounds: Collection = databases.evidence["rounds"]
        self._client = databases.evidence.client
        self._tasks: Collection = databases.evidence["tasks"]

    # ------------------------------------------------------------------ slips

    async def known(self, facts: Sequence[bytes]) -> set[bytes]:
        """Which of these facts stand on a slip."""
        with available():
            found = await self._slips.find({"facts": {"$in": list(facts)}}, {"facts": 1}).to_list(None)
        return {bytes(fact) for slip in found for fact in slip["facts"]} & set(facts)

    async def leave(self, slip: Document) -> bool:
        """Keep a slip, with ``facts``, ``people``, ``sealed`` and since when it is ``waiting``.

        ``False`` when one of its facts stands on another: nothing was kept.
        """
        with available():
            try:
                await self._slips.insert_one(slip)
            except DuplicateKeyError:
                return False
        return True

    async def waiting(self, most: int) -> list[Document]:
        """Slips of no round yet, the oldest first, as many as hold ``most`` people together; at least one."""
        chosen: list[Document] = []
        with available():
            async for slip in self._slips.find({"waiting": {"$exists": True}}).sort("waiting", 1).limit(most):
                most -= slip["people"]
                if chosen and most < 0:
                    break
                chosen.append(slip)
        return chosen

    # ------------------------------------------------------------------ rounds

    async def make(self, found: Document, slips: Iterable[str], tasks: Sequence[Document]) -> bool:
        """Keep a round, its stores' tasks, and that these slips are in it: all of it, or nothing.

        ``False`` when one of the slips is in another round by now.
        """
        names = list(slips)

        async def together(session: Any) -> bool:
            wanted = {"_id": {"$in": names}, "waiting": {"$exists": True}}
            taken = {"$set": {"round": found["_id"]}, "$unset": {"waiting": "", "sealed": ""}}
            if (await self._slips.update_many(wanted, taken, session=session)).modified_count < len(names):
                await session.abort_transaction()
                return False
            await self._rounds.insert_one(found, session=session)
            if tasks:
                await self._tasks.insert_many([{**task, "version": 1} for task in tasks], session=session)
            return True

        with available():
            async with await self._client.start_session() as session:
                return bool(await session.with_transaction(together))

    async def having(self, references: Iterable[str]) -> dict[str, Document]:
        """Rounds by reference."""
        with available():
            found = await self._rounds.find({"_id": {"$in": list(references)}}).to_list(None)
        return {one["_id"]: one for one in found}

    async def due(self, now: datetime, look_again: datetime, limit: int) -> list[str]:
        """Rounds that are to be looked at, each handed to one caller until ``look_again``."""
        found: list[str] = []
        with available():
            async for one in self._rounds.find({"look_at": {"$lte": now}}, {"look_at": 1}).limit(limit):
                taken = await self._rounds.update_one(
                    {"_id": one["_id"], "look_at": one["look_at"]}, {"$set": {"look_at": look_again}}
                )
                if taken.modified_count:
                    found.append(one["_id"])
        return found

    async def end(self, reference: str, at: datetime) -> None:
        """Every store has answered: what was sealed goes."""
        over = {"$set": {"over_at": at}, "$unset": {"sealed": "", "slips": "", "look_at": ""}}
        with available():
            await self._rounds.update_one({"_id": reference, "over_at": {"$exists": False}}, over)

    async def owing(self) -> list[Owing]:
        """Every store that owes answers, by code."""
        with available():
            begun = {
                one["_id"]: one["at"] async for one in self._rounds.find({"look_at": {"$exists": True}}, {"at": 1})
            }
            waits = {"case": {"$in": list(begun)}, "send_at": {"$exists": True}}
            said = {"case": 1, "store": 1, "people": 1, "wishes": 1, "reason": 1}
            tasks = await self._tasks.find(waits, said).to_list(None)
        return [
            Owing(
                store,
                rounds=len(owed),
                people=sum(len(task["people"]) for task in owed),
                since=wire_moment(min(begun[task["case"]] for task in owed)),
                reasons=tuple(sorted({task["reason"] for task in owed if "reason" in task})),
                wishes=sum(len({*task["people"]} & {*task.get("wishes", ())}) for task in owed),
            )
            for store, owed in _by_store(tasks)
        ]

    async def unserved(self, since: datetime) -> list[Unserved]:
        """Every store for which a round ended with wishes unserved since then, by code."""
        with available():
            ended = {"unserved_at": {"$gte": since}}
            tasks = await self._tasks.find(ended, {"store": 1, "unserved": 1, "unserved_at": 1}).to_list(None)
        return [
            Unserved(
                store,
                people=sum(sum(task["unserved"].values()) for task in ended_so),
                latest=wire_moment(max(task["unserved_at"] for task in ended_so)),
                reasons=tuple(sorted({reason for task in ended_so for reason in task["unserved"]})),
            )
            for store, ended_so in _by_store(tasks)
        ]


def _by_store(tasks: Iterable[Document]) -> list[tuple[str, list[Document]]]:
    found: defaultdict[str, list[Document]] = defaultdict(list)
    for task in tasks:
        found[task["store"]].append(task)
    return sorted(found.items())
