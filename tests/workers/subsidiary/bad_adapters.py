"""Stores that lie, keep silent, are dead, do half, or speak for another: to show that a case stays open under them.

Each wraps a real store. As a process of its own, in place of ``greffier subsidiary``::

    python -m tests.workers.subsidiary.bad_adapters CODE MAPPING_FILE lying|boasting|silent|dead|half|wavering

with the environment of the real one.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rfc8785

from schemas.errors import Fault, StoreUnavailable
from schemas.jose import Keys, Peer, seal, sign
from schemas.orders import CONTROLLER, RECEIPT, RECEIPT_LIFETIME
from schemas.terms import Right
from workers.stores.subsidiaries import open_store
from workers.stores.subsidiaries.adapter import CopyPage, StoreAdapter, Subject, Tally
from workers.stores.subsidiaries.mapping import load_mapping, read_url
from workers.subsidiary import serve_with
from workers.subsidiary_settings import read_subsidiary_settings


class Wrapped:
    """The real store, until a subclass says otherwise."""

    def __init__(self, inner: StoreAdapter) -> None:
        self.inner = inner

    async def ping(self) -> None:
        await self.inner.ping()

    async def check(self) -> list[Fault]:
        return await self.inner.check()

    async def plan(self, right: Right, subject: Subject) -> list[Tally]:
        return await self.inner.plan(right, subject)

    async def look(self, right: Right, subject: Subject) -> list[Tally]:
        return await self.inner.look(right, subject)

    async def erase(self, subject: Subject, planned: Sequence[Tally] = ()) -> list[Tally]:
        return await self.inner.erase(subject, planned)

    async def object(self, subject: Subject) -> list[Tally]:
        return await self.inner.object(subject)

    def access(self, subject: Subject) -> AsyncGenerator[CopyPage, None]:
        return self.inner.access(subject)

    def identifiers(self) -> AsyncGenerator[Sequence[str], None]:
        return self.inner.identifiers()

    async def close(self) -> None:
        await self.inner.close()


class LyingStore(Wrapped):
    """Says what it should have done, and does nothing. Its second statement is honest."""

    async def erase(self, subject: Subject, planned: Sequence[Tally] = ()) -> list[Tally]:
        return await self.inner.plan(Right.ERASURE, subject)

    async def object(self, subject: Subject) -> list[Tally]:
        return await self.inner.plan(Right.OBJECTION, subject)


class BoastingStore(LyingStore):
    """Lies again when it is asked what stands: only somebody's own eyes find it out."""

    async def look(self, right: Right, subject: Subject) -> list[Tally]:
        found = await self.inner.look(right, subject)
        return [Tally(one.name, matched=one.retained, retained=one.retained, ground=one.ground) for one in found]


class SilentStore(Wrapped):
    """Takes every order and never ends one."""

    async def plan(self, right: Right, subject: Subject) -> list[Tally]:
        return await self._never()

    async def look(self, right: Right, subject: Subject) -> list[Tally]:
        return await self._never()

    def access(self, subject: Subject) -> AsyncGenerator[CopyPage, None]:
        return self._silence()

    async def _silence(self) -> AsyncGenerator[CopyPage, None]:
        await self._never()
        yield CopyPage("", {}, ())

    async def _never(self) -> list[Tally]:
        await asyncio.Event().wait()
        return []


class DeadStore(Wrapped):
    """Does not answer at all."""

    async def ping(self) -> None:
        raise StoreUnavailable("dead")

    async def plan(self, right: Right, subject: Subject) -> list[Tally]:
        raise StoreUnavailable("dead")

    async def look(self, right: Right, subject: Subject) -> list[Tally]:
        raise StoreUnavailable("dead")

    async def erase(self, subject: Subject, planned: Sequence[Tally] = ()) -> list[Tally]:
        raise StoreUnavailable("dead")

    async def object(self, subject: Subject) -> list[Tally]:
        raise StoreUnavailable("dead")

    async def access(self, subject: Subject) -> AsyncGenerator[CopyPage, None]:
        raise StoreUnavailable("dead")
        yield CopyPage("", {}, ())


class HalfStore(Wrapped):
    """Erases an objection's part only, says it did all, and looks away from the rest."""

    async def erase(self, subject: Subject, planned: Sequence[Tally] = ()) -> list[Tally]:
        planned = await self.inner.plan(Right.ERASURE, subject)
        await self.inner.object(subject)
        return planned


class WaveringStore(Wrapped):
    """Tells another number each time it is asked."""

    def __init__(self, inner: StoreAdapter) -> None:
        super().__init__(inner)
        self._told = 0

    async def erase(self, subject: Subject, planned: Sequence[Tally] = ()) -> list[Tally]:
        self._told += 1
        tallies = await self.inner.erase(subject, planned)
        tallies[0].matched += self._told
        tallies[0].erased += self._told
        return tallies


def receipt_for(keys: Keys, controller: Peer, order: str, *entries: dict[str, Any], now: datetime | None = None) -> str:
    """A sealed receipt by these keys, whatever its entries say: of another's task, of none, with any counts."""
    claims = {"jti": str(uuid.uuid4()), "order": order, "entries": list(entries)}
    signed = sign(keys, RECEIPT, claims, audience=CONTROLLER, now=now or datetime.now(UTC), lifetime=RECEIPT_LIFETIME)
    return seal(rfc8785.dumps({"copies": {}, "receipt": signed}), controller)


KINDS: dict[str, Callable[[StoreAdapter], StoreAdapter]] = {
    "lying": LyingStore,
    "boasting": BoastingStore,
    "silent": SilentStore,
    "dead": DeadStore,
    "half": HalfStore,
    "wavering": WaveringStore,
}


if __name__ == "__main__":
    code, mapping_file, kind = sys.argv[1:]
    mapping = load_mapping(Path(mapping_file))
    url = read_url(mapping.store)
    sys.exit(serve_with(code, read_subsidiary_settings(), lambda: KINDS[kind](open_store(mapping, url))))
