"""Ticks at the worker, and the chores they set off, each looked at by an independent client. P2, P9; R13, R15, R16."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.envelope import Event
from schemas.errors import StoreUnavailable
from schemas.routes import COOKIE_CONSENT, RETENTION, SUBMISSIONS, file_key
from schemas.terms import Case
from schemas.ticks import EXPIRED_CONSENTS, PARKED_LETTERS, SCHEDULE, UNCONFIRMED_SUBSCRIPTIONS, tick
from tests import factories
from tests.factories import NOON, Someone
from tests.workers.bench import Bench, Document
from workers.actors import chores, retention
from workers.actors.batches import ERASED, letter_of, park, read_event
from workers.actors.chores import CHORES, Part
from workers.actors.retention import keep_ticks
from workers.actors.work import SomeFailed, work
from workers.services import Services
from workers.status import look_around
from workers.stores.keys import ACTIVE, Hold, key_id
from workers.stores.ticks import Ticks

HOUR = timedelta(hours=1)
Promise = Callable[[Bench, list[datetime]], Awaitable[None]]
HELD = Hold("R-TEST", "legal hold", None)
PENDING_OVER = datetime(2026, 11, 28, 23, 10, tzinfo=UTC)
"""A subscription of noon of 20 November: seven days, a day for what is under way, ten minutes."""


async def deliver(
    bench: Bench, *events: Event, slice_s: float = retention.SLICE_S, wire: Document | None = None
) -> Any:
    """Work on a message of ticks as its actor does; the positions that were put back."""
    back: list[int] = []

    async def again(positions: list[int]) -> None:
        back.extend(positions)

    await work(bench.services, RETENTION, wire or bench.seal(*events), keep_ticks(again, slice_s))
    return back


async def run(bench: Bench, chore: str, at: datetime) -> Document:
    """The chore at that moment; its tick as it stands then."""
    bench.clock.at = at
    planned = SCHEDULE[chore].latest(at)
    while await deliver(bench, tick(chore, planned, at)):
        pass
    [kept] = [
        one for one in bench.collection("ticks", "evidence") if (one["chore"], one["planned"]) == (chore, planned)
    ]
    return kept


def ticks(bench: Bench) -> dict[datetime, Document]:
    return {one["planned"]: one for one in bench.collection("ticks", "evidence")}


# ---------------------------------------------------------------------- ticks


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """At which moments the hourly chore ran; it runs as ever."""
    found: list[datetime] = []
    real = CHORES[PARKED_LETTERS]

    async def counted(services: Services) -> Part:
        found.append(services.clock())
        return await real(services)

    monkeypatch.setitem(chores.CHORES, PARKED_LETTERS, counted)  # type: ignore[arg-type]
    return found


def at(bench: Bench, hour: int) -> Event:
    """The tick of that hour, delivered in time."""
    bench.clock.at = NOON.replace(hour=hour, second=1)
    return tick(PARKED_LETTERS, NOON.replace(hour=hour), bench.clock.at)


async def test_a_tick_is_kept_with_what_became_of_it(bench: Bench, runs: list[datetime]) -> None:
    await deliver(bench, at(bench, 12))
    [kept] = bench.collection("ticks", "evidence")
    second_past = NOON + timedelta(seconds=1)
    assert kept == {
        "_id": f"{PARKED_LETTERS}.2026-11-20T12:00:00.000Z",
        "chore": PARKED_LETTERS,
        "planned": NOON,
        "counts": {"erased": 0},
        **dict.fromkeys(("received", "begun", "done"), second_past),
    }
    assert runs == [second_past]


async def a_doubled_tick_changes_nothing(bench: Bench, runs: list[datetime]) -> None:
    event = at(bench, 12)
    await deliver(bench, event)
    before = ticks(bench)
    bench.clock.at = NOON + HOUR / 2
    await deliver(bench, event)
    await deliver(bench, tick(PARKED_LETTERS, NOON, NOON + HOUR / 2))  # of another clock
    assert (len(runs), ticks(bench)) == (1, before)


async def an_overtaken_tick_is_noted_and_not_run(bench: Bench, runs: list[datetime]) -> None:
    early, late = at(bench, 12), at(bench, 13)
    await deliver(bench, late)
    await deliver(bench, early)
    assert len(runs) == 1
    assert set(ticks(bench)[NOON]) == {"_id", "chore", "planned", "received", "overtaken"}
    await deliver(bench, at(bench, 14))
    assert len(runs) == 2


PROMISES = (a_doubled_tick_changes_nothing, an_overtaken_tick_is_noted_and_not_run)


@pytest.mark.parametrize("promise", PROMISES)
async def test_a_tick_that_comes_again_or_late(bench: Bench, runs: list[datetime], promise: Promise) -> None:
    await promise(bench, runs)


@pytest.mark.parametrize(("promise", "broken"), [*zip(PROMISES, ("receive", "overtaken"), strict=True)])
async def test_a_worker_that_forgets_what_was_done_is_noticed(
    bench: Bench, runs: list[datetime], monkeypatch: pytest.MonkeyPatch, promise: Promise, broken: str
) -> None:
    """Broken on purpose: it notes that a tick came, and is told of nothing that was done."""
    real = getattr(Ticks, broken)

    async def forgets(*given: Any) -> None:
        await real(*given)

    monkeypatch.setattr(Ticks, broken, forgets)
    with pytest.raises(AssertionError):
        await promise(bench, runs)


async def test_a_clock_that_ran_far_ahead_silences_no_right_tick(bench: Bench, runs: list[datetime]) -> None:
    """Its own clock alone was wrong. What it asked for too early is done again when it is due."""
    bench.clock.at = NOON + timedelta(seconds=1)
    ahead = tick(PARKED_LETTERS, NOON + 2 * HOUR, NOON + 2 * HOUR)
    await deliver(bench, ahead)
    await deliver(bench, at(bench, 12))
    await deliver(bench, at(bench, 13))
    await deliver(bench, at(bench, 14))
    assert len(runs) == 4
    assert ticks(bench)[NOON + 2 * HOUR]["done"] == NOON + 2 * HOUR + timedelta(seconds=1)


async def test_a_tick_whose_chore_died_is_done_when_it_comes_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, runs: list[datetime]
) -> None:
    event = at(bench, 12)
    for fault in (StoreUnavailable("away"), RuntimeError("a defect")):
        with monkeypatch.context() as broken:
            broken.setitem(chores.CHORES, PARKED_LETTERS, failing(fault))  # type: ignore[arg-type]
            with pytest.raises((StoreUnavailable, SomeFailed)):
                await deliver(bench, event)
        assert "done" not in ticks(bench)[NOON]
    bench.clock.at = NOON + HOUR / 2
    await deliver(bench, event)
    assert (ticks(bench)[NOON]["begun"], ticks(bench)[NOON]["done"]) == (NOON + timedelta(seconds=1), NOON + HOUR / 2)


def failing(fault: Exception) -> Callable[[Services], Any]:
    async def chore(_: Services) -> Part:
        raise fault

    return chore


async def test_a_chore_that_nobody_knows_is_parked(bench: Bench) -> None:
    await deliver(bench, tick("next-year-s-chore", NOON, NOON))
    assert bench.reasons() == ["unknown_chore"]
    assert ticks(bench) == {}


async def test_what_is_more_than_a_slice_goes_back_to_the_queue(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "AT_ONCE", 2)
    for _ in range(5):
        await parked(bench)
    wire = bench.seal(at_end_of(bench))
    slices = 0
    while await deliver(bench, wire=wire, slice_s=0.0001):
        slices += 1
    assert slices >= 2
    [kept] = bench.collection("ticks", "evidence")
    assert kept["counts"] == {"erased": 5}
    assert bench.collection("parked") == []


# ---------------------------------------------------------------------- letters past their time


async def parked(bench: Bench, **more: Any) -> Document:
    """A letter with a file that waits in Redis, parked at noon; the letter."""
    file = factories.file()
    event = factories.form(Case.JOB_APPLICATION, factories.someone(), cv=file.field, **more)
    await bench.upload(file, event)
    before = {letter["_id"] for letter in bench.collection("parked")}
    now, bench.clock.at = bench.clock.at, NOON
    await park(bench.services, [letter_of(bench.services, read_event(bench.services, SUBMISSIONS, 0, event), "test")])
    bench.clock.at = now
    [letter] = [one for one in bench.collection("parked") if one["_id"] not in before]
    assert await bench.redis.exists(file_key(file.id))
    return letter


def at_end_of(bench: Bench) -> Event:
    """A tick after every parked letter's time."""
    bench.clock.at = max(letter["expires"] for letter in bench.collection("parked")) + timedelta(seconds=1)
    planned = SCHEDULE[PARKED_LETTERS].latest(bench.clock.at + HOUR)
    bench.clock.at = planned
    return tick(PARKED_LETTERS, planned, planned)


