"""The controller's own store, asked and signed for like any other.

What is found is written to the task before anything is deleted, so that a receipt made after a crash still tells what
the first attempt did. Two workers at one task may see it differently, where a restriction sets in between them: what
the first did is kept with the order, and is what both sign. What an erasure must leave, the table says
(:mod:`workers.cases.weighing`); its key is held in the name of the case, as by staff, who may lift it. What is archived
stays there as evidence, told with its ground and last day. The look afterwards counts again, by address, what stands.
Source: R17, R19, R20; design § 5.3, § 5.4 "the controller's own included".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any, Final

import rfc8785
import uuid_utils

from schemas.calendar import civil_day
from schemas.fields import wire_moment
from schemas.jose import Peer, sign
from schemas.orders import CONTROLLER, LIFT, RECEIPT, RECEIPT_LIFETIME
from schemas.terms import Proof, Right, StoreOutcome, SuppressionGround
from workers.cases import consent, rectifying, restricting
from workers.cases.copies import keep_copy
from workers.cases.desk import Desk
from workers.cases.held import active_keys, hold_on, keeps, note_held, partly, told
from workers.cases.receiving import accept
from workers.cases.weighing import Staying, holds_on, persons_of, remembered, served_by, staying, weighed
from workers.retention.evidence import RETAINED_ON, Archived, archived_of, retained
from workers.rules.cases import TaskState
from workers.stores.forgetting import Kept
from workers.stores.keys import ACTIVE, Hold, KeyHeld, key_id
from workers.stores.mongo import Document
from workers.subject_access import copy_of, files_of, portable_copy_of
from workers.suppressing import suppress


async def serve(desk: Desk, case: Document, task: Document, person: Mapping[str, Any]) -> None:
    """Do what the case asks for in our own store, and file the receipt. May be repeated."""
    if TaskState(task["state"]) is not TaskState.WAITING:
        return
    if "found" not in task:
        concerned = _CONCERNED.get(Right(case["right"]), _all_of_it)
        found = [{"name": name, "matched": count} for name, count in (await concerned(desk, case, person)).items()]
        facts = {"decided": await _facts(desk, person), "began": await desk.services.tombstones.now()}
        await desk.cases.step_tasks([(task, {"found": found, **facts, "attempt": task["attempt"] + 1})])
        task = (await desk.cases.tasks([task["_id"]]))[task["_id"]]
    match Right(case["right"]):
        case Right.ACCESS:
            async with desk.copying:
                copy = await copy_of(desk.services, person["emails"])
                await _keep_files(desk, task, person, copy)
                copies = {task["_id"]: copy} if copy["collections"] else {}
                await _file(desk, task, [dict(one) for one in task["found"]], copies, "serve")
        case Right.PORTABILITY:
            async with desk.copying:
                copy = await portable_copy_of(desk.services, person["emails"])
                await _keep_files(desk, task, person, copy)
                copies = {task["_id"]: copy} if copy["collections"] else {}
                await _file(desk, task, _copied(copy), copies, "serve")
        case Right.ERASURE:
            await _file(desk, task, await _erase(desk, case, task, person), {}, "serve")
        case Right.OBJECTION:
            await suppress(desk.services, person["emails"], SuppressionGround.OBJECTION, case["received_at"])
            ended = {"restricted": await _prospecting(desk, person)}
            collections = [one | ended if one["name"] == "links" else one for one in task["found"]]
            await _file(desk, task, collections, {}, "serve")
        case Right.RESTRICTION if task["ask"] == LIFT:
            await _file(desk, task, await restricting.lift(desk, case, person, await _standing(desk, person)), {}, LIFT)
        case Right.RESTRICTION:
            await _file(desk, task, await restricting.restrict(desk, case, task, person), {}, "serve")
        case Right.RECTIFICATION:
            await _file(desk, task, await rectifying.rectify(desk, case, person), {}, "serve")
        case Right.WITHDRAWAL:
            await _file(desk, task, await consent.withdraw(desk, case, task, person), {}, "serve")


async def look(desk: Desk, case: Document, task: Document, person: Mapping[str, Any]) -> None:
    """Count again what stands, with our own eyes, and file it as the second look."""
    if task["right"] == Right.OBJECTION:
        reached = await _prospecting(desk, person)
        ended = {"restricted": reached} if await _suppressed(desk, person) else {}
        collections = [{"name": "links", "matched": reached, **ended}] if reached else []
    elif task["right"] == Right.WITHDRAWAL:
        collections = await consent.left(desk, case, person)
    elif task["right"] == Right.RESTRICTION:
        collections = await restricting.standing(desk, case, person, await _standing(desk, person))
    elif task["right"] == Right.RECTIFICATION:
        collections = await rectifying.standing(desk, case, person)
    elif task["right"] == Right.PORTABILITY:
        collections = _copied(await portable_copy_of(desk.services, person["emails"]))
    else:
        erased = task["right"] == Right.ERASURE
        standing = await _standing(desk, person, erased=erased, began=task.get("began"))
        collections = [{"name": name, "matched": count} for name, count in standing.items()]
    await file_what_we_saw(desk, task, collections)


async def file_what_we_saw(desk: Desk, task: Document, collections: list[dict[str, Any]]) -> None:
    """Sign what our own eyes counted in a store, ours or an office's, and file it as the second look."""
    await _file(desk, task, collections, {}, "look")


