"""Handing an access package over, once: to who bears its mailed link, or to the system that asked in its person's name.

Source: R17; reliability § 8.7 "Access export".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from aiohttp import web

from schemas.errors import StoreUnavailable
from workers.cases.delivering import fetched, package_id, take
from workers.evidence.notes import Notes
from workers.stores.cases import Cases
from workers.stores.mongo import Document
from workers.stores.packages import Packages
from workers.web import BASE_HEADERS

log = structlog.get_logger("greffier.counter")

_PIECE: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Handing:
    """One per counter."""

    cases: Cases
    packages: Packages
    notes: Notes
    clock: Callable[[], datetime]

    async def over(self, request: web.Request, case: Document) -> web.StreamResponse | None:
        """The package. It is claimed before the first byte leaves: of two who ask at once, one gets it.

        ``None``: it is gone, or somebody else's.
        """
        content = await self.packages.get(package_id(case))
        if content is None or not await take(self.cases, case, self.clock()):
            return None
        await self.notes.note("package_fetched", case["_id"], "fetched")
        try:
            return await _send(request, case["_id"], content)
        finally:
            await self._tidy(case)

    async def _tidy(self, case: Document) -> None:
        try:
            await fetched(self.cases, self.packages, case, self.clock())
        except StoreUnavailable:
            log.info("package left to the reconciler")


async def _send(request: web.Request, reference: str, content: bytes) -> web.StreamResponse:
    sending = web.StreamResponse(
        headers={
            **BASE_HEADERS,
            "Content-Type": "application/zip",
            "Content-Disposition": f'attachment; filename="{reference}.zip"',
        }
    )
    sending.content_length = len(content)
    await sending.prepare(request)
    for start in range(0, len(content), _PIECE):
        await sending.write(content[start : start + _PIECE])
    await sending.write_eof()
    return sending
