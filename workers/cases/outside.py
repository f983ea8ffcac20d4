"""A request from another organisation's system becomes a case: opened from the letter that the counter sealed.

What such a letter may say is narrower than what the door's and staff's may: whoever had the counter could otherwise
enter requests as confirmed. Source: rights-protocols § 4; P6, P7; design § 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import structlog

from schemas.errors import InvalidMessage, Temporary
from schemas.rights import REQUESTED
from schemas.routes import RIGHTS_REQUESTED
from schemas.terms import Channel
from workers.cases.desk import Desk
from workers.cases.opening import open_case
from workers.cases.withdrawing import withdraw
from workers.stores.mongo import Document
from workers.stores.outside import Outside

log = structlog.get_logger("greffier.cases")

_AT_ONCE: Final = 100
_LEASE: Final = timedelta(seconds=30)
_MAY_SAY: Final = frozenset({"reference", "right", "email", "channel", "language", "peer"})
_CHANNELS: Final = (Channel.AGENT, Channel.CONTROLLER)


async def take_in(desk: Desk) -> int:
    """Open the cases of the requests that wait; how many there were."""
    now, outside = desk.services.clock(), Outside(desk.services.databases)
    waiting = await outside.due("opens_at", now, now + _LEASE, _AT_ONCE)
    for request in waiting:
        try:
            await _open(desk, outside, request)
        except Temporary:
            raise
        except Exception as error:  # one that cannot be opened holds up no other, and no case
            log.error("request from outside not opened", case=request["reference"], exc_info=error)
    return len(waiting)


async def _open(desk: Desk, outside: Outside, request: Document) -> None:
    try:
        data = _read(desk, request)
    except InvalidMessage as fault:
        log.error("letter from outside cannot be believed", case=request["reference"], code=fault.code)
        await outside.change(request, {"refused": fault.code}, "letter", "opens_at")
        return
    reference = await open_case(desk, data, request["received_at"], by=data["peer"])
    if await outside.change(request, {"case": reference}, "letter", "opens_at"):
        return
    found = await outside.get(request["_id"])
    if found is not None and "revoked_at" in found and "case" not in found:  # taken back while it was opened
        case = await desk.cases.get(reference)
        if case is not None:
            await withdraw(desk.cases, desk.evidence, case, data["peer"], desk.services.clock())


def _read(desk: Desk, request: Mapping[str, Any]) -> dict[str, Any]:
    """What the letter says. Raises :class:`InvalidMessage`."""
    event, *more = desk.services.trust.opener.open(request["letter"]).events
    if more or event.type != RIGHTS_REQUESTED or event.id != request["reference"]:
        raise InvalidMessage("unknown_type")
    data = REQUESTED.read(event.body)
    mine = data["channel"] in _CHANNELS and data.get("peer") == request["peer"]
    if not (mine and data["reference"] == request["reference"] and data.keys() <= _MAY_SAY):
        raise InvalidMessage("says_too_much")
    return data
