"""Canaries: each store is asked about somebody fictional and has them erased; a dead or lying one is found. R25; P6.

The offices here are the shipped worker on SQLite files; only Redis is left out. A drill is killed at every kind of
durable step, and whoever walks over people meanwhile meets nobody who is nobody.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from random import Random
from types import MethodType
from typing import Any

import pytest

from schemas.errors import InvalidMessage
from schemas.orders import CONTROLLER, PLANT_ENTRY
from schemas.terms import Case, Department, Purpose
from tests.factories import contact, form, someone
from tests.workers.bench import Bench
from tests.workers.cases.conftest import CODES
from tests.workers.cases.court import Court
from workers.actors.subsidiary import serve_order
from workers.audience import Audience
from workers.cases import canaries as canary_rules
from workers.cases.canaries import OVERDUE, SETTLING, go_on, go_on_with_all, open_drills
from workers.cases.receiving import receive
from workers.gate import Reader
from workers.office import Office, RefusedLog, Trust
from workers.retention.preview import preview
from workers.services import utc_now
from workers.status import look_around
from workers.stores import people
from workers.stores.canaries import Canaries
from workers.stores.cases import Cases
from workers.stores.forgetting import Forgetting
from workers.stores.submissions import Submissions
from workers.stores.subsidiaries import open_store
from workers.stores.subsidiaries.adapter import StoreRefuses, Tally
from workers.stores.subsidiaries.journal import Journal
from workers.stores.subsidiaries.mapped import MappedStore
from workers.stores.subsidiaries.mapping import parse_mapping

MINUTE = timedelta(minutes=1)
MARKETING = Reader("mailer", Department.MARKETING_SALES)
PURPOSES = (Purpose.SALES_PROSPECTING, Purpose.PROVIDE_SERVICES)
RECIPES: dict[str, Any] = {"customers": {"name": "Canary", "newsletter": "false"}, "list": {}}


ADA_ALONE = {code: ["ada@example.com"] for code in CODES}


class Killed(BaseException):
    """The process is gone, at this very instant."""


def mapping_with(recipes: dict[str, Any]) -> Any:
    customers = {
        "found_by": ["email"],
        "fields": {"email": "address", "name": "name"},
        "erasure": "delete",
    }
    listed = {"found_by": ["mail"], "fields": {"mail": "address"}, "erasure": "delete"}
    collections = {"customers": customers, "list": listed}
    for name, recipe in recipes.items():
        collections[name] = {**collections[name], "canary": recipe}
    return parse_mapping({"store": {"kind": "sql", "url_env": "X"}, "collections": collections})


@dataclass
class Nest:
    """One office: its store's file, its journal, and the process of the moment. ``sent``: its receipts on their way."""

    code: str
    folder: Path
    keys: Path
    clock: Callable[[], Any]
    recipes: dict[str, Any] = field(default_factory=lambda: RECIPES)
    sent: list[str] = field(default_factory=list)
    office: Office | None = None
    dead: bool = False

    def make(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.file)) as store, store:
            store.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, email TEXT, name TEXT, newsletter BOOLEAN)")
            store.execute("CREATE TABLE list (id INTEGER PRIMARY KEY, mail TEXT)")
            store.execute("INSERT INTO customers (email, name) VALUES ('ada@example.com', 'Ada')")

    @property
    def file(self) -> Path:
        return self.folder / "store.sqlite"

    async def start(self) -> Office:
        await self.stop()
        trust = Trust(self.keys / "subsidiaries" / self.code, self.code)
        store = open_store(mapping_with(self.recipes), f"sqlite:///{self.file}")
        journal = Journal(self.folder / "journal.jsonl", trust.journal_key)
        outbox: Any = self
        refused = RefusedLog(self.folder / "refused")
        self.office = Office(self.code, trust, store, journal, outbox, refused, self.clock)
        return self.office

    async def stop(self) -> None:
        if self.office is not None:
            await self.office.store.close()
            self.office.journal.close()
            self.office = None

    def post(self, token: str) -> None:
        self.sent.append(token)

    def rows(self) -> list[str]:
        """Whose rows stand, by a client of its own."""
        with closing(sqlite3.connect(self.file)) as store:
            named = store.execute("SELECT email FROM customers UNION ALL SELECT mail FROM list").fetchall()
        return sorted(row[0] for row in named)


