"""What is accepted again by the mailed link goes round to every subsidiary, with receipts. R20, R21; P7, P8, P10."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from schemas.fields import read_moment, wire_moment
from schemas.orders import ORDER_ENTRY, WISH, WISH_ENTRY
from schemas.terms import Purpose, SuppressionGround, TransferBasis
from tests.workers.bench import Bench
from tests.workers.cases.conftest import CODES
from tests.workers.cases.court import Court, Entry
from tests.workers.cases.test_rounds import click, stopped
from tests.workers.test_preferences import INVITATIONS, PROSPECTING, choice, choose, client
from tests.workers.test_unsubscribe import at
from workers import suppressing
from workers.cases.rounds import make_rounds
from workers.rules.objections import Heard, Wish
from workers.suppressing import suppress

Asked = dict[str, list[Entry]]


async def round_of(court: Court) -> Asked:
    """What every store is asked in the rounds of those who wait, and answers."""
    await make_rounds(court.desk)
    await court.post()
    asked: Asked = {code: [] for code in CODES}
    for store, token in court.posted:
        asked[store] += court.order(store, token)["entries"]
    await court.deliver()
    return asked


def used(bench: Bench) -> frozenset[Purpose]:
    return bench.services.trust.register.used_in_subsidiaries


@pytest.fixture
def answering(court: Court) -> Court:
    for store in court.stores.values():
        store.answer = stopped
    return court


async def test_an_undo_travels_and_ends_with_its_receipts(bench: Bench, answering: Court) -> None:
    whom = await client(bench)
    await choose(bench, whom, {PROSPECTING: False}, at(1))
    await round_of(answering)
    event = await choice(bench, whom, {PROSPECTING: True}, at(2))
    wire = await bench.send(event)
    asked = await round_of(answering)
    assert [len(entries) for entries in asked.values()] == [1, 1, 1]
    for (entry,) in asked.values():
        WISH_ENTRY.check(entry)
        assert (entry["right"], entry["accepts"], entry["person"]) == (WISH, "yes", {"emails": [whom.email]})
        assert (entry["received_at"], entry["refused_at"]) == (wire_moment(at(2)), wire_moment(at(1)))
    assert all("over_at" in one for one in bench.collection("rounds", "evidence"))
    assert await bench.services.rounds.owing() == []
    await bench.deliver(wire)
    assert all(not entries for entries in (await round_of(answering)).values()), "once"


async def test_what_is_left_of_all_that_was_refused_goes(bench: Bench, answering: Court) -> None:
    whom = await client(bench)
    inside = sorted(used(bench))
    assert {PROSPECTING, INVITATIONS} <= set(inside)
    await choose(bench, whom, {PROSPECTING: False, INVITATIONS: False}, at(1))
    await choose(bench, whom, {PROSPECTING: True}, at(2))
    asked = await round_of(answering)
    assert [(one["right"], one.get("accepts")) for one in asked["de"]] == [("objection", None), (WISH, "no")]
    await choose(bench, whom, {INVITATIONS: True}, at(3))
    assert [one["accepts"] for one in (await round_of(answering))["de"]] == ["yes"]
    await click(bench, whom, at=at(4))
    (first, second) = (await round_of(answering))["de"]
    ORDER_ENTRY.check(first)
    assert (first["right"], second["right"], second["accepts"]) == ("objection", WISH, "no")


async def test_a_yes_to_what_was_never_refused_there_asks_nobody(bench: Bench, answering: Court) -> None:
    whom = await client(bench)
    await choose(bench, whom, {PROSPECTING: True}, at(1))
    assert all(not entries for entries in (await round_of(answering)).values())


async def test_an_objection_by_a_case_is_part_of_it(bench: Bench, answering: Court) -> None:
    whom = await client(bench)
    await choose(bench, whom, {INVITATIONS: False}, at(1))
    await choose(bench, whom, {INVITATIONS: True}, at(3))
    await round_of(answering)
    await suppress(bench.services, [whom.email], SuppressionGround.OBJECTION, at(2))
    (entry,) = (await round_of(answering))["de"]
    assert (entry["accepts"], entry["received_at"]) == ("no", wire_moment(at(3))), "late, and not to what they accepted"


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (2, 0, 3, 1)])
async def test_whatever_order_they_reach_the_controller_in(
    bench: Bench, answering: Court, order: tuple[int, ...]
) -> None:
    """Two purposes refused, and both accepted later; then one of them refused in between, which is the last to come."""
    whom = await client(bench)
    said = [{INVITATIONS: False}, {PROSPECTING: False}, {INVITATIONS: True}, {PROSPECTING: True}]
    heard = Heard()
    for place in order:
        await choose(bench, whom, said[place], at(place + 1))
        for entry in (await round_of(answering))["de"]:
            heard.hear(said_in(entry))
    assert heard.accepted
    await choose(bench, whom, {min(used(bench) - {INVITATIONS, PROSPECTING}): False}, at(2))
    for entry in (await round_of(answering))["de"]:
        heard.hear(said_in(entry))
    assert not heard.accepted


def said_in(entry: Entry) -> Wish | datetime:
    at = read_moment(entry["received_at"])
    if entry["right"] != WISH:
        return at
    return Wish(at, entry["version"], entry["accepts"] == "yes", read_moment(entry["refused_at"]))


async def test_no_store_without_a_live_basis_is_told_to_use_anything(bench: Bench, answering: Court) -> None:
    """P8: a "no" goes everywhere; a "yes" goes where data may go."""
    services = answering.desk.services
    register = services.trust.register
    lapsed = register.subsidiaries["us"].transfer.model_copy(update={"basis": TransferBasis.SUSPENDED})
    us = register.subsidiaries["us"].model_copy(update={"transfer": lapsed})
    barred = register.model_copy(update={"subsidiaries": {**register.subsidiaries, "us": us}})
    answering.desk = replace(answering.desk, services=replace(services, trust=replace(services.trust, register=barred)))
    whom = await client(bench)
    await choose(bench, whom, {PROSPECTING: False}, at(1))
    assert [len(entries) for entries in (await round_of(answering)).values()] == [1, 1, 1]
    await choose(bench, whom, {PROSPECTING: True}, at(2))
    assert {code: len(entries) for code, entries in (await round_of(answering)).items()} == {"de": 1, "gb": 1, "us": 0}
    assert all("over_at" in one for one in bench.collection("rounds", "evidence"))


async def test_who_does_not_know_it_is_seen(bench: Bench, answering: Court) -> None:
    def older(entry: Entry) -> Entry:
        known = entry["right"] != WISH
        return stopped(entry) if known else {"outcome": "refused", "collections": [], "reason": "not-understood"}

    answering.stores["gb"].answer = older
    whom = await client(bench)
    await choose(bench, whom, {PROSPECTING: False}, at(1))
    await choose(bench, whom, {PROSPECTING: True}, at(2))
    await round_of(answering)
    (owing,) = await bench.services.rounds.owing()
    assert (owing.store, owing.people, owing.reasons) == ("gb", 1, ("not-understood",)), "the no itself was answered"


async def test_an_undo_that_stays_at_home_is_caught(
    bench: Bench, answering: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: Any) -> None:
        return None

    monkeypatch.setattr("workers.actors.preferences.tell_again", nothing)
    with pytest.raises(AssertionError):
        await test_an_undo_travels_and_ends_with_its_receipts(bench, answering)


async def test_a_late_no_that_is_not_weighed_anew_is_caught(
    bench: Bench, answering: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: Any) -> None:
        return None

    monkeypatch.setattr(suppressing, "tell_again", nothing)
    with pytest.raises(ValueError, match="unpack"):
        await test_an_objection_by_a_case_is_part_of_it(bench, answering)
