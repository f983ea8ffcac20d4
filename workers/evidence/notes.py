"""Facts about cases, noted before their effects. What is noted while a write is under way shares the next one.

A fact stands once, however often it is noted: its id is made of its kind, its case and what makes it that fact. So an
actor that is run again notes the same again and nothing is doubled.
Source: P12; design § 4 "a durable pending entry before the effect"; R30.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from schemas.errors import Conflict
from schemas.evidence import Entry, entry
from schemas.jose import Peer
from workers.stores.gathering import Gatherer
from workers.stores.ledger import Ledger

_AT_ONCE: Final = 500


class Notes:
    """One per process, in its event loop."""

    def __init__(self, ledger: Ledger, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._gathered: Gatherer[Entry, None] = Gatherer(self._append, _AT_ONCE)

    async def note(self, kind: str, case: str | None, fact: str, **details: Any) -> None:
        """Note a fact of one of :data:`schemas.evidence.KINDS`; it is durable when this returns.

        ``fact``: what makes it one and the same when it is noted again; only its hash is kept.
        Raises :class:`schemas.errors.InvalidMessage` for details its kind does not have,
        :class:`schemas.errors.Conflict` when the same fact was noted with other details, and
        :class:`schemas.errors.StoreUnavailable`.
        """
        await self.write([entry(kind, case, fact, self._clock(), **details)])

    async def write(self, entries: Iterable[Entry]) -> None:
        """Several entries, in one write. Raises like :meth:`note`."""
        outcomes = await asyncio.gather(*map(self._gathered.call, entries), return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def note_keys(self, peers: Mapping[str, Peer]) -> None:
        """Note every store's verifying keys, so that they cannot be exchanged for others later; once each."""
        known = [(store, kid, key.thumbprint()) for store, peer in peers.items() for kid, key in peer.verifying.items()]
        now = self._clock()
        entries = [
            entry("key_known", None, f"{store}/{thumbprint}", now, store=store, key=thumbprint, kid=kid)
            for store, kid, thumbprint in known
        ]
        if entries:
            await self.write(entries)

    async def _append(self, entries: list[Entry]) -> list[Exception | None]:
        try:
            await self._ledger.append(*entries)
        except Conflict as error:
            if len(entries) == 1:
                return [error]
            # Find whose it is: appending the others again changes nothing.
            return [outcome for each in entries for outcome in await self._append([each])]
        return [None] * len(entries)
