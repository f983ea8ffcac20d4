"""``POST /rights`` and its confirmation: the same for everybody, and no token but ours works. Source: R17, R22, P7."""

from __future__ import annotations

import json
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from joserfc.jwk import OKPKey

from schemas.party_keys import read_token_key
from schemas.rights import REFERENCE_PATTERN, new_reference
from schemas.tokens import TokenKind, sign_token
from tests.producers.conftest import ORIGIN, Front, Installation, Letters
from tests.producers.samples import PERSON

RIGHTS = "rights"
WEEK = timedelta(days=7)

ASKED = {"right": "erasure", "email": PERSON["email"], "language": "en", "details": "Everything, please."}


def as_json(said: dict[str, str]) -> dict[str, Any]:
    return {"json": said}


def as_form(said: dict[str, str]) -> dict[str, Any]:
    return {"data": urlencode(said).encode(), "headers": {"Content-Type": "application/x-www-form-urlencoded"}}


def as_multipart(said: dict[str, str]) -> dict[str, Any]:
    data = aiohttp.FormData(default_to_multipart=True)
    for name, value in said.items():
        data.add_field(name, value)
    return {"data": data}


@pytest.fixture(scope="session")
def token_key(installation: Installation) -> OKPKey:
    return read_token_key(installation.folder / "controller")


def token_of(
    key: OKPKey, reference: str, *, kind: TokenKind = TokenKind.CONFIRM, age: timedelta = timedelta()
) -> tuple[str, str]:
    """A token as the controller mails it, and its id."""
    token_id = secrets.token_hex(16)
    made = datetime.now(UTC) - age
    return sign_token(key, kind, reference, token_id=token_id, now=made, lifetime=WEEK), token_id


# ---------------------------------------------------------------------- asking


@pytest.mark.parametrize("way", [as_json, as_form, as_multipart])
@pytest.mark.parametrize("right", ["access", "erasure", "objection", "withdrawal", "portability"])
async def test_a_request_arrives_the_same_by_each_way(front: Front, letters: Letters, right: str, way: Any) -> None:
    status, said = await front.post("/rights", **way({**ASKED, "right": right}))
    assert (status, set(said)) == (202, {"reference"})
    assert re.fullmatch(REFERENCE_PATTERN, said["reference"])
    (event,) = letters.events(RIGHTS)
    assert (event.id, event.source, event.type) == (said["reference"], "/rights", "greffier.rights.requested")
    assert json.loads(event.body) == {
        **ASKED,
        "right": right,
        "reference": said["reference"],
        "channel": "website",
    }
    assert PERSON["email"].encode() not in letters.everything()


async def test_a_rectification_says_field_by_field_what_stands_and_what_should(front: Front, letters: Letters) -> None:
    corrections = {
        "last_name": {"was": "Muster ", "to": "Master"},
        "phone": {"to": "01 99 90 00 01"},
        "postal_address": {"city": {"was": "Paris", "to": "Lyon"}},
    }
    status, _ = await front.post("/rights", json={**ASKED, "right": "rectification", "corrections": corrections})
    assert status == 202
    (event,) = letters.events(RIGHTS)
    assert json.loads(event.body)["corrections"] == {
        "last_name": {"was": "Muster", "to": "Master"},
        "phone": {"to": "+33199900001"},
        "postal_address": {"city": {"was": "Paris", "to": "Lyon"}},
    }
    assert b"Muster" not in letters.everything()


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"right": "oblivion"}, "/right"),
        ({"right": None}, "/right"),
        ({"email": None}, "/email"),
        ({"email": "nobody"}, "/email"),
        ({"email": "a@example.com, b@example.com"}, "/email"),
        ({"language": "tlh"}, "/language"),
        ({"details": "x" * 20_001}, "/details"),
        ({"shoe_size": "44"}, "/shoe_size"),
        ({"reference": "R-2222-2222-2222"}, "/reference"),
        ({"confirmed": "yes"}, "/confirmed"),
        ({"ground": "child"}, "/ground"),
        ({"channel": "letter"}, "/channel"),
        ({"right": "rectification"}, "/corrections"),
        ({"right": "rectification", "corrections": {"postal_address": {}}}, "/corrections"),
        ({"corrections": {"last_name": {"to": "Newname"}}}, "/corrections"),
        ({"right": "rectification", "corrections": {"email": {"to": "a@example.com"}}}, "/corrections/email"),
        ({"right": "rectification", "corrections": {"phone": {"to": "call me"}}}, "/corrections/phone/to"),
        ({"right": "rectification", "corrections": {"last_name": {"was": "Muster"}}}, "/corrections/last_name/to"),
        ({"received_at": "2020-01-01T00:00:00Z"}, "/received_at"),
    ],
)
async def test_what_is_not_a_request_is_refused_by_field(
    front: Front, letters: Letters, change: dict[str, Any], pointer: str
) -> None:
    """What only staff may say is refused from the public too."""
    said = {name: value for name, value in {**ASKED, **change}.items() if value is not None}
    status, problem = await front.post("/rights", json=said)
    assert (status, [one["pointer"] for one in problem["errors"]]) == (422, [pointer])
    assert PERSON["email"] not in json.dumps(problem)
    assert letters.events(RIGHTS) == []


