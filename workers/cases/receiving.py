"""Receipts: nothing in one is believed but what its store signed, for a task that was asked of that very store.

What does not hold is refused with a reason that stays as evidence; what holds is kept as it was signed, whatever the
task's state, and applied to its task: a case's here, a round's in :mod:`workers.cases.rounds`. A second receipt that
says something else makes the task of a case doubtful: both are kept, and a person decides. An entry whose access copy
comes in parts waits on its task until the last part is there, whichever comes first; if that never comes, the store is
asked again like any that is silent.
Source: P6, P7; R25; design § 5.5; reliability § 4 rows 50, 54, 55.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import rfc8785
import structlog

from schemas.copies import check_part, read_copy
from schemas.errors import InvalidMessage
from schemas.fields import read_moment
from schemas.jose import MAX_TOKEN_BYTES, Keys, Peer, open_sealed, verify
from schemas.orders import CONTROLLER, RECEIPT, RECEIPT_CLAIMS, is_consistent
from schemas.strict_json import parse
from schemas.terms import Proof, Right, StoreOutcome
from workers.cases import canaries, rounds
from workers.cases.copies import copy_in_parts, drop_others, keep_copy, keep_part
from workers.cases.desk import Desk
from workers.cases.disposals import is_disposal
from workers.rules.cases import TaskState
from workers.rules.receipts import answers_agree, look_agrees
from workers.stores.mongo import Document

log = structlog.get_logger("greffier.cases")

_MAX_NODES: Final = 2_000_000
_TRIES: Final = 10

CONFLICT: Final = "something_else_stands"
"""Why a store's part in a rectification waits for somebody: it left what it holds as it is."""


@dataclass(slots=True)
class Accepted:
    """What became of a receipt: the cases that moved, the rounds that ended, the canaries' drills that may go on, why
    entries were refused (task → code).
    """

    cases: set[str] = field(default_factory=set)
    rounds: set[str] = field(default_factory=set)
    drills: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)


async def receive(desk: Desk, store: str, token: str) -> Accepted:
    """A sealed receipt found in a store's own namespace.

    Raises :class:`InvalidMessage` when nothing of it can be believed; single entries are refused by themselves.
    """
    message = opened(desk.party, token)
    peer = desk.peers.get(store)
    if peer is None:
        raise InvalidMessage("unknown_store")
    if set(message) == {"part"}:
        return await _take_part(desk, store, check_part(message["part"]))
    signed, copies = receipt_and_copies(message)
    return await accept(desk, store, peer, signed, copies, Proof.ATTESTED)


def opened(party: Keys, token: str) -> dict[str, Any]:
    """What a sealed message to the controller holds: a receipt, or a part of a copy. Raises :class:`InvalidMessage`."""
    if len(token) > MAX_TOKEN_BYTES:
        raise InvalidMessage("too_large")
    message = parse(open_sealed(token, party), max_nodes=_MAX_NODES)
    if not isinstance(message, dict):
        raise InvalidMessage("malformed_receipt")
    return message