async def test_a_letter_past_its_time_goes_with_its_key_and_its_files(bench: Bench) -> None:
    over = await parked(bench)
    end = over["expires"]
    assert (await run(bench, PARKED_LETTERS, end - HOUR))["counts"] == {"erased": 0}
    assert bench.collection("parked") == [over]
    assert (await run(bench, PARKED_LETTERS, end + HOUR))["counts"] == {"erased": 1}
    assert bench.collection("parked") == []
    assert [set(key) for key in bench.collection("keys", "keys")] == [{"_id", "destroyed_at"}]
    assert await bench.redis.keys("greffier:file:*") == []


async def test_past_its_time_nobody_reads_a_letter_swept_or_not(bench: Bench) -> None:
    letter = await parked(bench)
    content = bench.services.parked.content
    assert await content(letter["_id"], letter["expires"] - timedelta(milliseconds=1))
    assert await content(letter["_id"], letter["expires"]) is None


# ---------------------------------------------------------------------- subscriptions never confirmed


async def subscribe(bench: Bench, whom: Someone, *more: Event, received: datetime = NOON) -> Event:
    subscribed = factories.form(Case.NEWSLETTER, whom, received=received)
    await bench.send(subscribed)
    return subscribed


def about(bench: Bench) -> dict[str, list[Document]]:
    """What is left that could be somebody's, by collection."""
    names = ("persons", "submissions", "links", "confirmations")
    return {name: found for name in names if (found := bench.collection(name))}


