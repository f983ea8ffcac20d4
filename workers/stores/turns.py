"""Turns: who does what may be done only so often gets a moment for it, at once or later. Nobody is turned away.

One document for each lane, in **evidence**: how far its moments are given away (``at``), and who took the last. The
reckoning is the generic cell rate algorithm, done by the server in one step, so any number of workers share a lane.
Source: reliability § 8.7 "limits never block a confirmed request".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pymongo import ReturnDocument

from workers.stores.mongo import Collection, Databases, available


@dataclass(frozen=True, slots=True)
class Lane:
    """``name``: text, or a keyed reference. A turn each ``gap``; ``burst`` of them at once after a quiet time."""

    name: str | bytes
    gap: timedelta
    burst: int = 1


class Turns:
    """Moments by lane. A lane that nobody waits in is forgotten (TTL index over ``at``): it is as one never used."""

    def __init__(self, databases: Databases) -> None:
        self._lanes: Collection = databases.evidence["turns"]

    async def take(self, lane: Lane, holder: str, now: datetime) -> datetime:
        """The moment that is ``holder``'s, never before ``now`` when first asked; the last holder gets his again.

        Raises :class:`schemas.errors.StoreUnavailable`.
        """
        with available():
            taken = await self._lanes.find_one_and_update(
                {"_id": lane.name}, _reckoning(lane, holder, now), upsert=True, return_document=ReturnDocument.AFTER
            )
        moment: datetime = taken["turn"]
        return moment


_MS: Final = timedelta(milliseconds=1)


def _reckoning(lane: Lane, holder: str, now: datetime) -> list[dict[str, Any]]:
    given_away = {"$max": [now, {"$ifNull": ["$at", now]}]}
    saved_up = (lane.burst - 1) * lane.gap // _MS
    turn = {"$max": [now, {"$subtract": [given_away, saved_up]}]}
    again = {"$eq": ["$holder", {"$literal": holder}]}
    return [
        {
            "$set": {
                "turn": {"$cond": [again, "$turn", turn]},
                "at": {"$cond": [again, "$at", {"$add": [given_away, lane.gap // _MS]}]},
                "holder": {"$literal": holder},
            }
        }
    ]
