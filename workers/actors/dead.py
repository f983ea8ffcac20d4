"""Parking what never became work: messages that are not ours, and messages that failed to the last.

Source: P3; R29; design § 3 "Parked": filled by ``after_nack`` and by a sweep of the broker's dead letters.
"""

from __future__ import annotations

import json
from typing import Any

from schemas.errors import InvalidMessage
from workers.actors.batches import letter_of, open_batch, park
from workers.broker import DeadLetter, Poison
from workers.services import Services
from workers.stores.parked import Letter


async def park_poison(services: Services, poison: Poison) -> None:
    """Keep a queue entry that no actor may see. Its bytes are sealed; only code, place and queue stay readable."""
    letter = Letter(poison.code, poison.queue, poison.raw, services.clock(), pointer=poison.pointer)
    await park(services, [letter])


async def park_dead(services: Services, dead: DeadLetter) -> None:
    """Keep, event by event, what a message failed with. What was kept of it meanwhile needs no letter."""
    wire = _wire_of(dead.raw)
    batch, arrived = await open_batch(services, dead.queue, wire) if wire is not None else (None, [])
    if batch is None:
        if wire is None:
            await park(services, [Letter(dead.reason, dead.queue, dead.raw, services.clock())])
        return
    kept = await services.kept(one.key for one in arrived)
    await park(services, [letter_of(services, one, dead.reason) for one in arrived if one.key not in kept])
    await services.bookkeeping.arrived(batch, services.clock())


def _wire_of(raw: bytes) -> Any | None:
    try:
        return json.loads(raw)["kwargs"]["batch"]
    except (ValueError, KeyError, TypeError, RecursionError, InvalidMessage):
        return None
