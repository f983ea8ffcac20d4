"""``/unsubscribe/{token}``: one click, no context, nothing lost, and no link but ours. Source: R24; P10; RFC 8058."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from joserfc.jwk import OKPKey

from producers.door.unsubscribe import Unsubscribe
from schemas.keyring import read_references
from schemas.newsletter import LIST
from schemas.party_keys import read_token_key
from schemas.tokens import MAX_CHARS, TokenKind, sign_token
from tests.producers.conftest import ORIGIN, Front, Installation, Letters, OpenDoor
from tests.producers.samples import PERSON
from workers.one_click import OneClickLinks
from workers.rules.tokens import LIFETIMES

URL = "https://www.example.com"
SAID = "List-Unsubscribe=One-Click"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
YEAR_AND_A_MONTH = timedelta(days=397)

Link = Callable[..., str]


@pytest.fixture(scope="session")
def links(installation: Installation) -> OneClickLinks:
    controller = installation.folder / "controller"
    return OneClickLinks(read_token_key(controller), read_references(controller), URL)


@pytest.fixture(scope="session")
def link(links: OneClickLinks) -> Link:
    """The path of a link as a mail to this address bears it. ``age``: since the mail was made."""

    def made(email: str = PERSON["email"], age: timedelta = timedelta()) -> str:
        header = links.headers(email, None, datetime.now(UTC) - age)["List-Unsubscribe"]
        return header.removeprefix(f"<{URL}").removesuffix(">")

    return made


def as_form(said: str = SAID) -> dict[str, Any]:
    return {"data": said.encode(), "headers": FORM}


def as_multipart(said: str = SAID) -> dict[str, Any]:
    data = aiohttp.FormData(default_to_multipart=True)
    data.add_field(*said.split("="))
    return {"data": data}


@pytest.mark.parametrize("way", [as_form, as_multipart])
async def test_one_click_is_kept_as_an_event_without_an_address(
    front: Front, letters: Letters, link: Link, way: Any
) -> None:
    path = link()
    async with front.http.post(path, **way(), allow_redirects=False) as answer:
        assert answer.status == 202
        assert "Set-Cookie" not in answer.headers
    (event,) = letters.events("newsletter")
    body = json.loads(event.body)
    assert (event.source, event.type, event.time) == ("/unsubscribe", "greffier.newsletter.unsubscribed", None)
    assert (set(body), body["list"]) == ({"list", "reference"}, "newsletter")
    assert event.id == hashlib.sha256(body["reference"].encode()).hexdigest()
    lying = letters.everything()
    assert PERSON["email"].encode() not in lying
    assert body["reference"].encode() not in lying, "it travels sealed, so that a log of links says nothing of Redis"


async def test_it_needs_no_cookie_no_origin_and_no_name(front: Front, letters: Letters, link: Link) -> None:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as stranger:
        for origin in ({}, {"Origin": "https://mail.example.org"}, {"Origin": ORIGIN}, {"Origin": "null"}):
            url = f"http://127.0.0.1:{front.door.port}{link()}"
            async with stranger.post(url, data=SAID.encode(), headers=FORM | origin) as answer:
                assert answer.status == 202
    assert len(letters.events("newsletter")) == 4


async def test_a_repeat_is_the_same_event_and_the_same_answer(front: Front, letters: Letters, link: Link) -> None:
    path = link()
    answers = {await front.post(path, **as_form()) for _ in range(3)}
    assert len(answers) == 1
    assert {(event.id, event.body) for event in letters.events("newsletter")} == {
        (event.id, event.body) for event in letters.events("newsletter")[:1]
    }


async def test_the_answer_is_the_same_for_everybody(front: Front, link: Link) -> None:
    assert await front.post(link(), **as_form()) == await front.post(link("nobody@example.org"), **as_form())


@pytest.mark.parametrize(
    ("language", "button"), [("en-GB", "Unsubscribe"), ("fr", "Me désabonner"), ("de", "Me désabonner")]
)
async def test_a_scanner_that_opens_the_link_changes_nothing(
    front: Front, letters: Letters, link: Link, language: str, button: str
) -> None:
    """Every method a scanner may try but the post."""
    path = link()
    async with front.http.get(path, headers={"Accept-Language": language}) as answer:
        page = await answer.text()
        assert (answer.status, answer.headers["Content-Language"]) == (200, "en" if language == "en-GB" else "fr")
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert f"<button>{button}</button>" in page
    assert not re.search(r"(src|href|action)=", page)
    assert (await front.http.head(path)).status == 200
    assert letters.messages() == []


async def test_the_pages_own_button_unsubscribes(front: Front, letters: Letters, link: Link) -> None:
    path = link()
    async with front.http.get(path) as answer:
        name, value = re.findall(r'name="([^"]*)" value="([^"]*)"', await answer.text())[0]
    status, said = await front.post(path, **as_form(f"{unescape(name)}={unescape(value)}"))
    assert (status, "Désabonnement enregistré" in said) == (202, True)
    assert len(letters.events("newsletter")) == 1


def altered(token: str, at: int) -> str:
    return token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_link_but_ours_is_known(
    front: Front, letters: Letters, link: Link, links: OneClickLinks, method: str
) -> None:
    token = link().removeprefix("/unsubscribe/")
    now = datetime.now(UTC)
    other = OneClickLinks(
        OKPKey.generate_key("Ed25519", parameters={"kid": links.token_key.kid}), links.references, URL
    )
    of = {"token_id": "a" * 80, "now": now, "lifetime": YEAR_AND_A_MONTH}
    unknown = {
        "forged": other.headers("nobody@example.org", None, now)["List-Unsubscribe"]
        .rsplit("/", 1)[1]
        .removesuffix(">"),
        "of another list": sign_token(links.token_key, TokenKind.UNSUBSCRIBE, "offers", **of),
        "of another kind": sign_token(links.token_key, TokenKind.CONFIRM, LIST, **of),
        "from the future": sign_token(
            links.token_key, TokenKind.UNSUBSCRIBE, LIST, **(of | {"now": now + timedelta(1)})
        ),
        "oversized": token + "A" * (MAX_CHARS + 1),
        "no token": "7",
        "in parts": "..",
        "not ASCII": "%C3%A9t%C3%A9",
        "with a path": "%2e%2e%2fforms",
    } | {f"altered at {at}": altered(token, at) for at in (0, 40, 120, 200, len(token) - 1)}
    for why, bad in unknown.items():
        body = as_form() if method == "POST" else {}
        async with front.http.request(method, f"/unsubscribe/{bad}", allow_redirects=False, **body) as answer:
            assert answer.status == 404, why
            assert (await answer.json(content_type=None))["code"] in ("unknown_token", "http_404"), why
    assert letters.messages() == []


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_expired_link_shows_a_page(front: Front, letters: Letters, link: Link, method: str) -> None:
    path = link(age=LIFETIMES[TokenKind.UNSUBSCRIBE] + timedelta(minutes=1))
    body = as_form() if method == "POST" else {}
    async with front.http.request(method, path, **body) as answer:
        assert (answer.status, "Lien expiré" in await answer.text()) == (410, True)
    assert letters.messages() == []


async def test_a_link_holds_for_longer_than_a_mail_is_kept(front: Front, letters: Letters, link: Link) -> None:
    assert (await front.post(link(age=YEAR_AND_A_MONTH), **as_form()))[0] == 202
    assert len(letters.events("newsletter")) == 1


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (as_form(""), 422),
        (as_form("List-Unsubscribe=No"), 422),
        (as_form("list-unsubscribe=one-click"), 422),
        (as_form(f"{SAID}&{SAID}"), 400),
        ({"data": SAID.encode(), "headers": {"Content-Type": "text/plain"}}, 415),
        ({"json": ["List-Unsubscribe"]}, 422),
        (as_form(SAID + "&x=" + "y" * 300_000), 413),
    ],
)
async def test_a_post_that_says_something_else_is_refused(
    front: Front, letters: Letters, link: Link, said: dict[str, Any], status: int
) -> None:
    assert (await front.post(link(), **said))[0] == status
    assert letters.messages() == []


async def test_fifty_at_once_are_all_kept(front: Front, letters: Letters, link: Link) -> None:
    paths = [link(f"reader-{number}@example.org") for number in range(50)]
    answers = await asyncio.gather(*(front.post(path, **as_form()) for path in paths))
    assert {status for status, _ in answers} == {202}
    assert len({event.id for event in letters.events("newsletter")}) == 50


async def test_nobody_else_publishes_one(front: Front, letters: Letters) -> None:
    """Neither as an event of its own, nor under the door's own source."""
    whole = {"specversion": "1.0", "id": "u-1", "source": "https://crm.example.com/unsubscribe"}
    data = {"list": "newsletter", "reference": "a" * 80}
    for said in (
        {**whole, "type": "greffier.newsletter.unsubscribed", "data": data},
        {**whole, "source": "/unsubscribe", "type": "greffier.contact.ended", "data": {}},
    ):
        headers = front.bearer | {"Content-Type": "application/cloudevents+json"}
        status, _ = await front.post("/events", data=json.dumps(said), headers=headers)
        assert status in (403, 422)
    assert letters.messages() == []


async def test_a_link_that_acts_when_it_is_opened_is_noticed(
    open_door: OpenDoor, letters: Letters, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken variant: a scanner would have unsubscribed everybody."""

    async def eager(self: Unsubscribe, request: web.Request) -> web.StreamResponse:
        claims = self._claims(request)
        taken = self.intake.unsubscribed(claims.case, claims.id)
        await self.gatherer.put(taken.queue, (taken.event,))
        return await sound(self, request)

    sound = Unsubscribe.show
    monkeypatch.setattr(Unsubscribe, "show", eager)
    async with open_door() as front:
        with pytest.raises(AssertionError):
            await test_a_scanner_that_opens_the_link_changes_nothing(front, letters, link, "fr", "Me désabonner")
        assert letters.events("newsletter")
