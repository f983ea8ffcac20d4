"""Receipts that an office forges in another's name. It is granted to know what that one was asked."""

from __future__ import annotations

import json
from typing import Any

import uuid_utils
from pymongo.database import Database

from schemas.fields import wire_moment
from schemas.jose import seal, sign
from schemas.orders import CONTROLLER, RECEIPT, RECEIPT_LIFETIME
from schemas.party_keys import read_controller, read_party
from schemas.terms import StoreOutcome
from tests.chaos.offices import Branch


def forged_receipts(evidence: Database[dict[str, Any]], by: Branch, code: str) -> list[str]:
    """A receipt to each order that a store was sent, "nothing held", under the key of another. Sealed tokens."""
    keys = by.keys / "subsidiaries" / by.code
    own, controller, now = read_party(keys), read_controller(keys), by.clock()
    tokens = []
    for order in evidence["attempts"].find({"store": code}):
        entries = [
            {
                "task": task,
                "attempt": attempt,
                "ask": ask,
                "outcome": StoreOutcome.NOTHING_HELD.value,
                "collections": [],
                "at": wire_moment(now),
            }
            for task, (attempt, ask) in order["asked"]
        ]
        claims = {"jti": str(uuid_utils.uuid7()), "order": order["_id"], "entries": entries}
        signed = sign(own, RECEIPT, claims, audience=CONTROLLER, now=now, lifetime=RECEIPT_LIFETIME)
        tokens.append(seal(json.dumps({"receipt": signed}).encode(), controller))
    return tokens