def living_keys(bench: Bench) -> list[str]:
    return [key["_id"] for key in bench.collection("keys", "keys") if "wrapped" in key]


async def test_a_subscription_never_confirmed_goes_with_who_holds_nothing_else(bench: Bench) -> None:
    whom = factories.someone()
    subscribed = await subscribe(bench, whom)
    await run(bench, UNCONFIRMED_SUBSCRIPTIONS, PENDING_OVER - timedelta(days=1))
    assert set(about(bench)) == {"persons", "submissions"}
    kept = await run(bench, UNCONFIRMED_SUBSCRIPTIONS, PENDING_OVER)
    assert kept["counts"] == {"erased": 1, "confirmed": 0, "held": 0}
    assert (about(bench), living_keys(bench)) == ({}, [])
    await bench.send(subscribed)  # the same event never brings it again
    assert "submissions" not in about(bench)


async def test_who_subscribes_again_is_a_new_person(bench: Bench) -> None:
    whom = factories.someone()
    await subscribe(bench, whom)
    await run(bench, UNCONFIRMED_SUBSCRIPTIONS, PENDING_OVER)
    again = await subscribe(bench, whom, received=PENDING_OVER)
    await bench.send(factories.confirmed(again, PENDING_OVER + HOUR))
    assert len(await bench.read(whom.email)) == 1
    await bench.send(factories.contact(Case.CLIENT, whom, received=PENDING_OVER))
    assert bench.reasons() == [], "his address was not erased: what others say of him is no matter for staff"


async def test_who_holds_something_else_keeps_it_and_his_key(bench: Bench) -> None:
    whom, other = factories.someone(), factories.someone()
    await subscribe(bench, whom)
    await bench.send(factories.form(Case.CONTACT, whom))
    confirmed = await subscribe(bench, other)
    await bench.send(factories.confirmed(confirmed, NOON + HOUR))
    kept = await run(bench, UNCONFIRMED_SUBSCRIPTIONS, PENDING_OVER)
    assert kept["counts"] == {"erased": 1, "confirmed": 1, "held": 0}
    assert sorted(one["case"] for one in bench.collection("submissions")) == ["contact", "newsletter"]
    assert [len(await bench.read(one.email)) for one in (whom, other)] == [1, 1]
    assert len(living_keys(bench)) == 2


async def test_a_confirmation_that_came_too_late_saves_nothing(bench: Bench) -> None:
    subscribed = await subscribe(bench, factories.someone())
    await bench.send(factories.confirmed(subscribed, PENDING_OVER))
    await run(bench, UNCONFIRMED_SUBSCRIPTIONS, PENDING_OVER)
    assert about(bench) == {}


async def test_under_a_legal_hold_nothing_goes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "AT_ONCE", 1)
    held, free = factories.someone(), factories.someone()
    await subscribe(bench, held)
    [person] = bench.collection("persons")
    await bench.services.keys.hold([key_id(person["_id"], ACTIVE)], HELD)
    before = about(bench)
    await subscribe(bench, free)
    kept = await run(bench, UNCONFIRMED_SUBSCRIPTIONS, PENDING_OVER)
    assert kept["counts"]["erased"] == 1, "whom a hold keeps is no wall before the others"
    assert about(bench) == before
    await bench.services.keys.lift([key_id(person["_id"], ACTIVE)], HELD.name)
    await run(bench, UNCONFIRMED_SUBSCRIPTIONS, PENDING_OVER + timedelta(days=1))
    assert about(bench) == {}


