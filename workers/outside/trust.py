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

from aiohttp import ClientSession, web
from cryptography.x509 import Certificate

from schemas.envelope import Sealer
from schemas.errors import ConfigurationError, Fault
from schemas.keyring import read_api_keys, read_idempotency_key, read_opener, read_sealer
from workers.counter.handing import Handing
from workers.evidence.notes import Notes
from workers.outside.courier import Courier, Teller, for_ever, open_session
from workers.outside.drp import DrpRoutes
from workers.outside.opendsr import OpendsrRoutes
from workers.outside.peers import FILE, Peers, read_peers
from workers.outside.processors import Processors
from workers.outside.seal import ProcessorKey, read_anchors, read_processor_key
from workers.outside.window import Window
from workers.stores.cases import Cases
from workers.stores.errands import Errands
from workers.stores.mongo import Databases
from workers.stores.outside import Outside


class Routes(Protocol):
    """Some of the counter's routes."""

    def add_to(self, router: web.UrlDispatcher) -> None: ...


class Spoken(Routes, Teller, Protocol):
    """One protocol in which we are asked: its routes, and its words for those who are called back."""


@dataclass(frozen=True, slots=True)
class OutsideTrust:
    """Whom we know outside, and the keys by which their requests are handed to the controller."""

    folder: Path
    peers: Peers
    sealer: Sealer
    secret: bytes
    processor: ProcessorKey | None
    anchors: tuple[Certificate, ...]

    @classmethod
    def read(cls, folder: Path) -> OutsideTrust:
        """Raises :class:`schemas.errors.ConfigurationError` naming what must be mended."""
        peers = read_peers(folder)
        processor: ProcessorKey | None = None
        anchors: tuple[Certificate, ...] = ()
        if peers.opendsr and peers.opendsr.controllers:
            processor = read_processor_key(folder, peers.opendsr.domain)
            read_api_keys(folder)  # read again at every call: what cannot be read is named now
        if peers.opendsr and peers.opendsr.processors:
            anchors = read_anchors(folder)
        return cls(folder, peers, read_sealer(folder), read_idempotency_key(folder), processor, anchors)

    @asynccontextmanager
    async def open(
        self, databases: Databases, notes: Notes, handing: Handing, clock: Callable[[], datetime]
    ) -> AsyncIterator[Sequence[Routes]]:
        """The routes; while they are open, whoever asked is told of changes, and errands are run."""
        window = Window(Outside(databases), handing.cases, notes, self.sealer, self.secret, clock)
        spoken = self.spoken(window, handing)
        async with open_session() as http:
            courier = Courier(window, {one.protocol: one for one in spoken}, http)
            work = [for_ever("courier", courier.tell)]
            routes: list[Routes] = [*spoken]
            if self.peers.opendsr and self.peers.opendsr.processors:
                processors = self.processors(databases, notes, handing.cases, clock, http)
                work.append(for_ever("errands", processors.run))
                routes.append(processors)
            tasks = [asyncio.create_task(one) for one in work]
            try:
                yield routes
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def spoken(self, window: Window, handing: Handing) -> Sequence[Spoken]:
        """Those of the protocols in which somebody may ask us."""
        found: list[Spoken] = []
        if self.peers.drp:
            found.append(DrpRoutes(self.peers.drp, self.peers.public_url.rstrip("/"), window, handing))
        if self.peers.opendsr and self.processor:
            found.append(OpendsrRoutes(self.peers.opendsr, self.processor, self.folder, window, handing))
        return found

    def processors(
        self, databases: Databases, notes: Notes, cases: Cases, clock: Callable[[], datetime], http: ClientSession
    ) -> Processors:
        """Those whom we ask. Raises :class:`schemas.errors.ConfigurationError` without a key to errands' letters."""
        if self.peers.opendsr is None:
            raise ConfigurationError(FILE, Fault("opendsr", "names nobody"))
        opener, errands = read_opener(self.folder), Errands(databases)
        return Processors(self.peers.opendsr, self.anchors, opener, self.sealer, errands, cases, notes, clock, http)
