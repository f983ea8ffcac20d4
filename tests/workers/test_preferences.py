"""What people choose by the link to their preferences: each "no" holds, each "yes" lifts its own, no import lifts any.

Source: R8, R16, R20, R21, R24; P10; docs/decisions/0018.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from schemas.envelope import Event
from schemas.subject import References, ReferenceUse
from schemas.terms import Case, Department, Purpose
from tests import factories
from tests.factories import NOON, Someone
from tests.workers.bench import Bench
from tests.workers.cases.conftest import court, subsidiary_keys
from tests.workers.cases.court import Court
from tests.workers.test_unsubscribe import at, change_trust, may_be_written_to, one_click, subscribed
from workers import preferences
from workers.letters import replay
from workers.preferences import no_of
from workers.retention.sweep import look_at_due
from workers.services import utc_now
from workers.subject_access import copy_of

__all__ = ["court", "subsidiary_keys"]

INFORMATION, INVITATIONS, PROSPECTING = (
    Purpose.SALES_INFORMATION,
    Purpose.EVENT_INVITATIONS,
    Purpose.SALES_PROSPECTING,
)
ADMINISTRATION = Department.ADMINISTRATION
MOMENT = timedelta(milliseconds=1)


async def person_of(bench: Bench, whom: Someone) -> str:
    ref = bench.services.trust.references.of_email(ReferenceUse.LOOKUP, whom.email)
    return (await bench.services.people.find([ref]))[ref]


async def choice(bench: Bench, whom: Someone, choices: Mapping[str, bool], when: datetime, **more: Any) -> Event:
    """By a link that was mailed to somebody who is held."""
    person = await person_of(bench, whom)
    return factories.chosen(bench.services.trust.references, whom, choices, when, person=person, **more)


async def choose(bench: Bench, whom: Someone, choices: Mapping[str, bool], when: datetime) -> Event:
    event = await choice(bench, whom, choices, when)
    await bench.send(event)
    return event


async def client(bench: Bench) -> Someone:
    whom = factories.someone()
    await bench.send(factories.contact(Case.CLIENT, whom))
    return whom


async def test_each_purpose_is_refused_and_accepted_by_itself(bench: Bench) -> None:
    whom, other = await client(bench), await client(bench)
    await choose(bench, whom, {INVITATIONS: False}, at(1))
    assert await may_be_written_to(bench, INVITATIONS) == [other.email]
    for purpose in (INFORMATION, PROSPECTING):
        assert await may_be_written_to(bench, purpose) == sorted([whom.email, other.email])
    await choose(bench, whom, {INVITATIONS: True, INFORMATION: False}, at(2))
    assert len(await may_be_written_to(bench, INVITATIONS)) == 2, "undone"
    assert await may_be_written_to(bench, INFORMATION) == [other.email]
    assert len(await bench.read(whom.email, Purpose.SERVICES_AND_CONTRACT, ADMINISTRATION)) == 1


async def test_an_undo_lifts_what_one_click_ended_as_long_as_it_stands(bench: Bench) -> None:
    whom = await client(bench)
    await subscribed(bench, whom)
    await bench.send(one_click(bench, whom, at(2)))
    assert await may_be_written_to(bench) == []
    await choose(bench, whom, {PROSPECTING: True}, at(3))
    assert await may_be_written_to(bench) == [whom.email]
    assert await may_be_written_to(bench, INVITATIONS) == [], "that they did not accept again"
    assert len(await bench.read(whom.email, Purpose.PROVIDE_SERVICES)) == 1, "the newsletter goes on too"
    await bench.send(one_click(bench, whom, at(4)))
    assert await may_be_written_to(bench) == []


async def test_a_refusal_that_is_none_of_the_newsletters_leaves_it(bench: Bench) -> None:
    whom = factories.someone()
    await subscribed(bench, whom)
    await choose(bench, whom, {INVITATIONS: False, Purpose.PERSONALISE_NEWSLETTER: False}, at(2))
    assert await may_be_written_to(bench) == [whom.email]
    await choose(bench, whom, {PROSPECTING: False}, at(3))
    assert await may_be_written_to(bench) == []
    assert await bench.read(whom.email, Purpose.PROVIDE_SERVICES) == [], "it ends as a whole"


async def test_no_import_accepts_anything(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a form; and the broken variant, which believes any agreement, is caught."""
    whom = await client(bench)
    await choose(bench, whom, {INVITATIONS: False}, at(1))
    await bench.send(factories.agreed(whom, INVITATIONS, at(2)))
    await bench.send(factories.contact(Case.PROSPECT, whom, received=at(3)), factories.form(Case.CONTACT, whom))
    assert await may_be_written_to(bench, INVITATIONS) == []
    monkeypatch.setattr(preferences, "PREFERENCES_SOURCE", "/agreements/example")
    assert await may_be_written_to(bench, INVITATIONS) == [whom.email]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
async def test_whatever_order_they_arrive_in_the_last_word_counts(bench: Bench, order: tuple[int, ...]) -> None:
    whom = await client(bench)
    said = [await choice(bench, whom, {INVITATIONS: yes}, at(n)) for n, yes in enumerate((False, True, False))]
    for place in order:
        await bench.send(said[place])
        await bench.send(said[place])
    assert await may_be_written_to(bench, INVITATIONS) == []
    await choose(bench, whom, {INVITATIONS: True}, at(3))
    assert await may_be_written_to(bench, INVITATIONS) == [whom.email]


