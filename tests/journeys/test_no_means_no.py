"""P10: a "no" holds at the next use, no import undoes it, and it ends prospecting in every subsidiary's own store.

Through the public door, the queue and the workers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from joserfc import jws
from pydantic import SecretStr

from schemas.jose import SIGNATURE
from schemas.party_keys import read_party, read_token_key
from schemas.terms import Department, Purpose
from tests.chaos.group import Group
from tests.installation import Installation, running
from tests.journeys.people import Canary, canary
from tests.journeys.scanner import Scanner
from tests.journeys.senders import Sender
from tests.journeys.traffic import contact, events
from tests.waiting import until
from workers.audience import Audience
from workers.gate import Reader
from workers.members import Member
from workers.one_click import OneClickLinks
from workers.processes import free_port
from workers.services import Services, Trust, open_services
from workers.settings import ControllerSettings

PEOPLE = 5


@asynccontextmanager
async def reading(system: Installation) -> AsyncIterator[Services]:
    """What a reader has: the stores, and Redis to see what is still on its way."""
    urls = {"redis_url": SecretStr(system.valkey.url), "mongo_url": SecretStr(system.mongod.url)}
    settings = ControllerSettings(keys=system.data / "keys" / "controller", **urls)
    opened = open_services(settings, Trust.read(settings))
    yield opened
    await opened.close()


@pytest.fixture
async def services(system: Installation) -> AsyncIterator[Services]:
    async with reading(system) as opened:
        yield opened


async def members(services: Services) -> list[Member]:
    """Everybody who may be written to now."""
    audience = Audience(services, Reader("mailer", Department.MARKETING_SALES), Purpose.EVENT_INVITATIONS)
    return [member async for page in audience.pages() for member in page.members]


async def written_to(services: Services, people: list[Canary]) -> set[str]:
    """Who of them may be written to now."""
    return {member.email.lower() for member in await members(services)} & {whom.email for whom in people}


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


# ---------------------------------------------------------------------- in the subsidiaries' own stores


async def fill(group: Group, people: list[Canary], others: list[Canary]) -> None:
    """Every office holds everybody as a customer, and on a list."""
    for kit in group.kits.values():
        for number, whom in enumerate([*people, *others], 1):
            told = {"name": whom.last_name, "registered_at": datetime(2025, 3, 1, tzinfo=UTC), "newsletter": True}
            await kit.insert("customers", {"id": number, "email": whom.email.upper(), **told})
            await kit.insert("subscribers", {"id": number, "address": whom.email})


async def prospected(group: Group) -> dict[str, set[str]]:
    """Office → whom it writes to, as clients that share nothing with its worker see it."""
    found = {}
    for code, kit in group.kits.items():
        customers = {row["email"].lower() for row in await kit.rows("customers") if row["newsletter"]}
        found[code] = customers | {row["address"] for row in await kit.rows("subscribers")}
    return found


def signed_for(group: Group, kept: list[dict[str, Any]]) -> set[str]:
    """The offices whose own keys signed these receipts."""
    return {
        one["store"]
        for one in kept
        if jws.deserialize_compact(one["jws"], read_party(group.keys_of(one["store"])).signing, algorithms=[SIGNATURE])
    }


@pytest.mark.timeout(300)
async def test_one_click_ends_it_in_every_subsidiarys_own_store(fast_path: Path) -> None:
    """Within a minute of the 202, with a receipt that each office signed; who did not click is written to as before."""
    people, others = [canary() for _ in range(PEOPLE)], [canary()]
    group = Group(fast_path, offices=3, smtp_port=free_port())
    async with running(group), reading(group) as opened:
        try:
            await fill(group, people, others)
            sender = Sender(group)
            await sender.ask(events([contact(whom, f"far-{whom.number}") for whom in (*people, *others)]))
            await sender.at_rest()
            key = read_token_key(group.data / "keys" / "controller")
            links = OneClickLinks(key, opened.trust.references, group.doors[0].url)
            clicking = [one for one in await members(opened) if one.email in {whom.email for whom in people}]
            async with aiohttp.ClientSession() as http:
                for one in clicking:
                    link = links.headers(one.email, one.person, datetime.now(UTC))["List-Unsubscribe"].strip("<>")
                    async with http.post(link, data={"List-Unsubscribe": "One-Click"}) as said:
                        assert said.status == 202
            wanted = {code: {others[0].email} for code in group.codes}

            async def as_wanted() -> bool:
                return await prospected(group) == wanted

            await until(as_wanted, 60, what="no office writes to who said no")
            evidence = opened.databases.evidence
            await until(lambda: no_task_open(group), 60, what="every receipt in")
            assert signed_for(group, await evidence["receipts"].find().to_list(None)) == set(group.codes)
        finally:
            await group.empty()


def no_task_open(group: Group) -> bool:
    """By a client of its own: every round is over."""
    with group.mongo() as client:
        rounds = list(client["greffier_evidence"]["rounds"].find())
    return bool(rounds) and all("over_at" in one and "sealed" not in one for one in rounds)
