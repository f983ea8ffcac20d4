"""Express agreements: what they let be read, by whom, until when, whatever the order of arrival. R8, R16; P2, P10."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

import pytest

from schemas.envelope import Event
from schemas.terms import Case, Department, Purpose, SuppressionGround
from tests import factories
from tests.factories import NOON
from tests.workers.bench import Bench
from workers import gate
from workers.services import utc_now
from workers.stores.suppression import No
from workers.subject_access import copy_of

HOUR = timedelta(hours=1)
INVITED = Purpose.EVENT_INVITATIONS
"""No purpose of a contact form."""


@pytest.fixture(autouse=True)
def _the_next_day(bench: Bench, request: pytest.FixtureRequest) -> None:
    """These are about a day of 2026; what is about tombstones, which the server dates, is about today."""
    if "forgotten" not in request.node.name:
        bench.clock.at = NOON + timedelta(days=1)


async def test_a_purpose_beyond_those_of_the_case_needs_an_express_agreement(bench: Bench) -> None:
    whom, other = factories.someone(), factories.someone()
    await bench.send(factories.form(Case.CONTACT, whom), factories.form(Case.CONTACT, other))
    assert await bench.read(whom.email, INVITED) == []
    await bench.send(factories.agreed(whom, INVITED))
    [seen] = await bench.read(whom.email, INVITED)
    assert (seen.data["last_name"], seen.case) == (whom.last_name, Case.CONTACT)
    assert await bench.read(other.email, INVITED) == []
    assert await bench.read(whom.email, Purpose.SALES_INFORMATION) == [], "to that they did not agree"


async def test_it_keeps_its_proof_and_names_nobody(bench: Bench) -> None:
    """Source: R16."""
    whom = factories.someone()
    await bench.send(factories.agreed(whom, INVITED), factories.agreed(whom, INVITED, NOON + HOUR, given=False))
    given, withdrawn = sorted(bench.collection("agreements"), key=lambda one: one["happened"])
    proof = {"policy_version": "1", "notice_sha256": factories.NOTICE, "notice_known": True, "language": "fr"}
    assert proof.items() <= given.items()
    assert (given["purpose"], given["given"], given["source"]) == (INVITED, True, "/agreements/example")
    assert (withdrawn["given"], withdrawn["happened"]) == (False, NOON + HOUR)
    assert not [canary for canary in whom.canaries if canary in str(bench.collection("agreements"))]


async def test_it_lends_no_department_what_is_not_its_own(bench: Bench) -> None:
    """Source: R9."""
    whom = factories.someone()
    await bench.send(factories.form(Case.CONTACT, whom))
    await bench.send(factories.agreed(whom, INVITED), factories.agreed(whom, Purpose.RECRUITMENT))
    with pytest.raises(gate.ReadRefused):
        await bench.read(whom.email, INVITED, Department.IT)
    assert len(await bench.read(whom.email, Purpose.RECRUITMENT, Department.ADMINISTRATION)) == 1
    assert await bench.read(whom.email, Purpose.RECRUITMENT, Department.LINE_MANAGERS) == [], "of applications alone"


async def test_it_lives_no_longer_than_what_is_held(bench: Bench) -> None:
    """Source: P9."""
    whom = factories.someone()
    applied = factories.form(Case.JOB_APPLICATION, whom)
    await bench.send(applied)
    await bench.send(factories.agreed(whom, INVITED))
    [seen] = await bench.read(whom.email, INVITED)
    assert seen.until is None, "open, as the application is"
    await bench.send(factories.decided(NOON, about=applied.id))
    [seen] = await bench.read(whom.email, INVITED)
    assert seen.until is not None
    bench.clock.at = seen.until
    assert await bench.read(whom.email, INVITED) == []


async def test_a_subscription_that_was_never_confirmed_is_lent_to_nobody(bench: Bench) -> None:
    whom = factories.someone()
    await bench.send(factories.form(Case.NEWSLETTER, whom), factories.agreed(whom, INVITED))
    assert await bench.read(whom.email, INVITED) == []


@pytest.mark.parametrize("at", [NOON - HOUR, NOON, NOON + HOUR], ids=["said before it", "at once", "said after it"])
async def test_a_no_to_the_purpose_stands_against_it(bench: Bench, at: datetime) -> None:
    """Whenever it was said: what lifts a "no" is the mailed link alone. Source: R20; P10."""
    whom = factories.someone()
    await bench.send(factories.form(Case.CONTACT, whom))
    await bench.send(factories.agreed(whom, INVITED))
    await bench.services.suppressions.add(whom.email, No(frozenset({INVITED}), SuppressionGround.OBJECTION, at))
    assert await bench.read(whom.email, INVITED) == []


# --- order ----------------------------------------------------------------------------------------------------------

WHOM = factories.someone()
STORY = [
    factories.form(Case.CONTACT, WHOM),
    factories.agreed(WHOM, INVITED, NOON),
    factories.agreed(WHOM, INVITED, NOON + HOUR, given=False),
    factories.agreed(WHOM, INVITED, NOON + 2 * HOUR),
    factories.agreed(WHOM, INVITED, NOON + 3 * HOUR, given=False),
    factories.agreed(WHOM, INVITED, NOON + 3 * HOUR),
    factories.agreed(WHOM, Purpose.SALES_INFORMATION, NOON + HOUR, given=False),
    factories.agreed(WHOM, Purpose.SALES_INFORMATION, NOON + 4 * HOUR),
]


async def read_after(bench: Bench, story: list[Event]) -> tuple[int, int]:
    """How many records are read for either purpose once these arrived, one message each."""
    bench.wipe()
    for event in story:
        await bench.send(event)
    return len(await bench.read(WHOM.email, INVITED)), len(await bench.read(WHOM.email, Purpose.SALES_INFORMATION))


def orders(times: int) -> list[list[Event]]:
    chance = Random(8)
    stories = [STORY + chance.sample(STORY, k=3) for _ in range(times)]
    for story in stories:
        chance.shuffle(story)
    return stories


async def test_the_last_word_by_its_own_time_counts_and_no_wins_a_tie(bench: Bench) -> None:
    """In every order of arrival, twice too, before what it is about. Source: P2, P10."""
    for story in orders(20):
        assert await read_after(bench, story) == (0, 1), [STORY.index(event) for event in story]


async def test_the_orders_catch_a_last_word_by_arrival(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def by_arrival(agreements: list[dict[str, object]], purpose: Purpose) -> bool:
        return [one["given"] for one in agreements if one["purpose"] == purpose][-1:] == [True]

    monkeypatch.setattr(gate, "agrees", by_arrival)
    assert any([await read_after(bench, story) != (0, 1) for story in orders(8)])


# --- forgetting, and what the person is told ------------------------------------------------------------------------


async def test_what_somebody_who_was_forgotten_agreed_to_goes_and_does_not_come_back(bench: Bench) -> None:
    whom, now = factories.someone(), utc_now()
    await bench.send(factories.form(Case.CONTACT, whom, received=now - HOUR))
    wire = await bench.send(factories.agreed(whom, INVITED, now - HOUR))
    assert (await bench.services.standing.of(whom.email))["agreements"] == 1
    gone = await bench.services.forgetting.forget(whom.email)
    assert gone.deleted["agreements"] == 1
    await bench.deliver(wire, "newsletter")
    assert bench.collection("agreements") == []
    await bench.send(factories.agreed(whom, INVITED, utc_now() + HOUR))
    assert len(bench.collection("agreements")) == 1, "a fresh word of their own"
    assert (await bench.services.standing.left(whom.email))["agreements"] == 0


async def test_the_access_copy_tells_what_was_agreed_to(bench: Bench) -> None:
    """Source: R17."""
    whom = factories.someone()
    await bench.send(factories.form(Case.CONTACT, whom))
    await bench.send(factories.agreed(whom, INVITED), factories.agreed(whom, INVITED, NOON + HOUR, given=False))
    copy = await copy_of(bench.services, [whom.email])
    [told] = [one["records"] for one in copy["collections"] if one["name"] == "agreements"]
    assert [(one["purpose"], one["agreed"]) for one in told] == [(INVITED, "yes"), (INVITED, "no")]
