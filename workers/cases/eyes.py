"""The controller's own eyes on an office's store: where it may read there, the second look is not left to others.

For each office that is seen there is one file, ``<code>.yaml``, in the folder that the settings name: the office's
mapping, whose ``store`` names a file with a URL that can read and nothing else. What is seen is counted by the very
adapter that the office's worker uses, signed by the controller, and makes the proof ``verified``. Where nobody can be
seen, the office is asked for a second statement, which makes it ``attested``.

Eyes that cannot see just now prove nothing: the task says why, the case stays open, and they look again later. So an
office does not come round being seen by shutting its door.
Source: P6; R25; design § 5.6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from schemas.errors import ConfigurationError, Fault, StoreUnavailable
from schemas.subject import clean_email
from schemas.terms import Right, StoreOutcome
from workers.cases.desk import Desk
from workers.cases.own_store import file_what_we_saw
from workers.cases.restricting import is_anothers
from workers.rules.corrections import Patch
from workers.stores.mongo import Document
from workers.stores.subsidiaries import open_store
from workers.stores.subsidiaries.adapter import StoreAdapter, StoreRefuses, Subject
from workers.stores.subsidiaries.mapping import Mapping as OfficeMapping
from workers.stores.subsidiaries.mapping import load_mapping, read_url

log = structlog.get_logger("greffier.cases")

AGAIN_AFTER: Final = timedelta(minutes=10)
"""When eyes that could not see look again."""

_LOOK_S: Final = 15.0
AWAY: Final = "store-away"


@dataclass(frozen=True, slots=True)
class Sight:
    """One office's store as the controller may read it. ``url``: holds a credential, and never prints."""

    mapping: OfficeMapping
    url: str = field(repr=False)

    def open(self) -> StoreAdapter:
        """In the event loop that will use it; connects on first use."""
        return open_store(self.mapping, self.url)


def read_eyes(folder: Path | None, known: Collection[str]) -> dict[str, Sight]:
    """The offices that are seen, by code; none where no folder is named. ``known``: those we have keys of.

    Raises :class:`ConfigurationError` naming each file that must be mended.
    """
    if folder is None:
        return {}
    if not folder.is_dir():
        raise ConfigurationError("eyes", Fault("GREFFIER_EYES", "is no folder"))
    return {path.stem: _sight(path, known) for path in sorted(folder.glob("*.yaml"))}


def _sight(path: Path, known: Collection[str]) -> Sight:
    if path.stem not in known:
        raise ConfigurationError("eyes", Fault(path.name, "is named after no subsidiary that is connected"))
    mapping = load_mapping(path)
    if mapping.store.url_file is None:
        raise ConfigurationError(f"eyes {path.name}", Fault("store.url_file", "missing: the URL stands in a file"))
    return Sight(mapping, read_url(mapping.store))


def can_see(desk: Desk, task: Document) -> bool:
    """Whether the controller looks itself; where the office refused nothing was done that could be seen."""
    return task["store"] in desk.eyes and task["outcome"] != StoreOutcome.REFUSED


async def look(desk: Desk, case: Document, task: Document, person: Mapping[str, Any]) -> bool:
    """Count what stands in the office's store, and file it as the second look; ``False`` when nothing could be seen."""
    emails, patches = map(clean_email, person["emails"]), map(Patch.of, person.get("patches", ()))
    subject = Subject(tuple(emails), case["received_at"], tuple(patches))
    try:
        async with asyncio.timeout(_LOOK_S):
            seen = await desk.eyes[task["store"]].look(Right(task["right"]), subject)
    except (TimeoutError, StoreUnavailable, StoreRefuses) as error:
        why = error.reason if isinstance(error, StoreRefuses) else AWAY
        log.warning("own eyes cannot see", store=task["store"], reason=why)
        await desk.cases.change_task(task, {"unseen": why})
        return False
    if task["right"] == Right.RESTRICTION and await is_anothers(desk, case, person):
        for tally in seen:
            tally.restricted = 0
    await file_what_we_saw(desk, task, [tally.as_outcome() for tally in seen])
    return True
