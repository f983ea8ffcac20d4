"""Ten years of a group's traffic in virtual time: what comes in late, twice and in another order, and what is due.

The shipped actors work on it over real stores; a model (:mod:`tests.model.group`) hears the same and says what may be
seen and held. Nothing sleeps: time is what the clock of the bench says.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pymongo import UpdateOne

from schemas.envelope import Event
from schemas.routes import SUBMISSIONS
from schemas.subject import ReferenceUse
from schemas.terms import Case, SuppressionGround
from schemas.ticks import PURGE_REMARKS, SCHEDULE
from tests import factories
from tests.factories import Someone
from tests.model.group import (
    ENDED_BY_NO,
    READERS,
    Came,
    Chose,
    Confirmed,
    Dated,
    Group,
    Heard,
    Refused,
    SaidNo,
    Visited,
    day_of,
)
from tests.workers.actors.ticking import run
from tests.workers.bench import Bench
from workers.actors.batches import read_event
from workers.actors.submissions import keep_submissions
from workers.audience import Audience
from workers.cases import consent, rectifying
from workers.cases.desk import Docket
from workers.correspondence.compose import letterhead
from workers.fictional import fictional_form
from workers.gate import Reader
from workers.stores.cases import Cases
from workers.stores.tombstones import Tombstones
from workers.suppressing import suppress

BEGIN: Final = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
YEARS: Final = 10

_FORMS: Final = (Case.CONTACT, Case.WHITE_PAPER, Case.JOB_APPLICATION)
_CONTACTS: Final = (Case.CLIENT, Case.SERVICE_PROVIDER, Case.SUPPLIER, Case.PARTNER, Case.PROSPECT)
_DELAYS_H: Final = (0, 0, 0, 1, 12, 60)
_CONFIRMED_AFTER_H: Final = (0, 1, 70, 167, 180)
"""Within the week that a link holds, and beyond it."""


class VirtualTombstones(Tombstones):
    """Tombstones that bear virtual time: in the product they bear the database's own, which no test can move."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench.services.databases)
        self._now = bench.clock

    async def now(self) -> datetime:
        return self._now()

    async def write(self, ids: Iterable[str]) -> None:
        now = {"$set": {"at": self._now()}}
        await self._gathered.write(*(UpdateOne({"_id": stone}, now, upsert=True) for stone in dict.fromkeys(ids)))

    async def write_address(self, stone: str, began: datetime | None = None) -> datetime:
        await self.write([stone])
        return self._now()

    async def settle(self, ids: Iterable[str], token: str) -> dict[str, datetime]:
        settled = await super().settle(ids, token)
        await self.write(settled)
        return dict.fromkeys(settled, self._now())


@dataclass(frozen=True, slots=True)
class Letter:
    """Something under way. ``due``: when it is delivered; ``deliver``: how."""

    due: datetime
    heard: Heard
    deliver: Callable[[], Awaitable[Any]]


