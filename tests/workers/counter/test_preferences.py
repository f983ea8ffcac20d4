"""The page of preferences: what it shows, what it accepts, and that a choice travels to its effect. R16, R21."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis
from pydantic import SecretStr

from producers.door.app import Door
from producers.settings import DoorSettings
from schemas.newsletter import PREFERENCES
from schemas.party_keys import read_token_key
from schemas.register import load_register
from schemas.routes import NEWSLETTER
from schemas.subject import ReferenceUse
from schemas.terms import Case, Purpose
from schemas.tokens import TokenKind
from tests.factories import Someone, contact, someone
from tests.workers.bench import Bench
from workers.counter.app import open_counter
from workers.counter.choosing import ALL, Shown
from workers.counter.settings import CounterSettings
from workers.one_click import OneClickLinks
from workers.preferences import no_of
from workers.rules.tokens import make_token

INVITATIONS = Purpose.EVENT_INVITATIONS
ENGLISH = {"Accept-Language": "en-GB"}
REGISTER = load_register()


@dataclass
class Page:
    """A counter and the door behind it, each on a port, and the controller's stores."""

    http: aiohttp.ClientSession
    bench: Bench
    client: redis.Redis
    links: OneClickLinks
    url: str

    async def link(self, whom: Someone, age: timedelta = timedelta()) -> str:
        """As a mail to somebody who is held bears it, without the host."""
        services = self.bench.services
        ref = services.trust.references.of_email(ReferenceUse.LOOKUP, whom.email)
        person = (await services.people.find([ref])).get(ref)
        found = self.links.preferences(whom.email, person, services.clock() - age)
        return found.removeprefix("https://counter.example.com")

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        async with self.http.get(path, headers=headers) as answer:
            return answer.status, await answer.text()

    async def post(self, path: str, fields: dict[str, Any]) -> tuple[int, str]:
        async with self.http.post(path, data=fields, headers=ENGLISH) as answer:
            return answer.status, await answer.text()

    def waiting(self) -> list[dict[str, Any]]:
        """The messages that lie in Redis."""
        bodies = [self.client.hgetall(f"dramatiq:{NEWSLETTER}.msgs")]
        return [json.loads(body) for found in bodies for body in found.values()]

    async def worked_off(self) -> None:
        """What a controller does with them."""
        for message in self.waiting():
            await self.bench.deliver(message["kwargs"]["batch"], NEWSLETTER)
        self.client.flushdb()


@pytest.fixture
async def page(bench: Bench, keys: Path, mongo_url: str, redis_url: str) -> AsyncIterator[Page]:
    door_settings = DoorSettings(redis_url=redis_url, door_port=0, metrics_port=0, keys=keys / "door")
    links = OneClickLinks(
        read_token_key(keys / "controller"),
        bench.services.trust.references,
        "https://www.example.com",
        "https://counter.example.com",
    )
    async with Door(door_settings) as door:
        settings = CounterSettings(
            mongo_url=SecretStr(mongo_url),
            mongo_prefix=bench.prefix,
            keys=keys / "counter",
            counter_port=0,
            door_url=f"http://127.0.0.1:{door.port}",
        )
        async with open_counter(settings, bench.clock) as port:
            url = f"http://127.0.0.1:{port}"
            async with aiohttp.ClientSession(url) as http:
                with redis.Redis.from_url(redis_url) as client:
                    yield Page(http, bench, client, links, url)


async def held(bench: Bench) -> Someone:
    whom = someone()
    await bench.send(contact(Case.CLIENT, whom))
    return whom


def fields_of(text: str) -> dict[str, str]:
    """What a browser without scripts would send back: the hidden fields, and the answers that are checked."""
    found = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]+)">', text))
    return found | dict(re.findall(r'<input type="radio" name="([^"]+)" value="([^"]+)" checked>', text))


async def test_looking_changes_nothing_and_shows_each_purpose_in_two_languages(page: Page, bench: Bench) -> None:
    whom = await held(bench)
    link = await page.link(whom)
    for language, title in (("fr", "Vos préférences"), ("en", "Your preferences")):
        status, text = await page.get(link, **{"Accept-Language": language})
        assert (status, f"<h1>{title}</h1>" in unescape(text)) == (200, True)
        assert set(re.findall(r'type="radio" name="([^"]+)"', text)) == REGISTER.prospecting
        assert "<script" not in text
        assert not [word for word in whom.canaries if word in text]
    assert page.waiting() == []
    assert bench.collection("suppressions", "evidence") == []


async def test_a_choice_goes_by_the_door_and_the_page_shows_it_next_time(page: Page, bench: Bench) -> None:
    whom = await held(bench)
    link = await page.link(whom)
    _, text = await page.get(link, **ENGLISH)
    status, said = await page.post(link, fields_of(text) | {INVITATIONS.value: "no"})
    assert (status, "Your choice is recorded" in said) == (202, True)
    [message] = page.waiting()
    assert whom.email not in json.dumps(message), "sealed like everything else"
    await page.worked_off()
    assert list((await no_of(bench.services, [whom.email]))[whom.email]) == [INVITATIONS]
    [agreement] = bench.collection("agreements")
    assert (agreement["notice_sha256"], agreement["language"]) == (Shown.by(REGISTER, "en").sha256, "en")

    _, text = await page.get(link, **ENGLISH)
    shown = fields_of(text)
    assert shown[INVITATIONS.value] == "no"
    assert (await page.post(link, shown | {INVITATIONS.value: "yes"}))[0] == 202
    await page.worked_off()
    assert (await no_of(bench.services, [whom.email]))[whom.email] == {}, "undone by the same link"


