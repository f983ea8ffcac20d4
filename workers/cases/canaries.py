"""Canaries: each store is given a fictional person, asked about them, has them erased, and is looked at again.

| step | what is asked of the store | it is untrue where |
| --- | --- | --- |
| ``plant`` | to put the canary there, as its own mapping says | – (a store that cannot is asked all the same) |
| ``access`` | for a copy, by the very order a person's case sends | what was planted is not in it |
| ``erasure`` | to erase | less is accounted for than was planted |
| ``look`` | again, with our own eyes where we have some | anything is left but what it keeps on a ground |

There is no case and no letter: nobody asked. What it takes from each order to its believed receipt is measured by our
own clock. A drill that does not go on, or goes wrong, is an alarm by the store's name before a person's case is.
A drill is moved on by whoever finds it, step by step and each compare-and-set, so it may be killed anywhere.
Source: R25; P6; docs/decisions/0019.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from schemas.errors import StoreUnavailable
from schemas.fields import wire_moment
from schemas.orders import CONTROLLER, PLANT
from schemas.routes import SUBMISSIONS
from schemas.subject import ReferenceUse
from schemas.terms import Right, StoreOutcome
from workers.actors.batches import read_event
from workers.actors.submissions import keep_submissions
from workers.cases.desk import Desk
from workers.fictional import fictional_form
from workers.rules.cases import TaskState
from workers.rules.receipts import look_agrees
from workers.services import Services
from workers.stores.canaries import KEPT
from workers.stores.mongo import Document
from workers.stores.subsidiaries.adapter import StoreRefuses, Subject
from workers.stores.tombstones import of_address
from workers.subject_access import copy_of

log = structlog.get_logger("greffier.cases")

LOOK_AGAIN: Final = timedelta(seconds=30)
OVERDUE: Final = timedelta(hours=2)
"""How long a drill may take before somebody looks: a store that is merely restarted is back by then."""
SETTLING: Final = timedelta(hours=1)
SOUND: Final = "sound"
UNPLANTED: Final = "unplanted"
"""Every answer agreed, that nothing is held: the store has no canary of its own (its mapping names none)."""
NOT_CONNECTED: Final = "not-connected"
DISTURBED: Final = "disturbed"
"""Somebody's own request asked for the canary to be erased, and was served like any other."""
NO_ALARM: Final = frozenset({SOUND, UNPLANTED, NOT_CONNECTED, DISTURBED})

_AT_ONCE: Final = 100


async def open_drills(services: Services) -> int:
    """Begin a drill for every store that is in none, our own included; how many were begun.

    None in the first hour of an installation: who sets it up starts one office after the other.
    """
    now, since = services.clock(), await services.bookkeeping.working_since()
    if since is None or now - since < SETTLING:
        return 0
    reference = f"canary-{now:%Y%m%dT%H%M%S}"
    busy = await services.canaries.in_drill()
    stores = [one for one in (CONTROLLER, *services.trust.register.subsidiaries) if one not in busy]
    await services.canaries.open([_drill(services, reference, store, now) for store in stores])
    return len(stores)


def _drill(services: Services, reference: str, store: str, now: datetime) -> Document:
    email = f"canary.{secrets.token_hex(8)}@example.org"
    return {
        "_id": f"{reference}/{store}",
        "case": reference,
        "store": store,
        "email": email,
        "ref": services.trust.references.of_email(ReferenceUse.LOOKUP, email),
        "step": PLANT,
        "began": now,
        "look_at": now,
        "forget_at": now + 10 * KEPT,
    }


def is_of_canary(task: Mapping[str, Any]) -> bool:
    """Whether a task asks about a canary: of no case, and about nobody."""
    return "canary" in task


def entries_of(tasks: Sequence[Document]) -> list[tuple[Document, list[dict[str, Any]]]]:
    """What an order says of each."""
    return [(task, [_entry(task)]) for task in tasks]


def _entry(task: Document) -> dict[str, Any]:
    asked = {"task": task["_id"], "attempt": task["attempt"], "ask": task["ask"]}
    if task["ask"] == PLANT:
        return asked | {"address": task["canary"]}
    person = {"emails": [task["canary"]]}
    return asked | {"right": task["right"], "person": person, "received_at": wire_moment(task["opened"])}


