"""Rounds: each "no" that has no case of its own is asked of every subsidiary, up to 500 people in one order.

A round is served like a case: one task for each store, orders with a back-off, receipts by the same rules. Its entries
bear the numbers of its people, ``<round>-<number>/<store>``; a task keeps the numbers that are still to be answered,
so what a store refuses is asked again and what it does not answer is seen. When every store has answered, the key that
opens the addresses is destroyed.
Who has accepted again, by the mailed link, what they had refused stands in one with all they wish by then. A store that
says it cannot serve such a wish is asked again for a week, then the round ends without it, and that is said.
Source: R20, R24, R25; P2, P7, P8, P10; docs/decisions/0013, 0022.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
import uuid_utils

from schemas.calendar import civil_day
from schemas.fields import wire_moment
from schemas.orders import MAX_ENTRIES, WISH
from schemas.terms import Right, StoreOutcome
from workers.cases.desk import Desk, open_sealed_json, seal_json
from workers.preferences import wishes_of
from workers.rules.cases import TaskState
from workers.rules.objections import Wish
from workers.slips import SLIP, opened
from workers.stores.keys import DataKey, key_id
from workers.stores.mongo import Document

log = structlog.get_logger("greffier.cases")

ROUND: Final = "round"
"""The class of a round's key."""

LOOK_AGAIN: Final = timedelta(hours=1)
"""How often a round is looked at though no receipt came: whoever had the last one may have died of it."""

PATIENCE: Final = timedelta(days=7)
"""How long a wish is asked again of a store that says it cannot serve it: somebody may mend that."""

CANNOT: Final = frozenset({"not-supported", "not-understood", "no-acceptance"})
"""By which reasons a store says so: of its adapter, its version, its mapping. It stays with the "no"."""

_TRIES: Final = 10

Entry = Mapping[str, Any]

Person = tuple[str, str, dict[str, Any]]
"""Address, the moment of what they said last, and what of a wish there is to say beside."""


# ---------------------------------------------------------------------- making them


async def make_rounds(desk: Desk) -> int:
    """Put who waits into rounds, and have them sent; how many people are in the last, none when nobody waits.

    Whoever comes while a round is out waits until every store has answered it, or for two seconds, so that a burst
    makes few rounds: see :mod:`workers.cases.dispatching`. Rounds that are full leave one after the other.
    """
    while (people := await _make_round(desk)) > MAX_ENTRIES // 2:
        pass
    return people


async def _make_round(desk: Desk) -> int:
    for _ in range(_TRIES):
        slips = await desk.services.rounds.waiting(MAX_ENTRIES)
        if not slips:
            return 0
        keys = await desk.services.keys.read(key_id(slip["_id"], SLIP) for slip in slips)
        people = await _people(desk, slips, keys)
        if await _made(desk, slips, people):
            if len(keys) < len(slips):
                log.error("slips cannot be opened: who is on them is asked of no store", slips=len(slips) - len(keys))
            for store in desk.services.trust.register.subsidiaries:
                await desk.wake_store(store)
            return sum(slip["people"] for slip in slips)
        # another process had one of these slips: what is left is the next round
    return 0


async def _made(desk: Desk, slips: Sequence[Document], people: Sequence[Person]) -> bool:
    now, reference = desk.services.clock(), str(uuid_utils.uuid7())
    slip_keys = [key_id(slip["_id"], SLIP) for slip in slips]
    key = (await desk.services.keys.ensure([key_id(reference, ROUND)]))[key_id(reference, ROUND)]
    tasks = [
        _task(reference, store, numbers, [number for number in numbers if people[number][2]], now)
        for store, one in desk.services.trust.register.subsidiaries.items()
        if (numbers := _may_hear(people, live=one.transfer.live(civil_day(now))))
    ]
    made = await desk.services.rounds.make(
        {
            "_id": reference,
            "people": len(people),
            "at": now,
            "sealed": seal_json(key, f"rounds/{reference}", people),
            "slips": [slip["_id"] for slip in slips],
            "look_at": now + LOOK_AGAIN if tasks else now,
        },
        [slip["_id"] for slip in slips],
        tasks,
    )
    await desk.services.keys.destroy(slip_keys if made else [key.id])
    return made