async def test_at_a_tie_no_wins(bench: Bench) -> None:
    whom = await client(bench)
    await bench.send(*[await choice(bench, whom, {INVITATIONS: yes}, at(1)) for yes in (False, True)])
    assert await may_be_written_to(bench, INVITATIONS) == []
    await choose(bench, whom, {INVITATIONS: True}, at(1) + MOMENT)
    assert await may_be_written_to(bench, INVITATIONS) == [whom.email]


async def test_it_keeps_its_proof_and_the_list_its_ground_and_neither_names_anybody(bench: Bench) -> None:
    whom = await client(bench)
    event = await choose(bench, whom, {INVITATIONS: False, INFORMATION: True}, at(1))
    [entry] = bench.collection("suppressions", "evidence")
    assert entry["no"] == {INVITATIONS: {"at": at(1), "ground": "preference"}}
    kept = {one["purpose"]: one for one in bench.collection("agreements")}
    proof = {"policy_version": "1", "notice_sha256": factories.NOTICE, "language": "fr", "source": "/preferences"}
    assert all(proof.items() <= one.items() for one in kept.values())
    assert {purpose: one["given"] for purpose, one in kept.items()} == {INVITATIONS: False, INFORMATION: True}
    [shown] = bench.collection("preferences", "evidence")
    noted = [one["body"]["details"] for one in bench.collection("ledger_pending", "evidence")]
    assert noted == [{"ground": "preference"}]
    assert {name: said["no"] for name, said in shown["choices"].items()} == {INVITATIONS: True, INFORMATION: False}
    left = repr(bench.dump())
    assert not [word for word in whom.canaries if word in left]
    assert event.body.decode().partition('"reference":"')[2].partition('"')[0] not in left
    collections = {one["name"]: one["records"] for one in (await copy_of(bench.services, [whom.email]))["collections"]}
    assert {one["origin"] for one in collections["agreements"]} == {"/preferences"}, (
        "and they are shown to whom they are"
    )


async def test_what_a_refusal_had_deleted_is_not_brought_back(bench: Bench) -> None:
    whom = factories.someone()
    await bench.send(factories.contact(Case.PROSPECT, whom))
    person = await person_of(bench, whom)
    await choose(bench, whom, dict.fromkeys(bench.services.trust.register.prospecting, False), at(1))
    bench.clock.at = at(2)
    await look_at_due(bench.services)
    assert bench.collection("submissions") == []
    references = bench.services.trust.references
    await bench.send(factories.chosen(references, whom, {INVITATIONS: True}, at(3), person=person))
    assert not [one for one in bench.collection("agreements") if one["given"]], "of nobody held nothing is kept"
    assert INVITATIONS in (await no_of(bench.services, [whom.email]))[whom.email], "the refusal stands"


async def test_who_withdraws_everything_has_a_case_that_every_store_answers(bench: Bench, court: Court) -> None:
    whom = await client(bench)
    event = await choice(bench, whom, {INVITATIONS: False}, utc_now() - timedelta(minutes=1), withdraw=True)
    for _ in range(2):
        await bench.send(event)
    [case] = bench.collection("cases", "evidence")
    case = await court.run(case["_id"])
    assert (case["right"], case["answer"], case["proof"]) == ("withdrawal", "answered", "receipted")
    assert set(await court.tasks(case["_id"])) == {"controller", *court.stores}


async def test_who_was_erased_refuses_still_and_accepts_nothing(bench: Bench) -> None:
    whom = await client(bench)
    refusal = await choice(bench, whom, {INVITATIONS: False}, at(1))
    consent = await choice(bench, whom, {INVITATIONS: True}, at(2))
    await bench.services.forgetting.forget(whom.email)
    await bench.send(refusal, consent)
    assert bench.collection("agreements") == bench.collection("persons") == []
    assert (await no_of(bench.services, [whom.email]))[whom.email] == {INVITATIONS: at(1)}


async def test_a_link_we_did_not_make_is_parked_and_may_be_tried_again(bench: Bench) -> None:
    whom, neighbour, sound = await client(bench), await client(bench), bench.services.trust.references
    ours, theirs = [await choice(bench, one, {INVITATIONS: False}, at(1)) for one in (whom, neighbour)]
    change_trust(bench, references=References(b"other" * 8))
    await bench.send(ours)
    change_trust(bench, references=sound)
    await bench.send(theirs)
    (letter,) = bench.collection("parked")
    assert letter["reason"] == "unknown_token"
    assert await may_be_written_to(bench, INVITATIONS) == [whom.email]
    assert (await replay(bench.services, letter["_id"])).kept
    assert await may_be_written_to(bench, INVITATIONS) == []


async def test_the_subsidiaries_hear_of_what_one_of_them_does(bench: Bench) -> None:
    whom = await client(bench)
    await choose(bench, whom, {Purpose.DOWNLOAD_FOLLOW_UP: False}, at(1))
    assert bench.collection("slips", "evidence") == []
    await choose(bench, whom, {INVITATIONS: False}, at(2))
    assert [slip["people"] for slip in bench.collection("slips", "evidence")] == [1]


async def test_an_acceptance_without_a_refusal_lifts_nothing(bench: Bench) -> None:
    whom = await client(bench)
    assert await no_of(bench.services, [whom.email]) == {}
    await choose(bench, whom, {INFORMATION: True}, NOON)
    assert await no_of(bench.services, [whom.email]) == {}


async def test_an_address_in_another_letter_case_is_the_same_persons(bench: Bench) -> None:
    whom = await client(bench)
    await choose(bench, whom, {INVITATIONS: False}, at(1))
    await choose(bench, whom, {INVITATIONS: True}, at(2))
    local, _, domain = whom.email.partition("@")
    spelt = [whom.email, f"{local.upper()}@{domain}"]
    assert await no_of(bench.services, spelt) == {one: {} for one in spelt}, "undone, however it is spelt"
