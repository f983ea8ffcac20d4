"""What the handling of cases may reach: stores, keys of the parties, senders, and words to people.

Source: design § 5.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Protocol

from joserfc.jwk import OKPKey

from schemas.envelope import Sealer
from schemas.jose import Keys, Peer
from workers.correspondence.compose import Letterhead
from workers.services import Services
from workers.stores.cases import Cases
from workers.stores.keys import DataKey, key_id
from workers.stores.mongo import Document
from workers.stores.packages import Packages
from workers.stores.subsidiaries.adapter import StoreAdapter

CASE: Final = "case"
"""The class of a case's key: it opens the identifiers, the mails and the copies, and is destroyed at the end."""

COPIES_AT_ONCE: Final = 4
"""Copies and packages in memory at the same time: each may have a hundred megabytes."""

Send = Callable[[str, str], Awaitable[None]]
"""Puts a sealed order (second) into a subsidiary's namespace (first: its code)."""

Wake = Callable[[str], Awaitable[None]]
"""Has a case looked at again soon; losing it costs time only, the reconciler looks too."""


class Evidence(Protocol):
    """Where facts about a case are written down for good."""

    async def note(self, kind: str, case: str, fact: str, **details: Any) -> None:
        """A fact of one kind. ``fact``: what makes it one and the same when it is noted again."""


@dataclass(frozen=True, slots=True)
class Docket:
    """What entering a case and deciding on it takes: stores, evidence, the head of letters. It can sign nothing."""

    services: Services
    cases: Cases
    evidence: Evidence
    wake_case: Wake
    letterhead: Letterhead

    async def case_key(self, reference: str) -> DataKey | None:
        """The case's key, minted at its opening; ``None`` once it was destroyed."""
        name = key_id(reference, CASE)
        return (await self.services.keys.read([name])).get(name)

    async def identifiers(self, case: Document) -> dict[str, Any] | None:
        """What the person said: ``emails`` and perhaps ``details``; ``None`` once the case key was destroyed."""
        key = await self.case_key(case["_id"])
        return open_sealed_json(key, f"cases/{case['_id']}", case["sealed"]) if key else None


@dataclass(frozen=True, slots=True)
class Desk(Docket):
    """One per controller process. ``settle``: the longest time anything may be in flight before the second look.

    ``wake_rounds``: has who waits for a round put into one soon.
    ``public_url``: how people reach the door; ``counter_url``: the counter, where it is reached otherwise.
    ``errand_sealer``: seals to the counter what external processors are asked, where some are.
    ``eyes``: the offices' stores that the controller may read itself, by code. ``copying``: held by whoever has an
    access copy or a package in memory.
    """

    packages: Packages
    party: Keys
    peers: Mapping[str, Peer]
    token_key: OKPKey
    send: Send
    wake_store: Wake
    wake_mail: Wake
    wake_rounds: Callable[[], Awaitable[None]]
    settle: timedelta
    public_url: str
    counter_url: str | None = None
    eyes: Mapping[str, StoreAdapter] = field(default_factory=dict)
    errand_sealer: Sealer | None = None
    copying: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(COPIES_AT_ONCE))


def seal_json(key: DataKey, place: str, value: Any) -> bytes:
    """JSON under a data key, bound to its place."""
    return key.seal(place, json.dumps(value, ensure_ascii=False).encode())


def open_sealed_json(key: DataKey, place: str, sealed: bytes) -> Any:
    """What :func:`seal_json` sealed."""
    return json.loads(key.open(place, bytes(sealed)))