async def _people(desk: Desk, slips: Sequence[Document], keys: Mapping[str, DataKey]) -> list[Person]:
    """Each address once with its latest "no", and once with its wish. A slip without a key is in another round."""
    latest: dict[tuple[str, bool], tuple[str, str]] = {}
    for slip in slips:
        key = keys.get(key_id(slip["_id"], SLIP))
        for email, at, wishes in opened(key, slip) if key else ():
            same = email.lower(), wishes
            if same not in latest or latest[same][1] < at:
                latest[same] = (email, at)
    # Read after the slips, which were left when what was said stood: the last of them knows all of it.
    wishes_now = await wishes_of(desk.services, [email for (_, wishes), (email, _) in latest.items() if wishes])
    noes: list[Person] = [(email, at, {}) for (_, wishes), (email, at) in latest.items() if not wishes]
    return noes + [(email, wire_moment(wish.at), _said_of(wish)) for email, wish in wishes_now.items()]


def _said_of(wish: Wish) -> dict[str, Any]:
    accepts = "yes" if wish.accepts else "no"
    return {"right": WISH, "accepts": accepts, "refused_at": wire_moment(wish.refused_at), "version": wish.version}


def _may_hear(people: Sequence[Person], *, live: bool) -> list[int]:
    """The numbers of those a store is asked about: without a live basis no order goes there that ends no use."""
    return [number for number, (_, _, wish) in enumerate(people) if live or wish.get("accepts") != "yes"]


def _task(reference: str, store: str, people: list[int], wishes: list[int], now: datetime) -> Document:
    """``wishes``: of these numbers those that are of a wish."""
    return {
        "_id": f"{reference}/{store}",
        "case": reference,
        "store": store,
        "right": Right.OBJECTION.value,
        "state": TaskState.WAITING.value,
        "ask": "serve",
        "attempt": 0,
        "send_at": now,
        "people": people,
        **({"wishes": wishes, "patient_until": now + PATIENCE} if wishes else {}),
    }


# ---------------------------------------------------------------------- asking


def weight(task: Document) -> int:
    """How many entries of an order a task asks for."""
    return len(task["people"]) if is_of_round(task) else 1


def is_of_round(task: Document) -> bool:
    """Whether a task is of a round, not of a case."""
    return "people" in task


async def entries_of(desk: Desk, tasks: Sequence[Document]) -> list[tuple[Document, list[dict[str, Any]]]]:
    """What an order says of each task of a round; a round that is over meanwhile is left out."""
    rounds = await desk.services.rounds.having(task["case"] for task in tasks)
    keys = await desk.services.keys.read(key_id(reference, ROUND) for reference in rounds)
    found = []
    for task in tasks:
        one, key = rounds.get(task["case"]), keys.get(key_id(task["case"], ROUND))
        if one is not None and key is not None and "sealed" in one:
            people = open_sealed_json(key, f"rounds/{one['_id']}", one["sealed"])
            found.append((task, [_entry(task, number, *people[number]) for number in task["people"]]))
    return found


