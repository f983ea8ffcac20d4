"""The restore drill: that a backup brings nobody back, tried on the real servers beside the real data, as evidence.

Of the controller: fictional people come in by the shipped intake, into databases of the drill's own on the same
servers; a backup is taken, they are erased, the backup is put back, and the tombstones are replayed before the first
read. Then everything is counted by hand. What came back must be nobody; what a replay found to do must be more than
nothing, or the drill has shown nothing.
Source: R26, R30; P5; design § 4; reliability § 7 (8).
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import uuid_utils

from schemas.routes import SUBMISSIONS
from workers.actors.batches import read_event
from workers.actors.submissions import keep_submissions
from workers.fictional import fictional_form
from workers.services import Services, services_over
from workers.settings import ControllerSettings
from workers.stores.mongo import connect, create_indexes
from workers.stores.restoring import Restoring
from workers.tombstone_replay import Replayed, replay

PEOPLE: Final = 25
CONTROLLER: Final = "controller"

Replay = Callable[[Services], Awaitable[Replayed]]


@dataclass(frozen=True, slots=True)
class Drilled:
    """What a drill saw. ``back``: people whom the backup brought back; ``left``: who were there after the replay.

    ``without``: what may meet an erasure in the store and was not in the copy that was drilled on.
    """

    store: str
    people: int
    back: int
    left: int
    without: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether it showed something, and nobody came back."""
        return self.back == self.people > 0 and self.left == 0

    def as_json(self) -> dict[str, Any]:
        seen = {**asdict(self), "passed": self.passed}
        return seen if self.without else {name: value for name, value in seen.items() if name != "without"}


async def drill_controller(
    services: Services, settings: ControllerSettings, people: int = PEOPLE, replayed_by: Replay = replay
) -> Drilled:
    """Drill on databases of its own, which are dropped at the end, and note the outcome in the ledger.

    Raises :class:`schemas.errors.StoreUnavailable`, and what MongoDB says to a user who may make no databases.
    """
    name = f"drill-{secrets.token_hex(6)}"
    databases = connect(settings.model_copy(update={"mongo_prefix": name}))
    own = services_over(databases, services.uploads, services.trust, services.clock, services.skew)
    try:
        await create_indexes(databases)
        drilled = await _drill(own, people, replayed_by)
    finally:
        await Restoring(databases).drop()
        databases.close()
    await note(services, drilled, name)
    return drilled


async def note(services: Services, drilled: Drilled, fact: str) -> None:
    """Write a drill's outcome down for good."""
    counts = {"people": drilled.people, "back": drilled.back, "left": drilled.left}
    await services.notes.note("restore_drilled", None, fact, store=drilled.store, **counts)


async def _drill(own: Services, people: int, replayed_by: Replay) -> Drilled:
    emails = [f"drill.{n}.{secrets.token_hex(4)}@example.com" for n in range(people)]
    forms = [fictional_form(own, email, str(uuid_utils.uuid7()), own.clock()) for email in emails]
    await keep_submissions(own, [read_event(own, SUBMISSIONS, place, form) for place, form in enumerate(forms)])
    restoring = Restoring(own.databases)
    backup = await restoring.everything()
    persons = [one["_id"] for one in backup["active", "persons"]]
    for email in emails:
        await own.forgetting.forget(email)
    await restoring.put_back(backup)
    back = await _there(restoring, persons)
    await replayed_by(own)
    return Drilled(CONTROLLER, len(persons), back, await _there(restoring, persons))


async def _there(restoring: Restoring, persons: Sequence[str]) -> int:
    """Of how many anything stands, by hand: a document that names them, whatever it is, or a key that opens one."""
    found = await restoring.everything()
    names = " ".join(repr(one) for documents in found.values() for one in documents if "destroyed_at" not in one)
    return sum(person in names for person in persons)
