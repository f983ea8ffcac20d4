"""P3: in a batch of 500, 499 land; the bad one is refused or parked, with a reason that quotes nobody."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import pytest
from pymongo import MongoClient

from schemas.envelope import MAX_EVENTS, Event
from schemas.routes import SUBMISSIONS
from tests.installation import Installation
from tests.journeys.people import Canary, canary
from tests.journeys.scanner import Scanner
from tests.journeys.senders import Sender, raw_event
from tests.journeys.traffic import CRM, contact, events

BAD = 250  # the position of the bad one


@pytest.fixture
def sender(system: Installation) -> Sender:
    return Sender(system)


@pytest.fixture
def mongo(system: Installation) -> Iterator[MongoClient[dict[str, Any]]]:
    with system.mongo() as client:
        yield client


def landed(mongo: MongoClient[dict[str, Any]], name: str) -> set[str]:
    found = mongo.greffier_active.submissions.find({"event_id": {"$regex": f"^{name}-"}}, {"event_id": 1})
    return {submission["event_id"] for submission in found}


async def test_through_the_door_499_land_and_one_is_refused_by_name(
    system: Installation, sender: Sender, mongo: MongoClient[dict[str, Any]]
) -> None:
    whom = canary()
    batch = [contact(whom, f"door-{n}") for n in range(MAX_EVENTS)]
    batch[BAD]["data"]["email"] = whom.last_name
    asked = events(batch)
    async with aiohttp.ClientSession(system.doors[0].url) as session:
        headers = {**system.key_header, **asked.headers}
        async with session.post(asked.path, data=asked.body, headers=headers) as answer:
            said = await answer.json()
    assert (answer.status, said["accepted"]) == (202, MAX_EVENTS - 1)
    [refused] = said["refused"]
    assert (refused["index"], refused["id"]) == (BAD, batch[BAD]["id"])
    assert [error["pointer"] for error in refused["errors"]] == ["/data/email"]
    await sender.at_rest()
    assert landed(mongo, "door") == {event["id"] for event in batch} - {batch[BAD]["id"]}
    assert Scanner(system, whom.words).in_answers({"answer": json.dumps(said).encode()}) == []


def unread(whom: Canary) -> bytes:
    return whom.letter.encode()


def misspelt(whom: Canary) -> bytes:
    return json.dumps({**whom.crm_contact, "email": whom.last_name}).encode()


def unknown_field(whom: Canary) -> bytes:
    return json.dumps({**whom.crm_contact, "salary": whom.letter}).encode()


@pytest.mark.parametrize("bad", [unread, misspelt, unknown_field], ids=lambda bad: bad.__name__)
async def test_through_redis_499_land_and_one_is_parked(
    system: Installation, sender: Sender, mongo: MongoClient[dict[str, Any]], bad: Callable[[Canary], bytes]
) -> None:
    whom, name = canary(), f"redis{bad.__name__}"
    body = json.dumps(whom.crm_contact).encode()
    batch: list[Event] = [raw_event("greffier.contact.client", CRM, f"{name}-{n}", body) for n in range(MAX_EVENTS)]
    batch[BAD] = raw_event("greffier.contact.client", CRM, f"{name}-{BAD}", bad(whom))
    sender.post(SUBMISSIONS, *batch)
    await sender.at_rest()
    assert landed(mongo, name) == {event.id for event in batch} - {batch[BAD].id}
    [letter] = mongo.greffier_active.parked.find({"event": batch[BAD].key})
    assert letter["reason"]
    assert await Scanner(system, whom.words).places() == []
