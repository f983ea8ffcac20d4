"""One person, published at once through two doors to three workers, exists once. So does one event. Source: P2."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from pymongo import MongoClient

from tests.installation import Installation
from tests.journeys.people import POLICY, Canary, canary
from tests.journeys.senders import Sender
from tests.journeys.traffic import Asked, contact, events, form, one_event

ROUNDS = range(8, 60)  # at least, at most: until every worker had its share
WORKED = re.compile(r'^greffier_events_total\{outcome="worked",queue="submissions"\} (\S+)', re.MULTILINE)


@pytest.fixture
def sender(system: Installation) -> Sender:
    return Sender(system)


@pytest.fixture
def mongo(system: Installation) -> Iterator[MongoClient[dict[str, Any]]]:
    with system.mongo() as client:
        yield client


def words_of(whom: Canary) -> list[Asked]:
    """One person's first appearances, all different."""
    return [
        form("contact", whom.contact_form),
        form("white-paper", {**whom.named, **POLICY}),
        one_event(contact(whom, "once-client", "client")),
        events([contact(whom, "once-partner", "partner"), contact(whom, "once-prospect", "prospect")]),
    ]


async def worked(system: Installation) -> list[float]:
    """Events that each worker has kept so far, as it counts them itself: who took part, not what came of it."""
    found = []
    async with aiohttp.ClientSession() as session:
        for controller in system.controllers:
            async with session.get(controller.metrics_url) as answer:
                said = WORKED.search(await answer.text())
                found.append(float(said[1]) if said else 0.0)
    return found


async def test_one_person_through_two_doors_to_three_workers_exists_once(
    system: Installation, sender: Sender, mongo: MongoClient[dict[str, Any]]
) -> None:
    before, persons, people = await worked(system), mongo.greffier_active.persons.count_documents({}), []
    for number in range(ROUNDS.stop):
        whom = canary()
        people.append(whom)
        asked = [sender.ask(one, door=door) for one in words_of(whom) for door in system.doors]
        await asyncio.gather(*asked)
        shares = [after - earlier for after, earlier in zip(await worked(system), before, strict=True)]
        if number >= ROUNDS.start and all(shares):
            break
    await sender.at_rest()
    assert all(shares), shares
    active = mongo.greffier_active
    assert active.persons.count_documents({}) - persons == len(people)
    for whom in people:
        ids = [f"once-{case}-{whom.number}" for case in ("client", "partner", "prospect")]
        contacts = list(active.submissions.find({"event_id": {"$in": ids}}))
        assert len(contacts) == len(ids)
        [person] = {found["person"] for found in contacts}
        assert active.submissions.count_documents({"person": person}) == len(ids) + 4  # two forms through two doors
        assert mongo.greffier_keys["keys"].count_documents({"_id": {"$regex": f"^{person}/"}}) == 1


async def test_one_form_sent_to_two_doors_at_once_is_one_event(
    system: Installation, sender: Sender, mongo: MongoClient[dict[str, Any]]
) -> None:
    for _ in range(10):
        whom = canary()
        asked = form("contact", whom.contact_form, key=f"once-{whom.number}")
        answers = await asyncio.gather(*(posted(door.url, asked) for door in system.doors))
        accepted = [content["id"] for status, content in answers if status == 202]
        assert accepted
        assert {status for status, _ in answers} <= {202, 409}
        again = await posted(system.doors[1].url, replace(asked))
        assert again[0] == 202
        [event] = {*accepted, again[1]["id"]}
        await sender.at_rest()
        assert mongo.greffier_active.submissions.count_documents({"event_id": event}) == 1


async def posted(door: str, asked: Asked) -> tuple[int, dict[str, Any]]:
    async with (
        aiohttp.ClientSession(door) as session,
        session.post(asked.path, data=asked.body, headers=asked.headers) as answer,
    ):
        return answer.status, await answer.json(content_type=None)
