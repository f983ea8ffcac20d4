"""What strangers can set off is spread over time: mailed links, and objections of one address.

Both need no proof, so whoever likes can ask for them in anybody's name. Nothing is refused or lost: a link is mailed
later, and an objection that follows another within a day holds at once in our own store and goes to the subsidiaries,
with its letter, a day after that one. A confirmed request is never slowed down.
Source: R20, R22; reliability § 8.7.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import structlog

from schemas.subject import ReferenceUse
from workers import metrics
from workers.cases.desk import Docket
from workers.stores.mongo import Document
from workers.stores.turns import Lane

log = structlog.get_logger("greffier.cases")

LINKS: Final = Lane("links", gap=timedelta(seconds=1), burst=1_000)
"""Of all networks together: a thousand at once, then sixty a minute."""
CROWDED_LINKS: Final = Lane("links/crowded", gap=timedelta(seconds=10))
"""Of networks that ask more often than a person would."""
_OBJECTIONS_APART: Final = timedelta(days=1)
_WORTH_AN_ALARM: Final = timedelta(minutes=5)


async def link_turn(desk: Docket, case: Document) -> datetime:
    """When a case's link is mailed."""
    now = desk.services.clock()
    lane = _lane(case)
    turn = await desk.services.turns.take(lane, case["_id"], now)
    metrics.LINKS_BEHIND.labels(lane.name).set((turn - now).total_seconds())
    if turn - now > _WORTH_AN_ALARM:
        log.warning("links are asked for faster than they are mailed", lane=lane.name, mailed_at=turn.isoformat())
    return turn


def _lane(case: Document) -> Lane:
    """What another organisation's system floods us with delays its own links alone."""
    if "peer" in case:
        return Lane(f"links/{case['peer']}", gap=timedelta(seconds=1), burst=100)
    return CROWDED_LINKS if case.get("crowded") else LINKS


async def objection_turn(desk: Docket, case: Document, email: str) -> datetime:
    """When an objection goes beyond our own store: a day after the last one of the same address."""
    address = desk.services.trust.references.of(ReferenceUse.CASE, f"turn:{email.lower()}")
    return await desk.services.turns.take(Lane(address, _OBJECTIONS_APART), case["_id"], desk.services.clock())
