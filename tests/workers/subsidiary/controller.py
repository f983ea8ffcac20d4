"""The controller's side of a test: makes orders as the controller does, and reads receipts as it does.

Built on the shipped keys and tokens, and independent of the subsidiary's code.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import redis
import rfc8785
from dramatiq import Message

from schemas.copies import PART, join
from schemas.fields import wire_moment
from schemas.jose import Keys, Peer, open_sealed, seal, sign, verify
from schemas.orders import (
    CONTROLLER,
    ORDER,
    ORDER_LIFETIME,
    ORDER_QUEUE,
    RECEIPT,
    RECEIPT_CLAIMS,
    RECEIPT_QUEUE,
    is_consistent,
    order_namespace,
    receipt_namespace,
)
from schemas.party_keys import add_subsidiary, generate_controller_party, read_party, read_subsidiaries
from schemas.terms import Right

CODE = "gb"
RECEIVED_AT = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)


def make_parties(folder: Path, *codes: str) -> Path:
    """Keys of a controller and its subsidiaries: ``folder/controller``, ``folder/<code>``."""
    (folder / "door").mkdir(parents=True)
    (folder / "controller").mkdir()
    generate_controller_party(folder / "door", folder / "controller")
    for code in codes or (CODE,):
        add_subsidiary(folder / "controller", folder / code, code)
    return folder


def entry(
    *emails: str,
    right: Right = Right.ERASURE,
    task: str = "",
    attempt: int = 1,
    ask: str = "serve",
    received_at: datetime = RECEIVED_AT,
    code: str = CODE,
) -> dict[str, Any]:
    """One entry of an order."""
    return {
        "task": task or f"R-{uuid.uuid4().hex[:12]}/{code}",
        "attempt": attempt,
        "ask": ask,
        "right": right.value,
        "person": {"emails": list(emails)},
        "received_at": wire_moment(received_at),
    }


@dataclass
class Receipts:
    """What came back. ``entries``: of valid receipts, in the order they came; ``parts``: of large copies."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    copies: dict[str, dict[str, Any]] = field(default_factory=dict)
    parts: list[dict[str, Any]] = field(default_factory=list)
    claims: list[dict[str, Any]] = field(default_factory=list)

    def of(self, task: str) -> list[dict[str, Any]]:
        return [one for one in self.entries if one["task"] == task]


class ControllerSide:
    """Sends orders to one subsidiary and reads what it leaves."""

    def __init__(self, parties: Path, redis_url: str, code: str = CODE) -> None:
        self.parties = parties
        self.code = code
        self.keys: Keys = read_party(parties / "controller")
        self.peer: Peer = read_subsidiaries(parties / "controller")[code]
        self.redis = redis.Redis.from_url(redis_url)

    # ------------------------------------------------------------------ orders

    def sign(self, claims: dict[str, Any], *, now: datetime | None = None, **changes: Any) -> str:
        """A signed order; ``changes`` override any of keys, kind, audience, lifetime."""
        return sign(
            changes.get("keys", self.keys),
            changes.get("kind", ORDER),
            {"jti": str(uuid.uuid4()), **claims},
            audience=changes.get("audience", self.code),
            now=now or datetime.now(UTC),
            lifetime=changes.get("lifetime", ORDER_LIFETIME),
        )

    def token(self, *entries: dict[str, Any], now: datetime | None = None, **changes: Any) -> str:
        """A sealed order."""
        return self.seal(self.sign({"entries": list(entries)}, now=now, **changes))

    def seal(self, signed: str | bytes) -> str:
        return seal(signed.encode() if isinstance(signed, str) else signed, self.peer)

    def send(self, *tokens: str) -> None:
        """Into the subsidiary's queue, as a dramatiq message."""
        space = order_namespace(self.code)
        for token in tokens:
            redis_id = str(uuid.uuid4())
            message: Message[Any] = Message(
                ORDER_QUEUE, ORDER_QUEUE, (), {"token": token}, {"redis_message_id": redis_id}
            )
            self.redis.hset(f"{space}:{ORDER_QUEUE}.msgs", redis_id, message.encode())
            self.redis.rpush(f"{space}:{ORDER_QUEUE}", redis_id)
        self.redis.publish(f"{space}:wake", ORDER_QUEUE)

    def waiting(self) -> int:
        """Orders that are not acknowledged."""
        return int(self.redis.hlen(f"{order_namespace(self.code)}:{ORDER_QUEUE}.msgs"))

    # ------------------------------------------------------------------ receipts

    def receipts(self) -> Receipts:
        """Everything that was left, opened and verified; nothing is taken away."""
        found = Receipts()
        space = receipt_namespace(self.code)
        ids = self.redis.lrange(f"{space}:{RECEIPT_QUEUE}", 0, -1)
        bodies = self.redis.hmget(f"{space}:{RECEIPT_QUEUE}.msgs", ids) if ids else []
        for body in bodies:
            assert body is not None
            assert len(body) < 2 << 20, "larger than a queue's reader takes"
            self._read(json.loads(body), found)
        return found

    def _read(self, message: dict[str, Any], found: Receipts) -> None:
        assert message["queue_name"] == message["actor_name"] == RECEIPT_QUEUE
        assert set(message["kwargs"]) == {"token"}
        inside = json.loads(open_sealed(message["kwargs"]["token"], self.keys))
        if "part" in inside:
            found.parts.append(PART.check(inside["part"]))
            return
        claims = verify(inside["receipt"], self.peer, RECEIPT, audience=CONTROLLER, now=datetime.now(UTC))
        RECEIPT_CLAIMS.check(claims)
        assert all(is_consistent(one) for one in claims["entries"]), claims["entries"]
        found.claims.append(claims)
        found.entries += claims["entries"]
        for task, copy in inside["copies"].items():
            (told,) = [one["copy_sha256"] for one in claims["entries"] if one["task"] == task]
            assert hashlib.sha256(rfc8785.dumps(copy)).hexdigest() == told
            found.copies[task] = copy
        self._join(found, claims["entries"])

    def _join(self, found: Receipts, entries: Iterable[dict[str, Any]]) -> None:
        for one in entries:
            parts = [part for part in found.parts if part["task"] == one["task"]]
            if parts and (copy := join(parts)) is not None:
                assert hashlib.sha256(copy).hexdigest() == one["copy_sha256"]
                found.copies[one["task"]] = json.loads(copy)

    def forget(self) -> None:
        """Empty the receipts' queue."""
        space = receipt_namespace(self.code)
        self.redis.delete(f"{space}:{RECEIPT_QUEUE}", f"{space}:{RECEIPT_QUEUE}.msgs")

    def close(self) -> None:
        self.redis.close()


def counts(outcome: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Collections by name, those without a match left out."""
    return {one["name"]: {k: v for k, v in one.items() if k != "name"} for one in outcome if one["matched"]}


def old(days: int) -> datetime:
    """So many days before the request."""
    return RECEIVED_AT - timedelta(days=days)