@dataclass
class Aviary:
    """The controller, its offices, and how far their drills are."""

    court: Court
    bench: Bench
    nests: dict[str, Nest]

    async def go_round(self) -> None:
        """Everything that is due: drills, orders to the offices, their receipts."""
        await go_on_with_all(self.court.desk)
        await self.court.post()
        posted, self.court.posted[:] = list(self.court.posted), []
        for store, token in posted:
            nest = self.nests[store]
            if not nest.dead:
                await serve_order(nest.office or await nest.start(), token)
        for nest in self.nests.values():
            while nest.sent:
                accepted = await receive(self.court.desk, nest.code, nest.sent[0])
                nest.sent.pop(0)
                for drill in accepted.drills:
                    await go_on(self.court.desk, drill)

    async def finish(self, rounds: int = 12, step: timedelta = 2 * MINUTE) -> dict[str, dict[str, Any]]:
        """Until nothing moves any more; the latest drill of each store."""
        for _ in range(rounds):
            await self.go_round()
            if not await self.services.canaries.in_drill():
                break
            self.tick(step)
        return {one["store"]: one for one in await self.services.canaries.latest()}

    async def drilled(self) -> dict[str, dict[str, Any]]:
        await open_drills(self.services)
        return await self.finish()

    def tick(self, by: timedelta = 2 * MINUTE) -> None:
        """Time goes by; it stays behind the database's, by which erasures are dated."""
        self.bench.clock.at = self.bench.clock() + by

    @property
    def services(self) -> Any:
        return self.court.desk.services

    async def shown(self) -> list[Any]:
        """Everything that lists or counts people: audiences, who is left out of them, what a preview tells."""
        told: list[Any] = []
        for purpose in PURPOSES:
            pages = [page async for page in Audience(self.services, MARKETING, purpose).pages()]
            members = sorted(member.email for page in pages for member in page.members)
            left_out = {why: sum(page.left_out[why] for page in pages) for why in pages[0].left_out} if pages else {}
            told.append((members, {str(why): n for why, n in left_out.items() if n}))
        seen = await preview(self.services, self.services.clock() + timedelta(days=4000))
        told.append({name: value for name, value in seen.as_json().items() if name != "at"})
        return told


@pytest.fixture
async def aviary(court: Court, bench: Bench, subsidiary_keys: Path, tmp_path: Path) -> AsyncIterator[Aviary]:
    bench.clock.at = utc_now() - timedelta(days=60)
    nests = {code: Nest(code, tmp_path / code, subsidiary_keys, bench.clock) for code in CODES}
    for nest in nests.values():
        nest.make()
    found = Aviary(court, bench, nests)
    await bench.send(form(Case.CONTACT, someone()), contact(Case.CLIENT, someone()))
    assert await open_drills(found.services) == 0, "not while everything is being started"
    found.tick(SETTLING)
    yield found
    for nest in nests.values():
        await nest.stop()


