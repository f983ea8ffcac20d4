"""Serving a case on every store: one task each, deterministic; orders in batches; nothing depends on Redis.

A task that waits for its answer bears ``send_at``: whoever comes first takes all of one store's due tasks, of cases, of
rounds and of disposals, signs one order over them and posts it. An order lost on the way is made again when ``send_at``
comes round.
Source: R10, R25; P6, P7, P8; design § 5.4; reliability § 6.5.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any, Final

import structlog
import uuid_utils

from schemas.calendar import PARIS
from schemas.fields import wire_moment
from schemas.jose import seal, sign
from schemas.orders import CONTROLLER, MAX_ENTRIES, ORDER, ORDER_LIFETIME
from schemas.register_entries import Transfer
from schemas.terms import Right
from workers.cases import canaries, disposals
from workers.cases.desk import CASE, Desk, open_sealed_json
from workers.cases.posting import message_id
from workers.cases.rounds import entries_of, is_of_round, weight
from workers.rules.cases import TaskState
from workers.stores.keys import key_id
from workers.stores.mongo import Document

log = structlog.get_logger("greffier.cases")

_AGAIN_AFTER: Final = (timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1), timedelta(hours=6))
_AGAIN_AT_MOST: Final = timedelta(days=1)
NOT_CONNECTED: Final = "not_connected"
NO_TRANSFER_BASIS: Final = "no_transfer_basis"

Asked = tuple[Document, list[dict[str, Any]]]
"""A task, and the entries of an order that ask for it: one of a case, one for each person of a round."""


async def open_tasks(desk: Desk, case: Document) -> None:
    """One task per store of the register and one for our own; what may not cross a border is barred, as evidence."""
    now = desk.services.clock()
    subsidiaries = desk.services.trust.register.subsidiaries
    barred = [code for code, one in subsidiaries.items() if not may_cross(case, one.transfer, now)]
    for code in barred:
        await desk.evidence.note("transfer_refused", case["_id"], code, store=code)
    tasks = [_task(case, code, now, barred=code in barred) for code in (CONTROLLER, *subsidiaries)]
    await desk.cases.open_tasks(tasks)


def may_cross(case: Document, transfer: Transfer, now: datetime) -> bool:
    """Orders that end a use always go, with identifiers only: a lapsed basis must not keep data abroad alive."""
    return transfer.live(now.astimezone(PARIS).date()) or Right(case["right"]).ends_a_use


def _task(case: Document, store: str, now: datetime, *, barred: bool) -> Document:
    task: Document = {
        "_id": f"{case['_id']}/{store}",
        "case": case["_id"],
        "store": store,
        "right": case["right"],
        "state": TaskState.WAITING.value,
        "ask": "serve",
        "attempt": 0,
    }
    if barred:
        return task | {"state": TaskState.BARRED.value, "reason": NO_TRANSFER_BASIS}
    return task if store == CONTROLLER else task | {"send_at": now}


async def dispatch(desk: Desk, store: str) -> int:
    """Post one order over a store's due tasks, as many as it holds; how many entries it carries."""
    now = desk.services.clock()
    due = _that_fit(await desk.cases.to_send(store, now, MAX_ENTRIES))
    if not due:
        return 0
    if store not in desk.peers:
        later = {"reason": NOT_CONNECTED, "send_at": now + _AGAIN_AFTER[2]}
        await desk.cases.step_tasks([(task, later) for task in due])
        log.warning("store has no keys: its tasks wait", store=store, tasks=len(due))
        return 0
    order = str(uuid_utils.uuid7())
    attempt = max(task["attempt"] for task in due)
    taken = await desk.cases.claim_tasks(due, order, now + _again_after(attempt))
    asked = [
        *await _entries(desk, list(filter(_is_of_a_case, taken))),
        *await entries_of(desk, [task for task in taken if is_of_round(task)]),
        *canaries.entries_of([task for task in taken if canaries.is_of_canary(task)]),
        *disposals.entries_of(desk.services.trust.register, [task for task in taken if disposals.is_disposal(task)]),
    ]
    if asked:
        await _post(desk, store, order, asked, now)
    return sum(len(entries) for _, entries in asked)


def _is_of_a_case(task: Document) -> bool:
    return not (is_of_round(task) or disposals.is_disposal(task) or canaries.is_of_canary(task))


def _that_fit(due: Sequence[Document]) -> list[Document]:
    """The first of these tasks, as many as one order holds."""
    ends = accumulate(map(weight, due))
    return [task for task, end in zip(due, ends, strict=True) if end <= MAX_ENTRIES]


def _again_after(attempt: int) -> timedelta:
    return _AGAIN_AFTER[attempt] if attempt < len(_AGAIN_AFTER) else _AGAIN_AT_MOST


async def _entries(desk: Desk, tasks: Sequence[Document]) -> list[Asked]:
    """What an order says of each task of a case: the least that finds the person."""
    references = list(dict.fromkeys(task["case"] for task in tasks))
    cases = {case["_id"]: case for case in await desk.cases.whole(references)}
    keys = await desk.services.keys.read(key_id(reference, CASE) for reference in references)
    asked = []
    for task in tasks:
        key, case = keys.get(key_id(task["case"], CASE)), cases.get(task["case"])
        if key is None or case is None:
            continue  # the case ended meanwhile
        person = open_sealed_json(key, f"cases/{case['_id']}", case["sealed"])
        entry = {
            "task": task["_id"],
            "attempt": task["attempt"],
            "ask": task["ask"],
            "right": task["right"],
            "person": {"emails": person["emails"]},
            "received_at": wire_moment(case["received_at"]),
            **({"patches": person["patches"]} if "patches" in person else {}),
        }
        asked.append((task, [entry]))
    return asked


async def _post(desk: Desk, store: str, order: str, asked_of: Sequence[Asked], now: datetime) -> None:
    peer = desk.peers[store]
    entries = [entry for _, ones in asked_of for entry in ones]
    rounds = [task["case"] for task, _ in asked_of if is_of_round(task)]

    def sealed() -> tuple[str, str]:
        claims = {"jti": order, "entries": entries}
        signed = sign(desk.party, ORDER, claims, audience=store, now=now, lifetime=ORDER_LIFETIME)
        return seal(signed.encode(), peer), hashlib.sha256(signed.encode()).hexdigest()

    token, digest = await asyncio.to_thread(sealed)
    asked = {entry["task"]: [entry["attempt"], entry["ask"]] for entry in entries}
    kept = {"asked": list(asked.items()), "sha256": digest, "token": token, "message": message_id(token), "at": now}
    await desk.cases.keep_order({"_id": order, "store": store, **kept, **({"rounds": rounds} if rounds else {})})

    async def note(task: Document, people: int) -> None:
        fact = f"{store}/{task['ask']}/{task['attempt']}"
        told = {"store": store, "digest": digest, "ask": task["ask"], "attempt": task["attempt"]}
        told |= {"people": people} if is_of_round(task) else {}
        await desk.evidence.note("order_issued", task["case"], fact, **told)

    await asyncio.gather(*(note(task, len(ones)) for task, ones in asked_of))  # all of them in one write
    await desk.send(store, token)
