"""Choices about cookies that are to be made again, each recorded once; what becomes of them. R15, R16; P9."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from schemas.envelope import Event
from schemas.register import parse_register
from schemas.ticks import EXPIRED_CONSENTS, RENEWALS
from tests import factories
from tests.factories import NOON
from tests.workers.actors.ticking import HOUR, run
from tests.workers.bench import Bench
from tests.workers.test_policy import raw_with
from workers import renewals
from workers.actors import chores
from workers.renewals import Renewals, look_at_renewals
from workers.services import services_over
from workers.status import look_around

DAYS = timedelta(days=1)
END = datetime(2027, 12, 20, 23, tzinfo=UTC)
DUE = datetime(2027, 11, 19, 23, tzinfo=UTC)
"""The day that begins then is the thirtieth before the last one."""

NOTHING = Renewals({"ends": 0, "new_version": 0}, 0, 0)


@pytest.fixture(autouse=True)
def _the_next_day(bench: Bench) -> None:
    bench.clock.at = NOON + DAYS


def recorded(bench: Bench) -> list[tuple[str, str]]:
    return [(one["_id"], one["why"]) for one in bench.collection("renewals", "evidence")]


def under_version_2(bench: Bench) -> Bench:
    """The same stores, worked on by who has a register with a newer policy."""
    services = bench.services
    trust = replace(services.trust, register=parse_register(raw_with()))
    changed = services_over(services.databases, services.uploads, trust, services.clock, services.skew)
    return replace(bench, services=changed)


async def test_nothing_is_due_of_nobody(bench: Bench) -> None:
    assert (await run(bench, RENEWALS, END))["counts"] == {"due": 0}
    assert await look_at_renewals(bench.services) == NOTHING


async def test_a_choice_near_its_end_is_due_for_renewal_once(bench: Bench) -> None:
    """Then it runs out, which is recorded too; neither record says whose it was. Source: R15."""
    await bench.send(event := factories.choice("device-1"))
    for at, due in ((DUE - HOUR, 0), (DUE + HOUR, 1), (DUE + 3 * DAYS, 0), (END + HOUR, 0)):
        assert (await run(bench, RENEWALS, at))["counts"] == {"due": due}, at
    assert recorded(bench) == [(event.key, "ends")]
    [record] = bench.collection("renewals", "evidence")
    assert set(record) == {"_id", "why", "ends", "noted_at"}
    bench.clock.at = END - HOUR
    assert await look_at_renewals(bench.services) == replace(NOTHING, due={"ends": 1, "new_version": 0})
    assert (await look_around(bench.services, bench.redis)).as_json()["consents"] == {"renewal_due": 1, "expired": 0}
    await run(bench, EXPIRED_CONSENTS, END + HOUR)
    assert await look_at_renewals(bench.services) == replace(NOTHING, ran_out=1)
    assert (await look_around(bench.services, bench.redis)).as_json()["consents"] == {"renewal_due": 0, "expired": 1}


async def test_a_no_that_ends_sooner_than_a_yes_is_asked_again_first(bench: Bench) -> None:
    await bench.send(factories.choice("device-1", analytics=False, personalisation=True))
    six_months = datetime(2027, 5, 20, 22, tzinfo=UTC)
    assert (await run(bench, RENEWALS, six_months - 31 * DAYS - HOUR))["counts"] == {"due": 0}
    assert (await run(bench, RENEWALS, six_months - 30 * DAYS))["counts"] == {"due": 1}


async def test_who_has_chosen_again_is_not_asked_whatever_came_first(bench: Bench) -> None:
    """Source: P2."""
    story = [
        factories.choice("device-1", NOON, received=NOON),
        factories.choice("device-1", NOON + 300 * DAYS, received=NOON + 300 * DAYS),
        factories.choice("device-2", NOON, received=NOON, analytics=True, personalisation=True),
        factories.choice("device-2", NOON + 300 * DAYS, received=NOON + 300 * DAYS, analytics=False),
    ]
    for order in permutations(story):
        bench.wipe()
        bench.clock.at = NOON + 301 * DAYS
        for event in order:
            await bench.send(event)
        await run(bench, RENEWALS, DUE + HOUR)
        assert recorded(bench) == [(story[2].key, "ends")], "its word about the newsletter is still the last one"


async def test_a_late_choice_takes_back_no_record_and_is_counted(bench: Bench) -> None:
    await bench.send(factories.choice("device-1"))
    await run(bench, RENEWALS, DUE + HOUR)
    await bench.send(factories.choice("device-1", DUE))
    assert await look_at_renewals(bench.services) == replace(NOTHING, made_again=1)


async def test_a_new_version_of_the_policy_asks_at_once_and_the_choice_holds_on(bench: Bench) -> None:
    """Source: R15, R16."""
    await bench.send(event := factories.choice("device-1"), factories.visit("device-1"))
    later = under_version_2(bench)
    assert (await run(later, RENEWALS, NOON + 2 * DAYS))["counts"] == {"due": 1}
    assert recorded(bench) == [(event.key, "new_version")]
    assert len(bench.collection("visits")) == 1
    await later.send(factories.visit("device-1", NOON + 2 * DAYS))
    assert len(bench.collection("visits")) == 2, "it holds until its end"
    assert await look_at_renewals(later.services) == replace(NOTHING, due={"ends": 0, "new_version": 1})
    assert (await run(later, RENEWALS, DUE + HOUR))["counts"] == {"due": 0}, "once, not for each reason"


async def test_a_choice_under_the_current_version_or_an_unknown_one_waits_for_its_end(bench: Bench) -> None:
    def under(version: str) -> Event:
        event = factories.choice(f"device-{version}")
        body = event.body.replace(b'"policy_version":"1"', f'"policy_version":"{version}"'.encode())
        return factories.raw_event(event.type, event.source, body)

    later = under_version_2(bench)
    await later.send(under("2"), under("0.9"))
    assert (await run(later, RENEWALS, NOON + 2 * DAYS))["counts"] == {"due": 0}
    assert (await run(later, RENEWALS, DUE + HOUR))["counts"] == {"due": 2}


async def test_a_part_at_a_time_by_an_index_and_killed_anywhere(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "AT_ONCE", 2)
    events = [factories.choice(f"device-{n}") for n in range(5)]
    await bench.send(*events)
    later = under_version_2(bench)
    assert (await run(later, RENEWALS, NOON + 2 * DAYS))["counts"] == {"due": 5}
    consents = bench.reader[f"{bench.prefix}_active"]["consents"]
    consents.update_many({}, {"$set": {"asks_again": END}})  # as if it had died before it noted that
    await run(later, RENEWALS, NOON + 3 * DAYS)
    assert sorted(recorded(bench)) == sorted((event.key, "new_version") for event in events)
    for wanted in (
        {"policy_version": {"$in": ["1"]}, "asks_again": {"$exists": True}},
        {"policy_version": {"$in": ["2"]}, "asks_again": {"$lte": DUE}},
        {"policy_version": {"$nin": ["1", "2"]}, "asks_again": {"$lte": DUE}},
    ):
        assert "COLLSCAN" not in str(consents.find(wanted).limit(2).explain()["queryPlanner"]["winningPlan"]), wanted


async def test_who_does_not_look_for_a_newer_choice_is_caught(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewals, "replaced", lambda *_: False)
    bench.clock.at = NOON + 301 * DAYS
    await bench.send(factories.choice("device-1"), factories.choice("device-1", NOON + 300 * DAYS))
    assert (await run(bench, RENEWALS, DUE + HOUR))["counts"] == {"due": 1}, "nobody is due"
