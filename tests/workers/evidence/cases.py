"""A case with real receipts, real signatures and a real ledger, in whatever state a test needs it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

import uuid_utils

from schemas.fields import wire_moment
from schemas.jose import Keys, sign
from schemas.ledger_keys import LedgerKeys
from schemas.orders import CONTROLLER, RECEIPT, RECEIPT_LIFETIME
from schemas.party_keys import new_party
from schemas.terms import Channel, Right
from tests.workers.evidence.rig import BEGINNING, LedgerRig
from workers.evidence.bundle import to_bytes
from workers.evidence.export import Exporter
from workers.evidence.facts import CaseFacts, ReceiptFacts, StoreFacts
from workers.evidence.trusted import Trusted

REFERENCE = "R-4F7K-9Q2M"
ERASED = ({"name": "contacts", "matched": 2, "erased": 2},)
GONE: tuple[dict[str, Any], ...] = ()
NAMES = {
    CONTROLLER: ("Sopexa Example SA", "FR"),
    "de": ("Sopexa Example DE GmbH", "DE"),
    "gb": ("Sopexa Example GB Ltd", "GB"),
    "us": ("Sopexa Example US Inc.", "US"),
}


@dataclass
class CaseBook:
    """One case as the ledger, the stores and the controller have it."""

    rig: LedgerRig
    reference: str = REFERENCE
    right: Right = Right.ERASURE
    stores: tuple[str, ...] = (CONTROLLER, "de", "gb")
    parties: dict[str, Keys] = field(default_factory=dict)
    receipts: list[ReceiptFacts] = field(default_factory=list)
    answer: str = "accepted"
    proof: str = "served"
    states: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for code in self.stores:
            self.parties.setdefault(code, new_party(code))

    async def note(self, kind: str, fact: str = "", **details: Any) -> None:
        await self.rig.notes.note(kind, self.reference, fact, **details)

    async def opened(self) -> CaseBook:
        await self.note("request_received", right=self.right.value, channel="website")
        await self.note("request_confirmed")
        await self.note("request_accepted", right=self.right.value, stores=list(self.stores))
        return self

    async def asked(self, *stores: str) -> CaseBook:
        for code in stores:
            digest = hashlib.sha256(f"order {self.reference} {code}".encode()).hexdigest()
            await self.note("order_issued", code, store=code, digest=digest, ask="serve", attempt=1)
        return self

    def signed(
        self,
        store: str,
        entries: Iterable[Mapping[str, Any]],
        by: Keys | None = None,
        claims: Mapping[str, Any] | None = None,
    ) -> str:
        whole = {"jti": str(uuid_utils.uuid7()), "order": "order-1", "entries": list(entries), **(claims or {})}
        keys = by or self.parties[store]
        return sign(keys, RECEIPT, whole, audience=CONTROLLER, now=BEGINNING, lifetime=RECEIPT_LIFETIME)

    def entry(
        self, store: str, ask: str = "serve", collections: Iterable[Any] = ERASED, **other: Any
    ) -> dict[str, Any]:
        listed = list(collections)
        outcome = "done" if listed else "nothing-held"
        task = f"{self.reference}/{store}"
        at = wire_moment(BEGINNING + timedelta(minutes=1))
        return {
            "task": task, "attempt": 1, "ask": ask, "outcome": outcome, "collections": listed, "at": at, **other
        }  # fmt: skip

    async def take(self, store: str, jws: str, ask: str = "serve", about: str | None = None) -> CaseBook:
        """A receipt arrives and is noted."""
        digest = hashlib.sha256(jws.encode()).hexdigest()
        self.receipts.append(ReceiptFacts(store, jws, BEGINNING + timedelta(minutes=2)))
        kind = "receipt_accepted" if ask == "serve" else "looked"
        await self.note(kind, f"{digest}/{about or store}", store=about or store, digest=digest)
        return self

    async def answered_by(self, *stores: str, collections: Iterable[Any] = ERASED) -> CaseBook:
        for code in stores:
            await self.take(code, self.signed(code, [self.entry(code, collections=collections)]))
        return self

    async def looked_at(self, *stores: str, collections: Iterable[Any] = GONE) -> CaseBook:
        for code in stores:
            await self.take(code, self.signed(code, [self.entry(code, "look", collections)]), "look")
        return self

    async def closed(self) -> CaseBook:
        await self.note("answered", silent=[])
        await self.note("closed")
        self.answer, self.proof = "answered", "closed"
        end = BEGINNING + timedelta(days=1)
        self.states = {"answered_at": end, "closed_at": end}
        return self

    async def whole(self) -> CaseBook:
        """From the request to the end."""
        foreign = [code for code in self.stores if code != CONTROLLER]
        await self.opened()
        await self.asked(*foreign)
        await self.answered_by(*self.stores)
        await self.looked_at(*self.stores)
        return await self.closed()

    @property
    def facts(self) -> CaseFacts:
        return CaseFacts(
            reference=self.reference,
            right=self.right,
            channel=Channel.WEBSITE,
            received_at=BEGINNING,
            due_on=date(2026, 12, 22),
            answer=self.answer,
            proof=self.proof,
            stores=tuple(StoreFacts(code, *NAMES[code], NAMES[code][1], "not-needed") for code in self.stores),
            receipts=tuple(self.receipts),
            keys={code: (keys.signing,) for code, keys in self.parties.items()},
            **self.states,
        )

    async def bundle(self, **changed: Any) -> dict[str, Any]:
        """The exported document. ``changed``: facts that are stated otherwise."""
        exporter = Exporter(self.rig.keeper, self.rig.keys, self.rig.clock)
        return await exporter.export(replace(self.facts, **changed))

    async def file(self) -> bytes:
        return to_bytes(await self.bundle())


def trust(keys: LedgerKeys) -> Trusted:
    """What the controller had given the reader beforehand."""
    return Trusted(tuple(keys.verifying.values()), log=keys.log)