async def test_known_and_unknown_addresses_get_the_same_bytes(front: Front, letters: Letters) -> None:
    """The door cannot know; that nothing of an address or of a former request shows is what is seen here."""
    seen = set()
    for email in (PERSON["email"], PERSON["email"], "nobody.at.all@example.org", "x@example.com"):
        async with front.http.post("/rights", json={**ASKED, "email": email}) as answer:
            body = await answer.text()
            headers = {name: value for name, value in answer.headers.items() if name != "Date"}
            seen.add((answer.status, json.dumps(headers), re.sub(r"R(-\w{4}){3}", "R-…", body)))
    assert len(seen) == 1
    assert len(letters.events(RIGHTS)) == 4, "and costs the same work: one event each"


async def test_only_pages_of_listed_sites_may_ask(front: Front, letters: Letters) -> None:
    for origin, expected in ((ORIGIN, 202), ("https://evil.example.org", 403), ("null", 403)):
        status, _ = await front.post("/rights", json=ASKED, headers={"Origin": origin})
        assert status == expected, origin
    assert len(letters.events(RIGHTS)) == 1
    async with front.http.options("/rights", headers={"Origin": ORIGIN}) as answer:
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (204, ORIGIN)


# ---------------------------------------------------------------------- confirming


@pytest.mark.parametrize("way", [as_json, as_form, as_multipart])
async def test_the_mailed_link_confirms(front: Front, letters: Letters, token_key: OKPKey, way: Any) -> None:
    reference = new_reference()
    token, token_id = token_of(token_key, reference)
    status, said = await front.post(f"/rights/{reference}/confirm", **way({"token": token}))
    if way is as_json:
        assert (status, said) == (202, {"reference": reference})
    else:  # the button of our own page was pressed
        assert (status, "Demande confirmée" in said) == (202, True)
    (event,) = letters.events(RIGHTS)
    body = json.loads(event.body)
    assert (event.type, body["reference"], body["token"]) == ("greffier.rights.confirmed", reference, token_id)
    assert token not in letters.everything().decode("latin-1"), "what is good once is not left lying about"


async def test_twice_is_the_same_event(front: Front, letters: Letters, token_key: OKPKey) -> None:
    reference = new_reference()
    token, _ = token_of(token_key, reference)
    for _ in range(2):
        assert (await front.post(f"/rights/{reference}/confirm", json={"token": token}))[0] == 202
    assert len({event.id for event in letters.events(RIGHTS)}) == 1


async def test_looking_changes_nothing(front: Front, letters: Letters, token_key: OKPKey) -> None:
    """Scanners of mail open every link."""
    reference = new_reference()
    token, _ = token_of(token_key, reference)
    for language, word in (("fr", "Confirmer"), ("en-GB", "Confirm")):
        path = f"/rights/{reference}/confirm?token={token}"
        async with front.http.get(path, headers={"Accept-Language": language}) as answer:
            page = await answer.text()
            assert (answer.status, word in page, token in page) == (200, True, True)
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert letters.events(RIGHTS) == []


def wrong_tokens(key: OKPKey, reference: str) -> dict[str, Any]:
    good, _ = token_of(key, reference)
    head, body, signature = good.split(".")
    stranger = OKPKey.generate_key("Ed25519", parameters={"kid": str(key.kid)})
    return {
        "no token at all": "",
        "no string": 7,
        "nonsense": "nonsense",
        "too long": "x" * 5000,
        "forged under our key id": token_of(stranger, reference)[0],
        "payload altered": f"{head}.{body[:-2]}AA.{signature}",
        "signature altered": f"{head}.{body}.{signature[:-4]}AAAA",
        "unsigned": f"{head}.{body}.",
        "of another case": token_of(key, new_reference())[0],
        "of another kind": token_of(key, reference, kind=TokenKind.DOWNLOAD)[0],
        "from the future": token_of(key, reference, age=-timedelta(days=1))[0],
    }


async def test_no_token_but_ours_for_this_case_confirms(front: Front, letters: Letters, token_key: OKPKey) -> None:
    reference = new_reference()
    answers = {}
    for name, token in wrong_tokens(token_key, reference).items():
        async with front.http.post(f"/rights/{reference}/confirm", json={"token": token}) as answer:
            answers[name] = (answer.status, await answer.read())
    assert {status for status, _ in answers.values()} == {404}, answers
    assert len(set(answers.values())) == 1, "which it was is nobody's business"
    assert letters.events(RIGHTS) == []


async def test_an_expired_link_leads_to_a_page(front: Front, letters: Letters, token_key: OKPKey) -> None:
    reference = new_reference()
    token, _ = token_of(token_key, reference, age=WEEK + timedelta(seconds=1))
    path = f"/rights/{reference}/confirm"
    status, page = await front.post(path, json={"token": token}, headers={"Accept-Language": "en"})
    assert (status, "Link expired" in page) == (410, True)
    async with front.http.get(f"{path}?token={token}") as answer:
        assert answer.status == 410
    assert letters.events(RIGHTS) == []


@pytest.mark.parametrize("reference", ["R-2222-2222", "r-2222-2222-2222", "R-0000-0000-0000", "..%2F..", "x" * 500])
async def test_what_is_no_reference_is_not_there(front: Front, token_key: OKPKey, reference: str) -> None:
    token, _ = token_of(token_key, "R-2222-2222-2222")
    status, _ = await front.post(f"/rights/{reference}/confirm", json={"token": token})
    assert status == 404
