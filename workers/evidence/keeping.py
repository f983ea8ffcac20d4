"""Keeps the ledger for as long as a worker runs: checked first, then sequenced and signed.

Every controller process may do this at once: who comes second looks again a little later. What this process noted is
sequenced at once; what a process noted that has died, within a few seconds by any other.
Source: P12; design § 4 "a sequencer"; crypto-and-evidence § 5 "On restart recompute the root".
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from schemas.errors import Temporary
from schemas.evidence import entry
from schemas.fields import read_moment
from workers.stores.heads import Checked, Head, Heads
from workers.stores.ledger import Ledger, LedgerBroken

log = structlog.get_logger("greffier.evidence")

LOOK_EVERY_S: Final = 5.0
SIGN_EVERY_S: Final = 5.0
_GATHER_S: Final = 0.5
"""Nobody waits for a place, so many take theirs at once; who does need one calls :meth:`Keeper.settle`."""


@dataclass(frozen=True, slots=True)
class Keeper:
    """Sequencing and signing of one ledger."""

    ledger: Ledger
    heads: Heads
    clock: Callable[[], datetime]

    async def settle(self) -> Head | None:
        """Give everything noted so far its place and sign over it; the head. For an answer, an export, a test."""
        await self.sequence()
        return await self.heads.sign()

    async def sequence(self) -> int:
        """Pass after pass until nothing is left; how many entries this process placed."""
        placed = 0
        while True:
            done = await self.ledger.sequence()
            placed += done.placed
            if not done.left:
                return placed
            if not done.placed:
                await asyncio.sleep(random.uniform(0.01, 0.1))  # somebody else is at it

    async def check(self) -> Checked:
        """Recompute the whole ledger; a fault stops this process' writing to it."""
        checked = await self.heads.check(every_signature=False)
        if checked.faults:
            log.error("ledger is not what was signed", faults=checked.faults)
        else:
            log.info("ledger checked", entries=checked.size, heads=checked.heads)
        return checked

    async def keep(self) -> None:
        """Until cancelled. Ends by itself only when the ledger is broken: then nothing may be added to it."""
        try:
            await self._when_the_store_answers(self.check)
            while True:
                await self._wait_for_news()
                await self._when_the_store_answers(self._sequence_and_sign)
        except LedgerBroken as error:
            log.error("ledger stopped", reason=str(error))

    async def _sequence_and_sign(self) -> None:
        await self.sequence()
        newest = await self.heads.newest()
        age = (self.clock() - read_moment(newest["body"]["at"])).total_seconds() if newest else SIGN_EVERY_S
        if age >= SIGN_EVERY_S:
            await self.heads.sign()

    async def _wait_for_news(self) -> None:
        try:
            await asyncio.wait_for(self.ledger.news.wait(), LOOK_EVERY_S)
        except TimeoutError:
            return
        self.ledger.news.clear()
        await asyncio.sleep(_GATHER_S)

    async def _when_the_store_answers(self, work: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await work()
                return
            except LedgerBroken:
                raise
            except Temporary as error:
                log.warning("ledger waits", reason=type(error).__name__)
                await asyncio.sleep(LOOK_EVERY_S)

    async def note_sent(self, head: Head, to: str) -> None:
        """Note that a head left the machine: from now on it cannot be denied."""
        body = head["body"]
        fact = f"{body['root']}/{to}"
        sent = entry("head_sent", None, fact, self.clock(), size=body["size"], root=body["root"], to=to)
        await self.ledger.append(sent)
