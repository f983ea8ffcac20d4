"""The desk's audiences: what a mailing tool asks before each sending, page by page, in the place of a list of its own.

``GET /api/audience/{purpose}?subsidiary=&after=&size=`` answers who of the next ``size`` persons (1 to 1000) may be
written to at this moment. Pages and not one stream: what was streamed would lie in buffers, and somebody say no
meanwhile. So a tool asks for a page, sends it, and asks for the next by ``next``, which no other purpose's or
subsidiary's walk understands and which says nothing about anybody.
Source: R8, R9, R10, R24; P5, P8, P9, P10.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from schemas.errors import InvalidBody, InvalidMessage, Problem
from schemas.terms import Purpose
from workers.audience import PAGE, Audience, NoTransferBasis
from workers.desk.accounts import ACCOUNT
from workers.gate import Reader, ReadRefused
from workers.members import rows
from workers.one_click import OneClickLinks
from workers.services import Services
from workers.web import Refused, answer

_SIZE: Final = re.compile(r"[1-9][0-9]{0,3}")


@dataclass(frozen=True, slots=True)
class AudienceDesk:
    """The handler. ``links``: what makes the one-click headers of each row."""

    services: Services
    links: OneClickLinks

    async def page(self, request: web.Request) -> web.StreamResponse:
        """The next page of an audience."""
        audience, size = self._audience(request), _size(request)
        place = f"audience/{audience.purpose}/{audience.subsidiary or ''}"
        try:
            page = await audience.page(self._after(request, place), size)
        except ReadRefused:
            raise Refused(403, "not_for_this_purpose", "The register gives this reader no such purpose.") from None
        except NoTransferBasis:
            raise Refused(403, "no_transfer_basis", "No transfer to this subsidiary has a live basis.") from None
        # Each row is signed: a thousand of them would hold up whoever else calls.
        members = await asyncio.to_thread(rows, page.members, self.links, self.services.clock())
        following = page.after and self.services.trust.references.seal(place, page.after.encode())
        return answer({"members": members, "left_out": page.left_out_by_reason(), "next": following})

    def _audience(self, request: web.Request) -> Audience:
        purpose, subsidiary = request.match_info["purpose"], request.query.get("subsidiary")
        if purpose not in tuple(Purpose):
            raise Refused(404, "unknown_purpose", "The register knows no such purpose.")
        if subsidiary is not None and subsidiary not in self.services.trust.register.subsidiaries:
            raise Refused(404, "unknown_subsidiary", "The register has no such subsidiary.")
        account = request[ACCOUNT]
        return Audience(self.services, Reader(account.name, account.department), Purpose(purpose), subsidiary)

    def _after(self, request: web.Request, place: str) -> str:
        given = request.query.get("after")
        if given is None:
            return ""
        try:
            return self.services.trust.references.unseal(place, given).decode()
        except InvalidMessage:
            raise InvalidBody(Problem("unknown_cursor", "/after", "is not the next of this audience")) from None


def _size(request: web.Request) -> int:
    given = request.query.get("size", str(PAGE))
    if not _SIZE.fullmatch(given) or int(given) > PAGE:
        raise InvalidBody(Problem("not_a_size", "/size", f"must be 1 to {PAGE}"))
    return int(given)
