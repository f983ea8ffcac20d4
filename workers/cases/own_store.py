"""The controller's own store, asked and signed for like any other.

What is found is written to the task before anything is deleted, so that a receipt made after a crash still tells what
the first attempt did. The look afterwards counts again, by address, what stands.
Source: R17, R19, R20; design § 5.4 "the controller's own included".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import rfc8785
import uuid_utils

from schemas.fields import wire_moment
from schemas.jose import Peer, sign
from schemas.orders import CONTROLLER, RECEIPT, RECEIPT_LIFETIME
from schemas.subject import ReferenceUse, clean_email
from schemas.terms import Proof, Right, StoreOutcome
from workers.cases.desk import Desk
from workers.cases.receiving import accept
from workers.rules.cases import TaskState
from workers.services import Services
from workers.stores.keys import ACTIVE, KeyHeld, key_id
from workers.stores.mongo import Document
from workers.subject_access import copy_of

HOLD_GROUND = "legal hold, GDPR Art. 17(3)(e)"


async def serve(desk: Desk, case: Document, task: Document, person: Mapping[str, Any]) -> None:
    """Do what the case asks for in our own store, and file the receipt. May be repeated."""
    if TaskState(task["state"]) is not TaskState.WAITING:
        return
    if "found" not in task:
        found = [{"name": name, "matched": count} for name, count in (await _standing(desk, person)).items()]
        await desk.cases.change_task(task, {"found": found, "attempt": task["attempt"] + 1})
        task = (await desk.cases.tasks([task["_id"]]))[task["_id"]]
    copies: dict[str, Any] = {}
    match Right(case["right"]):
        case Right.ACCESS:
            copy = await copy_of(desk.services, person["emails"])
            copies = {task["_id"]: copy} if copy["collections"] else {}
            collections = [dict(one) for one in task["found"]]
        case Right.ERASURE:
            collections = await _erase(desk, person, task["found"])
        case Right.OBJECTION:
            await suppress(desk, person)
            collections = [{**one, "restricted": one["matched"]} for one in task["found"]]
    await _file(desk, task, collections, copies, "serve", Proof.VERIFIED)


async def look(desk: Desk, task: Document, person: Mapping[str, Any]) -> None:
    """Count again what stands, with our own eyes, and file it as the second look."""
    standing = await _standing(desk, person)
    collections = [{"name": name, "matched": count} for name, count in standing.items()]
    if task["right"] == Right.OBJECTION:
        collections = [one | {"restricted": one["matched"]} for one in collections if await _suppressed(desk, person)]
    await _file(desk, task, collections, {}, "look", Proof.VERIFIED)


async def _standing(desk: Desk, person: Mapping[str, Any]) -> dict[str, int]:
    """Collection → how many documents about these addresses; those with none are left out."""
    counted: dict[str, int] = {}
    for email in person["emails"]:
        for name, count in (await desk.services.standing.of(email)).items():
            counted[name] = counted.get(name, 0) + count
    return {name: count for name, count in counted.items() if count}


async def _erase(desk: Desk, person: Mapping[str, Any], found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for email in person["emails"]:
        try:
            await desk.services.forgetting.forget(email)
        except KeyHeld:
            why = await _hold_on(desk, email)
            return [{**one, "retained": one["matched"], **why} for one in found]
    return [{**one, "erased": one["matched"]} for one in found]


async def active_keys(services: Services, emails: Iterable[str]) -> list[str]:
    """The keys of whoever has these addresses."""
    refs = [services.trust.references.of_email(ReferenceUse.LOOKUP, clean_email(email)) for email in emails]
    return [key_id(person, ACTIVE) for person in (await services.people.find(refs)).values()]


async def _hold_on(desk: Desk, email: str) -> dict[str, str]:
    """Ground and last day of the hold that keeps a person's data, as a receipt tells them."""
    holds = await desk.services.keys.holds(await active_keys(desk.services, [email]))
    if not holds:
        return {"ground": HOLD_GROUND}  # lifted this very moment: what was kept is what the receipt says
    return {"ground": holds[0].ground, "until": holds[0].until.isoformat()}


async def suppress(desk: Desk, person: Mapping[str, Any]) -> None:
    """Put every address on the suppression list for prospecting; doing it again changes nothing. Source: R20."""
    services = desk.services
    for email in person["emails"]:
        ref = services.trust.references.of_email(ReferenceUse.SUPPRESSION, email)
        await services.suppressions.add(ref, services.trust.register.prospecting, "objection", services.clock())


async def _suppressed(desk: Desk, person: Mapping[str, Any]) -> bool:
    services = desk.services
    for email in person["emails"]:
        ref = services.trust.references.of_email(ReferenceUse.SUPPRESSION, email)
        if not services.trust.register.prospecting <= await services.suppressions.of(ref):
            return False
    return True


async def _file(
    desk: Desk,
    task: Document,
    collections: list[dict[str, Any]],
    copies: Mapping[str, Any],
    ask: str,
    proof: Proof,
) -> None:
    """Sign what was done or seen and file it like any store's receipt."""
    now = desk.services.clock()
    attempt = task["attempt"]
    order = f"own-{task['_id'].replace('/', '-')}-{ask}-{attempt}"
    await desk.cases.keep_order(
        {"_id": order, "store": CONTROLLER, "asked": [[task["_id"], [attempt, ask]]], "sha256": "", "at": now}
    )
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
    await accept(desk, CONTROLLER, itself, signed, copies, proof)


def _outcome(collections: list[dict[str, Any]]) -> StoreOutcome:
    if not any(one["matched"] for one in collections):
        return StoreOutcome.NOTHING_HELD
    return StoreOutcome.PARTLY_RETAINED if any(one.get("retained") for one in collections) else StoreOutcome.DONE


def _digest(copied: Any) -> str:
    return hashlib.sha256(rfc8785.dumps(copied)).hexdigest()
