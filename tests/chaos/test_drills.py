"""R25, P6: drills of canaries end, whatever is killed; and nobody fictional is listed or counted."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.drills import flight
from tests.chaos.faults import fault

SEED = 20_261_123
ROUNDS, OFFICES, KILLS = 25, 7, 25


@pytest.mark.slow
@pytest.mark.timeout(1_800)
async def test_every_drill_ends_whatever_is_killed(fast_path: Path) -> None:
    chance = random.Random(SEED)
    faults = [fault("office" if number % 2 else "controller", chance) for number in range(KILLS)]
    async with flight(fast_path, offices=OFFICES, seed=SEED) as flown:
        await flown.drill(ROUNDS, faults)
    print(flown.seen)
    assert flown.seen.faults == []
    assert flown.seen.outcomes == {"sound": ROUNDS * (OFFICES + 1)}
    assert sum(flown.seen.kills.values()) == KILLS
    assert flown.seen.looks > ROUNDS
