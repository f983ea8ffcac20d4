"""The queue ``rights``: requests and confirmations from the door; and, by id only, cases that want looking at.

Source: R17, R19, R20; design § 5.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from schemas.routes import RIGHTS_REQUESTED
from workers.actors.batches import Arrived
from workers.actors.work import Keep
from workers.cases.desk import Desk
from workers.cases.opening import confirm, open_case
from workers.services import Services


def keep_rights(desk: Desk) -> Keep:
    """What opens and confirms cases."""

    async def in_order(events: Sequence[Arrived]) -> None:
        for one in events:
            if one.event.type == RIGHTS_REQUESTED:
                await open_case(desk, one.data, one.received)
            else:
                await confirm(desk, one.data)

    async def keep(_: Services, arrived: Sequence[Arrived]) -> None:
        by_case: dict[str, list[Arrived]] = {}
        for one in arrived:
            by_case.setdefault(one.data["reference"], []).append(one)
        for failed in await asyncio.gather(*map(in_order, by_case.values()), return_exceptions=True):
            if failed is not None:
                raise failed

    return keep
