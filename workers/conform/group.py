"""A controller for the run: keys of its own, orders as a real one signs them, and as nobody may.

Source: P7; design § 3 "Orders and receipts".
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import rfc8785

from schemas.calendar import civil_day
from schemas.copies import check_part, join, read_copy
from schemas.errors import InvalidMessage
from schemas.fields import wire_moment
from schemas.jose import Keys, open_sealed, seal, sign, verify
from schemas.keyfiles import write_json
from schemas.orders import (
    CONTROLLER,
    DISPOSE,
    ORDER,
    ORDER_LIFETIME,
    PLANT,
    RECEIPT,
    RECEIPT_CLAIMS,
    WISH,
    is_consistent,
)
from schemas.party_keys import (
    add_subsidiary,
    as_peer,
    generate_controller_party,
    new_party,
    read_party,
    read_subsidiaries,
)
from schemas.strict_json import parse
from schemas.terms import Right

CODE: Final = "trial"
_NODES: Final = 2_000_000
_CORRECTION: Final = {"patches": [{"field": "last_name", "was": "Nobody", "to": "Somebody"}]}
"""What a rectification says unless a trial has it say more."""

Entry = dict[str, Any]


@dataclass
class Answers:
    """What came back: entries in their order, copies by task (number of records per collection, whole text)."""

    entries: list[Entry] = field(default_factory=list)
    copies: dict[str, tuple[int, str]] = field(default_factory=dict)

    def of(self, asked: Entry) -> list[Entry]:
        """The answers to one entry."""
        head = ("task", "attempt", "ask")
        return [one for one in self.entries if all(one[name] == asked[name] for name in head)]


class Group:
    """One controller and the one subsidiary that is tried."""

    def __init__(self, folder: Path) -> None:
        """Makes keys in ``folder``."""
        self.office = folder / "office"
        self.counter = folder / "counter"
        for name in ("door", "controller", "counter"):
            (folder / name).mkdir(parents=True)
        generate_controller_party(folder / "door", folder / "controller")
        add_subsidiary(folder / "controller", self.office, CODE)
        self.keys = read_party(folder / "controller")
        self._peer = read_subsidiaries(folder / "controller")[CODE]

    # ------------------------------------------------------------------ orders

    def entry(self, email: str, right: str = "erasure", **changes: Any) -> Entry:
        """One entry, of a new task unless ``changes`` say otherwise."""
        return {
            "task": f"C-{uuid.uuid4().hex[:16]}/{CODE}",
            "attempt": 1,
            "ask": "serve",
            "right": right,
            "person": {"emails": [email]},
            "received_at": wire_moment(datetime.now(UTC)),
            **(_CORRECTION if right == Right.RECTIFICATION else {}),
            **changes,
        }

    def wish(self, email: str, said_at: datetime, refused_at: datetime, **changes: Any) -> Entry:
        """What is left of all that somebody refused and accepted: a yes, unless ``changes`` say otherwise."""
        said = {"accepts": "yes", "refused_at": wire_moment(refused_at), "version": 1}
        return self.entry(email, WISH, received_at=wire_moment(said_at), **{**said, **changes})

    def disposal(self, periods: Sequence[Mapping[str, str]], in_days: int = 0) -> Entry:
        """What is asked of a store once a day, by the group's periods; ``in_days``: for a day to come."""
        return {
            "task": f"retention-{uuid.uuid4().hex[:16]}/{CODE}",
            "attempt": 1,
            "ask": DISPOSE,
            "on": (civil_day(datetime.now(UTC)) + timedelta(days=in_days)).isoformat(),
            "periods": list(periods),
        }

    def plant(self, address: str) -> Entry:
        """A fictional person for the store."""
        return {"task": f"canary-{uuid.uuid4().hex[:16]}/{CODE}", "attempt": 1, "ask": PLANT, "address": address}

    def order(self, *entries: Any, **changes: Any) -> str:
        """A sealed order. ``changes``: ``by``, ``kind``, ``audience``, ``issued``, ``lifetime``."""
        signed = sign(
            changes.get("by", self.keys),
            changes.get("kind", ORDER),
            {"jti": str(uuid.uuid4()), "entries": list(entries)},
            audience=changes.get("audience", CODE),
            now=changes.get("issued", datetime.now(UTC)),
            lifetime=changes.get("lifetime", ORDER_LIFETIME),
        )
        return self.sealed(signed)

    def sealed(self, text: str) -> str:
        """Anything, sealed to the office."""
        return seal(text.encode(), self._peer)

    def forged(self, entry: Entry) -> dict[str, str]:
        """Orders that must have no effect and no answer, by what is wrong with them."""
        now = datetime.now(UTC)
        good = self.order(entry)
        head, key, nonce, text, tag = good.split(".")
        return {
            "signed by nobody it knows": self.order(entry, by=new_party(CONTROLLER)),
            "signed by itself": self.order(entry, by=read_party(self.office)),
            "for another": self.order(entry, audience="another"),
            "of another kind": self.order(entry, kind=RECEIPT),
            "not signed": self.sealed("{}"),
            "altered": ".".join((head, key, nonce, ("B" if text[0] == "A" else "A") + text[1:], tag)),
            "expired": self.order(entry, issued=now - ORDER_LIFETIME - timedelta(hours=1)),
            "of tomorrow": self.order(entry, issued=now + timedelta(days=1)),
            "good for too long": self.order(entry, lifetime=timedelta(days=60)),
            "empty": self.order(),
        }

    # ------------------------------------------------------------------ keys

    def rotate(self) -> Keys:
        """New keys beside the old ones; returns the old."""
        old, new = self.keys, new_party(CONTROLLER)
        both = as_peer(new)
        both["verifying"] += as_peer(old)["verifying"]
        write_json(self.office / "controller.public.json", both)
        self.keys = new
        return old

    def retire_old(self) -> None:
        """The new keys alone."""
        write_json(self.office / "controller.public.json", as_peer(self.keys))

    # ------------------------------------------------------------------ receipts

    def read(self, tokens: Sequence[str]) -> Answers:
        """Open and check what was sent. Raises :class:`InvalidMessage` for what a controller would refuse."""
        found = Answers()
        parts: list[dict[str, str]] = []
        for token in tokens:
            inside = parse(open_sealed(token, self.keys), max_nodes=_NODES)
            if set(inside) == {"part"}:
                parts.append(check_part(inside["part"]))
                continue
            claims = verify(inside["receipt"], self._peer, RECEIPT, audience=CONTROLLER, now=datetime.now(UTC))
            RECEIPT_CLAIMS.check(claims)
            self._take(claims["entries"], inside.get("copies") or {}, parts, found)
        return found

    def _take(self, entries: Sequence[Entry], copies: dict[str, Any], parts: list[dict[str, str]], to: Answers) -> None:
        for entry in entries:
            if not is_consistent(entry):
                raise InvalidMessage("counts_disagree")
            digest = entry.get("copy_sha256")
            copied = copies.get(entry["task"])
            own = [part for part in parts if part["task"] == entry["task"] and part["copy_sha256"] == digest]
            content = rfc8785.dumps(copied) if copied is not None else join(own)
            if (digest is None) is not (content is None):
                raise InvalidMessage("copy_missing")
            if content is not None:
                if hashlib.sha256(content).hexdigest() != digest:
                    raise InvalidMessage("copy_altered")
                records = sum(sum(1 for _ in one.records) for one in read_copy(CODE, content))
                to.copies[entry["task"]] = records, content.decode()
            to.entries.append(entry)
