"""What follows when a hold ends: every open case that it kept from being done whole gets another receipt.

What was erased went when the hold was lifted, and what was withdrawn goes as the case is served again; here the case
learns of it. Our own store's part is reopened and answered anew, looked at again, and told: in the answer if that has
not left yet, else in a further letter. What a restriction keeps is not closed before that ends. A case that was closed
on what had to stay is not opened again: its identifiers are gone, nobody can be told, and the ledger says that it was
lifted; what it asked for is done all the same. Repeating it changes nothing.
Source: R11, R14, R19; GDPR Art. 7(3), 17(3), 18(2); design § 5.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from schemas.orders import CONTROLLER
from workers.cases.desk import Docket
from workers.rules.cases import Answer, ProofState, TaskState
from workers.stores.keys import KeyHeld
from workers.stores.mongo import Document

OF_AN_ANSWER: Final = (
    *("reason", "outcome", "entry", "receipt", "answered_at", "look", "looked", "look_asked", "proof"),
    *("found", "began", "decided", "held", "lifted"),
)
"""What a task loses when its store is asked anew."""

_TRIES: Final = 10


async def do_what_was_held(docket: Docket, keys: Sequence[str]) -> None:
    """Erase now whoever was to be erased, and have looked at within minutes whose time, or consent, ended meanwhile.

    Of whom another hold keeps: its lifting does it.
    """
    persons = list(dict.fromkeys(key.partition("/")[0] for key in keys))
    for person in persons:
        with suppress(KeyHeld):
            await docket.services.forgetting.complete(person)
    await docket.services.due.add(persons, docket.services.clock())  # until now it was not to go


async def reopen_what_was_held(docket: Docket, keys: Sequence[str], ground: str, by: str) -> None:
    """Reopen our own store's part of every case that these keys were held in, unless another hold stands."""
    for task in await docket.cases.tasks_held(keys):
        if not await docket.services.keys.held(task["held"]):
            await _reopen(docket, task["_id"], ground, by)


async def _reopen(docket: Docket, name: str, ground: str, by: str) -> None:
    for _ in range(_TRIES):
        task = (await docket.cases.tasks([name]))[name]
        case = await docket.cases.get(task["case"])
        if case is None or "held" not in task or case["proof"] == ProofState.CLOSED:
            return
        told = {"ground": ground, "by": by, "store": CONTROLLER}
        await docket.evidence.note("hold_lifted", case["_id"], f"{CONTROLLER}/{task['attempt']}", **told)
        now = docket.services.clock()
        changes = {"proof": ProofState.NONE.value, "wake_at": now, **_promise(case)}
        unset = [one for one in OF_AN_ANSWER if one not in ("found", "began", "decided", "lifted")]
        if await docket.cases.change_with_task(case, changes, task, _lifted(task), unset):
            await docket.wake_case(case["_id"])
            return


def _lifted(task: Document) -> dict[str, Any]:
    """Its answer is yet to come; one that is being filed at this moment does not count any more."""
    return {
        "state": TaskState.WAITING.value,
        "ask": "serve",
        "lifted": True,
        "void_attempts": task["attempt"],
        "attempt": task["attempt"] + 1,
    }


def _promise(case: Mapping[str, Any]) -> dict[str, Any]:
    """Whoever was told already that something is kept is told again."""
    if case["answer"] != Answer.ANSWERED:
        return {}
    return {"promised": sorted({*case.get("promised", ()), CONTROLLER})}