def receipt_and_copies(message: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The signed receipt, not checked yet, and the copies beside it. Raises :class:`InvalidMessage`."""
    if not isinstance(message.get("receipt"), str):
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
    faults = {entry["task"]: _fault(entry, asked, copies, tasks.get(entry["task"])) for entry in claims["entries"]}
    good = {entry["task"]: entry for entry in claims["entries"] if faults[entry["task"]] is None}
    for name in await rounds.contradicting(desk, order, good):
        faults[name] = "contradicting_receipts"
        del good[name]
    accepted = Accepted(refused={name: fault for name, fault in faults.items() if fault is not None})
    waiting = {name for name, entry in good.items() if name in tasks and _awaits_parts(tasks[name], entry, copies)}
    cases = sorted({task["case"] for name, task in tasks.items() if name in good and name not in waiting})
    kept = {
        "store": store,
        "order": claims["order"],
        "cases": [*cases, *rounds.sorted_out(order, good)],
        "jws": signed,
        "at": now,
    }
    await desk.cases.keep_receipt({"_id": digest, **kept})
    known = [(tasks[name], entry) for name, entry in good.items() if name in tasks and name not in waiting]
    for task, _ in known:
        if task["_id"] in copies:
            await keep_copy(desk, task, rfc8785.dumps(copies[task["_id"]]))
    await _apply(desk, known, digest, proof)
    accepted.cases |= {task["case"] for task, _ in known if not (is_disposal(task) or canaries.is_of_canary(task))}
    accepted.drills |= {task["drill"] for task, _ in known if canaries.is_of_canary(task)}
    accepted.rounds |= await rounds.take(desk, order, good, digest)
    for name in waiting:
        await _await_parts(desk, tasks[name], good[name], digest)
        await _complete(desk, name, accepted)
    await _note_refused(desk, order, accepted.refused, digest)
    return accepted


async def _note_refused(desk: Desk, order: Document, refused: Mapping[str, str], digest: str) -> None:
    """Entry by entry; of a round, reason by reason."""
    of_rounds = rounds.sorted_out(order, refused)
    facts = {(reference, refused[name]) for reference, names in of_rounds.items() for name in names.values()}
    told = [(reference, f"{digest}/{reference}/{code}", code) for reference, code in sorted(facts)]
    singly = refused.keys() - {name for names in of_rounds.values() for name in names.values()}
    told += [(name.partition("/")[0], f"{digest}/{name}", refused[name]) for name in sorted(singly)]
    for reference, fact, code in told:
        await desk.evidence.note("receipt_refused", reference, fact, store=order["store"], reason=code)


def _fault(
    entry: Mapping[str, Any], asked: Mapping[str, tuple[int, str]], copies: Mapping[str, Any], task: Document | None
) -> str | None:
    """Why an entry is not believed; ``None`` when it is."""
    if entry["task"] not in asked:
        return "task_not_in_order"
    if asked[entry["task"]] != (entry["attempt"], entry["ask"]):
        return "other_attempt"
    if not is_consistent(dict(entry)):
        return "counts_disagree"
    return _copy_fault(entry, copies.get(entry["task"]), task)


def _copy_fault(entry: Mapping[str, Any], copied: Any, task: Document | None) -> str | None:
    signed_for = entry.get("copy_sha256")
    if copied is None:
        right = None if task is None else task.get("right")  # to dispose of what is over is nobody's right
        in_parts = right is not None and Right(right).gives_a_copy and entry["ask"] == "serve"
        return None if signed_for is None or in_parts else "copy_missing"
    if signed_for is None:
        return "copy_missing"
    content = rfc8785.dumps(copied)
    if hashlib.sha256(content).hexdigest() != signed_for:
        return "copy_altered"
    return None if _is_readable(entry["task"], content) else "bad_copy"


def _is_readable(task: str, content: bytes) -> bool:
    """Whether the package can be made of it: found out now, not on the day the answer is due."""
    try:
        read_copy(task.rpartition("/")[2], content)
    except InvalidMessage:
        return False
    return True


async def _apply(desk: Desk, told: Sequence[tuple[Document, Mapping[str, Any]]], digest: str, proof: Proof) -> None:
    """Note what a receipt tells of tasks, then change them by it: no case may go on before its entry stands."""

    async def note(task: Document, entry: Mapping[str, Any]) -> None:
        kind = "looked" if entry["ask"] == "look" else "receipt_accepted"
        await desk.evidence.note(kind, task["case"], f"{digest}/{task['_id']}", store=task["store"], digest=digest)

    await asyncio.gather(*(note(task, entry) for task, entry in told))  # all of them in one write
    for _ in range(_TRIES):
        changed = [(task, changes) for task, entry in told if (changes := _changes(task, entry, digest, proof))]
        if await desk.cases.step_tasks(changed, "send_at", "awaits", "unseen"):
            return
        fresh = await desk.cases.tasks(task["_id"] for task, _ in told)
        told = [(fresh[task["_id"]], entry) for task, entry in told]


def _changes(task: Document, entry: Mapping[str, Any], digest: str, proof: Proof) -> dict[str, Any]:
    """What an entry changes of its task; nothing when it only repeats, or is of before its store was asked anew."""
    if entry["attempt"] <= task.get("void_attempts", -1):
        return {}
    state = TaskState(task["state"])
    if entry["ask"] == "look":
        if state is not TaskState.RECEIPTED:
            return {}
        agrees = look_agrees(Right(task["right"]), task["entry"], entry)
        if agrees:
            return {"state": TaskState.PROVED.value, "proof": proof.value, "look": dict(entry), "looked": digest}
        return {"state": TaskState.DOUBTFUL.value, "reason": "look_disagrees", "look": dict(entry), "looked": digest}
    if state is TaskState.WAITING:
        answered = {"state": TaskState.RECEIPTED.value, "outcome": entry["outcome"], "entry": dict(entry)}
        answered |= {"receipt": digest, "answered_at": read_moment(entry["at"])}
        in_conflict = entry["outcome"] == StoreOutcome.CONFLICT
        return answered | ({"state": TaskState.DOUBTFUL.value, "reason": CONFLICT} if in_conflict else {})
    if state is TaskState.BARRED or is_disposal(task) or _says_the_same(task, entry):
        return {}
    return {"state": TaskState.DOUBTFUL.value, "reason": "contradicting_receipts"}


def _says_the_same(task: Document, entry: Mapping[str, Any]) -> bool:
    return "entry" in task and answers_agree(Right(task["right"]), task["entry"], entry)


# ---------------------------------------------------------------------- copies in parts


def _awaits_parts(task: Document, entry: Mapping[str, Any], copies: Mapping[str, Any]) -> bool:
    """Whether an entry can be applied only once its copy is there. Who has answered already needs no further copy."""
    return "copy_sha256" in entry and entry["task"] not in copies and task["state"] == TaskState.WAITING


async def _await_parts(desk: Desk, task: Document, entry: Mapping[str, Any], digest: str) -> None:
    """Leave an entry with its task until its copy is whole; that of the latest attempt counts."""
    for _ in range(_TRIES):
        before = task.get("awaits", {}).get("entry", {}).get("attempt", 0)
        if task["state"] != TaskState.WAITING or entry["attempt"] < before:
            return
        if await desk.cases.change_task(task, {"awaits": {"entry": dict(entry), "receipt": digest}}):
            return
        task = (await desk.cases.tasks([task["_id"]]))[task["_id"]]


async def _take_part(desk: Desk, store: str, part: Mapping[str, str]) -> Accepted:
    """Keep a part of a copy, and apply the entry that waits for it if it was the last."""
    accepted = Accepted()
    try:
        whole = await keep_part(desk, store, part)
    except InvalidMessage as fault:
        log.warning("part of a copy refused", store=store, code=fault.code)
        accepted.refused[part["task"]] = fault.code
        return accepted
    if whole:
        await _complete(desk, part["task"], accepted)
    return accepted


async def _complete(desk: Desk, name: str, accepted: Accepted) -> None:
    """Apply the entry that waits on a task, if its copy is whole.

    Called after a part was kept and after an entry began to wait: of two that run at once, the later sees both.
    """
    task = (await desk.cases.tasks([name]))[name]
    awaited, key = task.get("awaits"), await desk.case_key(task["case"])
    if awaited is None or key is None:
        return
    entry, digest = awaited["entry"], awaited["receipt"]
    try:
        content = await copy_in_parts(desk, key, name, entry["copy_sha256"])
        if content is None:
            return
        await asyncio.to_thread(read_copy, task["store"], content)
    except InvalidMessage as fault:
        await desk.cases.drop_parts(name, [entry["copy_sha256"]])
        await desk.cases.change_task(task, {}, "awaits")
        accepted.refused[name] = fault.code
        fact = f"{digest}/{name}"
        await desk.evidence.note("receipt_refused", task["case"], fact, store=task["store"], reason=fault.code)
        return
    await desk.cases.receipt_speaks_of(digest, task["case"])
    await _apply(desk, [(task, entry)], digest, Proof.ATTESTED)
    await drop_others(desk, name, entry["copy_sha256"])
    accepted.cases.add(task["case"])