def _entry(task: Document, number: int, email: str, at: str, wish: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {
        "task": f"{task['case']}-{number}/{task['store']}",
        "attempt": task["attempt"],
        "ask": task["ask"],
        "right": task["right"],
        "person": {"emails": [email]},
        "received_at": at,
        **(wish or {}),
    }


# ---------------------------------------------------------------------- hearing


def sorted_out(order: Document, names: Iterable[str]) -> dict[str, dict[int, str]]:
    """Of the entries that an order asked for, those of its rounds: reference → the number of each, and its name."""
    rounds, found = frozenset(order.get("rounds", ())), dict[str, dict[int, str]]()
    for name in names:
        reference, _, number = name.partition("/")[0].rpartition("-")
        if reference in rounds:
            found.setdefault(reference, {})[int(number)] = name
    return found


async def contradicting(desk: Desk, order: Document, entries: Mapping[str, Entry]) -> set[str]:
    """Which of these entries, by name, say other things than their store signed before in answer to the same order."""
    of_rounds = sorted_out(order, entries)
    tasks = await desk.cases.tasks(f"{reference}/{order['store']}" for reference in of_rounds)
    found = set()
    for task in tasks.values():
        for number, name in of_rounds[task["case"]].items():
            before = task.get("told", {}).get(str(number))
            if before and before.startswith(f"{entries[name]['attempt']}/") and before != _told(entries[name]):
                found.add(name)
    return found


async def take(desk: Desk, order: Document, entries: Mapping[str, Entry], digest: str) -> set[str]:
    """Apply what a receipt says of rounds, and end those that every store has answered: which. Repeatable.

    ``entries``: by name, those that are believed.
    """
    ended = set()
    for reference, names in sorted_out(order, entries).items():
        store = order["store"]
        await desk.evidence.note("receipt_accepted", reference, digest, store=store, digest=digest)
        await _apply(desk, f"{reference}/{store}", {number: entries[name] for number, name in names.items()})
        if await end_if_answered(desk, reference):
            ended.add(reference)
    return ended


async def _apply(desk: Desk, name: str, told: Mapping[int, Entry]) -> None:
    for _ in range(_TRIES):
        task = (await desk.cases.tasks([name]))[name]
        waiting = {number: told[number] for number in task["people"] if number in told}
        refused = {number: one.get("reason", "refused") for number, one in waiting.items() if _refuses(one)}
        ended = {number: why for number, why in refused.items() if _ends(task, number, why, desk.services.clock())}
        asked_again = [why for number, why in refused.items() if number not in ended]
        over_with = {number: one for number, one in waiting.items() if number not in refused or number in ended}
        left = [number for number in task["people"] if number not in over_with]
        changes: dict[str, Any] = {f"told.{number}": _told(one) for number, one in over_with.items()}
        changes |= {"people": left} | ({"reason": asked_again[0]} if asked_again else {})
        if ended:
            unserved = Counter(task.get("unserved", {})) + Counter(ended.values())
            changes |= {"unserved": dict(unserved), "unserved_at": desk.services.clock()}
        over = () if left else ("send_at", "reason")
        if not left:
            changes |= {"state": TaskState.RECEIPTED.value, "answered_at": desk.services.clock()}
        if not waiting or await desk.cases.change_task(task, changes, *over):
            return


def _refuses(entry: Entry) -> bool:
    return bool(entry["outcome"] == StoreOutcome.REFUSED)


def _ends(task: Document, number: int, reason: str, now: datetime) -> bool:
    """Whether a refusal is a store's last word: that it cannot serve a wish, for a week. A "no" it owes for ever."""
    return number in task.get("wishes", ()) and reason in CANNOT and now >= task["patient_until"]


def _told(entry: Entry) -> str:
    """What an answer says, to know it again: at which attempt, and a hash of its counts."""
    said = json.dumps([entry["outcome"], entry["collections"]], sort_keys=True)
    return f"{entry['attempt']}/{hashlib.sha256(said.encode()).hexdigest()[:16]}"


async def end_if_answered(desk: Desk, reference: str) -> bool:
    """Once every store has answered, nobody needs the addresses any more; whether they have. Repeatable."""
    stores = (await desk.cases.states_of([reference])).get(reference, ())
    one = (await desk.services.rounds.having([reference]))[reference]
    if "over_at" in one or any(store["state"] != TaskState.RECEIPTED for store in stores):
        return "over_at" in one
    await desk.evidence.note("all_receipts", reference, "receipted")
    await desk.services.keys.destroy([key_id(reference, ROUND), *(key_id(slip, SLIP) for slip in one["slips"])])
    await desk.services.rounds.end(reference, desk.services.clock())
    log.info("every store has answered a round", round=reference, people=one["people"])
    return True
