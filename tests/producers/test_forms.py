"""``POST /forms/*``: four forms, three ways to send them, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from tests.producers.conftest import ORIGIN, Front, Letters
from tests.producers.samples import APPLICATION, CONTACT, FORMS, NEWSLETTER, PERSON


def dotted(form: dict[str, Any]) -> dict[str, str]:
    flat = {name: value for name, value in form.items() if not isinstance(value, dict)}
    for outer, inner in ((name, value) for name, value in form.items() if isinstance(value, dict)):
        flat |= {f"{outer}.{name}": str(value) for name, value in inner.items()}
    return flat


def as_json(form: dict[str, Any]) -> dict[str, Any]:
    return {"json": form}


def as_form(form: dict[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return {"data": urlencode(dotted(form)).encode(), "headers": headers}


def as_multipart(form: dict[str, Any]) -> dict[str, Any]:
    data = aiohttp.FormData(default_to_multipart=True)
    for name, value in dotted(form).items():
        data.add_field(name, value)
    return {"data": data}


@pytest.mark.parametrize("way", [as_json, as_form, as_multipart])
@pytest.mark.parametrize("case", FORMS)
async def test_each_form_arrives_the_same_by_each_way(front: Front, letters: Letters, case: str, way: Any) -> None:
    status, answer = await front.post(f"/forms/{case}", **way(FORMS[case]))

    assert status == 202
    (event,) = letters.events("newsletter" if case == "newsletter" else "submissions")
    assert (event.id, event.source, event.type) == (answer["id"], f"/forms/{case}", f"greffier.form.{case}")
    assert event.recordedtime == answer["received_at"]
    assert datetime.fromisoformat(answer["received_at"]).tzinfo == UTC
    assert json.loads(event.body) == FORMS[case]


async def test_values_are_kept_in_their_normal_form(front: Front, letters: Letters) -> None:
    said = {**CONTACT, "last_name": "  Zoe\u0308  ", "phone": "06 98 76 54 32", "email": " Zoe@EXAMPLE.com "}
    status, _ = await front.post("/forms/contact", json=said)
    (kept,) = letters.bodies()
    assert (status, kept["last_name"], kept["phone"], kept["email"]) == (202, "Zoë", "+33698765432", "Zoe@example.com")


async def test_an_empty_box_of_a_plain_form_is_a_field_not_given(front: Front, letters: Letters) -> None:
    form = {**PERSON, "phone": "", "postal_address.city": "", "policy_version": "1"}
    status, _ = await front.post("/forms/contact", data=form)
    assert (status, letters.bodies()) == (202, [{**PERSON, "policy_version": "1"}])


async def test_consents_are_boxes_in_a_plain_form(front: Front, letters: Letters) -> None:
    form = {**NEWSLETTER, "consents.sales-prospecting": "on", "consents.event-invitations": "false"}
    status, _ = await front.post("/forms/newsletter", data=form)
    assert status == 202
    assert letters.bodies()[0]["consents"] == {"event-invitations": False, "sales-prospecting": True}


@pytest.mark.parametrize(
    ("accept", "status"), [("text/html,application/xhtml+xml", 303), ("application/json", 202), (None, 202)]
)
async def test_a_browser_is_led_to_a_page(front: Front, accept: str | None, status: int) -> None:
    headers = {"Accept": accept} if accept else {}
    async with front.http.post("/forms/newsletter", data=NEWSLETTER, headers=headers, allow_redirects=False) as answer:
        assert answer.status == status
    async with front.http.post("/forms/newsletter", json=NEWSLETTER, headers={"Accept": "text/html"}) as answer:
        assert answer.status == 202, "a script that posts JSON is no plain form"


async def test_the_page_says_thank_you(front: Front) -> None:
    headers = {"Accept": "text/html", "Accept-Language": "en-GB"}
    async with front.http.post("/forms/newsletter", data=NEWSLETTER, headers=headers) as answer:
        assert (answer.status, answer.url.path, answer.url.query_string) == (200, "/thank-you", "")
        assert "Thank you" in await answer.text()


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"shoe_size": "44"}, "/shoe_size"),
        ({"last_name": None}, "/last_name"),
        ({"email": "nobody"}, "/email"),
        ({"postal_address": {"planet": "Mars"}}, "/postal_address/planet"),
        ({"cv": "text"}, "/cv"),
        ({"consents": {"world-domination": True}}, "/consents"),
        ({"consents": {"sales-prospecting": "true"}}, "/consents/sales-prospecting"),
    ],
)
async def test_what_a_form_does_not_list_or_gets_wrong_is_refused_by_pointer(
    front: Front, letters: Letters, change: dict[str, Any], pointer: str
) -> None:
    status, answer = await front.post("/forms/contact", json={**CONTACT, **change})
    assert (status, answer["status"]) == (422, 422)
    assert pointer in [error["pointer"] for error in answer["errors"]]
    assert all(set(error) == {"detail", "pointer"} for error in answer["errors"])
    assert letters.messages() == []


async def test_a_stored_file_cannot_be_described_from_outside(front: Front, letters: Letters) -> None:
    forged = {"file": "someone-elses", "name": "x.pdf", "media_type": "application/pdf", "size": 1, "sha256": "0" * 64}
    for field in ("cv", "cover_letter"):
        status, answer = await front.post("/forms/job-application", json={**APPLICATION, field: forged})
        assert (status, answer["errors"][0]["pointer"]) == (422, f"/{field}")
    assert letters.messages() == []


@pytest.mark.parametrize("way", [as_json, as_form, as_multipart])
@pytest.mark.parametrize(
    "change",
    [{"birth_date": "2019-05-04"}, {"age": "9"}, {"last_name": "Durand, j'ai 11 ans"}, {"first_name": "I am 9."}],
)
async def test_a_child_is_refused_and_leaves_nothing(
    front: Front, letters: Letters, change: dict[str, Any], way: Any
) -> None:
    status, answer = await front.post("/forms/contact", **way({**CONTACT, **change}))
    assert (status, answer["code"]) == (422, "under_age")
    assert letters.client.keys("*") == []


async def test_an_adult_who_tells_an_age_is_told_that_it_is_not_asked_for(front: Front) -> None:
    status, answer = await front.post("/forms/contact", json={**CONTACT, "age": 40})
    assert (status, answer["code"]) == (422, "extra_forbidden")


async def test_a_browsers_request_from_elsewhere_is_refused(front: Front, letters: Letters) -> None:
    for origin in ("https://evil.example.org", "null", "https://www.example.com.evil.example.org"):
        status, answer = await front.post("/forms/newsletter", json=NEWSLETTER, headers={"Origin": origin})
        assert (status, answer["code"]) == (403, "foreign_origin")
    assert letters.messages() == []


async def test_a_listed_site_may_post_and_read_the_answer(front: Front) -> None:
    headers = {"Origin": ORIGIN}
    async with front.http.options("/forms/newsletter", headers=headers) as answer:
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (204, ORIGIN)
        assert answer.headers["Access-Control-Allow-Methods"] == "POST"
    async with front.http.post("/forms/newsletter", json=NEWSLETTER, headers=headers) as answer:
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (202, ORIGIN)
    async with front.http.options("/forms/newsletter", headers={"Origin": "https://evil.example.org"}) as answer:
        assert (answer.status, answer.headers.get("Access-Control-Allow-Origin")) == (403, None)
