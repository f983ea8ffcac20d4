"""Playing schedules until a promise breaks: what the explorers of erasure and of rights have in common.

``GREFFIER_SEED`` and ``GREFFIER_SCHEDULES`` choose others, or play one again that was found.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol, TypeVar

from tests.chaos.interleaving import Chooser, Priorities, Schedule, Uniform, first_bounded


class World(Protocol):
    """A story that can be played in any order of its operations."""

    @property
    def schedule(self) -> Schedule: ...

    async def play(self, chooser: Chooser) -> list[str]:
        """Play one schedule; every promise it broke, in words."""
        ...

    async def replay(self) -> list[str]:
        """Hand over every message once more; the promises broken then."""
        ...

    def clear(self) -> None:
        """Leave nothing behind for the next."""


W = TypeVar("W", bound=World)


class Found(Exception):
    """A schedule that broke a promise: its seed, what it broke, and who did what in which order."""

    def __init__(self, seed: int, faults: list[str], trace: list[str]) -> None:
        self.seed, self.faults, self.trace = seed, faults, trace
        story = "\n".join(f"  {line}" for line in trace)
        super().__init__(f"GREFFIER_SEED={seed} GREFFIER_SCHEDULES=1\n" + "\n".join(faults) + "\n" + story)


def chooser(rng: random.Random, length: int = 120) -> Chooser:
    """Mostly priorities: they let one actor stand still for long, which is what races are made of."""
    return Uniform(rng) if rng.random() < 0.3 else Priorities(rng, changes=rng.randrange(1, 6), length=length)


async def play(world: World, chosen: Chooser, seed: int, *, replayed: bool = False) -> int:
    """Play one schedule and look; how many operations it had. Raises `Found`."""
    faults = await world.play(chosen)
    if replayed and not faults:
        faults = await world.replay()
    world.clear()
    if faults:
        raise Found(seed, faults, world.schedule.trace)
    return len(world.schedule.trace)


async def exhaust(make: Callable[[], W], cast: Callable[[W], None], preemptions: int, *, in_turn: bool = False) -> int:
    """Play every schedule of a cast with at most that many preemptions, as `Bounded` has them; how many there are."""
    played, chosen = 0, first_bounded(preemptions, in_turn=in_turn)
    while chosen is not None:
        world = make()
        cast(world)
        await play(world, chosen, seed=played)
        played += 1
        chosen = chosen.restart()
    return played