def outcomes(drills: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {store: drill.get("outcome") for store, drill in drills.items()}


async def alarms(aviary: Aviary) -> list[str]:
    found = await look_around(aviary.services, aviary.services.uploads.client)
    return [alarm for alarm in found.alarms if alarm.startswith("canary")]


async def test_every_store_is_asked_served_and_looked_at_and_the_time_is_measured(aviary: Aviary) -> None:
    before = await aviary.shown()
    drills = await aviary.drilled()
    assert outcomes(drills) == dict.fromkeys([CONTROLLER, *CODES], "sound")
    assert {drill["planted"] for store, drill in drills.items() if store in CODES} == {2}
    assert all(drill["access_ms"] >= 0 and drill["erasure_ms"] >= 0 for drill in drills.values())
    assert await alarms(aviary) == []
    assert {nest.code: nest.rows() for nest in aviary.nests.values()} == ADA_ALONE
    assert await aviary.shown() == before
    assert len(aviary.bench.collection("persons")) == 2
    assert aviary.bench.collection("cases", "evidence") == [], "nobody asked: there is no case to count"
    assert aviary.bench.collection("mails", "evidence") == []


async def test_an_order_to_plant_that_comes_again_after_the_erasure_plants_nobody(aviary: Aviary) -> None:
    await open_drills(aviary.services)
    await go_on_with_all(aviary.court.desk)
    await aviary.court.post()
    plants = list(aviary.court.posted)
    assert outcomes(await aviary.finish()) == dict.fromkeys([CONTROLLER, *CODES], "sound")
    for store, token in plants:
        await serve_order(await aviary.nests[store].start(), token)
    assert {nest.code: nest.rows() for nest in aviary.nests.values()} == ADA_ALONE


@pytest.mark.slow
async def test_a_second_round_begins_only_where_the_first_has_ended(aviary: Aviary) -> None:
    aviary.nests["gb"].dead = True
    await open_drills(aviary.services)
    await aviary.finish(4)
    aviary.tick()
    assert await open_drills(aviary.services) == 3
    drills = await aviary.finish(6)
    assert outcomes(drills) == {CONTROLLER: "sound", "de": "sound", "us": "sound", "gb": None}


# ---------------------------------------------------------------------- dead, lying, without


async def test_a_dead_office_is_named_before_a_person_waits_for_it(aviary: Aviary) -> None:
    aviary.nests["gb"].dead = True
    drills = await aviary.drilled()
    assert outcomes(drills)["gb"] is None
    assert await alarms(aviary) == []
    aviary.tick(OVERDUE)
    [alarm] = await alarms(aviary)
    assert alarm.startswith("canary of gb: no answer to its plant")
    aviary.nests["gb"].dead = False
    assert outcomes(await aviary.finish())["gb"] == "sound"
    assert await alarms(aviary) == []


async def lies_about_erasing(self: Any, subject: Any, planned: Any = ()) -> list[Tally]:
    return [Tally(one.name, one.matched, erased=one.matched) for one in planned]


async def shows_nothing(self: Any, subject: Any) -> AsyncIterator[Any]:
    return
    yield


def together_with(broken: Any) -> Any:
    async def erase_all(self: Any, subjects: Any, planned: Any) -> list[Any]:
        found = []
        for subject, one in zip(subjects, planned, strict=True):
            try:
                found.append(await broken(self, subject, one))
            except StoreRefuses as refused:
                found.append(refused)
        return found

    return erase_all


async def forgets_a_table(self: MappedStore, subject: Any, planned: Any = ()) -> list[Tally]:
    return [Tally(one.name, one.matched, erased=one.matched if one.name == "list" else 0) for one in planned]


async def cannot(self: Any, subject: Any, planned: Any = ()) -> list[Tally]:
    raise StoreRefuses("constraint")


@pytest.mark.parametrize(
    ("name", "broken", "outcome"),
    [
        ("erase", lies_about_erasing, "erased-and-still-there"),
        pytest.param("erase", forgets_a_table, "erasure-left-something-out", marks=pytest.mark.slow),
        pytest.param("erase", cannot, "erasure-refused-constraint", marks=pytest.mark.slow),
        ("access", shows_nothing, "access-left-something-out"),
    ],
)
async def test_an_adapter_that_does_not_do_what_it_says_is_found(
    aviary: Aviary, name: str, broken: Any, outcome: str
) -> None:
    office = await aviary.nests["us"].start()
    setattr(office.store, name, MethodType(broken, office.store))
    if name == "erase":
        office.store.erase_all = MethodType(together_with(broken), office.store)
    drills = await aviary.drilled()
    assert outcomes(drills) == {CONTROLLER: "sound", "de": "sound", "gb": "sound", "us": outcome}
    [alarm] = await alarms(aviary)
    assert alarm.startswith(f"canary of us: {outcome}")


async def test_our_own_eyes_see_through_an_office_that_lies_twice(aviary: Aviary) -> None:
    """It erases nothing, says it did, and says so again: its second statement alone would be believed."""

    async def says_nothing_is_left(*_: Any) -> list[Tally]:
        return [Tally("customers"), Tally("list")]

    async def nothing_for_all(self: Any, right: Any, subjects: Any) -> list[Any]:
        return [await says_nothing_is_left() for _ in subjects]

    nest = aviary.nests["gb"]
    office = await nest.start()
    lies = {"erase": lies_about_erasing, "erase_all": together_with(lies_about_erasing), "look": says_nothing_is_left}
    for name, lie in lies.items():
        setattr(office.store, name, MethodType(lie, office.store))
    office.store.look_all = MethodType(nothing_for_all, office.store)
    assert outcomes(await aviary.drilled())["gb"] == "sound", "without eyes it is believed: attested, no more"
    eye = open_store(mapping_with(RECIPES), f"sqlite:///{nest.file}")
    object.__setattr__(aviary.court.desk, "eyes", {"gb": eye})
    aviary.tick()
    assert outcomes(await aviary.drilled())["gb"] == "erased-and-still-there"
    await eye.close()


async def test_a_store_without_a_recipe_is_asked_all_the_same(aviary: Aviary) -> None:
    aviary.nests["de"].recipes = {}
    drills = await aviary.drilled()
    assert (outcomes(drills)["de"], drills["de"]["unplanted_for"]) == ("unplanted", "no-canary")
    assert drills["de"]["erasure_ms"] >= 0
    assert await alarms(aviary) == []


@pytest.mark.parametrize("address", ["ada@example.com", "canary.00000000@example.com", "canary.A B@example.org", ""])
def test_an_order_can_plant_nobody_else(address: str) -> None:
    with pytest.raises(InvalidMessage):
        PLANT_ENTRY.check({"task": "canary-1/gb", "attempt": 1, "ask": "plant", "address": address})


# ---------------------------------------------------------------------- a real request about one


async def test_a_request_about_a_canary_is_served_as_anybodys_and_breaks_nothing(aviary: Aviary) -> None:
    court = aviary.court
    await open_drills(aviary.services)
    await aviary.go_round()
    [drill] = [one for one in await aviary.services.canaries.latest() if one["store"] == "gb"]
    assert drill["step"] == "access"
    references = []
    for right in ("access", "erasure"):
        references.append(await court.ask(right, drill["email"]))
        await court.confirm(references[-1])
    drills = await aviary.finish()
    assert outcomes(drills)["gb"] in ("sound", "disturbed")
    for reference in references:
        tasks = await court.tasks(reference)
        assert tasks["gb"]["outcome"] in ("done", "nothing-held")
        assert (tasks["de"]["outcome"], tasks["us"]["outcome"]) == ("nothing-held", "nothing-held")
    assert await alarms(aviary) == []
    aviary.tick()
    assert outcomes(await aviary.drilled())["gb"] == "sound", "the next one is not disturbed"


# ---------------------------------------------------------------------- killed anywhere

DURABLE = [
    (Canaries, "open"),
    (Canaries, "change"),
    (Cases, "open_tasks"),
    (Cases, "claim_tasks"),
    (Cases, "keep_order"),
    (Cases, "keep_receipt"),
    (Cases, "step_tasks"),
    (Submissions, "insert"),
    (Submissions, "insert_links"),
    (Forgetting, "forget"),
    (MappedStore, "plant"),
    (MappedStore, "erase_all"),
    (MappedStore, "erase"),
]


def kill_at(patch: pytest.MonkeyPatch, moment: int) -> None:
    """Have the process die at this durable step, in the middle of it: before it, or after it and before its answer."""
    steps = count()

    def wrapped(real: Any) -> Any:
        async def step(*given: Any, **named: Any) -> Any:
            number = next(steps)
            if number == moment and moment % 2:
                raise Killed
            result = await real(*given, **named)
            if number == moment:
                raise Killed
            return result

        return step

    for owner, name in DURABLE:
        patch.setattr(owner, name, wrapped(getattr(owner, name)))


async def drills_with_kills(aviary: Aviary, rounds: int, seed: int) -> int:
    """Rounds of drills, each killed several times at random steps; how many drills ended."""
    rng, ended, killed, before = Random(seed), 0, 0, await aviary.shown()
    for _ in range(rounds):
        for kill in [rng.randrange(40) for _ in range(3)]:
            with pytest.MonkeyPatch.context() as patch:
                kill_at(patch, kill)
                try:
                    await open_drills(aviary.services)
                    for _ in range(6):
                        await aviary.go_round()
                        aviary.tick()
                except (Killed, BaseExceptionGroup):
                    killed += 1
                    for nest in aviary.nests.values():
                        await nest.stop()
                        nest.sent.clear()
                    if rng.random() < 0.5:
                        aviary.court.posted.clear()
            assert await aviary.shown() == before, "nobody is listed or counted who is nobody"
            aviary.tick()
        drills = await aviary.finish(60, 30 * MINUTE)  # an order that was lost often is made again after hours
        assert set(outcomes(drills).values()) == {"sound"}, outcomes(drills)
        assert {nest.code: nest.rows() for nest in aviary.nests.values()} == ADA_ALONE
        assert len(aviary.bench.collection("persons")) == len(aviary.bench.collection("submissions")) == 2
        ended = len([one for one in aviary.bench.collection("canaries", "evidence") if one.get("outcome") == "sound"])
        aviary.tick()
    assert killed >= rounds, "the kills hit"
    assert ended == len(aviary.bench.collection("canaries", "evidence")), "each has ended"
    assert aviary.bench.collection("parked") == []
    return ended


async def test_a_handful_of_drills_with_kills(aviary: Aviary) -> None:
    assert await drills_with_kills(aviary, 1, seed=5) >= 4


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_two_hundred_drills_with_kills(aviary: Aviary) -> None:
    ended, seed = 0, 0
    while ended < 200:
        ended = await drills_with_kills(aviary, 10, seed := seed + 1)


async def test_the_variant_that_does_not_know_them_lists_them(aviary: Aviary, monkeypatch: pytest.MonkeyPatch) -> None:
    before = await aviary.shown()

    async def knows_nobody(_: object) -> frozenset[bytes]:
        return frozenset()

    await open_drills(aviary.services)
    monkeypatch.setattr(canary_rules, "_OWN", {**canary_rules._OWN, "access": stays})
    await aviary.go_round()
    assert await aviary.shown() == before
    monkeypatch.setattr(people, "canary_references", knows_nobody)
    assert await aviary.shown() != before


async def stays(*_: object) -> None:
    """A drill that goes no further."""
