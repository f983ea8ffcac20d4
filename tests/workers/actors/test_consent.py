"""Choices about cookies and the visits they cover, in whatever order they arrive. R4, R15, R16; P2, P10."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from schemas.consent import Choice
from schemas.envelope import Event
from schemas.register import Register
from schemas.routes import CONSENT
from schemas.terms import Case, CookiePurpose
from tests import factories
from tests.factories import NOON
from tests.workers.bench import Bench
from workers.actors import consent
from workers.actors.work import SomeFailed
from workers.rules.consent import covers, rests_until
from workers.status import look_around
from workers.stores.consents import Consents, Withdrawals

DEVICE = "device-1"
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _the_same_day(bench: Bench, request: pytest.FixtureRequest) -> None:
    """These are about a day of 2026; what is about tombstones, which the server dates, is about today."""
    if "forgotten" not in request.node.name:
        bench.clock.at = NOON + timedelta(days=1)


def urls(bench: Bench) -> list[str]:
    return sorted(visit["url"] for visit in bench.collection("visits"))


async def test_a_choice_keeps_its_proof(bench: Bench) -> None:
    """Source: R16."""
    await bench.send(factories.choice(DEVICE, analytics=True, personalisation=False))
    (kept,) = bench.collection("consents")
    assert kept["choices"] == {"analytics": True, "personalisation": False}
    assert (kept["policy_version"], kept["notice_sha256"], kept["notice_known"]) == ("1", factories.NOTICE, True)
    assert kept["happened"] == NOON
    assert kept["valid_until"] == datetime(2027, 12, 20, 23, tzinfo=UTC)
    assert DEVICE not in str(kept)


async def test_a_notice_nobody_was_ever_shown_is_kept_and_flagged(bench: Bench) -> None:
    event = factories.choice(DEVICE)
    body = event.body.replace(factories.NOTICE.encode(), b"0" * 64)
    await bench.send(factories.raw_event(event.type, event.source, body))
    (kept,) = bench.collection("consents")
    assert kept["notice_known"] is False


async def test_a_purpose_that_the_register_does_not_know_is_parked(bench: Bench) -> None:
    await bench.send(factories.choice(DEVICE, advertising=True), factories.choice(DEVICE))
    assert bench.reasons() == ["unknown_purpose"]
    assert len(bench.collection("consents")) == 1


async def test_a_visit_is_kept_where_the_device_had_agreed_before_it(bench: Bench) -> None:
    await bench.send(factories.choice(DEVICE), factories.visit(DEVICE, NOON + HOUR))
    (kept,) = bench.collection("visits")
    assert kept["network"] == "192.0.2.0/24"
    assert kept["expires"] == datetime(2027, 11, 20, 23, tzinfo=UTC)


async def test_in_one_batch_choices_come_before_visits(bench: Bench) -> None:
    await bench.send(factories.visit(DEVICE, NOON + HOUR), factories.choice(DEVICE))
    assert len(urls(bench)) == 1


@pytest.mark.parametrize(
    "said",
    [
        [],
        [factories.choice(DEVICE, analytics=False)],
        [factories.choice(DEVICE, personalisation=True)],
        [factories.choice("device-2")],
        [factories.choice(DEVICE, NOON + 2 * HOUR)],
        [factories.choice(DEVICE, NOON - timedelta(days=500))],
        [factories.choice(DEVICE), factories.choice(DEVICE, analytics=False)],
    ],
    ids=["nobody asked", "refused", "other purpose", "other device", "agreed later", "expired", "no wins a tie"],
)
async def test_a_visit_that_nothing_covers_is_tried_once_more_then_counted_and_dropped(
    bench: Bench, said: list[Event]
) -> None:
    visit = factories.visit(DEVICE, NOON + HOUR)
    if said:
        await bench.send(*said)
    await bench.send(visit)
    assert urls(bench) == []
    assert [positions for _, positions in bench.later] == [[0]]
    await bench.second_try()
    assert bench.later == []
    assert urls(bench) == []
    (outcome,) = bench.collection("outcomes", "evidence")
    assert (outcome["_id"], outcome["reason"]) == (visit.key, "not_covered")


async def test_only_the_visits_that_were_not_covered_come_back(bench: Bench) -> None:
    covered, uncovered = factories.visit(DEVICE, NOON + HOUR), factories.visit("device-2", NOON + HOUR)
    await bench.send(factories.choice(DEVICE), covered, uncovered)
    assert [positions for _, positions in bench.later] == [[2]]
    await bench.send(factories.choice("device-2"))
    await bench.second_try()
    assert len(urls(bench)) == 2


async def test_a_refusal_takes_what_was_kept_under_the_yes_before_it_too(bench: Bench) -> None:
    """However late it arrives. Source: R14; P10: no late message undoes a no, and no late no is without effect."""
    await bench.send(
        factories.choice(DEVICE),
        factories.visit(DEVICE, NOON + HOUR, url="https://www.example.com/before"),
        factories.visit(DEVICE, NOON + 3 * HOUR, url="https://www.example.com/after"),
    )
    await bench.send(factories.choice(DEVICE, NOON + 2 * HOUR, received=NOON + 9 * HOUR, analytics=False))
    assert urls(bench) == ["https://www.example.com/after"], "a yes to it may be on its way"
    await bench.second_try()
    assert urls(bench) == []
    assert [one["reason"] for one in bench.collection("outcomes", "evidence")] == ["not_covered"]


async def test_what_a_no_took_does_not_come_back_with_the_next_yes(bench: Bench) -> None:
    await bench.send(factories.choice(DEVICE), visit := factories.visit(DEVICE, NOON + HOUR))
    await bench.send(factories.choice(DEVICE, NOON + 2 * HOUR, analytics=False))
    await bench.send(factories.choice(DEVICE, NOON + 3 * HOUR))
    await bench.send(visit)
    await bench.second_try()
    assert urls(bench) == []


async def test_a_late_refusal_spares_what_a_newer_yes_covers(bench: Bench) -> None:
    await bench.send(
        factories.choice(DEVICE, NOON + 2 * HOUR),
        factories.visit(DEVICE, NOON + 3 * HOUR),
    )
    await bench.send(factories.choice(DEVICE, NOON + HOUR, analytics=False))
    assert len(urls(bench)) == 1


async def test_two_late_refusals_in_one_batch_count_from_the_earlier(bench: Bench) -> None:
    await bench.send(factories.choice(DEVICE), factories.visit(DEVICE, NOON + 2 * HOUR))
    await bench.send(
        factories.choice(DEVICE, NOON + HOUR, analytics=False),
        factories.choice(DEVICE, NOON + 3 * HOUR, analytics=False),
    )
    assert urls(bench) == []


STORY = [
    factories.choice(DEVICE),
    factories.visit(DEVICE, NOON + HOUR, url="https://www.example.com/withdrawn"),
    factories.choice(DEVICE, NOON + 2 * HOUR, analytics=False),
    factories.visit(DEVICE, NOON + 3 * HOUR, url="https://www.example.com/refused"),
    factories.choice(DEVICE, NOON + 4 * HOUR, analytics=True, personalisation=True),
    factories.visit(DEVICE, NOON + 5 * HOUR, url="https://www.example.com/kept"),
    factories.choice(DEVICE, NOON + 6 * HOUR, analytics=True, personalisation=False),
    factories.choice(DEVICE, NOON + 7 * HOUR, personalisation=False),
    factories.visit(DEVICE, NOON + 8 * HOUR, url="https://www.example.com/kept-too"),
]
LEFT = ["https://www.example.com/kept", "https://www.example.com/kept-too"]


async def left_of(bench: Bench, story: Sequence[Event]) -> list[str]:
    """What is left once these arrived, one message each, and what was not covered was tried again."""
    for name in ("consents", "visits"):
        bench.reader[f"{bench.prefix}_active"][name].delete_many({})
    for event in story:
        await bench.send(event)
    await bench.second_try()
    return urls(bench)


def orders(seed: int, times: int) -> Iterator[list[Event]]:
    """The story in orders by chance, with some of it twice."""
    chance = Random(seed)
    for _ in range(times):
        story = STORY + chance.sample(STORY, k=4)
        chance.shuffle(story)
        yield story


async def test_neither_order_nor_repetition_changes_what_is_left(bench: Bench) -> None:
    """A withdrawal before the grant arrives, too. Source: P2, P10."""
    for story in orders(seed=4, times=40):
        assert await left_of(bench, story) == LEFT, [STORY.index(event) for event in story]


def only_then(events: Iterable[Choice], purpose: CookiePurpose, since: datetime, register: Register) -> datetime | None:
    """Broken: looks at the moment of the visit alone."""
    return rests_until([event for event in events if event.happened <= since], purpose, since, register)


def only_now(events: Iterable[Choice], purpose: CookiePurpose, since: datetime, register: Register) -> datetime | None:
    """Broken: looks at the last word alone, so what a no took stays where the next yes was quicker."""
    last = max(event.happened for event in events) if (events := list(events)) else since
    return (
        rests_until(events, purpose, max(last, since), register) if covers(events, purpose, since, register) else None
    )


@pytest.mark.parametrize("broken", [only_then, only_now])
async def test_the_orders_catch_what_does_not_look_at_all_that_was_said(
    bench: Bench, broken: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consent, "rests_until", broken)
    assert any([await left_of(bench, story) != LEFT for story in orders(seed=4, times=5)])


async def test_how_long_a_withdrawal_took_is_kept_and_shown(bench: Bench) -> None:
    """From its arrival to the deletion, once, however often it arrives. Source: R14."""
    no = factories.choice(DEVICE, NOON + 2 * HOUR, received=NOON + 3 * HOUR, analytics=False)
    await bench.send(factories.choice(DEVICE), factories.visit(DEVICE, NOON + HOUR))
    bench.clock.at = NOON + 3 * HOUR + timedelta(milliseconds=40)
    wire = await bench.send(no)
    bench.clock.at += HOUR
    await bench.deliver(wire, CONSENT)
    await bench.send(factories.choice("device-2", analytics=False))
    [kept] = bench.collection("withdrawals", "evidence")
    assert kept == {
        "_id": no.key,
        "said_at": NOON + 2 * HOUR,
        "received_at": NOON + 3 * HOUR,
        "visits": 1,
        "deleted_at": NOON + 3 * HOUR + timedelta(milliseconds=40),
    }
    found = await look_around(bench.services, bench.redis)
    assert found.withdrawals == Withdrawals(1, 40, 40, None)
    assert json.loads(json.dumps(found.as_json()))["withdrawals"]["most_ms"] == 40


async def test_a_withdrawal_whose_worker_died_is_seen_and_finished(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(Exception):
        pass

    async def die(*_: object) -> int:
        raise Died

    await bench.send(factories.choice(DEVICE), factories.visit(DEVICE, NOON + HOUR))
    wire = bench.seal(factories.choice(DEVICE, NOON + 2 * HOUR, analytics=False))
    with monkeypatch.context() as patch:
        patch.setattr(Consents, "delete_visits", die)
        with pytest.raises(SomeFailed):
            await bench.deliver(wire, CONSENT)
    assert len(urls(bench)) == 1
    bench.clock.at = NOON + 3 * HOUR
    assert [one for one in (await look_around(bench.services, bench.redis)).alarms if one.startswith("visits:")]
    await bench.deliver(wire, CONSENT)
    assert urls(bench) == []
    assert not [one for one in (await look_around(bench.services, bench.redis)).alarms if one.startswith("visits:")]
    [kept] = bench.collection("withdrawals", "evidence")
    assert kept["deleted_at"] == NOON + 3 * HOUR


async def test_a_choice_that_claims_to_come_from_the_future_counts_from_its_arrival(bench: Bench) -> None:
    await bench.send(factories.choice(DEVICE, NOON + 9000 * HOUR, received=NOON))
    (kept,) = bench.collection("consents")
    assert kept["happened"] == NOON


async def test_another_body_under_the_same_id_is_parked(bench: Bench) -> None:
    first, seen = factories.choice(DEVICE), factories.visit(DEVICE, NOON + HOUR)
    await bench.send(first, seen)
    await bench.send(
        factories.choice(DEVICE, event_id=first.id, analytics=False),
        factories.visit(DEVICE, NOON + HOUR, event_id=seen.id, url="https://www.example.com/other"),
    )
    assert bench.reasons() == ["same_id_other_body", "same_id_other_body"]
    assert urls(bench) == ["https://www.example.com/cheese"]


async def test_the_visits_of_somebody_who_was_forgotten_do_not_come_back(bench: Bench) -> None:
    """Only of a device that a form of theirs named. Source: P5, R19."""
    whom, now = factories.someone(), bench.services.clock()
    await bench.send(factories.choice(DEVICE, now - 2 * HOUR), factories.choice("device-2", now - 2 * HOUR))
    await bench.send(factories.visit(DEVICE, now - HOUR), factories.visit("device-2", now - HOUR))
    await bench.send(factories.form(Case.CONTACT, whom, device_id=DEVICE))
    await bench.services.forgetting.forget(whom.email)
    assert len(urls(bench)) == 1
    late, fresh = factories.visit(DEVICE, now - HOUR), factories.visit(DEVICE, now + HOUR)
    await bench.send(late, fresh)
    assert {visit["_id"] for visit in bench.collection("visits")} >= {fresh.key}
    assert late.key not in {visit["_id"] for visit in bench.collection("visits")}
