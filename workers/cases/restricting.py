"""A restriction: what is held stays where it is, and nobody uses it, until it is lifted and the person was told before.

In our own store it stands on the suppression list, by address and case, so that every read path meets it where it asks
for a "no", late messages and restored backups included; the keys are held, so that neither the end of a period nor
another's erasure removes what the person may need. Its case stays open while it stands. Staff lift it: the letter
first, then, when that has left, every store.
Source: GDPR Art. 18(1) to (3), 19; P6; design § 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from schemas.orders import CONTROLLER, LIFT
from workers.cases.desk import Desk, Docket
from workers.cases.held import all_keys
from workers.cases.lifting import OF_AN_ANSWER, do_what_was_held, reopen_what_was_held
from workers.rules.cases import TaskState
from workers.stores.keys import Hold
from workers.stores.mongo import Document

GROUND: Final = "restriction, GDPR Art. 18"


async def restrict(desk: Desk, case: Document, task: Document, person: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Keep all of it from use; what of what was found. May be repeated."""
    for email in person["emails"]:
        await desk.services.suppressions.restrict(email, case["_id"], case["received_at"])
    await _hold(desk, case["_id"], await all_keys(desk.services, person["emails"]))
    return [{**one, "restricted": one["matched"]} for one in task["found"]]


async def _hold(docket: Docket, reference: str, keys: Sequence[str]) -> None:
    """Noted with the case first, so that it is shown, and lifted: no other key is held, whoever does this again."""
    entry = {"ground": GROUND, "until": None, "keys": list(keys)}
    while True:
        case = await docket.cases.get(reference)
        if case is not None and "hold" in case:
            keys = case["hold"]["keys"]
            break
        if case is None or not keys or await docket.cases.change(case, {"hold": entry}):
            break
    await docket.services.keys.hold(keys, Hold(reference, GROUND, None))


async def standing(
    desk: Desk, case: Document, person: Mapping[str, Any], found: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Each collection as it was counted now: ``restricted``, while the list says so of every address, by this case."""
    by = await desk.services.suppressions.restricting(person["emails"])
    stands = all(case["_id"] in cases for cases in by.values())
    counts = [{"name": name, "matched": count} for name, count in found.items()]
    return [one | {"restricted": one["matched"]} for one in counts] if stands else counts


# ---------------------------------------------------------------------- lifting


async def is_anothers(desk: Desk, case: Document, person: Mapping[str, Any]) -> bool:
    """Whether what a lifted restriction marked is marked still, by another one."""
    by = await desk.services.suppressions.restricting(person["emails"])
    return "lifted_at" in case and any(cases - {case["_id"]} for cases in by.values())


async def ask_to_lift(desk: Desk, case: Document, tasks: Sequence[Document]) -> None:
    """Reopen every store's part, ours included: it is to end the restriction now. May be repeated."""
    now, by = desk.services.clock(), case["lifted_by"]
    asked = [task for task in tasks if not is_asked(task)]
    for task in asked:
        told = {"store": task["store"], "by": by}
        await desk.evidence.note("restriction_lifted", case["_id"], task["store"], **told)
    changes: dict[str, Any] = {"state": TaskState.WAITING.value, "ask": LIFT}
    await desk.cases.step_tasks(
        [
            (
                task,
                {
                    **changes,
                    "void_attempts": task["attempt"],
                    **({"attempt": task["attempt"] + 1} if task["store"] == CONTROLLER else {"send_at": now}),
                },
            )
            for task in asked
        ],
        *(name for name in OF_AN_ANSWER if name != "found"),
    )


def is_asked(task: Document) -> bool:
    """Whether a store was asked to lift, or never asked for anything."""
    return bool(task["ask"] == LIFT or task["state"] == TaskState.BARRED)


async def lift(desk: Desk, case: Document, person: Mapping[str, Any], found: Mapping[str, int]) -> list[dict[str, Any]]:
    """End the restriction in our own store, and do what waited for it; what stands. May be repeated.

    Where another case restricts the same data it stays restricted by that: of this one nothing stands.
    """
    for email in person["emails"]:
        await desk.services.suppressions.lift(email, case["_id"])
    keys = case.get("hold", {}).get("keys", [])
    await desk.services.keys.lift(keys, case["_id"])
    await do_what_was_held(desk, keys)
    await reopen_what_was_held(desk, keys, GROUND, case["lifted_by"])
    return [{"name": name, "matched": count} for name, count in found.items()]
