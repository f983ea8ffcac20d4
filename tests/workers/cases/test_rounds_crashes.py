"""A worker that dies between any two calls of its stores: each "no" reaches each store, once. Source: R24, R25; P2."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from schemas.evidence import entry
from schemas.terms import Case, SuppressionGround
from tests import factories
from tests.chaos.stepping import Baton, call_alone, stepped
from tests.factories import someone
from tests.workers.bench import Bench
from tests.workers.cases.conftest import CODES
from tests.workers.cases.court import Court
from tests.workers.cases.test_rounds import person_of, stopped
from workers import slips
from workers.actors import newsletter
from workers.cases.desk import Desk
from workers.cases.reconciler import reconcile
from workers.cases.rounds import LOOK_AGAIN, make_rounds
from workers.cases.serving import dispatch
from workers.evidence.notes import Notes
from workers.services import Services, services_over, utc_now
from workers.slips import Told, leave_slip
from workers.stores.cases import Cases
from workers.stores.gathering import Gatherer
from workers.stores.ledger import Ledger
from workers.stores.suppression import No
from workers.suppressing import Said


class Died(BaseException):
    """A process ended here."""


class Mortal(Baton):
    """Lets so many operations through. ``dies_at``: the number of the first that is not sent."""

    def __init__(self) -> None:
        super().__init__()
        self.steps, self.dies_at = 0, 0

    @asynccontextmanager
    async def operation(self, what: str) -> AsyncIterator[None]:
        self.steps += 1
        if self.steps == self.dies_at:
            raise Died(what)
        yield


class Story:
    """Two people use their links. A first process does all it can; a second begins where that one died."""

    def __init__(self, bench: Bench, court: Court) -> None:
        self.bench, self.court, self.baton = bench, court, Mortal()
        self.plain = bench.services
        self.orders: list[tuple[str, str]] = []

    async def tell(self, dies_at: int) -> bool:
        """Whether the first process died of it."""
        self.bench.wipe()
        self.bench.clock.at = None
        self.bench.services, self.orders, self.baton.dies_at = self.plain, [], 0
        self.people = [someone() for _ in range(2)]
        await self.bench.send(*(factories.form(Case.CONTACT, whom) for whom in self.people))
        references = self.plain.trust.references
        clicks = [
            factories.unsubscribed(references, one, person=await person_of(self.bench, one)) for one in self.people
        ]
        self.wire = self.bench.seal(*clicks)
        died = await self._life(dies_at)
        await self._sweep()
        self.bench.clock.at = utc_now() + LOOK_AGAIN
        await self._life(0)
        await self._life(0)  # and everything comes once more
        return died

    async def _life(self, dies_at: int) -> bool:
        self.baton.steps, self.baton.dies_at = 0, dies_at
        services = self._services()
        self.bench.services = services
        desk = self._desk(services)
        self.court.desk = desk
        try:
            await self.bench.deliver(self.wire, "newsletter")
            await make_rounds(desk)
            for code in CODES:
                await dispatch(desk, code)
            for store, token in self.orders:
                receipt = self.court.receipt(store, token)
                assert receipt is not None
                await self.court.take(store, receipt)
            await reconcile(desk)
        except Died:
            return True
        finally:
            self.baton.dies_at = 0
            self.bench.services = self.plain
        return False

    def _services(self) -> Services:
        plain = self.plain
        return services_over(stepped(plain.databases, self.baton), plain.uploads, self._trust, plain.clock, plain.skew)

    @property
    def _trust(self) -> Any:
        return self.court.desk.services.trust

    def _desk(self, services: Services) -> Desk:
        async def send(store: str, token: str) -> None:
            async with self.baton.operation("send"):
                self.orders.append((store, token))

        notes = Notes(Ledger(services.databases), services.clock)
        return replace(self.court.desk, services=services, cases=Cases(services.databases), evidence=notes, send=send)

    async def _sweep(self) -> None:
        """What somebody on the list said no to is deleted, as soon as can be."""
        for whom in self.people:
            if await self.plain.suppressions.of(whom.email):
                person = await person_of(self.bench, whom)
                events = [one["_id"] for one in await self.plain.submissions.of([person])]
                await self.plain.forgetting.forget_events({person: events})

    # ------------------------------------------------------------------ as it stands

    async def faults(self) -> list[str]:
        """What was promised and does not hold, by an independent client."""
        found = ["not on the list" for whom in self.people if not await self.plain.suppressions.of(whom.email)]
        if self._asked() != Counter({(code, whom.email): 1 for code in CODES for whom in self.people}):
            found.append("not asked of each store, once")
        rounds = self.bench.collection("rounds", "evidence")
        if not rounds or not all("over_at" in one and "sealed" not in one for one in rounds):
            found.append("a round is not over")
        used = {f"{one['_id']}/round" for one in rounds}
        used |= {f"{one['_id']}/slip" for one in self.bench.collection("slips", "evidence")}
        keys = self.bench.collection("keys", "keys")
        if [one for one in keys if one["_id"] in used and "wrapped" in one]:
            found.append("a key was left")
        return found

    def _asked(self) -> Counter[tuple[str, str]]:
        asked = {
            (store, one["person"]["emails"][0], one["task"])
            for store, token in self.orders
            for one in self.court.order(store, token)["entries"]
        }
        return Counter((store, email) for store, email, _ in asked)


async def the_list_before_the_slip(
    services: Services, ground: SuppressionGround, said: Sequence[Said], *, by: str | None = None
) -> None:
    now = services.clock()
    await services.notes.write(entry("suppressed", None, one.fact, now, ground=ground.value) for one in said)
    no = [(ref, No(services.trust.register.prospecting, ground, one.at)) for one in said for ref in one.references]
    await services.suppressions.enter(no)
    await leave_slip(services, [Told(one.fact, email, one.at) for one in said for email in one.emails])


def no_name_of_its_own() -> Callable[[Told], bytes]:
    numbers = itertools.count()
    return lambda _: next(numbers).to_bytes(16, "big")


BROKEN: dict[str, tuple[object, str, object]] = {
    "the list before the slip": (newsletter, "suppress_on_record", the_list_before_the_slip),
    "slips of no name": (slips, "_digest", no_name_of_its_own()),
}


@pytest.fixture
def story(bench: Bench, court: Court, monkeypatch: pytest.MonkeyPatch) -> Story:
    monkeypatch.setattr(Gatherer, "call", call_alone)
    for store in court.stores.values():
        store.answer = stopped
    return Story(bench, court)


async def every_death(story: Story, of_so_many: int = 1) -> list[str]:
    """Die at each step in turn, or one of so many, until there is none left to die at; the first faults found."""
    for dies_at in itertools.count(1, of_so_many):
        died = await story.tell(dies_at)
        if found := await story.faults():
            return [f"died at {dies_at}", *found]
        if not died:
            assert dies_at > 30, "a life has more steps than that"
            return []
    return []


async def test_whoever_dies_loses_nobody_and_asks_nobody_twice(story: Story) -> None:
    assert await every_death(story, of_so_many=7) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_nor_whoever_dies_anywhere(story: Story) -> None:
    assert await every_death(story) == []


@pytest.mark.parametrize("broken", BROKEN)
async def test_the_same_finds_what_is_broken(story: Story, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    monkeypatch.setattr(*BROKEN[broken])  # type: ignore[arg-type]
    assert await every_death(story, of_so_many=3) != []