async def _all_of_it(desk: Desk, _: Document, person: Mapping[str, Any]) -> dict[str, int]:
    return await _standing(desk, person)


async def _portable(desk: Desk, _: Document, person: Mapping[str, Any]) -> dict[str, int]:
    copy = await portable_copy_of(desk.services, person["emails"])
    return {one["name"]: one["matched"] for one in _copied(copy)}


async def _keep_files(desk: Desk, task: Document, person: Mapping[str, Any], copy: Mapping[str, Any]) -> None:
    """Keep what the copy's records only name beside it, each file under its own digest."""
    async for content in files_of(desk.services, person["emails"], copy):
        await keep_copy(desk, task, content)


def _copied(copy: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"name": one["name"], "matched": len(one["records"])} for one in copy["collections"]]


_CONCERNED: Final = {
    Right.WITHDRAWAL: consent.concerned,
    Right.PORTABILITY: _portable,
    Right.RECTIFICATION: rectifying.concerned,
}
"""Of rights that are not about everything: what of it they are about, counted."""


async def _standing(
    desk: Desk, person: Mapping[str, Any], *, erased: bool = False, began: datetime | None = None
) -> dict[str, int]:
    """Collection → how many documents about these addresses; those with none are left out."""
    standing = desk.services.standing
    counted: dict[str, int] = {}
    for email in person["emails"]:
        for name, count in (await (standing.left(email, began) if erased else standing.of(email))).items():
            counted[name] = counted.get(name, 0) + count
    return {name: count for name, count in counted.items() if count}


async def _facts(desk: Desk, person: Mapping[str, Any]) -> dict[str, Any]:
    """What the decision rests on, for the letter: purposes and holds."""
    services = desk.services
    persons = await persons_of(services, person["emails"])
    return remembered(await served_by(services, persons), await holds_on(services, persons), _today(desk))


async def _prospecting(desk: Desk, person: Mapping[str, Any]) -> int:
    """How many purposes an objection ends."""
    served = await served_by(desk.services, await persons_of(desk.services, person["emails"]))
    return sum(one.use.prospecting for one in served)