async def go_on_with_all(desk: Desk) -> int:
    """Move every drill on as far as it goes; how many were due."""
    now = desk.services.clock()
    due = await desk.services.canaries.due(now, now + LOOK_AGAIN, _AT_ONCE)
    for drill in due:
        await _go_on(desk, drill)
    return len(due)


async def go_on(desk: Desk, name: str) -> None:
    """Move one drill on: its store has just answered."""
    drill = await desk.services.canaries.get(name)
    if drill is not None and "look_at" in drill:
        await _go_on(desk, drill)


async def _go_on(desk: Desk, drill: Document) -> None:
    steps = _OWN if drill["store"] == CONTROLLER else _OFFICES
    going: Document | None = drill
    while going is not None and "look_at" in going:
        going = await steps[going["step"]](desk, going)


async def _end(desk: Desk, drill: Document, outcome: str, **more: Any) -> None:
    now = desk.services.clock()
    if outcome not in NO_ALARM and await _was_disturbed(desk, drill):
        outcome = DISTURBED
    ended = {"outcome": outcome, "ended": now, "forget_at": now + KEPT, **more}
    if await desk.services.canaries.change(drill, ended, "look_at") and outcome not in NO_ALARM:
        log.error("a canary was not served truly", store=drill["store"], outcome=outcome)


async def _was_disturbed(desk: Desk, drill: Document) -> bool:
    """Whether somebody had this address erased: such a case is served on our own store too, and leaves its stone.

    Of our own canary the stone counts until we erase it ourselves.
    """
    if drill["store"] == CONTROLLER and drill["step"] in ("erasure", "look"):
        return False
    stone = of_address(desk.services.trust.references.of_email(ReferenceUse.TOMBSTONE, drill["email"]))
    return bool(await desk.services.tombstones.look([stone]))


# ---------------------------------------------------------------------- an office


async def _ask(desk: Desk, drill: Document, right: Right, ask: str = "serve") -> Document | None:
    """The task of this step, opened if it is not, once it has been answered."""
    name = f"{drill['case']}-{drill['step']}/{drill['store']}"
    task = (await desk.cases.tasks([name])).get(name)
    if task is None:
        now = desk.services.clock()
        waiting = {"state": TaskState.WAITING.value, "ask": ask, "attempt": 0, "send_at": now}
        whose = {"canary": drill["email"], "drill": drill["_id"], "opened": now, "right": right.value}
        # Each step is a matter of its own in the ledger, as a case is.
        opened = {"_id": name, "case": f"{drill['case']}-{drill['step']}", "store": drill["store"], **waiting, **whose}
        await desk.cases.open_tasks([opened])
        await desk.wake_store(drill["store"])
        return None
    return task if task["state"] != TaskState.WAITING else None


async def _planting(desk: Desk, drill: Document) -> Document | None:
    if drill["store"] not in desk.peers:
        await _end(desk, drill, NOT_CONNECTED)
        return None
    task = await _ask(desk, drill, Right.ERASURE, PLANT)
    if task is None:
        return None
    planted = _counted(task["entry"], "matched")
    why = {"unplanted_for": task["entry"].get("reason", "nothing")} if not planted else {}
    return await desk.services.canaries.change(drill, {"step": "access", "planted": planted, **why})


async def _access(desk: Desk, drill: Document) -> Document | None:
    task = await _ask(desk, drill, Right.ACCESS)
    if task is None:
        return None
    entry, took = task["entry"], _took(desk, task)
    if entry["outcome"] == StoreOutcome.REFUSED:
        await _end(desk, drill, f"access-refused-{entry.get('reason', '')}", access_ms=took)
    elif _counted(entry, "matched") < drill["planted"]:
        await _end(desk, drill, "access-left-something-out", access_ms=took)
    else:
        return await desk.services.canaries.change(drill, {"step": "erasure", "access_ms": took})
    return None


