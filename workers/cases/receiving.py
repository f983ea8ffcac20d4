"""Receipts: nothing in one is believed but what its store signed, for a task that was asked of that very store.

What does not hold is refused with a reason that stays as evidence; what holds is kept as it was signed, whatever the
task's state, and applied to its task. A second receipt that says something else makes the task doubtful: both are
kept, and a person decides.
Source: P6, P7; R25; design § 5.5; reliability § 4 rows 50, 54, 55.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import rfc8785
import structlog

from schemas.errors import InvalidMessage
from schemas.fields import read_moment
from schemas.jose import MAX_TOKEN_BYTES, Peer, open_sealed, verify
from schemas.orders import CONTROLLER, RECEIPT, RECEIPT_CLAIMS, is_consistent
from schemas.strict_json import parse
from schemas.terms import Proof, Right
from workers.cases.desk import Desk, seal_json
from workers.rules.cases import TaskState
from workers.rules.receipts import look_agrees
from workers.stores.mongo import Document

log = structlog.get_logger("greffier.cases")

_MAX_NODES = 2_000_000


@dataclass(slots=True)
class Accepted:
    """What became of a receipt: the cases that moved, and why entries were refused (task → code)."""

    cases: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)


async def receive(desk: Desk, store: str, token: str) -> Accepted:
    """A sealed receipt found in a store's own namespace.

    Raises :class:`InvalidMessage` when nothing of it can be believed; single entries are refused by themselves.
    """
    signed, copies = _opened(desk, token)
    peer = desk.peers.get(store)
    if peer is None:
        raise InvalidMessage("unknown_store")
    return await accept(desk, store, peer, signed, copies, Proof.ATTESTED)


def _opened(desk: Desk, token: str) -> tuple[str, Mapping[str, Any]]:
    if len(token) > MAX_TOKEN_BYTES:
        raise InvalidMessage("too_large")
    message = parse(open_sealed(token, desk.party), max_nodes=_MAX_NODES)
    if not isinstance(message, dict) or not isinstance(message.get("receipt"), str):
        raise InvalidMessage("malformed_receipt")
    copies = message.get("copies") or {}
    if not isinstance(copies, dict) or set(message) - {"receipt", "copies"}:
        raise InvalidMessage("malformed_receipt")
    return message["receipt"], copies


async def accept(desk: Desk, store: str, peer: Peer, signed: str, copies: Mapping[str, Any], proof: Proof) -> Accepted:
    """Check, keep and apply a receipt. ``proof``: what a look in it is worth: attested, or verified by our own eyes."""
    now = desk.services.clock()
    claims = RECEIPT_CLAIMS.check(verify(signed, peer, RECEIPT, audience=CONTROLLER, now=now))
    order = (await desk.cases.orders([claims["order"]])).get(claims["order"])
    if order is None or order["store"] != store:
        raise InvalidMessage("answers_no_order_of_this_store")
    asked = {task: (attempt, ask) for task, (attempt, ask) in order["asked"]}
    tasks = await desk.cases.tasks(entry["task"] for entry in claims["entries"])
    digest = hashlib.sha256(signed.encode()).hexdigest()
    faults = {entry["task"]: _fault(entry, asked, copies) for entry in claims["entries"]}
    good = {entry["task"]: entry for entry in claims["entries"] if faults[entry["task"]] is None}
    accepted = Accepted(refused={name: fault for name, fault in faults.items() if fault is not None})
    cases = sorted({task["case"] for name, task in tasks.items() if name in good})
    await desk.cases.keep_receipt(
        {"_id": digest, "store": store, "order": claims["order"], "cases": cases, "jws": signed, "at": now}
    )
    for name, entry in good.items():
        if name in tasks:
            await _apply(desk, tasks[name], entry, digest, copies.get(name), proof)
            accepted.cases.add(tasks[name]["case"])
    for name, code in accepted.refused.items():
        await desk.evidence.note(
            "receipt_refused", name.partition("/")[0], f"{digest}/{name}", store=store, reason=code
        )
    return accepted


def _fault(entry: Mapping[str, Any], asked: Mapping[str, tuple[int, str]], copies: Mapping[str, Any]) -> str | None:
    """Why an entry is not believed; ``None`` when it is."""
    if entry["task"] not in asked:
        return "task_not_in_order"
    if asked[entry["task"]] != (entry["attempt"], entry["ask"]):
        return "other_attempt"
    if not is_consistent(dict(entry)):
        return "counts_disagree"
    copied = copies.get(entry["task"])
    if (copied is None) is not ("copy_sha256" not in entry):
        return "copy_missing"
    if copied is not None and hashlib.sha256(rfc8785.dumps(copied)).hexdigest() != entry["copy_sha256"]:
        return "copy_altered"
    return None


async def _apply(desk: Desk, task: Document, entry: Mapping[str, Any], digest: str, copied: Any, proof: Proof) -> None:
    if copied is not None:
        await _keep_copy(desk, task, copied)
    for _ in range(10):
        changes = _changes(task, entry, digest, proof)
        if not changes or await desk.cases.change_task(task, changes, "send_at"):
            break
        task = (await desk.cases.tasks([task["_id"]]))[task["_id"]]
    kind = "looked" if entry["ask"] == "look" else "receipt_accepted"
    await desk.evidence.note(kind, task["case"], f"{digest}/{task['_id']}", store=task["store"], digest=digest)


def _changes(task: Document, entry: Mapping[str, Any], digest: str, proof: Proof) -> dict[str, Any]:
    """What an entry changes of its task; nothing when it only repeats."""
    state = TaskState(task["state"])
    if entry["ask"] == "look":
        if state is not TaskState.RECEIPTED:
            return {}
        agrees = look_agrees(Right(task["right"]), task["entry"], entry)
        if agrees:
            return {"state": TaskState.PROVED.value, "proof": proof.value, "look": dict(entry), "looked": digest}
        return {"state": TaskState.DOUBTFUL.value, "reason": "look_disagrees", "look": dict(entry), "looked": digest}
    if state is TaskState.WAITING:
        if entry["attempt"] <= task.get("void_attempts", 0):
            return {}  # it was in doubt, and staff have asked again since
        answered = {"state": TaskState.RECEIPTED.value, "outcome": entry["outcome"], "entry": dict(entry)}
        return {**answered, "receipt": digest, "answered_at": read_moment(entry["at"])}
    if state is TaskState.BARRED or _says_the_same(task.get("entry"), entry):
        return {}
    return {"state": TaskState.DOUBTFUL.value, "reason": "contradicting_receipts"}


def _says_the_same(first: Mapping[str, Any] | None, second: Mapping[str, Any]) -> bool:
    """Whether two answers of a store agree; their times and attempts may differ."""
    told = ("outcome", "collections")
    return first is not None and all(first[name] == second[name] for name in told)


async def _keep_copy(desk: Desk, task: Document, copied: Any) -> None:
    key = await desk.case_key(task["case"])
    if key is None:
        return  # the case ended: nobody is waiting for it
    place = f"copies/{task['_id']}"
    sealed = seal_json(key, place, copied)
    await desk.cases.keep_copy({"_id": task["_id"], "case": task["case"], "store": task["store"], "sealed": sealed})
