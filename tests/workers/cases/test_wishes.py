"""What is accepted again by the mailed link goes round to every subsidiary, with receipts. R20, R21; P7, P8, P10."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from schemas.fields import read_moment, wire_moment
from schemas.orders import ORDER_ENTRY, WISH, WISH_ENTRY
from schemas.terms import Purpose, SuppressionGround, TransferBasis
from tests.factories import NOON
from tests.workers.bench import Bench
from tests.workers.cases.conftest import CODES
from tests.workers.cases.court import Answer, Court, Entry
from tests.workers.cases.test_rounds import click, stopped
from tests.workers.test_preferences import INVITATIONS, PROSPECTING, choice, choose, client
from tests.workers.test_unsubscribe import at
from workers import staff_commands, suppressing
from workers.cases import rounds
from workers.cases.rounds import CANNOT, make_rounds
from workers.rules.objections import Heard, Wish
from workers.services import utc_now
from workers.status import look_around
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


def unable(reason: str) -> Answer:
    """A store that serves everything but a wish."""

    def answer(entry: Entry) -> Entry:
        known = entry["right"] != WISH
        return stopped(entry) if known else {"outcome": "refused", "collections": [], "reason": reason}

    return answer


async def test_who_does_not_know_it_is_seen(bench: Bench, answering: Court) -> None:
    answering.stores["gb"].answer = unable("not-understood")
    whom = await client(bench)
    await choose(bench, whom, {PROSPECTING: False}, at(1))
    await choose(bench, whom, {PROSPECTING: True}, at(2))
    await round_of(answering)
    (owing,) = await bench.services.rounds.owing()
    assert (owing.store, owing.people, owing.reasons) == ("gb", 1, ("not-understood",)), "the no itself was answered"
    assert owing.wishes == 1


async def days_later(bench: Bench, court: Court, days: float) -> None:
    """Whatever is due by then is asked, and answered."""
    bench.clock.at = utc_now() + timedelta(days=days)
    await court.post()
    await court.deliver()


WHY = dict(zip(CODES, sorted(CANNOT), strict=True))
"""Store → by which name it says that it cannot."""


async def refused_for_good(bench: Bench, court: Court) -> dict[str, Any]:
    """One "no", and a wish of somebody else in the same round, of which every store says for a week that it cannot."""
    for code, reason in WHY.items():
        court.stores[code].answer = unable(reason)
    whom, other = await client(bench), await client(bench)
    await choose(bench, whom, {PROSPECTING: False}, at(1))
    await round_of(court)
    await choose(bench, whom, {PROSPECTING: True}, at(2))
    await choose(bench, other, {PROSPECTING: False}, at(2))
    asked = await round_of(court)
    assert [len(entries) for entries in asked.values()] == [2, 2, 2]
    for days in (0.1, 1, 3, 6.9):
        await days_later(bench, court, days)
        assert {one.store: one.reasons for one in await bench.services.rounds.owing()} == names(), days
        assert await bench.services.rounds.unserved(NOON) == []
    assert any("or a wish of 1 people" in one for one in (await look_around(bench.services, bench.redis)).alarms)
    await days_later(bench, court, 8)
    return max(bench.collection("rounds", "evidence"), key=lambda one: one["at"])


def names() -> dict[str, tuple[str, ...]]:
    return {code: (reason,) for code, reason in WHY.items()}


async def test_who_cannot_is_asked_for_a_week_then_the_round_ends_and_says_so(
    bench: Bench, answering: Court, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = await refused_for_good(bench, answering)
    assert "over_at" in ended
    assert "sealed" not in ended
    [key] = [one for one in bench.collection("keys", "keys") if one["_id"].startswith(ended["_id"])]
    assert "wrapped" not in key, "nobody needs the addresses any more"
    status = await look_around(bench.services, bench.redis)
    assert status.owing == ()
    assert {one.store: one.reasons for one in status.unserved} == names()
    assert [one.people for one in status.unserved] == [1, 1, 1]
    staff_commands._print_status(status)
    shown = capsys.readouterr().out.partition("Wishes that no receipt will serve")[2]
    assert all(reason in shown for reason in CANNOT)
    bench.clock.at = utc_now() + timedelta(days=40)
    assert (await look_around(bench.services, bench.redis)).unserved == ()


async def test_who_learns_it_within_the_week_serves_it(bench: Bench, answering: Court) -> None:
    answering.stores["gb"].answer = unable("no-acceptance")
    whom = await client(bench)
    await choose(bench, whom, {PROSPECTING: False}, at(1))
    await choose(bench, whom, {PROSPECTING: True}, at(2))
    await round_of(answering)
    answering.stores["gb"].answer = stopped
    await days_later(bench, answering, 6)
    assert all("over_at" in one for one in bench.collection("rounds", "evidence"))
    assert await bench.services.rounds.unserved(NOON) == []


async def test_a_fault_is_no_last_word_and_a_no_has_none(bench: Bench, answering: Court) -> None:
    """What fails is asked again for ever; so is a "no", by whatever name it is refused."""
    for reason, right in (("store-error", WISH), ("not-supported", "objection")):

        def refusing(entry: Entry, reason: str = reason, right: str = right) -> Entry:
            refused = {"outcome": "refused", "collections": [], "reason": reason}
            return refused if entry["right"] == right else stopped(entry)

        answering.stores["gb"].answer = refusing
        whom = await client(bench)
        await choose(bench, whom, {PROSPECTING: False}, at(1))
        await choose(bench, whom, {PROSPECTING: True}, at(2))
        await round_of(answering)
        await days_later(bench, answering, 8)
        [owing] = await bench.services.rounds.owing()
        assert (owing.people, owing.reasons) == (1, (reason,))
        answering.stores["gb"].answer = stopped
        await days_later(bench, answering, 10)
        bench.clock.at = utc_now()


@pytest.mark.parametrize(
    ("name", "broken"), [("CANNOT", frozenset()), ("PATIENCE", timedelta(days=2)), ("PATIENCE", timedelta(days=99))]
)
async def test_a_round_that_waits_for_ever_or_not_long_enough_is_caught(
    bench: Bench,
    answering: Court,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    broken: object,
) -> None:
    monkeypatch.setattr(rounds, name, broken)
    with pytest.raises(AssertionError):
        await test_who_cannot_is_asked_for_a_week_then_the_round_ends_and_says_so(bench, answering, capsys)


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