async def test_one_button_refuses_everything(page: Page, bench: Bench) -> None:
    """And withdraws every consent, which is a case like any withdrawal: refusing is as easy as accepting."""
    whom = await held(bench)
    link = await page.link(whom)
    _, text = await page.get(link)
    assert (await page.post(link, fields_of(text) | {ALL: "no"}))[0] == 202
    [message] = page.waiting()
    for _ in range(2):
        await bench.deliver(message["kwargs"]["batch"], NEWSLETTER)
    [case] = bench.collection("cases", "evidence")
    assert (case["right"], case["confirmed"], case["language"]) == ("withdrawal", True, "fr")
    noted = sorted(one["body"]["kind"] for one in bench.collection("ledger_pending", "evidence"))
    assert noted == ["request_confirmed", "request_received", "suppressed"]
    assert (await no_of(bench.services, [whom.email]))[whom.email].keys() == REGISTER.prospecting


async def test_programs_may_ask_in_json(page: Page, bench: Bench) -> None:
    whom = await held(bench)
    link = await page.link(whom)
    told = json.loads((await page.get(link, Accept="application/json"))[1])
    assert (set(told["purposes"]), told["choices"]) == (REGISTER.prospecting, {})
    body = {"choices": {INVITATIONS.value: False}, "notice": told["notice"], "language": told["language"]}
    async with page.http.post(link, json=body, headers={"Accept": "application/json"}) as answer:
        assert (answer.status, (await answer.json())["choices"]) == (202, {INVITATIONS.value: False})


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 422),
        ({"recruitment": "no"}, 400),
        ({INVITATIONS.value: "perhaps"}, 400),
        ({INVITATIONS.value: "no", "notice": "0" * 64}, 409),
    ],
)
async def test_what_the_page_did_not_ask_is_not_accepted(
    page: Page, bench: Bench, fields: dict[str, str], status: int
) -> None:
    link = await page.link(await held(bench))
    assert (await page.post(link, fields))[0] == status
    for said in (b"[]", b'{"choices": []}', b'{"choices": {"event-invitations": [1]}}', b'{"language": {}}', b"{"):
        async with page.http.post(link, data=said, headers={"Content-Type": "application/json"}) as answer:
            assert answer.status == 400
    assert page.waiting() == []


async def test_what_is_not_ours_is_not_there_and_what_has_ended_says_so(page: Page, bench: Bench) -> None:
    whom = await held(bench)
    link, old = await page.link(whom), await page.link(whom, timedelta(days=398))
    key, now = page.links.token_key, bench.clock()
    wrong = [
        "/preferences/x",
        link[:-4] + "AAAA",
        "/preferences/" + make_token(key, TokenKind.UNSUBSCRIBE, PREFERENCES, token_id="x" * 32, now=now),
        "/preferences/" + make_token(key, TokenKind.PREFERENCES, "newsletter", token_id="x" * 32, now=now),
    ]
    for path in wrong:
        assert (await page.get(path))[0] == (await page.post(path, {ALL: "no"}))[0] == 404
    assert (await page.get(old))[0] == (await page.post(old, {ALL: "no"}))[0] == 410
    unsubscribe = page.links.headers(whom.email, None, now)["List-Unsubscribe"].rpartition("/")[2].strip(">")
    assert (await page.get(f"/preferences/{unsubscribe}"))[0] == 404, "a link to leave is none to come back"
    assert page.waiting() == []


async def test_nothing_is_said_to_be_recorded_while_the_door_is_away(
    bench: Bench, keys: Path, mongo_url: str, page: Page
) -> None:
    settings = CounterSettings(
        mongo_url=SecretStr(mongo_url),
        mongo_prefix=bench.prefix,
        keys=keys / "counter",
        counter_port=0,
        door_url="http://127.0.0.1:9",
    )
    link = await page.link(await held(bench))
    async with (
        open_counter(settings, bench.clock) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http,
        http.post(link, data={ALL: "no"}) as answer,
    ):
        assert (answer.status, "Retry-After" in answer.headers) == (503, True)


async def test_the_door_takes_only_choices_with_their_proof(
    page: Page, bench: Bench, redis_url: str, keys: Path
) -> None:
    """Whoever leads people past the counter gets no further than the counter does."""
    link = await page.link(await held(bench))
    proof = {"policy_version": "1", "notice_sha256": "0" * 64, "language": "en"}
    settings = DoorSettings(redis_url=redis_url, door_port=0, metrics_port=0, keys=keys / "door")
    async with Door(settings) as door, aiohttp.ClientSession(f"http://127.0.0.1:{door.port}") as http:
        for body, status in (
            ({"choices": {INVITATIONS.value: False}}, 422),
            ({"choices": {"recruitment": False}, **proof}, 422),
            ({"choices": {}, **proof}, 422),
            ({"choices": {INVITATIONS.value: False}, "list": "newsletter", "email": "ada@example.com", **proof}, 422),
            ({"choices": {INVITATIONS.value: False}, **proof}, 202),
        ):
            async with http.post(link, json=body) as answer:
                assert answer.status == status
    assert len(page.waiting()) == 1