async def _erasure(desk: Desk, drill: Document) -> Document | None:
    task = await _ask(desk, drill, Right.ERASURE)
    if task is None:
        return None
    entry, took = task["entry"], _took(desk, task)
    if entry["outcome"] == StoreOutcome.REFUSED:
        await _end(desk, drill, f"erasure-refused-{entry.get('reason', '')}", erasure_ms=took)
    elif _counted(entry, "erased", "anonymised", "retained") < drill["planted"]:
        await _end(desk, drill, "erasure-left-something-out", erasure_ms=took)
    else:
        return await desk.services.canaries.change(drill, {"step": "look", "erasure_ms": took})
    return None


async def _look(desk: Desk, drill: Document) -> Document | None:
    name = f"{drill['case']}-erasure/{drill['store']}"
    erased = (await desk.cases.tasks([name]))[name]
    seen = await _seen(desk, drill, erased)
    if seen is None and erased["state"] == TaskState.RECEIPTED:
        if "look_asked" not in erased:
            asked = {"ask": "look", "look_asked": True, "send_at": desk.services.clock()}
            await desk.cases.change_task(erased, asked)
            await desk.wake_store(drill["store"])
        return None
    if seen is None:
        seen = erased["state"] == TaskState.PROVED
    sound = SOUND if drill["planted"] else UNPLANTED
    await _end(desk, drill, sound if seen else "erased-and-still-there")
    return None


async def _seen(desk: Desk, drill: Document, erased: Document) -> bool | None:
    """What our own eyes see; ``None`` where we have none, or they cannot see."""
    eye = desk.eyes.get(drill["store"])
    if eye is None:
        return None
    try:
        tallies = await eye.look(Right.ERASURE, Subject((drill["email"],), erased["opened"]))
    except (StoreUnavailable, StoreRefuses):
        return None
    return look_agrees(Right.ERASURE, erased["entry"], {"collections": [one.as_outcome() for one in tallies]})


def _took(desk: Desk, task: Document) -> int:
    """Milliseconds from the order's opening to its believed receipt, by our own clock."""
    took: timedelta = desk.services.clock() - task["opened"]
    return took // timedelta(milliseconds=1)


def _counted(entry: Mapping[str, Any], *names: str) -> int:
    return sum(one.get(name, 0) for one in entry["collections"] for name in names)


# ---------------------------------------------------------------------- our own store


async def _plant_here(desk: Desk, drill: Document) -> Document | None:
    services = desk.services
    # Received when the drill began: whoever comes to it late finds it erased since, and is turned away.
    event = fictional_form(services, drill["email"], drill["case"], drill["began"])
    await keep_submissions(services, [read_event(services, SUBMISSIONS, 0, event)])
    return await services.canaries.change(drill, {"step": "access", "planted": 1, "opened": services.clock()})


async def _access_here(desk: Desk, drill: Document) -> Document | None:
    shown = await copy_of(desk.services, [drill["email"]])
    took = _took(desk, drill)
    if not any(drill["email"] == record.get("email") for one in shown["collections"] for record in one["records"]):
        await _end(desk, drill, "access-left-something-out", access_ms=took)
        return None
    step = {"step": "erasure", "access_ms": took, "opened": desk.services.clock()}
    return await desk.services.canaries.change(drill, step)


async def _erase_here(desk: Desk, drill: Document) -> Document | None:
    await desk.services.forgetting.forget(drill["email"])
    return await desk.services.canaries.change(drill, {"step": "look", "erasure_ms": _took(desk, drill)})


async def _look_here(desk: Desk, drill: Document) -> Document | None:
    left = await desk.services.standing.left(drill["email"])
    await _end(desk, drill, "erased-and-still-there" if any(left.values()) else SOUND)
    return None


_Step = Callable[[Desk, Document], Awaitable[Document | None]]
_OFFICES: Final[Mapping[str, _Step]] = {
    PLANT: _planting,
    "access": _access,
    "erasure": _erasure,
    "look": _look,
}
_OWN: Final[Mapping[str, _Step]] = {
    PLANT: _plant_here,
    "access": _access_here,
    "erasure": _erase_here,
    "look": _look_here,
}