async def test_a_hold_that_comes_at_the_last_moment_keeps_what_there_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    whom = factories.someone()
    await subscribe(bench, whom)
    [person] = bench.collection("persons")
    kind = type(bench.services.tombstones)
    real = kind.settle

    async def held_first(*given: Any) -> Any:
        await bench.services.keys.hold([key_id(person["_id"], ACTIVE)], HELD)
        return await real(*given)

    monkeypatch.setattr(kind, "settle", held_first)
    assert (await run(bench, UNCONFIRMED_SUBSCRIPTIONS, PENDING_OVER))["counts"]["held"] == 1
    assert (set(about(bench)), living_keys(bench)) == ({"submissions"}, [key_id(person["_id"], ACTIVE)])
    await bench.send(factories.form(Case.CONTACT, whom, received=PENDING_OVER))
    assert len(await bench.read(whom.email)) == 1, "he may go on writing"
    await bench.services.keys.lift([key_id(person["_id"], ACTIVE)], HELD.name)
    await run(bench, UNCONFIRMED_SUBSCRIPTIONS, PENDING_OVER + timedelta(days=1))
    assert [one["case"] for one in bench.collection("submissions")] == ["contact"]


STEPS = ("keys.destroy", "submissions.erase", "people.retire", "tombstones.propose", "tombstones.settle")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_anywhere_it_is_finished_by_the_next_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    whom = factories.someone()
    await subscribe(bench, whom)
    store, _, name = step.partition(".")
    kind = type(getattr(bench.services, store))
    real = getattr(kind, name)

    async def dies(*given: Any, **more: Any) -> Any:
        if when == "after":
            await real(*given, **more)
        raise StoreUnavailable("the power went")

    with monkeypatch.context() as broken:
        broken.setattr(kind, name, dies)
        with pytest.raises(StoreUnavailable):
            await run(bench, UNCONFIRMED_SUBSCRIPTIONS, PENDING_OVER)
    await run(bench, UNCONFIRMED_SUBSCRIPTIONS, PENDING_OVER)
    assert (about(bench), living_keys(bench)) == ({}, [])
    again = await subscribe(bench, whom, received=PENDING_OVER)
    await bench.send(factories.confirmed(again, PENDING_OVER))
    assert len(await bench.read(whom.email)) == 1, "and whoever comes back finds his place free"


async def test_two_at_once_do_it_once(bench: Bench) -> None:
    for _ in range(5):
        whom = factories.someone()
        await subscribe(bench, whom)
        await subscribe(bench, whom)
    bench.clock.at = PENDING_OVER
    await asyncio.gather(*(chores.erase_unconfirmed(bench.services) for _ in range(3)))
    assert (about(bench), living_keys(bench)) == ({}, [])


