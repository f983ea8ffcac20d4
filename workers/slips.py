"""Slips: who said no by one click or through staff, left for the next round to every subsidiary.

An address is sealed here at once, while it is known: soon after, the "no" has the record it stood in deleted. A slip is
left before the suppression list is written, and again whenever its message comes again; a fact stands on one slip only.
Source: R20, R24, R25; P2, P5, P10; docs/decisions/0013.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import uuid_utils

from schemas.fields import wire_moment
from schemas.orders import WISH
from schemas.subject import ReferenceUse
from workers.rules.erasure import Verdict, judge
from workers.services import Services
from workers.stores.keys import ACTIVE, DataKey, key_id
from workers.stores.mongo import Document
from workers.stores.tombstones import of_address, of_event, of_person

SLIP: Final = "slip"
"""The class of a slip's key, destroyed when the slip is in a round."""


class Told(NamedTuple):
    """Whom to look for, and when they said no. ``fact``: the same when this comes again; of nobody.

    ``wish``: not the "no" itself goes, but what they wish by then of all that they refused and accepted.
    """

    fact: str
    email: str
    at: datetime
    wish: bool = False


async def leave_slip(services: Services, told: Sequence[Told]) -> None:
    """Leave for the next round whoever is on no slip yet. Repeatable."""
    people = {_digest(one): one for one in told}
    while people:
        known = await services.rounds.known(list(people))
        people = {fact: one for fact, one in people.items() if fact not in known}
        if not people or await _left(services, people):
            return
        # somebody left one of them at this very moment: look again


async def _left(services: Services, people: Mapping[bytes, Told]) -> bool:
    name = str(uuid_utils.uuid7())
    key = (await services.keys.ensure([key_id(name, SLIP)]))[key_id(name, SLIP)]
    said = [[one.email, wire_moment(one.at), *([WISH] if one.wish else [])] for one in people.values()]
    sealed = key.seal(f"slips/{name}", json.dumps(said).encode())
    slip = {"_id": name, "facts": list(people), "people": len(people), "sealed": sealed, "waiting": services.clock()}
    if await services.rounds.leave(slip):
        return True
    await services.keys.destroy([key.id])
    return False


def opened(key: DataKey, slip: Document) -> list[tuple[str, str, bool]]:
    """Who is on a slip: address, when they spoke as the wire writes it, and whether it is their wish that goes."""
    said = json.loads(key.open(f"slips/{slip['_id']}", bytes(slip["sealed"])))
    return [(email, at, bool(wish)) for email, at, *wish in said]


def _digest(one: Told) -> bytes:
    """Each use of a link is a "no" of its own: whoever came back in between is looked for again."""
    return hashlib.sha256(f"{one.fact} {wire_moment(one.at)}".encode()).digest()[:16]


# ---------------------------------------------------------------------- whom a link was made for


async def addresses_of(services: Services, persons: Iterable[str]) -> dict[str, str]:
    """Person → address, as in the newest record that stands. Who is held no more, or erased by now, is left out."""
    wanted = list(dict.fromkeys(persons))
    keys = await services.keys.read(key_id(person, ACTIVE) for person in wanted)
    held = [one for one in await services.submissions.of(wanted) if key_id(one["person"], ACTIVE) in keys]
    emails = {one["_id"]: _email(keys[key_id(one["person"], ACTIVE)], one) for one in held}
    by_address = {event: _stone(services, email) for event, email in emails.items()}
    # After they were read: whoever is erased by now is not looked for, the erasure has a case of its own.
    stones = await services.tombstones.look(
        stone for one in held for stone in (of_person(one["person"]), of_event(one["_id"]), by_address[one["_id"]])
    )
    found = {}
    for one in sorted(held, key=lambda one: one["received"]):
        if _stands(services, one, stones, by_address[one["_id"]]):
            found[one["person"]] = emails[one["_id"]]
    return found


def _email(key: DataKey, submission: Document) -> str:
    data: dict[str, Any] = json.loads(key.open(f"submissions/{submission['_id']}", bytes(submission["sealed"])))
    return str(data["email"])


def _stone(services: Services, email: str) -> str:
    return of_address(services.trust.references.of_email(ReferenceUse.TOMBSTONE, email))


def _stands(services: Services, one: Document, stones: Mapping[str, datetime], address: str) -> bool:
    if of_person(one["person"]) in stones or of_event(one["_id"]) in stones:
        return False
    own_act, erased_at = "collected_at" not in one, stones.get(address)
    return judge(one["received"], erased_at, skew=services.skew, own_act=own_act) is Verdict.KEEP
