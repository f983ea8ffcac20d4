"""Choices about cookies and the visits they cover, in whatever order they arrive. R4, R15, R16; P2, P10."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from schemas.envelope import Event
from schemas.terms import Case
from tests import factories
from tests.factories import NOON
from tests.workers.bench import Bench

DEVICE = "device-1"
HOUR = timedelta(hours=1)


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


async def test_a_late_refusal_takes_the_visits_after_it_and_leaves_those_before(bench: Bench) -> None:
    """Source: P10: no late message undoes a no, and no late no is without effect."""
    await bench.send(
        factories.choice(DEVICE),
        factories.visit(DEVICE, NOON + HOUR, url="https://www.example.com/before"),
        factories.visit(DEVICE, NOON + 3 * HOUR, url="https://www.example.com/after"),
    )
    await bench.send(factories.choice(DEVICE, NOON + 2 * HOUR, received=NOON + 9 * HOUR, analytics=False))
    assert urls(bench) == ["https://www.example.com/before"]


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


async def test_the_order_of_arrival_changes_nothing(bench: Bench) -> None:
    story = [
        factories.choice(DEVICE),
        factories.visit(DEVICE, NOON + HOUR, url="https://www.example.com/1"),
        factories.choice(DEVICE, NOON + 2 * HOUR, analytics=False),
        factories.visit(DEVICE, NOON + 3 * HOUR, url="https://www.example.com/3"),
    ]
    for order in permutations(story):
        for event in order:
            await bench.send(event)
        await bench.second_try()
        assert urls(bench) == ["https://www.example.com/1"], [event.type for event in order]
        for name in ("consents", "visits"):
            bench.reader[f"{bench.prefix}_active"][name].delete_many({})


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
