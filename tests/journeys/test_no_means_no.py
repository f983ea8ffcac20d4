"""P10: a "no" holds at the next use, and no import undoes it: through the public door, the queue and the workers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import aiohttp
import pytest
from pydantic import SecretStr

from schemas.party_keys import read_token_key
from schemas.terms import Department, Purpose
from tests.installation import Installation
from tests.journeys.people import Canary, canary
from tests.journeys.scanner import Scanner
from tests.journeys.senders import Sender
from tests.journeys.traffic import contact, events
from workers.audience import Audience
from workers.gate import Reader
from workers.one_click import OneClickLinks
from workers.services import Services, Trust, open_services
from workers.settings import ControllerSettings

PEOPLE = 5


@pytest.fixture
async def services(system: Installation) -> AsyncIterator[Services]:
    """What a reader has: the stores, and Redis to see what is still on its way."""
    urls = {"redis_url": SecretStr(system.valkey.url), "mongo_url": SecretStr(system.mongod.url)}
    settings = ControllerSettings(keys=system.data / "keys" / "controller", **urls)
    opened = open_services(settings, Trust.read(settings))
    yield opened
    await opened.close()


async def written_to(services: Services, people: list[Canary]) -> set[str]:
    """Who of them may be written to now."""
    audience = Audience(services, Reader("mailer", Department.MARKETING_SALES), Purpose.EVENT_INVITATIONS)
    everybody = {member.email async for page in audience.pages() for member in page.members}
    return {email.lower() for email in everybody} & {whom.email for whom in people}


async def test_one_click_ends_it_at_the_next_read_and_an_import_changes_nothing(
    system: Installation, services: Services
) -> None:
    people, sender = [canary() for _ in range(PEOPLE)], Sender(system)
    key = read_token_key(system.data / "keys" / "controller")
    links = OneClickLinks(key, services.trust.references, system.doors[0].url)
    await sender.ask(events([contact(whom, f"no-{whom.number}") for whom in people]))
    await sender.at_rest()
    assert await written_to(services, people) == {whom.email for whom in people}
    async with aiohttp.ClientSession() as http:
        for left, whom in enumerate(people, 1):
            link = links.headers(whom.email, None, datetime.now(UTC))["List-Unsubscribe"].strip("<>")
            async with http.get(link) as opened:
                assert opened.status == 200
            assert len(await written_to(services, people)) == PEOPLE - left + 1, "to open it changes nothing"
            async with http.post(link, data={"List-Unsubscribe": "One-Click"}, allow_redirects=False) as said:
                assert said.status == 202
            assert len(await written_to(services, people)) == PEOPLE - left, "a read waits for what was accepted"
    louder = [replace(whom, email=whom.email.upper()) for whom in people]
    await sender.ask(events([contact(whom, f"no-again-{whom.number}") for whom in louder]))
    await sender.at_rest()
    assert await written_to(services, people) == set()
    words = [word for whom in people for word in whom.words]
    assert await Scanner(system, words).places() == []
