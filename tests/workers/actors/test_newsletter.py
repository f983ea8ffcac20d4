"""Subscriptions and the confirmations that begin them, in any order. R14, R16; design § 4 "A first subscription"."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from schemas.terms import Case, Purpose
from tests import factories
from tests.factories import NOON
from tests.workers.bench import Bench
from workers.services import Services, services_over
from workers.stores.tombstones import of_event

LAST_DAY_ENDS = datetime(2026, 11, 27, 23, tzinfo=UTC)  # seven days after noon of 20 November, last day included


async def test_a_subscription_serves_nothing_before_it_is_confirmed(bench: Bench) -> None:
    whom = factories.someone()
    await bench.send(factories.form(Case.NEWSLETTER, whom))
    assert len(bench.collection("submissions")) == 1
    assert bench.collection("links") == []
    assert await bench.read(whom.email) == []


@pytest.mark.parametrize("confirmed_first", [False, True], ids=["subscribed first", "confirmed first"])
async def test_a_confirmation_begins_it_whichever_comes_first(bench: Bench, confirmed_first: bool) -> None:
    whom = factories.someone()
    subscribed = factories.form(Case.NEWSLETTER, whom)
    confirmed = factories.confirmed(subscribed, NOON + timedelta(hours=1))
    for event in (confirmed, subscribed) if confirmed_first else (subscribed, confirmed):
        await bench.deliver(await bench.send(event), "newsletter")
    links = bench.collection("links")
    assert {link["purpose"] for link in links} == {Purpose.PROVIDE_SERVICES, Purpose.SALES_PROSPECTING}
    assert {link["basis"] for link in links} == {"consent"}
    assert {link["since"] for link in links} == {NOON + timedelta(hours=1)}
    assert len(await bench.read(whom.email)) == 1


async def test_both_in_one_batch(bench: Bench) -> None:
    whom = factories.someone()
    subscribed = factories.form(Case.NEWSLETTER, whom)
    await bench.send(factories.confirmed(subscribed, NOON), subscribed)
    assert len(await bench.read(whom.email)) == 1


@pytest.mark.parametrize(
    ("at", "begins"),
    [(LAST_DAY_ENDS - timedelta(milliseconds=1), True), (LAST_DAY_ENDS, False)],
    ids=["on the last day", "the day after"],
)
async def test_a_confirmation_comes_in_time_or_not_at_all(bench: Bench, at: datetime, begins: bool) -> None:
    whom = factories.someone()
    subscribed = factories.form(Case.NEWSLETTER, whom)
    await bench.send(subscribed)
    await bench.send(factories.confirmed(subscribed, at))
    assert bool(await bench.read(whom.email)) is begins


async def test_a_link_used_twice_counts_from_the_first_time(bench: Bench) -> None:
    subscribed = factories.form(Case.NEWSLETTER, factories.someone())
    late, early = (factories.confirmed(subscribed, NOON + timedelta(hours=hours)) for hours in (5, 1))
    await bench.send(late, early)
    await bench.send(subscribed)
    assert {link["since"] for link in bench.collection("links")} == {NOON + timedelta(hours=1)}


async def test_a_confirmation_of_nothing_begins_nothing(bench: Bench) -> None:
    await bench.send(factories.confirmed(factories.form(Case.NEWSLETTER, factories.someone()), NOON))
    assert bench.collection("links") == bench.collection("persons") == []


async def test_the_same_confirmation_with_another_body_is_parked(bench: Bench) -> None:
    one, other = (factories.form(Case.NEWSLETTER, factories.someone()) for _ in range(2))
    first = factories.confirmed(one, NOON)
    await bench.send(one, other, first)
    await bench.send(factories.confirmed(other, NOON, event_id=first.id))
    assert bench.reasons() == ["same_id_other_body"]
    assert {link["submission"] for link in bench.collection("links")} == {one.key}


async def test_without_double_opt_in_it_begins_at_once(bench: Bench) -> None:
    whom = factories.someone()
    bench.services = _without_double_opt_in(bench.services)
    await bench.send(factories.form(Case.NEWSLETTER, whom))
    assert len(await bench.read(whom.email)) == 1


async def test_who_was_forgotten_is_not_subscribed_by_a_late_confirmation(bench: Bench) -> None:
    whom = factories.someone()
    subscribed = factories.form(Case.NEWSLETTER, whom)
    await bench.send(subscribed)
    await bench.services.forgetting.forget(whom.email)
    await bench.send(factories.confirmed(subscribed, NOON))
    assert bench.collection("confirmations") == bench.collection("links") == []


def _without_double_opt_in(services: Services) -> Services:
    register = services.trust.register
    newsletter = register.newsletter.model_copy(update={"double_opt_in": False})
    trust = replace(services.trust, register=register.model_copy(update={"newsletter": newsletter}))
    return services_over(services.databases, services.uploads, trust, services.clock, services.skew)


async def test_what_a_dead_attempt_linked_goes_when_its_message_comes_again(bench: Bench) -> None:
    """It had found the subscription, and wrote its links when the erasure was over; then its worker died."""
    whom = factories.someone()
    subscribed = factories.form(Case.NEWSLETTER, whom)
    confirmed = await bench.send(subscribed, factories.confirmed(subscribed, NOON))
    links = bench.collection("links")
    await bench.services.forgetting.forget(whom.email)
    await bench.services.submissions.insert_links(links)
    await bench.deliver(confirmed, "newsletter")
    assert bench.collection("links") == []


async def test_a_late_confirmation_takes_nothing_from_what_a_hold_keeps(bench: Bench) -> None:
    whom = factories.someone()
    subscribed = factories.form(Case.NEWSLETTER, whom)
    await bench.send(subscribed)
    confirmed = await bench.send(factories.confirmed(subscribed, NOON))
    await bench.services.tombstones.write([of_event(subscribed.key)])  # an erasure that leaves this record
    await bench.deliver(confirmed, "newsletter")
    assert len(bench.collection("links")) == 2
