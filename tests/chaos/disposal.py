"""Retention ends one act of a person, by two workers at once, while they, and perhaps an erasure, act.

With the last act goes its person: only if nothing of theirs has come meanwhile, and whoever comes then starts anew.
Source: docs/decisions/0009.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime

from tests.chaos.acts import Act, Fate, application, contact_form
from tests.chaos.erasure import World
from tests.chaos.interleaving import Life

_MINUTE = 60
"""Steps of others."""


@dataclass
class Ending(World):
    """A story in which periods end. ``ended``: the acts whose period is over."""

    ended: list[Act] = field(default_factory=list)
    _hasty: bool = False

    def disposal(self, name: str, of: Act, *, dies_at: int | None = None) -> None:
        """Dispose of what is kept of an act; a run that broke off is followed by another."""

        async def work() -> None:
            if not await self.schedule.live(Life(name, dies_at), self._dispose(of)):
                await self.schedule.live(Life(name + "'"), self._dispose(of))

        self.ended.append(of)
        self._add(name, work)

    async def _dispose(self, of: Act) -> None:
        await self.schedule.step("begins", lambda: of.done)
        standing = self.bench.reader[f"{self.bench.prefix}_active"]["submissions"].find_one({"_id": of.key})
        if standing is not None:
            await self.bench.services.forgetting.forget_events({standing["person"]: [of.key]})

    async def _wait_to_be_tried_again(self) -> None:
        """A minute, as the broker's: whoever proposes a tombstone meanwhile goes on, unless he is dead."""
        enough = len(self.schedule.trace) + _MINUTE
        await self.schedule.step("waits to be tried again", lambda: self._hasty or len(self.schedule.trace) > enough)
        self._hasty = False

    def _stuck(self) -> bool:
        """The minute is over once nobody else has anything to do."""
        waited, self._hasty = not self._hasty, True
        return waited

    def _expected(self, act: Act, stone: datetime | None) -> Fate:
        return Fate.GONE if act in self.ended else super()._expected(act, stone)


def two_runs_and_a_return(world: Ending) -> None:
    """Two workers at the same part, and the person comes back."""
    old = contact_form(world.whom, "old")
    world.intake(old)
    world.disposal("run", old)
    world.disposal("other run", old)
    world.intake(contact_form(world.whom, "fresh"), after=old)


def draw(world: Ending, rng: random.Random) -> None:
    """Always two runs and a return; a third run, files, deaths, a repeat and an erasure as luck has it."""

    def dies() -> int | None:
        return rng.randrange(18) if rng.random() < 0.3 else None

    make = application if rng.random() < 0.3 else contact_form
    old = make(world.whom, "old")
    world.intake(old)
    for name in ("run", "other run", "third run")[: rng.choice((2, 2, 3))]:
        world.disposal(name, old, dies_at=dies())
    world.intake(make(world.whom, "fresh"), after=old if rng.random() < 0.7 else None, dies_at=dies())
    if rng.random() < 0.4:
        world.redelivery(old, dies_at=dies())
    if rng.random() < 0.3:
        world.erasure("erasure", dies_at=dies())