async def meets_an_act(bench: Bench, whom: Someone, step: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Someone writes in the middle of the chore, before ``step``; how many of his letters are read in the end."""
    await subscribe(bench, whom)
    wrote = factories.form(Case.CONTACT, whom, received=PENDING_OVER)
    kind = type(bench.services.tombstones)
    real, waiting = getattr(kind, step), [bench.seal(wrote)]

    async def meanwhile(*given: Any, **more: Any) -> Any:
        if waiting:
            await bench.deliver(waiting.pop())
        return await real(*given, **more)

    monkeypatch.setattr(kind, step, meanwhile)
    await run(bench, UNCONFIRMED_SUBSCRIPTIONS, PENDING_OVER)
    return len(await bench.read(whom.email))


async def test_who_writes_while_it_runs_loses_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await meets_an_act(bench, factories.someone(), "propose", monkeypatch) == 1
    assert [one["case"] for one in bench.collection("submissions")] == ["contact"]


async def test_who_writes_after_the_look_starts_anew(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """His event fails as long as the tombstone is only proposed, and is kept when it is tried again."""
    whom = factories.someone()
    await subscribe(bench, whom)
    [before] = bench.collection("persons")
    wire = bench.seal(factories.form(Case.CONTACT, whom, received=PENDING_OVER))
    kind = type(bench.services.tombstones)
    real = kind.settle

    async def meanwhile(*given: Any) -> Any:
        with pytest.raises(SomeFailed):
            await bench.deliver(wire)
        return await real(*given)

    monkeypatch.setattr(kind, "settle", meanwhile)
    await run(bench, UNCONFIRMED_SUBSCRIPTIONS, PENDING_OVER)
    assert (about(bench), living_keys(bench)) == ({}, [])
    await bench.deliver(wire)
    assert len(await bench.read(whom.email)) == 1
    [after] = bench.collection("persons")
    assert after["_id"] != before["_id"]


async def test_a_chore_that_does_not_look_again_is_noticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken on purpose: it goes by what it saw before it proposed the tombstone."""
    looks = iter([False, False])

    async def as_seen(*_: Any) -> bool:
        return next(looks)

    monkeypatch.setattr(type(bench.services.forgetting), "_holds_more", as_seen)
    with pytest.raises(AssertionError):
        assert await meets_an_act(bench, factories.someone(), "propose", monkeypatch) == 1


# ---------------------------------------------------------------------- consents that ran out


async def test_a_consent_that_ran_out_is_recorded_once_and_names_nobody(bench: Bench) -> None:
    first, second = factories.choice("device-1"), factories.choice("device-2", NOON + timedelta(days=40))
    await bench.send(first)
    await bench.send(second)
    end = datetime(2027, 12, 20, 23, tzinfo=UTC)
    assert (await run(bench, EXPIRED_CONSENTS, end - HOUR))["counts"] == {"expired": 0}
    assert (await run(bench, EXPIRED_CONSENTS, end + HOUR))["counts"] == {"expired": 1}
    assert (await run(bench, EXPIRED_CONSENTS, end + timedelta(days=2)))["counts"] == {"expired": 0}
    [record] = bench.collection("expired_consents", "evidence")
    assert set(record) == {"_id", "device", "valid_until", "noted_at"}
    assert (record["_id"], record["valid_until"]) == (first.key, end)
    assert record["device"] == bench.services.trust.references.of_device("device-1")
    assert "device-1" not in str(record)
    assert len(bench.collection("consents")) == 2, "the proof stays"


async def test_the_record_of_a_run_that_died_half_way_is_not_doubled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.send(*(factories.choice(f"device-{n}") for n in range(3)))
    monkeypatch.setattr(chores, "AT_ONCE", 2)
    later = datetime(2028, 1, 1, tzinfo=UTC)
    bench.clock.at = later
    await asyncio.gather(*(chores.note_expired_consents(bench.services) for _ in range(2)))
    noted = bench.reader[f"{bench.prefix}_active"]["consents"]
    noted.update_many({}, {"$unset": {"expired_noted": 1}})  # as if it had died before it noted that
    await run(bench, EXPIRED_CONSENTS, later)
    assert len(bench.collection("expired_consents", "evidence")) == 3
    assert noted.count_documents({"expired_noted": True, "type": {"$ne": COOKIE_CONSENT}}) == 3


# ---------------------------------------------------------------------- what status says


async def test_status_shows_each_chore_and_a_missed_one_as_an_alarm(bench: Bench) -> None:
    async def look() -> Any:
        found = await look_around(bench.services, bench.redis)
        return replace(found, alarms=tuple(alarm for alarm in found.alarms if alarm.startswith("chore")))

    bench.clock.at = NOON + timedelta(minutes=1)
    assert [chore.chore for chore in (await look()).chores] == list(SCHEDULE)
    assert (await look()).alarms == (), "nothing ever came in: nothing was to be done"
    await run(bench, PARKED_LETTERS, NOON + timedelta(minutes=1))
    [letters] = [chore for chore in (await look()).chores if chore.chore == PARKED_LETTERS]
    assert (letters.planned, letters.next_due) == ("2026-11-20T12:00:00.000Z", "2026-11-20T13:00:00.000Z")
    assert letters.done == "2026-11-20T12:01:00.000Z"
    bench.clock.at = NOON + 2 * HOUR - timedelta(minutes=1)
    assert (await look()).alarms == ()
    bench.clock.at = NOON + 2 * HOUR
    [alarm] = (await look()).alarms
    assert alarm.startswith("chore parked-letters: last done 2026-11-20T12:01:00.000Z")
    bench.clock.at = NOON + timedelta(days=4)
    assert len((await look()).alarms) == len(SCHEDULE), "the others were never done at all"


async def test_letters_about_the_erased_have_an_end_too(bench: Bench) -> None:
    """What waits for staff because its person was erased does not wait for ever."""
    whom = factories.someone()
    await bench.services.forgetting.forget(whom.email)
    await bench.send(factories.contact(Case.CLIENT, whom, received=datetime.now(UTC) + HOUR))
    assert bench.reasons() == [ERASED]
    await deliver(bench, at_end_of(bench))
    assert bench.reasons() == []
