"""Letters past their time and consents that ran out, looked at by an independent client. P2, P3, P9; R15."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.envelope import Event
from schemas.routes import COOKIE_CONSENT, SUBMISSIONS, file_key
from schemas.terms import Case
from schemas.ticks import EXPIRED_CONSENTS, EXPIRED_VISITS, PARKED_LETTERS, SCHEDULE, tick
from tests import factories
from tests.factories import NOON
from tests.workers.actors.ticking import HOUR, deliver, run
from tests.workers.bench import Bench, Document
from workers.actors import chores
from workers.actors.batches import ERASED, letter_of, park, read_event
from workers.stores.keys import ACTIVE, Hold, key_id


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


async def test_letters_about_the_erased_have_an_end_too(bench: Bench) -> None:
    """What waits for staff because its person was erased does not wait for ever."""
    whom = factories.someone()
    await bench.services.forgetting.forget(whom.email)
    await bench.send(factories.contact(Case.CLIENT, whom, received=datetime.now(UTC) + HOUR))
    assert bench.reasons() == [ERASED]
    await deliver(bench, at_end_of(bench))
    assert bench.reasons() == []


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


# ---------------------------------------------------------------------- visits whose time is over

END_OF_YES = datetime(2027, 12, 20, 23, tzinfo=UTC)


async def test_visits_go_when_the_consent_they_rest_on_runs_out(bench: Bench) -> None:
    """Source: R14, R15; P9."""
    bench.clock.at = NOON + timedelta(days=300)
    late = NOON + timedelta(days=250)
    await bench.send(factories.choice("device-1"), factories.choice("device-2"))
    await bench.send(factories.choice("device-2", late))
    await bench.send(factories.visit("device-1", late), stays := factories.visit("device-2", late))
    assert [one["expires"] for one in bench.collection("visits")] == [END_OF_YES, datetime(2028, 7, 28, 22, tzinfo=UTC)]
    assert (await run(bench, EXPIRED_VISITS, END_OF_YES - HOUR))["counts"] == {"deleted": 0, "held": 0}
    assert (await run(bench, EXPIRED_VISITS, END_OF_YES + HOUR))["counts"] == {"deleted": 1, "held": 0}
    assert [one["_id"] for one in bench.collection("visits")] == [stays.key]


async def test_a_visit_whose_device_said_yes_again_in_time_gets_its_new_end(bench: Bench) -> None:
    bench.clock.at = NOON + timedelta(days=300)
    late = NOON + timedelta(days=250)
    await bench.send(factories.choice("device-1"))
    await bench.send(factories.visit("device-1", late))
    await bench.send(factories.choice("device-1", NOON + timedelta(days=290)))
    await run(bench, EXPIRED_VISITS, END_OF_YES + HOUR)
    [visit] = bench.collection("visits")
    assert visit["expires"] == datetime(2028, 7, 28, 22, tzinfo=UTC), "a year after it, by its own retention rule"
    await run(bench, EXPIRED_VISITS, visit["expires"] + HOUR)
    assert bench.collection("visits") == []


async def test_visits_go_a_part_at_a_time_and_by_an_index(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "VISITS_AT_ONCE", 2)
    bench.clock.at = NOON
    await bench.send(factories.choice("device-1"))
    await bench.send(*(factories.visit("device-1") for _ in range(5)))
    over = datetime(2027, 11, 21, tzinfo=UTC)
    assert (await run(bench, EXPIRED_VISITS, over))["counts"] == {"deleted": 5, "held": 0}
    visits = bench.reader[f"{bench.prefix}_active"]["visits"]
    plan = visits.find({"expires": {"$lte": over}}).sort("expires", 1).limit(2).explain()
    assert "COLLSCAN" not in str(plan["queryPlanner"]["winningPlan"])


async def test_what_a_legal_hold_keeps_waits_for_its_end(bench: Bench) -> None:
    """Run out or withdrawn; and is deleted once the hold is lifted. Source: R11."""
    bench.clock.at = NOON + timedelta(days=1)
    for device in ("device-1", "device-2"):
        await bench.send(factories.form(Case.CONTACT, factories.someone(), device_id=device))
        await bench.send(factories.choice(device), factories.visit(device))
    keys = [key_id(one["person"], ACTIVE) for one in bench.collection("submissions")]
    await bench.services.keys.hold(keys, Hold("a hold", "legal claims, GDPR Art. 17(3)(e)", None))
    await bench.send(factories.choice("device-1", NOON + HOUR, analytics=False))
    assert len(bench.collection("visits")) == 2
    assert bench.collection("withdrawals", "evidence") == []
    assert (await run(bench, EXPIRED_VISITS, NOON + timedelta(days=2)))["counts"] == {"deleted": 0, "held": 1}
    assert (await run(bench, EXPIRED_VISITS, END_OF_YES + HOUR))["counts"] == {"deleted": 0, "held": 2}
    await bench.services.keys.lift(keys, "a hold")
    assert (await run(bench, EXPIRED_VISITS, END_OF_YES + timedelta(days=1) + HOUR))["counts"] == {
        "deleted": 2,
        "held": 0,
    }
