"""What keeps somebody's data from an erasure, and how a receipt tells it: ground, last day, and how much is left.

Source: R11; GDPR Art. 17(3).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, Final

from workers.cases.weighing import persons_of
from workers.services import Services
from workers.stores.keys import ACTIVE, ARCHIVE, key_id

HOLD_GROUND: Final = "legal hold, GDPR Art. 17(3)(e)"


async def active_keys(services: Services, emails: Iterable[str]) -> list[str]:
    """The keys under which the data of whoever has these addresses is in use."""
    return [key_id(person, ACTIVE) for person in await persons_of(services, emails)]


async def all_keys(services: Services, emails: Iterable[str]) -> list[str]:
    """Those, and the keys of what is archived: a legal hold is on both."""
    return [key_id(person, use) for person in await persons_of(services, emails) for use in (ACTIVE, ARCHIVE)]


async def hold_on(services: Services, email: str) -> dict[str, str]:
    """Ground and last day of the hold that keeps a person's data, as a receipt tells them."""
    holds = await services.keys.holds(await active_keys(services, [email]))
    if not holds:
        return {"ground": HOLD_GROUND}  # lifted this very moment: what was kept is what the receipt says
    return told(holds[0].ground, holds[0].until)


def told(ground: str, until: date | None) -> dict[str, str]:
    """Ground and last day, as a receipt tells them."""
    return {"ground": ground} if until is None else {"ground": ground, "until": until.isoformat()}


def partly(one: dict[str, Any], left: int, why: Mapping[str, str]) -> dict[str, Any]:
    """What became of a collection of which some is left, or nothing."""
    return {**one, "erased": one["matched"] - left, **({"retained": left, **why} if left else {})}
