"""Forms, CRM contacts and anchor events, from a message to MongoDB. R1–R3, R13; P2–P4."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import encode

from schemas.envelope import Event
from schemas.routes import file_key, form_source, form_type
from schemas.submissions import CONTACT_CASES, FORM_CASES
from schemas.terms import Case, Department, Purpose
from tests import factories
from tests.factories import NOON, REGISTER
from tests.workers.bench import Bench, purposes_of
from workers.stores.keys import ACTIVE, key_id

MIDNIGHT_AFTER_THREE_YEARS = datetime(2029, 11, 20, 23, tzinfo=UTC)


def of_case(case: Case, whom: factories.Someone, **options: Any) -> Event:
    return (factories.form if case in FORM_CASES else factories.contact)(case, whom, **options)


@pytest.mark.parametrize("case", [case for case in (*FORM_CASES, *CONTACT_CASES) if case is not Case.NEWSLETTER])
async def test_each_case_serves_its_purposes_and_no_other(bench: Bench, case: Case) -> None:
    """Source: R3."""
    event = of_case(case, factories.someone())
    await bench.send(event)
    links = {link["purpose"]: link for link in bench.collection("links")}
    assert set(links) == set(purposes_of(case))
    assert {link["submission"] for link in links.values()} == {event.key}
    assert {link["basis"] for link in links.values()} <= {"legitimate-interests", "contract"}


@pytest.mark.parametrize(
    ("case", "purpose", "since", "expires"),
    [
        (Case.CONTACT, Purpose.SALES_PROSPECTING, NOON, MIDNIGHT_AFTER_THREE_YEARS),
        (Case.JOB_APPLICATION, Purpose.RECRUITMENT, NOON, None),
        (Case.SUPPLIER, Purpose.SERVICES_AND_CONTRACT, datetime(2026, 10, 31, 23, tzinfo=UTC), None),
        # Of what the CRM collected earlier, the period began then. Three years end with the day: 1 November, in winter.
        (
            Case.PROSPECT,
            Purpose.EVENT_INVITATIONS,
            datetime(2026, 10, 31, 23, tzinfo=UTC),
            datetime(2029, 11, 1, 23, tzinfo=UTC),
        ),
    ],
)
async def test_a_link_bears_its_dates(
    bench: Bench, case: Case, purpose: Purpose, since: datetime, expires: datetime | None
) -> None:
    await bench.send(of_case(case, factories.someone()))
    (link,) = [link for link in bench.collection("links") if link["purpose"] == purpose]
    assert (link["since"], link["expires"]) == (since, expires)


async def test_a_day_of_collection_that_is_yet_to_come_counts_from_arrival(bench: Bench) -> None:
    await bench.send(factories.contact(Case.PARTNER, factories.someone(), collected_at="2031-01-01"))
    assert {link["since"] for link in bench.collection("links")} == {NOON}


async def test_a_source_and_a_day_of_collection_are_kept(bench: Bench) -> None:
    """Source: R2 (Art. 14)."""
    whom = factories.someone()
    await bench.send(factories.contact(Case.PROSPECT, whom, collected_at="2026-11-03"))
    (kept,) = bench.collection("submissions")
    assert kept["collected_at"] == "2026-11-03"
    (seen,) = await bench.read(whom.email, Purpose.SALES_INFORMATION)
    assert seen.data["source"] == "trade fair"


async def test_one_person_whatever_the_letter_case_of_the_address(bench: Bench) -> None:
    whom = factories.someone()
    await bench.send(
        factories.form(Case.CONTACT, whom), factories.form(Case.WHITE_PAPER, whom, email=whom.email.upper())
    )
    assert len(bench.collection("persons")) == 1
    assert len(bench.collection("submissions")) == 2


async def test_nothing_said_about_a_person_stands_in_clear(bench: Bench) -> None:
    """Byte by byte, every document of every database: no name, address, phone, or piece of a file. Source: P4."""
    whom, cv = factories.someone(), factories.file(b"%PDF-1.7 the life of somebody in particular")
    application = factories.form(
        Case.JOB_APPLICATION, whom, cv=cv.field, cover_letter="Dear all, it is me", device_id="device-of-somebody"
    )
    await bench.upload(cv, application)
    await bench.send(application, factories.contact(Case.CLIENT, whom))
    await bench.send(factories.form(Case.JOB_APPLICATION, whom, event_id=application.id))
    await bench.send(factories.raw_event(form_type(Case.CONTACT), form_source(Case.CONTACT), application.body))
    await bench.send(
        factories.interacted(NOON, email=whom.email),
        factories.choice("device-of-somebody"),
        factories.visit("device-of-somebody"),
    )
    await bench.read(whom.email)
    sought = [
        text.encode()
        for text in (*whom.canaries, "somebody in particular", "Dear all", "device-of-somebody", "trade fair")
    ]
    for place, documents in bench.dump().items():
        for document in documents:
            raw = encode(document)
            assert [text for text in sought if text in raw] == [], place


async def test_the_scan_would_see_what_is_in_clear(bench: Bench) -> None:
    whom = factories.someone()
    bench.reader[f"{bench.prefix}_active"]["submissions"].insert_one({"note": f"call {whom.first_name}"})
    assert any(whom.first_name.encode() in encode(one) for one in bench.collection("submissions"))


# --- files ----------------------------------------------------------------------------------------------------------


async def test_a_cv_is_kept_sealed_and_leaves_redis(bench: Bench) -> None:
    whom, cv, letter = factories.someone(), factories.file(), factories.file(b"a letter of its own")
    event = factories.form(Case.JOB_APPLICATION, whom, cv=cv.field, cover_letter=letter.field)
    await bench.upload(cv, event)
    await bench.upload(letter, event)
    wire = await bench.send(event)
    await bench.deliver(wire)
    (kept,) = bench.collection("submissions")
    keys = await bench.services.keys.read([key_id(kept["person"], ACTIVE)])
    key = keys[key_id(kept["person"], ACTIVE)]
    for file in (cv, letter):
        assert await bench.services.files.read(file.id, kept["person"], key) == file.content
        assert not await bench.redis.exists(file_key(file.id))
    assert bench.reasons() == []


async def test_a_file_that_is_not_there_parks_its_event_alone(bench: Bench) -> None:
    whom, lost = factories.someone(), factories.file()
    await bench.send(factories.form(Case.JOB_APPLICATION, whom, cv=lost.field), factories.form(Case.CONTACT, whom))
    assert bench.reasons() == ["file_missing"]
    assert [one["case"] for one in bench.collection("submissions")] == ["contact"]


async def test_a_file_sealed_for_another_event_does_not_open(bench: Bench) -> None:
    whom, cv = factories.someone(), factories.file()
    other = factories.form(Case.JOB_APPLICATION, whom, cv=cv.field)
    await bench.upload(cv, other)
    await bench.send(factories.form(Case.JOB_APPLICATION, whom, cv=cv.field))
    assert bench.reasons() == ["bad_seal"]
    assert bench.collection("submissions") == bench.collection("files.chunks") == []
    assert await bench.redis.exists(file_key(cv.id))  # as long as its letter waits for staff


async def test_a_file_leaves_redis_with_the_letter_that_waits_for_it(bench: Bench) -> None:
    whom, cv = factories.someone(), factories.file()
    await bench.upload(cv, factories.form(Case.JOB_APPLICATION, whom, cv=cv.field))
    await bench.send(factories.form(Case.JOB_APPLICATION, whom, cv=cv.field))
    await bench.services.forgetting.forget(whom.email)
    assert bench.reasons() == []
    assert not await bench.redis.exists(file_key(cv.id))


# --- what cannot be kept --------------------------------------------------------------------------------------------


async def test_one_bad_event_of_500_harms_no_neighbour(bench: Bench) -> None:
    """Source: P3."""
    whom = factories.someone()
    events = [factories.form(Case.NEWSLETTER, whom) for _ in range(500)]
    body = json.dumps({"email": whom.email, "policy_version": "1", "name": whom.last_name}).encode()
    events[250] = factories.raw_event(events[250].type, events[250].source, body)
    await bench.send(*events)
    assert len(bench.collection("submissions")) == 499
    (letter,) = bench.collection("parked")
    assert (letter["reason"], letter["pointer"], letter["event"]) == ("not_in_normal_form", "/name", events[250].key)
    assert not [text for text in whom.canaries if text.encode() in encode(letter)]
    assert await bench.services.parked.content(letter["_id"], bench.clock()) == body


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"", ""),
        (b"\xff\xfe", ""),
        (b"[]", ""),
        (b'{"email":"a@example.org"}', "/last_name"),
        (b'{"last_name":"X","email":"not an address","policy_version":"1"}', "/email"),
        (b'{"last_name":7,"email":"a@example.org","policy_version":"1"}', "/last_name"),
    ],
)
async def test_a_body_that_is_no_form_is_parked_with_its_place(bench: Bench, body: bytes, pointer: str) -> None:
    await bench.send(factories.raw_event(form_type(Case.CONTACT), form_source(Case.CONTACT), body))
    (letter,) = bench.collection("parked")
    assert (letter["reason"], letter["pointer"]) == ("not_in_normal_form", pointer)
    assert bench.collection("persons") == []


async def test_an_event_of_another_queue_or_of_no_type_is_parked(bench: Bench) -> None:
    foreign = [factories.choice("d"), factories.raw_event("greffier.form.survey", "/forms/survey", b"{}")]
    await bench.deliver(bench.seal(*foreign))
    assert bench.reasons() == ["unknown_type", "unknown_type"]


async def test_the_same_id_with_another_body_is_parked_and_never_merged(bench: Bench) -> None:
    whom, other = factories.someone(), factories.someone()
    first = factories.form(Case.CONTACT, whom)
    await bench.send(first)
    wire = await bench.send(factories.form(Case.CONTACT, other, event_id=first.id))
    await bench.deliver(wire)
    assert bench.reasons() == ["same_id_other_body"]
    (seen,) = await bench.read(whom.email)
    assert seen.data["last_name"] == whom.last_name
    assert await bench.read(other.email) == []


async def test_one_id_twice_in_a_batch_is_one_event_or_a_conflict(bench: Bench) -> None:
    whom = factories.someone()
    first = factories.form(Case.CONTACT, whom)
    await bench.send(first, first, factories.form(Case.CONTACT, whom, event_id=first.id, first_name="Otherwise"))
    assert len(bench.collection("submissions")) == 1
    assert bench.reasons() == ["same_id_other_body"]


async def test_one_id_from_two_sources_is_two_events(bench: Bench) -> None:
    whom = factories.someone()
    event_id = factories.new_id()
    await bench.send(
        factories.contact(Case.PROSPECT, whom, event_id=event_id, source="/crm/one"),
        factories.contact(Case.PROSPECT, whom, event_id=event_id, source="/crm/two"),
    )
    assert len(bench.collection("submissions")) == 2
    assert bench.reasons() == []


# --- what periods are counted from ----------------------------------------------------------------------------------


@pytest.mark.parametrize("anchor_first", [True, False], ids=["before the record", "after it"])
async def test_an_application_is_open_until_it_is_decided_and_three_months_more(
    bench: Bench, anchor_first: bool
) -> None:
    whom = factories.someone()
    applied = factories.form(Case.JOB_APPLICATION, whom)
    decided = factories.decided(NOON, about=applied.id)
    for event in (decided, applied) if anchor_first else (applied, decided):
        await bench.send(event)
    (seen,) = await bench.read(whom.email, Purpose.RECRUITMENT, Department.ADMINISTRATION)
    assert seen.until == datetime(2027, 2, 20, 23, tzinfo=UTC)


async def test_a_reply_lengthens_what_runs_from_the_last_contact(bench: Bench) -> None:
    whom = factories.someone()
    await bench.send(factories.form(Case.CONTACT, whom))
    replies = [
        factories.interacted(NOON + timedelta(days=days), email=whom.email, received=NOON + timedelta(days=days))
        for days in (40, 10, 20)
    ]
    for reply in replies:
        wire = await bench.send(reply)
        await bench.deliver(wire)
    (seen,) = await bench.read(whom.email)
    assert seen.until == datetime(2029, 12, 30, 23, tzinfo=UTC)


LATER = NOON + timedelta(days=30)
MOVES = {
    "a reply": (Purpose.SALES_PROSPECTING, lambda whom: factories.interacted(LATER, received=LATER, **whom)),
    "the end of the contract": (
        Purpose.SERVICES_AND_CONTRACT,
        lambda whom: factories.ended(LATER, received=LATER, **whom),
    ),
}
MOVED = {
    "a reply": datetime(2029, 12, 20, 23, tzinfo=UTC),
    "the end of the contract": datetime(2026, 12, 20, 23, tzinfo=UTC),
}


@pytest.mark.parametrize("by", ["email", "about"])
@pytest.mark.parametrize("first", [True, False], ids=["before the record", "after it"])
@pytest.mark.parametrize("move", MOVES)
async def test_what_moves_a_date_moves_that_of_its_own_record_once_whenever_it_comes(
    bench: Bench, move: str, first: bool, by: str
) -> None:
    """Twice too; and what is said of another address, or another record, moves nothing. Source: R13; P2."""
    bench.clock.at = NOON
    purpose, moving = MOVES[move]
    whom, other = factories.someone(), factories.someone()
    client, another = factories.contact(Case.CLIENT, whom), factories.contact(Case.CLIENT, other)
    moved = moving({"email": whom.email} if by == "email" else {"about": client.id})
    foreign = [moving({"email": factories.someone().email}), moving({"about": factories.new_id()})]
    for event in (moved, moved, *foreign, client, another) if first else (client, another, moved, moved, *foreign):
        await bench.send(event)
    assert [one.until for one in await bench.read(whom.email, purpose)] == [MOVED[move]]
    assert [one.until for one in await bench.read(other.email, purpose)] != [MOVED[move]]


async def test_an_anchor_event_from_the_future_counts_from_its_arrival(bench: Bench) -> None:
    whom = factories.someone()
    await bench.send(factories.form(Case.CONTACT, whom))
    await bench.send(factories.interacted(NOON + timedelta(days=4000), email=whom.email, received=NOON))
    (seen,) = await bench.read(whom.email)
    assert seen.until == MIDNIGHT_AFTER_THREE_YEARS


async def test_an_anchor_event_names_one_of_address_and_event(bench: Bench) -> None:
    await bench.send(factories.interacted(NOON), factories.ended(NOON, about="e-1", email="a@example.org"))
    assert bench.reasons() == ["email_or_about", "email_or_about"]
    assert bench.collection("anchors") == []


async def test_an_anchor_event_with_another_body_is_parked(bench: Bench) -> None:
    first = factories.interacted(NOON, email="a@example.org")
    await bench.send(first)
    await bench.send(factories.interacted(NOON, email="b@example.org", event_id=first.id))
    assert bench.reasons() == ["same_id_other_body"]
    assert len(bench.collection("anchors")) == 1


def test_the_register_and_these_tests_speak_of_the_same_purposes() -> None:
    assert {case: tuple(rule.purposes) for case, rule in REGISTER.cases.items()} == {
        case: tuple(purposes_of(case)) for case in Case
    }
