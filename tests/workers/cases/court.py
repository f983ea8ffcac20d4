"""A desk over real stores, and subsidiaries that answer what a test tells them to.

What travels is real: orders are signed and sealed by the desk, opened and verified here with the subsidiary's own keys,
and answered by receipts that are signed and sealed the same way. Only Redis is left out: `send` keeps what was posted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import rfc8785
import uuid_utils

from schemas.fields import wire_moment
from schemas.jose import Keys, Peer, open_sealed, seal, sign, verify
from schemas.orders import CONTROLLER, ORDER, RECEIPT, RECEIPT_LIFETIME
from schemas.rights import new_reference
from schemas.terms import StoreOutcome
from workers.cases.desk import Desk
from workers.cases.engine import advance
from workers.cases.opening import confirm, open_case
from workers.cases.receiving import Accepted, receive
from workers.cases.serving import dispatch
from workers.correspondence.compose import read_mail

Entry = dict[str, Any]
Answer = Callable[[Entry], Entry]


def nothing_held(_: Entry) -> Entry:
    return {"outcome": StoreOutcome.NOTHING_HELD.value, "collections": []}


def erased(count: int) -> Answer:
    """A store that held ``count`` records, erases them, and holds none when it is looked at."""

    def answer(entry: Entry) -> Entry:
        if entry["ask"] == "look":
            return nothing_held(entry)
        one = {"name": "customers", "matched": count, "erased": count}
        return {"outcome": StoreOutcome.DONE.value, "collections": [one]}

    return answer


@dataclass
class Store:
    """One subsidiary: its keys, the controller as it knows it, and what it answers. ``None``: it is silent."""

    keys: Keys
    controller: Peer
    answer: Answer | None = nothing_held


@dataclass
class Court:
    """``posted``: orders on their way, (store, token), oldest first."""

    desk: Desk
    stores: dict[str, Store]
    posted: list[tuple[str, str]] = field(default_factory=list)
    woken: list[str] = field(default_factory=list)

    async def ask(self, right: str, email: str, **more: Any) -> str:
        """A request at the door; its case's reference."""
        data = {"reference": new_reference(), "right": right, "email": email, "channel": "website", **more}
        reference = await open_case(self.desk, data, self.desk.services.clock())
        await advance(self.desk, reference)
        return reference

    async def confirm(self, reference: str, token: str | None = None) -> None:
        """The mailed link is used."""
        case = await self.desk.cases.get(reference)
        assert case is not None
        at = wire_moment(self.desk.services.clock())
        await confirm(self.desk, {"reference": reference, "token": token or case.get("link", "used"), "at": at})
        await advance(self.desk, reference)

    async def post(self) -> None:
        """Every store's due orders go out."""
        for store in await self.desk.cases.stores_to_send(self.desk.services.clock()):
            await dispatch(self.desk, store)

    async def deliver(self) -> None:
        """Every posted order reaches its store, and what that answers comes back."""
        posted, self.posted[:] = list(self.posted), []
        for store, token in posted:
            answered = self.receipt(store, token)
            if answered is not None:
                await self.take(store, answered)

    async def take(self, store: str, token: str) -> Accepted:
        accepted = await receive(self.desk, store, token)
        for reference in accepted.cases:
            await advance(self.desk, reference)
        return accepted

    async def run(self, reference: str, rounds: int = 6) -> dict[str, Any]:
        """Post, deliver and look on until nothing moves; the case."""
        for _ in range(rounds):
            await self.post()
            await self.deliver()
            await advance(self.desk, reference)
        return await self.case(reference)

    async def case(self, reference: str) -> dict[str, Any]:
        found = await self.desk.cases.get(reference)
        assert found is not None
        return found

    async def tasks(self, reference: str) -> dict[str, dict[str, Any]]:
        return {task["store"]: task for task in await self.desk.cases.tasks_of(reference)}

    def order(self, store: str, token: str) -> dict[str, Any]:
        """What a store reads in an order."""
        own = self.stores[store]
        signed = open_sealed(token, own.keys).decode()
        return verify(signed, own.controller, ORDER, audience=store, now=self.desk.services.clock())

    def receipt(self, store: str, token: str, **forged: Any) -> str | None:
        """What a store answers to an order. ``forged``: claims, or ``by``, ``audience``, ``kind`` of the signing."""
        own, order = self.stores[store], self.order(store, token)
        if own.answer is None:
            return None
        copies: dict[str, Any] = {}
        entries = []
        for asked in order["entries"]:
            said = own.answer(asked)
            entry = {name: asked[name] for name in ("task", "attempt", "ask")} | {
                "at": wire_moment(self.desk.services.clock())
            }
            if "copy" in said:
                copies[asked["task"]] = said.pop("copy")
                entry["copy_sha256"] = hashlib.sha256(rfc8785.dumps(copies[asked["task"]])).hexdigest()
            entries.append(entry | said)
        claims = {"jti": str(uuid_utils.uuid7()), "order": order["jti"], "entries": entries}
        return self.seal(own, claims, copies, **forged)

    def seal(self, own: Store, claims: Mapping[str, Any], copies: Mapping[str, Any], **forged: Any) -> str:
        signed = sign(
            forged.pop("by", own.keys),
            forged.pop("kind", RECEIPT),
            {**claims, **{name: value for name, value in forged.items() if name not in ("audience", "lifetime")}},
            audience=forged.get("audience", CONTROLLER),
            now=self.desk.services.clock(),
            lifetime=forged.get("lifetime", RECEIPT_LIFETIME),
        )
        return seal(json.dumps({"receipt": signed, "copies": dict(copies)}).encode(), own.controller)


async def mails_leave(court: Court, reference: str) -> None:
    """A mail server has taken every letter."""
    for mail in await court.desk.cases.mails_of(reference):
        await court.desk.cases.mail_done(mail["_id"], "sent", court.desk.services.clock())


async def letters(court: Court, reference: str) -> dict[str, str]:
    """Kind and part → what the person is written, its lines joined; of the letters that have not left yet."""
    key = await court.desk.case_key(reference)
    assert key is not None
    found = {}
    for mail in await court.desk.cases.mails_of(reference):
        whole = await court.desk.cases.mail(mail["_id"])
        if whole is not None:
            body = read_mail(key.open(f"mails/{mail['_id']}", bytes(whole["sealed"]))).get_content()
            found[mail["_id"].partition("/")[2]] = " ".join(body.split())
    return found


async def settled(court: Court, reference: str) -> dict[str, Any]:
    """Past the settling time, look and close."""
    case = await court.case(reference)
    if "settle_at" in case:
        await court.desk.cases.change(case, {"settle_at": court.desk.services.clock() - timedelta(seconds=1)})
    await advance(court.desk, reference)
    return await court.run(reference)