@dataclass
class Decade:
    """One group, its traffic drawn from a seed. ``steps``: how many looks at it in all."""

    bench: Bench
    seed: int
    people: int = 12
    years: int = YEARS
    steps: int = 40
    now: datetime = BEGIN
    model: Group = field(default_factory=Group)
    looks: int = 0
    most: Counter[str] = field(default_factory=Counter)
    """What there was to look at, at most at one time."""

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._people = [factories.someone() for _ in range(self.people)]
        self._by_email = {whom.email: whom for whom in self._people}
        self._letters: list[Letter] = []
        self._applications: list[Event] = []
        self._number = 0
        self._names: dict[str, str] = {}
        self._canaries: set[str] = set()
        services = self.bench.services
        self.bench.services = replace(services, tombstones=VirtualTombstones(self.bench))

    async def live(self) -> None:
        """All of it; raises AssertionError with the seed and the moment where the group is not as it must be."""
        length = timedelta(days=365.25 * self.years) / self.steps
        for _ in range(self.steps):
            before, self.now = self.now, self.now + length * self._random.uniform(0.2, 1.8)
            await self._traffic(before)
            if self._random.random() < 0.6:
                await self._lift()
                await self._chores()
                await self._look()
                self._look_at_what_is_held()
            else:  # nothing was swept: that must not show
                await self._look()

    # ------------------------------------------------------------------ what happens

    async def _traffic(self, since: datetime) -> None:
        for _ in range(self._random.randint(2, 10)):
            self._happens(since + (self.now - since) * self._random.random())
        due = [letter for letter in self._letters if letter.due <= self.now]
        self._letters = [letter for letter in self._letters if letter.due > self.now]
        due += self._random.sample(due, len(due) // 3)
        self._random.shuffle(due)
        self.bench.clock.at = self.now
        erased = self._random.choice(self._people) if self._random.random() < 0.15 else None
        for letter in due[: len(due) // 2]:
            await self._deliver(letter)
        if erased is not None:
            await self.bench.services.forgetting.forget(erased.email)
            self.model.erase(erased.email, self.now)
        await self._rights()
        for letter in due[len(due) // 2 :]:
            await self._deliver(letter)
        await self.bench.second_try()
        heard = [letter.heard.key for letter in due if isinstance(letter.heard, Visited)]
        self.model.settle_visits(heard, self.now)

    async def _rights(self) -> None:
        """Somebody may have the use of their data restricted, correct their name, or withdraw consent: done at once."""
        restricts, corrects, withdraws = (self._random.choice(self._people) for _ in range(3))
        if self._random.random() < 0.5:
            await self.bench.services.suppressions.restrict(restricts.email, "R-DECADE", self.now)
            self.model.restricted.add(restricts.email)
        if self._random.random() < 0.3:
            await self._correct(corrects)
        if self._random.random() < 0.15:
            asked = {"_id": f"R-{self._number}", "received_at": self.now}
            await consent.withdraw(self._docket, asked, {"found": []}, {"emails": [withdraws.email]})
            self.model.withdraw(withdraws.email, self.now)
        if self._random.random() < 0.1:
            await self._plant()

    @property
    def _docket(self) -> Any:
        """What a right needs that is served in our own store alone."""
        services = self.bench.services
        return Docket(
            services,
            Cases(services.databases),
            services.notes,
            _nobody,
            letterhead(services.trust.register.controller, "rights@example.com"),
        )

    async def _correct(self, whom: Someone) -> None:
        patch = {"field": "last_name", "was": whom.last_name, "to": f"Rightby{self._number}"}
        asked = {"_id": f"R-{self._number}", "received_at": self.now}
        await rectifying.rectify(self._docket, asked, {"emails": [whom.email], "patches": [patch]})
        for key, record in self.model.records.items():
            if record.whom == whom.email and record.received <= self.now:
                self._names.setdefault(key, patch["to"])

    async def _lift(self) -> None:
        for email in self.model.restricted:
            await self.bench.services.suppressions.lift(email, "R-DECADE")
        self.model.restricted.clear()

    async def _plant(self) -> None:
        """A canary that nobody ever erases."""
        services, name = self.bench.services, f"canary-{len(self._canaries)}"
        email = f"canary.{self._random.getrandbits(64):016x}@example.org"
        ref = services.trust.references.of_email(ReferenceUse.LOOKUP, email)
        drill = {"_id": f"{name}/controller", "store": "controller", "ref": ref, "began": self.now}
        await services.canaries.open([{**drill, "forget_at": self.now + timedelta(days=36_500)}])
        event = fictional_form(services, email, name, self.now)
        await keep_submissions(services, [read_event(services, SUBMISSIONS, 0, event)])
        self._canaries.add(event.key)

    async def _deliver(self, letter: Letter) -> None:
        await letter.deliver()
        self.model.hear(letter.heard)

    def _happens(self, at: datetime) -> None:
        at = at.replace(microsecond=at.microsecond // 1000 * 1000)
        whom = self._random.choice(self._people)
        acts: dict[Callable[[Someone, datetime], None], int] = {
            self._form: 5,
            self._contact: 5,
            self._subscription: 3,
            self._reply: 5,
            self._end: 2,
            self._decision: 2,
            self._one_click: 1,
            self._objection: 1,
            self._refusal: 1,
            self._choice: 4,
            self._visit: 8,
        }
        self._random.choices(list(acts), list(acts.values()))[0](whom, at)

    def _sent(self, event: Event, heard: Heard, at: datetime, delays_h: tuple[int, ...] = _DELAYS_H) -> None:
        due = at + timedelta(hours=self._random.choice(delays_h))
        self._letters.append(Letter(due, heard, lambda: self.bench.send(event)))

    def _new_id(self) -> str:
        self._number += 1
        return f"decade-{self.seed}-{self._number}"

    def _form(self, whom: Someone, at: datetime) -> None:
        case = self._random.choice(_FORMS)
        device = whom.email if self._random.random() < 0.3 else None
        linked = {"device_id": _device(device)} if device else {}
        event = factories.form(case, whom, received=at, event_id=self._new_id(), **linked)
        self._sent(event, Came(event.key, whom.email, case, at, at, own_act=True, device=device), at)
        if case is Case.JOB_APPLICATION:
            self._applications.append(event)

    def _contact(self, whom: Someone, at: datetime) -> None:
        case, collected = self._random.choice(_CONTACTS), day_of(at) - timedelta(days=self._random.choice([0, 3, 200]))
        event = factories.contact(case, whom, received=at, event_id=self._new_id(), collected_at=collected.isoformat())
        begins = min(_first_instant(collected), at)
        self._sent(event, Came(event.key, whom.email, case, at, begins, own_act=False), at)

    def _subscription(self, whom: Someone, at: datetime) -> None:
        event = factories.form(Case.NEWSLETTER, whom, received=at, event_id=self._new_id())
        self._sent(event, Came(event.key, whom.email, Case.NEWSLETTER, at, at, own_act=True), at)
        if self._random.random() < 0.8:
            used = at + timedelta(hours=self._random.choice(_CONFIRMED_AFTER_H), minutes=1)
            confirmed = factories.confirmed(event, used, event_id=self._new_id())
            self._sent(confirmed, Confirmed(confirmed.key, event.key, used), used, (0,))

    def _reply(self, whom: Someone, at: datetime) -> None:
        event = factories.interacted(at, received=at, event_id=self._new_id(), email=whom.email)
        self._sent(event, Dated(event.key, "contact", at, at, whom=whom.email), at)

    def _end(self, whom: Someone, at: datetime) -> None:
        event = factories.ended(at, received=at, event_id=self._new_id(), email=whom.email)
        self._sent(event, Dated(event.key, "ended", at, at, whom=whom.email), at)

    def _decision(self, _: Someone, at: datetime) -> None:
        if self._applications:
            about = self._applications.pop(self._random.randrange(len(self._applications)))
            event = factories.decided(at, received=at, event_id=self._new_id(), about=about.id)
            self._sent(event, Dated(event.key, "decided", at, at, about=about.key), at)

    def _one_click(self, whom: Someone, at: datetime) -> None:
        event = factories.unsubscribed(self.bench.services.trust.references, whom, at)
        self._sent(event, SaidNo(whom.email, at), at)

    def _objection(self, whom: Someone, at: datetime) -> None:
        self._letters.append(Letter(at, SaidNo(whom.email, at), lambda: self._object(whom, at)))

    def _refusal(self, whom: Someone, at: datetime) -> None:
        purpose = self._random.choice(sorted(ENDED_BY_NO))
        event = factories.chosen(self.bench.services.trust.references, whom, {purpose: False}, at)
        self._sent(event, Refused(whom.email, purpose, at), at)

    def _choice(self, whom: Someone, at: datetime) -> None:
        yes = self._random.random() < 0.75
        event = factories.choice(_device(whom.email), at, event_id=self._new_id(), analytics=yes)
        self._sent(event, Chose(whom.email, at, yes), at)

    def _visit(self, whom: Someone, at: datetime) -> None:
        event = factories.visit(_device(whom.email), at, event_id=self._new_id())
        self._sent(event, Visited(event.key, whom.email, at), at)

    async def _object(self, whom: Someone, at: datetime) -> None:
        await suppress(self.bench.services, [whom.email], SuppressionGround.OBJECTION, at)

    async def _chores(self) -> None:
        chores = self._random.sample(list(SCHEDULE), len(SCHEDULE))
        # One comes last: what dates a record that is swept after it stays for another day, and no model could tell.
        for chore in sorted(chores, key=lambda one: one == PURGE_REMARKS):
            await run(self.bench, chore, self.now)
        self.model.sweep(day_of(self.now))
        self.model.sweep_visits(self.now)
        self.model.purge_dated(self.now)

    # ------------------------------------------------------------------ what must be so

    async def _look(self) -> None:
        """Every read path shows what the model says, no more and no less."""
        today = day_of(self.now)
        for department, purpose, cases in READERS:
            for whom in self._random.sample(self._people, 3):
                shown = await self.bench.read(whom.email, purpose, department)
                seen = {record.submission for record in shown}
                self._same(f"read for {purpose}", seen, self.model.seen(whom.email, purpose, cases, today))
                names = {one.submission: one.data["last_name"] for one in shown if "last_name" in one.data}
                for key, name in names.items():
                    assert name == self._names.get(key, whom.last_name), f"seed {self.seed}: {key} has another name"
            audience = Audience(self.bench.services, Reader("decade", department), purpose)
            pages = [page async for page in audience.pages()]
            written = {member.email for page in pages for member in page.members}
            self._same(f"audience of {purpose}", written, self.model.written_to(purpose, cases, today))
            counted = sum(len(page.members) + sum(page.left_out.values()) for page in pages)
            self._same("people counted", set(range(counted)), set(range(self._people_in_use())))
        self.looks += 1

    def _look_at_what_is_held(self) -> None:
        """After the chores the stores hold what the model says, as an independent client reads them."""
        active = {one["_id"] for one in self.bench.collection("submissions")}
        visits = {one["_id"] for one in self.bench.collection("visits")}
        self._same("visits", visits, set(self.model.visits))
        self._same("active", active - self._canaries, set(self.model.records))
        archive = {one["_id"] for one in self.bench.collection("submissions", "archive")}
        self._same("archive", archive, set(self.model.archive))

    def _people_in_use(self) -> int:
        return len(self.bench.collection("persons")) - len(self._canaries)

    def _same(self, what: str, found: set[Any], expected: set[Any]) -> None:
        self.most[what] = max(self.most[what], len(found))
        assert found == expected, (
            f"seed {self.seed}, {self.now}: {what}: too much {sorted(found - expected)}, "
            f"missing {sorted(expected - found)}"
        )


async def _nobody(_: str) -> None:
    """Nothing here waits for anybody to be woken."""


def _device(email: str) -> str:
    """What a person's browser is known by: nothing that names him."""
    return hashlib.sha256(email.encode()).hexdigest()[:24]


def _first_instant(day: Any) -> datetime:
    """Of a day in Paris."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return next(
        moment
        for hours in (2, 1)
        if day_of(moment := midnight - timedelta(hours=hours)) == day
        and day_of(moment - timedelta(milliseconds=1)) < day
    )
