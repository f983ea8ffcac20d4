"""The folder of the outside, read once, and the routes that it opens.

Source: rights-protocols; house-style § 5.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from aiohttp import web

from schemas.envelope import Sealer
from schemas.keyring import read_api_keys, read_idempotency_key, read_sealer
from workers.counter.handing import Handing
from workers.evidence.notes import Notes
from workers.outside.courier import Courier, Teller, open_session
from workers.outside.drp import DrpRoutes
from workers.outside.opendsr import OpendsrRoutes
from workers.outside.peers import Peers, read_peers
from workers.outside.seal import ProcessorKey, read_processor_key
from workers.outside.window import Window
from workers.stores.cases import Cases
from workers.stores.outside import Outside


class Routes(Teller, Protocol):
    """One protocol: its routes, and its words for those who are called back."""

    def add_to(self, router: web.UrlDispatcher) -> None: ...


@dataclass(frozen=True, slots=True)
class OutsideTrust:
    """Whom we know outside, and the keys by which their requests are handed to the controller."""

    folder: Path
    peers: Peers
    sealer: Sealer
    secret: bytes
    processor: ProcessorKey | None

    @classmethod
    def read(cls, folder: Path) -> OutsideTrust:
        """Raises :class:`schemas.errors.ConfigurationError` naming what must be mended."""
        peers = read_peers(folder)
        processor = read_processor_key(folder, peers.opendsr.domain) if peers.opendsr else None
        if peers.opendsr:
            read_api_keys(folder)  # read again at every call: what cannot be read is named now
        return cls(folder, peers, read_sealer(folder), read_idempotency_key(folder), processor)

    @asynccontextmanager
    async def open(
        self, outside: Outside, cases: Cases, notes: Notes, handing: Handing, clock: Callable[[], datetime]
    ) -> AsyncIterator[Sequence[Routes]]:
        """The routes; while they are open, whoever asked is told of changes."""
        window = Window(outside, cases, notes, self.sealer, self.secret, clock)
        routes = self.routes(window, handing)
        async with open_session() as http:
            courier = Courier(window, {one.protocol: one for one in routes}, http)
            telling = asyncio.create_task(courier.run_for_ever(), name="courier")
            try:
                yield routes
            finally:
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)

    def routes(self, window: Window, handing: Handing) -> Sequence[Routes]:
        """Those of the protocols that somebody is named for."""
        found: list[Routes] = []
        if self.peers.drp:
            found.append(DrpRoutes(self.peers.drp, self.peers.public_url.rstrip("/"), window, handing))
        if self.peers.opendsr and self.processor:
            found.append(OpendsrRoutes(self.peers.opendsr, self.processor, self.folder, window, handing))
        return found
