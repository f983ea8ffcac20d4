"""Who acts in a story of rights requests, as luck has it."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.terms import Right
from tests.chaos.acts import confirmation, contact_form, crm_contact, subscription
from tests.chaos.carrier import Luck
from tests.chaos.later import Later
from tests.chaos.offices import NEIGHBOURS, Rows
from tests.chaos.rights import LEAPS
from tests.factories import Someone

OLD, LATER = datetime(2026, 1, 5, tzinfo=UTC), datetime(2036, 1, 5, tzinfo=UTC)
"""Before every request, and after."""


@dataclass(frozen=True)
class Chances:
    """How likely each is. ``kind``: that in a whole story no message is lost or doubled and nobody dies; ``lasting``:
    that the person asks for no erasure, and for all of the later rights.
    """

    kind: float = 0.2
    lost: float = 0.12
    doubled: float = 0.12
    dying: float = 0.25
    reader: float = 0.4
    access: float = 0.25
    second: float = 0.2
    fresh: float = 0.4
    contact: float = 0.2
    redelivered: float = 0.3
    old_row: float = 0.2
    new_row: float = 0.2
    restore: float = 0.15
    forger: float = 0.3
    repeater: float = 0.3
    staff: float = 0.5
    lasting: float = 0.15
    corrects: float = 0.25
    crossing: float = 0.7
    restricts: float = 0.2
    restricts_again: float = 0.3
    withdraws: float = 0.2
    sweeper: float = 0.15
    onlooker: float = 0.6

    def luck(self, rng: random.Random) -> Luck:
        return Luck() if rng.random() < self.kind else Luck(rng, self.lost, self.doubled, self.dying)


ALONE = Chances(*[0.0] * len(fields(Chances)))
"""An erasure and nothing else."""


async def cast(world: Later, rng: random.Random, chances: Chances) -> None:
    """Nearly always an erasure; others as luck has it."""

    def happens(chance: float) -> bool:
        return rng.random() < chance

    whom, luck = world.whom, world.luck
    lasting = happens(chances.lasting)
    erasure = None if lasting else world.asks(Right.ERASURE)
    world.time(*((leap, happens(0.4)) for leap in rng.choices(LEAPS, k=rng.randrange(2, 6))))
    world.reconciler(*(happens(0.4) for _ in range(rng.randrange(2, 5))))
    if happens(chances.reader):
        world.reader()
    if happens(chances.access):
        world.asks(Right.ACCESS)
    if happens(chances.second) and erasure:
        world.asks(Right.ERASURE, after=erasure)
    if happens(chances.fresh):
        world.intake(contact_form(whom, "fresh"), after_erasure=happens(0.7), dies_at=luck.dies_at(14))
    if happens(chances.contact):
        world.intake(crm_contact(whom, "contact"), dies_at=luck.dies_at(14))
    if happens(chances.redelivered):
        world.redelivery(world.acts[0], dies_at=luck.dies_at(14))
    _cast_offices(world, rng, chances)
    if happens(chances.staff):
        world.staff(rng.randrange(1, 3))
    await _cast_later(world, rng, chances)


async def _cast_later(world: Later, rng: random.Random, chances: Chances) -> None:
    lasting = not world.requests or all(one.right is Right.ACCESS for one in world.requests)

    def happens(chance: float) -> bool:
        return rng.random() < chance

    whom, watched = world.whom, False
    if lasting or happens(chances.corrects):
        first = world.corrects(whom.last_name, "Crossby")
        if happens(chances.crossing):
            world.corrects(whom.last_name, "Otherby")
        else:
            world.corrects("Crossby", "Afterby", after=first)
    if lasting or happens(chances.restricts):
        watched, restriction = True, world.asks(Right.RESTRICTION)
        world.lifter(restriction)
        if happens(chances.restricts_again):
            world.asks(Right.RESTRICTION, after=restriction)
    if lasting or happens(chances.withdraws):
        news = subscription(whom, "news")
        await world.already(news, timedelta(hours=1))
        await world.already(confirmation(news, "used link"), timedelta(hours=1))
        watched = True
        world.asks(Right.WITHDRAWAL)
        world.redelivery(news, dies_at=world.luck.dies_at(14))
    if happens(chances.sweeper):
        await world.long_ago(contact_form(whom, "old"))
        world.sweeper()
    if watched and happens(chances.onlooker):
        world.onlooker()


def _cast_offices(world: Later, rng: random.Random, chances: Chances) -> None:
    def happens(chance: float) -> bool:
        return rng.random() < chance

    whom = world.whom
    for code in world.branches:
        if happens(chances.old_row):
            world.late_row(code, "customers", customer(20, whom.email), old=True, after=rng.choice((0, 5, 13, 14)))
        if happens(chances.new_row):
            world.late_row(code, "customers", customer(30, whom.email, LATER), old=False, after=rng.randrange(20))
        if happens(chances.restore):
            world.restore(code, after=rng.randrange(14), dies_at=world.luck.dies_at(8))
    if happens(chances.forger):
        code, by = rng.sample(sorted(world.branches), 2)
        world.forger(code, by)
    if happens(chances.repeater):
        world.repeater()


def rows_of(whom: Someone) -> Rows:
    """What an office holds of somebody when the story begins, beside somebody else."""
    other = NEIGHBOURS[0]
    return {
        "customers": [
            customer(1, whom.email, name=whom.last_name),
            customer(2, whom.email.upper(), name=whom.last_name),
            customer(other, "other@example.org"),
        ],
        "visits": [{"id": 1, "customer_id": 1, "at": OLD}, {"id": other, "customer_id": other, "at": OLD}],
        "leads": [lead(1, whom.email, whom.last_name), lead(other, "other@example.org")],
    }


def customer(number: int, email: str, at: datetime = OLD, name: str = "Sample") -> dict[str, Any]:
    return {"id": number, "email": email, "name": name, "registered_at": at}


def lead(number: int, email: str, name: str = "Sample") -> dict[str, Any]:
    return {"id": number, "email": email, "name": name}