async def _erase(desk: Desk, case: Document, task: Document, person: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = task["found"]
    if task.get("lifted"):  # it went with the hold
        for email in person["emails"]:
            await desk.services.forgetting.forget_letters(email)
        return [partly(one, 0, {}) for one in found]
    why: dict[str, str] = {}
    evidence: list[Archived] = []

    async def keep(persons: Sequence[str]) -> Kept:
        kept_there = retained(await archived_of(desk.services, persons), _today(desk))
        evidence.extend(kept_there)
        left = await _left(desk, case, task, persons)
        if left is not None:
            why.update(told(left.ground, left.until))
        kept = left.kept if left is not None else Kept()
        return replace(kept, archived=frozenset(one.event for one in kept_there))

    for email in person["emails"]:
        try:
            await desk.services.forgetting.forget(email, keep, began=task.get("began"))
        except KeyHeld:
            return await _all_kept(desk, task, email)
    standing = await _standing(desk, person) if why or evidence else {}
    there = told(RETAINED_ON, max((one.last_day for one in evidence), default=None))
    whys = {"archive": there, "archive.files": there}
    return [partly(one, min(one["matched"], standing.get(one["name"], 0)), whys.get(one["name"], why)) for one in found]


async def _all_kept(desk: Desk, task: Document, email: str) -> list[dict[str, Any]]:
    """What is told of an address whose keys are held; whoever lifts the hold finds the task by them."""
    why = await hold_on(desk.services, email)
    if await keeps(desk, task, [email]):
        return [{**one, "retained": one["matched"], **why} for one in task["found"]]
    for key in await active_keys(desk.services, [email]):  # lifted this very moment
        await desk.services.forgetting.complete(key.partition("/")[0])
    return [partly(one, 0, {}) for one in task["found"]]


async def _left(desk: Desk, case: Document, task: Document, persons: Sequence[str]) -> Staying | None:
    """What the table lets nobody erase of these persons; their keys are held for it. ``None``: nothing.

    Where staff hold a key everything stays, and destroying the key says so.
    """
    by_table = case["_id"] if case.get("hold", {}).get("by_table") else None
    if any(hold.name != by_table for hold in await holds_on(desk.services, persons)):
        return None
    served = await served_by(desk.services, persons)
    left = staying(weighed(case, [one.use for one in served], (), _today(desk)), served)
    if left is not None:
        await note_held(desk, task, [key_id(person, ACTIVE) for person in left.persons])
        await _hold(desk, case["_id"], left)
    return left


async def _hold(desk: Desk, reference: str, left: Staying) -> None:
    """As staff would, so that it is shown and lifted in the same way; noted first, for whoever does this again."""
    keys = [key_id(person, ACTIVE) for person in left.persons]
    until = left.until and left.until.isoformat()
    entry = {"ground": left.ground, "until": until, "keys": keys, "by_table": True}
    while True:
        case = await desk.cases.get(reference)
        if case is None or "hold" in case or await desk.cases.change(case, {"hold": entry}):
            break
    await desk.services.keys.hold(keys, Hold(reference, left.ground, left.until))


def _today(desk: Desk) -> date:
    return civil_day(desk.services.clock())


async def _suppressed(desk: Desk, person: Mapping[str, Any]) -> bool:
    services = desk.services
    said = await services.suppressions.of_all(person["emails"])
    return all(services.trust.register.prospecting <= said.get(email, {}).keys() for email in person["emails"])


async def _file(
    desk: Desk, task: Document, collections: list[dict[str, Any]], copies: Mapping[str, Any], ask: str
) -> None:
    """Sign what was done or seen and file it like any store's receipt.

    What was done is decided once for each time it is asked: whoever comes second says what the first one did.
    """
    now = desk.services.clock()
    attempt = task["attempt"]
    order = f"own-{task['_id'].replace('/', '-')}-{ask}-{attempt}"
    asked = {"_id": order, "store": CONTROLLER, "asked": [[task["_id"], [attempt, ask]]], "sha256": "", "at": now}
    if ask != "look" and not Right(task["right"]).gives_a_copy:
        asked["collections"] = collections
    collections = (await desk.cases.keep_order(asked)).get("collections", collections)
    entry: dict[str, Any] = {
        "task": task["_id"],
        "attempt": attempt,
        "ask": ask,
        "outcome": _outcome(collections),
        "collections": collections,
        "at": wire_moment(now),
    }
    if task["_id"] in copies:
        entry["copy_sha256"] = _digest(copies[task["_id"]])
    claims = {"jti": str(uuid_utils.uuid7()), "order": order, "entries": [entry]}
    signed = sign(desk.party, RECEIPT, claims, audience=CONTROLLER, now=now, lifetime=RECEIPT_LIFETIME)
    itself = Peer(CONTROLLER, {str(desk.party.signing.kid): desk.party.signing}, desk.party.opening)
    await accept(desk, CONTROLLER, itself, signed, copies, Proof.VERIFIED)


def _outcome(collections: list[dict[str, Any]]) -> StoreOutcome:
    if not any(one["matched"] for one in collections):
        return StoreOutcome.NOTHING_HELD
    if any(one.get("conflicting") for one in collections):
        return StoreOutcome.CONFLICT
    return StoreOutcome.PARTLY_RETAINED if any(one.get("retained") for one in collections) else StoreOutcome.DONE


def _digest(copied: Any) -> str:
    return hashlib.sha256(rfc8785.dumps(copied)).hexdigest()
