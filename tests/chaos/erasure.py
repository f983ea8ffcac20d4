"""A person who is erased while they, a CRM and others act: the actors of a schedule, and what must be true of its end.

What must be true is said here in its own words and read by a client of its own; nothing of the rules under test is
asked about it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.errors import GreffierError
from schemas.fields import read_moment, wire_moment
from schemas.routes import NEWSLETTER, file_key
from schemas.subject import ReferenceUse
from schemas.terms import Case, Department, Purpose
from tests.chaos.acts import (
    Act,
    Fate,
    application,
    confirmation,
    contact_form,
    contradiction,
    crm_contact,
    reply,
    subscription,
)
from tests.chaos.aftermath import loose_ends, standing_of
from tests.chaos.interleaving import Chooser, Life, Schedule
from tests.chaos.stepping import Baton
from tests.factories import Someone
from tests.waiting import until
from tests.workers.bench import Bench, Dump, purposes_of
from workers.actors.work import SomeFailed
from workers.stores.keys import ACTIVE, key_id
from workers.stores.tombstones import of_address

_DELIVERIES = 6
"""How often a message that failed by itself is handed over again, as the broker would."""

_SAID_ABOUT = ("active.confirmations", "active.anchors")

_PAUSE = 12
"""Steps of others between two looks of the reader, who would otherwise do nothing but hinder them."""


@dataclass
class Look:
    """One read through the gate: when it began, counted in erasures that had returned, and what it showed."""

    erased_at: datetime | None
    shown: list[tuple[str, datetime]]


@dataclass
class World:
    """One person's story over a bench whose handles are stepped."""

    bench: Bench
    baton: Baton
    whom: Someone
    skew: timedelta = timedelta()
    acts: list[Act] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    actors: dict[str, Callable[[], Coroutine[Any, Any, None]]] = field(default_factory=dict)
    stone_stands: bool = False
    erased_at: datetime | None = None
    """The tombstone of the latest erasure that returned."""
    schedule: Schedule = field(init=False)
    redelivered: bool = True
    """Whether the message of an actor that died is handed over again: the broken variants know one where it is not."""
    _busy: int = 0

    # --- who acts -----------------------------------------------------------------------------------------------

    def intake(
        self, act: Act, *, after_erasure: bool = False, after: Act | None = None, dies_at: int | None = None
    ) -> None:
        """An act on its way through door and worker; a worker that dies is replaced, and the message comes again.

        ``after``: the act that must have begun before this one can.
        """

        def ready() -> bool:
            return (self.stone_stands or not after_erasure) and (after is None or after.event is not None)

        async def work() -> None:
            life = Life(act.name, None if dies_at is None else dies_at + 1)
            if not await self.schedule.live(life, self._begin_and_work(act, ready)) and self.redelivered:
                await self.schedule.live(Life(act.name + "'"), self._deliver(act))

        self.acts.append(act)
        self._add(act.name, work)

    def redelivery(self, act: Act, *, dies_at: int | None = None) -> None:
        """The same message once more, at any time after it was first sent."""

        async def work() -> None:
            life = Life(act.name + " again", None if dies_at is None else dies_at + 1)
            if not await self.schedule.live(life, self._wait_and_deliver(act)):
                await self.schedule.live(Life(act.name + " again'"), self._deliver(act))

        self._add(act.name + " again", work)

    def erasure(self, name: str, *, after: Act | None = None, dies_at: int | None = None) -> None:
        """Erase the person; one that broke off is run again. ``after``: the act whose worker must be done before."""

        async def work() -> None:
            life = Life(name, dies_at)
            if not await self.schedule.live(life, self._wait_and_erase(after)):
                await self.schedule.live(Life(name + "'"), self._erase())

        self._add(name, work)

    def reader(self, purpose: Purpose = Purpose.PROVIDE_SERVICES) -> None:
        """Read through the gate again and again until everybody else is done."""

        async def read() -> None:
            while True:
                await self._pause()
                if not self._busy:
                    return
                erased_at = self.erased_at
                found = await self.bench.read(self.whom.email, purpose)
                self.looks.append(Look(erased_at, [(record.submission, record.received) for record in found]))

        async def work() -> None:
            await self.schedule.live(Life("reader"), read())

        self.actors["reader"] = work

    async def _pause(self) -> None:
        enough = len(self.schedule.trace) + _PAUSE
        await self.schedule.step("looks", lambda: not self._busy or len(self.schedule.trace) > enough)

    def _add(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def counted() -> None:
            try:
                await work()
            finally:
                self._busy -= 1

        self._busy += 1
        self.actors[name] = counted

    async def _begin_and_work(self, act: Act, ready: Callable[[], bool]) -> None:
        async with self.schedule.operation("begins", ready):
            if self.stone_stands:  # the clocks tell milliseconds: what comes after must be seen to
                stone = self._stone()
                await until(lambda: stone is None or self._now() > stone)
            act.began = self._now()
            act.received = read_moment(wire_moment(act.began + act.door_ahead))
            event = act.event = act.make(act.received)
            if act.file:
                await self.bench.upload(act.file, event)
            act.wire = self.bench.seal(event)
        await self._deliver(act)

    async def _wait_and_deliver(self, act: Act) -> None:
        await self.schedule.step("begins", lambda: act.wire is not None)
        await self._deliver(act)

    async def _deliver(self, act: Act) -> None:
        assert act.wire is not None
        for _ in range(_DELIVERIES):
            try:
                await self.bench.deliver(act.wire, act.queue)
            except SomeFailed:
                await self._wait_to_be_tried_again()
            else:
                act.done = True
                return
        raise AssertionError(f"{act.name} was never settled")

    async def _wait_to_be_tried_again(self) -> None:
        await self.schedule.step("waits to be tried again")

    async def _wait_and_erase(self, after: Act | None) -> None:
        if after:
            await self.schedule.step("begins", lambda: after.done)
        await self._erase()

    async def _erase(self) -> None:
        await self.bench.services.forgetting.forget(self.whom.email)
        self.erased_at = self._stone()

    def _stone(self) -> datetime | None:
        found = self.bench.reader[f"{self.bench.prefix}_evidence"]["tombstones"].find_one({"_id": self._address})
        return found["at"] if found else None

    @property
    def _address(self) -> str:
        references = self.bench.services.trust.references
        return of_address(references.of_email(ReferenceUse.TOMBSTONE, self.whom.email))

    @staticmethod
    def _now() -> datetime:
        now = datetime.now(UTC)
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    # --- the run ------------------------------------------------------------------------------------------------

    async def play(self, chooser: Chooser) -> list[str]:
        """Play one schedule; every promise it broke, in words."""
        self.baton.schedule = self.schedule = Schedule(chooser, self._hear, self._stuck)
        try:
            await self.schedule.run(**self.actors)
            self.baton.schedule = None
            await self._come_to_rest()
        except (AssertionError, GreffierError) as stuck:
            return [*self._faults_seen(), f"{type(stuck).__name__}: {stuck}"]
        finally:
            self.baton.schedule = None
        return [*self._faults_seen(), *await self._faults_left()]

    def _stuck(self) -> bool:
        """Whether something makes those who wait go on."""
        return False

    async def _come_to_rest(self) -> None:
        """What goes on by itself once nobody disturbs."""

    def _hear(self, what: str) -> None:
        self.stone_stands |= what == "tombstones.bulk_write"

    async def replay(self) -> list[str]:
        """Hand over every message once more, as a replay of the queue would; the promises broken then."""
        for act in self.acts:
            if act.wire is not None:
                await self.bench.deliver(act.wire, act.queue)
        return [f"after a replay: {fault}" for fault in await self._faults_left()]

    def clear(self) -> None:
        self.bench.wipe()

    # --- what must be true --------------------------------------------------------------------------------------

    def _faults_seen(self) -> list[str]:
        return [
            f"shown after the erasure: {submission}"
            for look in self.looks
            for submission, received in look.shown
            if look.erased_at is not None and received <= look.erased_at
        ]

    async def _faults_left(self) -> list[str]:
        dump = self.bench.dump()
        stone = next((stone["at"] for stone in dump["evidence.tombstones"] if stone["_id"] == self._address), None)
        faults = loose_ends(dump, stone)
        for act in self.acts:
            if act.event is None:
                continue
            if act.twin:
                faults += self._faults_of_twin(dump, act, stone)
            else:
                faults += await self._faults_of(dump, act, stone)
            waits = act.file and await self.bench.redis.exists(file_key(act.file.id))
            if waits and self._expected(act, stone) in (Fate.KEPT, Fate.GONE):
                faults.append(f"the file of {act.name} still waits in Redis")
        return faults

    async def _faults_of(self, dump: Dump, act: Act, stone: datetime | None) -> list[str]:
        standing = standing_of(dump, act)
        if self.skew:  # what is said about something that was only ever parked names nobody, and may stay
            standing = [place for place in standing if place not in _SAID_ABOUT or act.about]
        match self._expected(act, stone):
            case Fate.KEPT:
                faults = [f"{act.name} is lost: {fault}" for fault in await self._missing(dump, act)]
                return faults + ([f"{act.name} is kept, and parked too"] if "active.parked" in standing else [])
            case Fate.GONE:
                return [f"{act.name} still stands in {place}" for place in standing]
            case Fate.PARKED:
                places = [place for place in standing if place != "active.parked"]
                lost = "active.parked" not in standing and not self._was_erased(act, stone)
                return [f"{act.name} stands in {place}" for place in places] + (
                    [f"{act.name} was parked and is lost"] if lost else []
                )
        return []

    def _faults_of_twin(self, dump: Dump, act: Act, stone: datetime | None) -> list[str]:
        """Of two bodies under one id one may be kept, whichever came first: nothing is promised to the other."""
        assert act.event is not None
        digest = self.bench.services.trust.references.digest(act.event.body)
        standing = [one for one in dump["active.submissions"] if one["_id"] == act.key and one["digest"] == digest]
        if standing and self._expected(act, stone) is not Fate.KEPT:
            return [f"{act.name} still stands"]
        twins = [other for other in self.acts if other.event and other.key == act.key]
        if all(self._expected(twin, stone) is Fate.GONE for twin in twins):
            return [f"{act.name} still stands in {place}" for place in standing_of(dump, act)]
        return []

    def _expected(self, act: Act, stone: datetime | None) -> Fate:
        if act.about:
            fate = self._expected(act.about, stone)
            return fate if fate is Fate.KEPT or not self.skew else Fate.ANY
        assert act.received is not None
        if stone is None:
            return Fate.KEPT
        if act.received <= stone:
            return Fate.GONE
        return Fate.KEPT if act.own and act.received > stone + self.skew else Fate.PARKED

    def _was_erased(self, act: Act, stone: datetime | None) -> bool:
        """Whether an act that a door's clock puts after the erasure was in truth before it, kept, and erased by it."""
        return act.began is not None and stone is not None and act.began <= stone

    def _confirmed(self, act: Act) -> bool:
        return any(other.about is act and other.event for other in self.acts)

    def _is_body_of(self, act: Act, body: bytes) -> bool:
        """Whether this may stand of an act."""
        return act.event is not None and body == act.event.body

    async def _missing(self, dump: Dump, act: Act) -> list[str]:
        if act.case is None:  # an event about others: it stands, or it does not
            return [] if standing_of(dump, act) else ["it stands nowhere"]
        submission = next((one for one in dump["active.submissions"] if one["_id"] == act.key), None)
        if submission is None:
            return ["no submission"]
        faults = []
        links = [link for link in dump["active.links"] if link["submission"] == act.key]
        if (act.queue != NEWSLETTER or self._confirmed(act)) and len(links) != len(purposes_of(act.case)):
            faults.append(f"{len(links)} purpose links")
        key = (await self.bench.services.keys.read([key_id(submission["person"], ACTIVE)])).get(
            key_id(submission["person"], ACTIVE)
        )
        if key is None:
            return [*faults, "its key is destroyed"]
        assert act.event is not None
        if not self._is_body_of(act, key.open(f"submissions/{act.key}", bytes(submission["sealed"]))):
            faults.append("another body")
        if (
            act.file
            and await self.bench.services.files.read(act.file.id, submission["person"], key) != act.file.content
        ):
            faults.append("its file is not there")
        if links:
            reader = Department.ADMINISTRATION if act.case is Case.JOB_APPLICATION else Department.MARKETING_SALES
            seen = await self.bench.read(self.whom.email, purposes_of(act.case)[0], reader)
            if act.key not in [record.submission for record in seen]:
                faults.append("the gate does not show it")
        return faults


def draw(world: World, rng: random.Random) -> None:
    """A cast for one story: always an act before, one after and an erasure; others as luck has it."""
    whom = world.whom

    def dies() -> int | None:
        return rng.randrange(14) if rng.random() < 0.3 else None

    def ahead() -> timedelta:
        return timedelta(milliseconds=rng.uniform(-1, 1) * world.skew / timedelta(milliseconds=1))

    first = contact_form(whom, "first", door_ahead=ahead())
    world.intake(first, dies_at=dies())
    world.erasure("erasure", dies_at=rng.randrange(25) if rng.random() < 0.2 else None)
    world.reader()
    world.intake(contact_form(whom, "fresh", door_ahead=ahead()), after_erasure=rng.random() < 0.7, dies_at=dies())
    if rng.random() < 0.5:
        world.redelivery(first, dies_at=dies())
    if rng.random() < 0.4:
        world.intake(crm_contact(whom, "contact", door_ahead=ahead()), dies_at=dies())
    if rng.random() < 0.4:
        upload = application(whom, "application", door_ahead=ahead())
        world.intake(upload, after_erasure=rng.random() < 0.3, dies_at=dies())
        if rng.random() < 0.4:
            world.redelivery(upload, dies_at=dies())
    if rng.random() < 0.3:
        world.intake(reply(whom, "reply", door_ahead=ahead()), dies_at=dies())
    if rng.random() < 0.25:
        news = subscription(whom, "subscription", door_ahead=ahead())
        world.intake(news, after_erasure=rng.random() < 0.4, dies_at=dies())
        world.intake(confirmation(news, "confirmation", door_ahead=ahead()), after=news, dies_at=dies())
    if rng.random() < 0.15:
        world.intake(contradiction(whom, first, "contradiction", door_ahead=ahead()), after=first, dies_at=dies())
    if rng.random() < 0.3:
        world.erasure("second erasure", dies_at=rng.randrange(25) if rng.random() < 0.2 else None)
