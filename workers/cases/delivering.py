"""The one download of an access package, and its end.

Shared by the counter, which delivers, and the reconciler, which drops what was delivered or has lapsed.
Source: R17; reliability § 8.7 "Access export".
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from workers.cases.desk import Desk
from workers.stores.cases import Cases
from workers.stores.packages import Packages

_AT_ONCE: Final = 100


async def take(cases: Cases, reference: str, now: datetime) -> bool:
    """Claim the one download of a package; ``False`` when somebody has. Whoever gets ``True`` must deliver it."""
    while True:
        case = await cases.get(reference)
        if case is None or "taken_at" in case.get("package", {"taken_at": now}):
            return False
        if await cases.change(case, {"package.taken_at": now}):
            return True


async def fetched(cases: Cases, packages: Packages, reference: str, now: datetime) -> None:
    """A package was downloaded, or its link has ended: its key goes, then its bytes. May be repeated."""
    await packages.drop(reference)
    while True:
        case = await cases.get(reference)
        if case is None or "expires" not in case.get("package", {}):
            return
        if await cases.change(case, {"package.dropped_at": now}, "package.expires"):
            return


async def sweep(desk: Desk) -> int:
    """Drop the packages that were downloaded or whose link has ended; how many."""
    now = desk.services.clock()
    over = await desk.cases.packages_over(now, _AT_ONCE)
    for case in over:
        await fetched(desk.cases, desk.packages, case["_id"], now)
    return len(over)
