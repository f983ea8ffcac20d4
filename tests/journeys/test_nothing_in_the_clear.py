"""P4: no personal data in the clear, in Redis, on disk, in logs at DEBUG, metrics, parked letters, anywhere.

Everything that can be said is said about people whose every word is looked for afterwards. Then the same scan is shown
to find a single word where one was left on purpose.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pymongo import MongoClient

from schemas.routes import CONSENT, NEWSLETTER, SUBMISSIONS
from tests.installation import Installation
from tests.journeys.people import Canary, canary
from tests.journeys.scanner import Scanner, rewrite_append_only_file, spellings
from tests.journeys.senders import Sender, message, raw_event, reasons
from tests.journeys.traffic import bad, consent, contact, events, good, misnamed
from tests.waiting import until


@pytest.fixture
def sender(system: Installation) -> Sender:
    return Sender(system)


@pytest.fixture
def mongo(system: Installation) -> Iterator[MongoClient[dict[str, Any]]]:
    with system.mongo() as client:
        yield client


async def test_good_and_bad_requests_leave_nothing(system: Installation, sender: Sender) -> None:
    whom = canary()
    await sender.ask(*good(whom))
    await sender.ask(*bad(whom))
    scanner = Scanner(system, whom.words)
    assert scanner.in_answers(sender.answers) == []
    await sender.ask(*misnamed(whom))
    await sender.at_rest()
    assert await scanner.places() == []


async def test_events_that_no_actor_can_keep_leave_nothing(
    system: Installation, sender: Sender, mongo: MongoClient[dict[str, Any]]
) -> None:
    whom = canary()
    before = reasons(list(mongo.greffier_active.parked.find()))
    for number, (queue, event_type, body) in enumerate(unkeepable(whom)):
        source = "https://crm.example.com" if "contact" in event_type else "/forms/contact"
        sender.post(queue, raw_event(event_type, source, f"unkeepable-{number}", body))
    await sender.ask(events([contact(whom, "twice")]))
    other = json.dumps({**whom.crm_contact, "last_name": whom.letter}).encode()
    twice = f"twice-{whom.number}"
    sender.post(SUBMISSIONS, raw_event("greffier.contact.client", "https://crm.example.com", twice, other))
    await sender.at_rest()
    parked = reasons(list(mongo.greffier_active.parked.find()))
    assert sum(parked.values()) - sum(before.values()) == len(unkeepable(whom)) + 1, parked
    assert await Scanner(system, whom.words).places() == []


def unkeepable(whom: Canary) -> list[tuple[str, str, bytes]]:
    """Queue, type and body that a publisher with a key, and with a fault, would seal."""
    right = whom.crm_contact
    unknown_purpose = {**consent(whom, "x"), "choices": {whom.letter: True}}
    unknown_purpose.pop("id")
    return [
        (SUBMISSIONS, "greffier.contact.client", json.dumps({**right, "salary": whom.letter}).encode()),
        (SUBMISSIONS, "greffier.contact.client", json.dumps({**right, "email": whom.last_name}).encode()),
        (SUBMISSIONS, "greffier.contact.client", json.dumps({**right, whom.email: 1}).encode()),
        (SUBMISSIONS, "greffier.contact.client", json.dumps(whom.letter).encode()),
        (SUBMISSIONS, "greffier.contact.client", whom.letter.encode()),
        (SUBMISSIONS, "greffier.contact.client", whom.last_name.encode("latin-1")),
        (SUBMISSIONS, "greffier.contact.stranger", json.dumps(right).encode()),
        (SUBMISSIONS, "greffier.form.newsletter", json.dumps({"email": whom.email}).encode()),
        (NEWSLETTER, "greffier.contact.client", json.dumps(right).encode()),
        (CONSENT, "greffier.cookie.consent", json.dumps({"device_id": whom.email}).encode()),
        (CONSENT, "greffier.cookie.consent", json.dumps(unknown_purpose).encode()),
        (CONSENT, "greffier.cookie.visit", json.dumps({"device_id": "d", "url": f"x:{whom.email}"}).encode()),
    ]


async def test_actors_that_fail_leave_nothing(
    system: Installation, sender: Sender, mongo: MongoClient[dict[str, Any]]
) -> None:
    whom = canary()
    with refusing(mongo, "links"):
        await sender.ask(*good(whom))
        with system.redis() as server:
            delayed = f"dramatiq:{SUBMISSIONS}.DQ.msgs"
            await until(lambda: server.hlen(delayed), 30, what="a retry waits in Redis")
            assert await Scanner(system, whom.words).places() == []
    await sender.at_rest()
    assert await Scanner(system, whom.words).places() == []


@contextmanager
def refusing(mongo: MongoClient[dict[str, Any]], collection: str) -> Iterator[None]:
    """Inside, the server refuses every document, and says so with the document in its words."""
    database = mongo["greffier_active"]
    database.command("collMod", collection, validator={"never": {"$exists": True}})
    try:
        yield
    finally:
        database.command("collMod", collection, validator={})


async def test_messages_that_are_not_ours_leave_nothing_once_parked(
    system: Installation, sender: Sender, mongo: MongoClient[dict[str, Any]]
) -> None:
    whom = canary()
    before = mongo.greffier_active.parked.count_documents({})
    forged = not_ours(sender, whom)
    for body in forged:
        sender.forge(SUBMISSIONS, body)
    await sender.at_rest()
    parked = mongo.greffier_active.parked
    await until(lambda: parked.count_documents({}) == before + len(forged), what="every one of them parked")
    await rewrite_append_only_file(system)  # what the forger himself wrote in clear went through this file
    assert await Scanner(system, whom.words).places() == []


def not_ours(sender: Sender, whom: Canary) -> list[bytes | dict[str, Any]]:
    """What somebody who can write to Redis might write, with everything in clear."""
    event = raw_event("greffier.contact.client", "https://crm.example.com", "forged", whom.letter.encode())
    sealed = sender.seal(event)
    clear = {"events": [contact(whom, "clear")], "data": whom.letter}
    return [
        whom.letter.encode(),
        json.dumps({whom.last_name: whom.email}).encode(),
        json.dumps([whom.letter]).encode(),
        message(SUBMISSIONS, clear),
        message(SUBMISSIONS, whom.letter),
        message(SUBMISSIONS, sealed, args=[whom.email]),
        message(SUBMISSIONS, sealed, kwargs={whom.email: whom.letter}),
        message(SUBMISSIONS, sealed, actor_name=whom.letter),
        message(SUBMISSIONS, sealed, message_id=whom.email),
        message(SUBMISSIONS, {**sealed, "door": whom.letter}),
        message(SUBMISSIONS, {**sealed, "kid": whom.letter}),
        message(SUBMISSIONS, {**sealed, "note": whom.letter}),
        message(SUBMISSIONS, {**sealed, whom.email: 1}),
        message(SUBMISSIONS, {**sealed, "events": [{**sealed["events"][0], whom.email: 1}]}),
        message(SUBMISSIONS, sealed, **{whom.letter: 1}),
        message(SUBMISSIONS, sealed, queue_name=whom.letter),
        message(SUBMISSIONS, {**sealed, "sealed": base64.b64encode(whom.letter.encode()).decode()}),
    ]


Leak = Callable[[Installation, str], Awaitable[None]]


async def into_a_log(system: Installation, word: str) -> None:
    with (system.data / "logs" / "leak.log").open("a") as log:
        log.write(f"kept {word.lower()}\n")


async def into_redis(system: Installation, word: str) -> None:
    with system.redis() as server:
        server.hset("leak", "field", base64.b64encode(f"a{word}z".encode()))


async def into_the_append_only_file(system: Installation, word: str) -> None:
    with system.redis() as server:
        server.set("leak", json.dumps(word))
        server.delete("leak")


async def into_a_document(system: Installation, word: str) -> None:
    with system.mongo() as client:
        client.greffier_evidence.leaks.insert_one({"ledger": [{"who": word}]})


LEAKS: list[Leak] = [into_a_log, into_redis, into_the_append_only_file, into_a_document]


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.__name__)
async def test_the_scan_finds_one_word_left_anywhere(system: Installation, leak: Leak) -> None:
    whom = canary()
    assert await Scanner(system, whom.words).places() == []
    await leak(system, whom.last_name)
    assert await Scanner(system, whom.words).places() != []


async def test_the_scan_finds_it_in_a_process(system: Installation) -> None:
    found = await Scanner(system, ["GREFFIER_LOG_LEVEL"]).places()
    assert {place.partition(":")[0] for place in found} == {f"environment of {child.name}" for child in system.children}


@pytest.mark.parametrize("before", range(4))
def test_base64_is_seen_wherever_the_word_begins(before: int) -> None:
    word = "Papillonère"
    inside = base64.b64encode(b"x" * before + word.encode() + b"yz")
    assert any(spelling in inside for spelling in spellings(word))
