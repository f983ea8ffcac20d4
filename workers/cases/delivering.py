"""The one download of an access package, and its end.

Shared by the counter, which delivers, and the reconciler, which drops what was delivered or has lapsed.
Source: R17; reliability § 8.7 "Access export".
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from workers.cases.desk import Desk
from workers.stores.cases import Cases
from workers.stores.mongo import Document
from workers.stores.packages import Packages

_AT_ONCE: Final = 100


def package_id(case: Document) -> str:
    """The name of a case's package; that of a further letter has one of its own, and with it a key of its own."""
    part = case["package"]["part"]
    return str(case["_id"]) if part == 1 else f"{case['_id']}-{part}"


async def take(cases: Cases, wanted: Document, now: datetime) -> bool:
    """Claim the one download of a case's package; ``False`` when somebody has. Whoever gets ``True`` must deliver it.

    ``wanted``: the case as it was when its package was read; another letter may have brought another since.
    """
    while True:
        case = await _with_the_same(cases, wanted)
        if case is None or not case["package"].keys().isdisjoint(("taken_at", "dropped_at")):
            return False
        if await cases.change(case, {"package.taken_at": now}):
            return True


async def fetched(cases: Cases, packages: Packages, had: Document, now: datetime) -> None:
    """A package was downloaded, or its link has ended: its key goes, then its bytes. May be repeated.

    ``had``: the case while it had that package.
    """
    await packages.drop(package_id(had))
    while True:
        case = await _with_the_same(cases, had)
        if case is None or "expires" not in case["package"]:
            return
        if await cases.change(case, {"package.dropped_at": now}, "package.expires"):
            return


async def _with_the_same(cases: Cases, had: Document) -> Document | None:
    """The case as it stands, if its package is still that one."""
    case = await cases.get(had["_id"])
    same = case is not None and case.get("package", {}).get("token") == had["package"]["token"]
    return case if same else None


async def sweep(desk: Desk) -> int:
    """Drop the packages that were downloaded or whose link has ended; how many."""
    now = desk.services.clock()
    over = await desk.cases.packages_over(now, _AT_ONCE)
    for case in over:
        await fetched(desk.cases, desk.packages, case, now)
    return len(over)
