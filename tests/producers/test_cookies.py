"""``POST /cookies``: consents and visits from pages and beacons."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest

from tests.producers.conftest import ORIGIN, Front, Letters, OpenDoor
from tests.producers.samples import consent, visit


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "text/plain;charset=UTF-8"])
async def test_a_consent_arrives_with_its_proof(front: Front, letters: Letters, content_type: str) -> None:
    headers = {"Content-Type": content_type, "Origin": ORIGIN}
    status, answer = await front.post("/cookies", data=json.dumps(consent()), headers=headers)

    assert (status, answer) == (202, {"accepted": 1, "refused": []})
    (event,) = letters.events("consent")
    assert (event.id, event.source, event.type) == ("c-1", "/cookies", "greffier.cookie.consent")
    assert event.time == "2026-01-15T08:30:00.000Z"
    assert json.loads(event.body) == {
        "device_id": "device-7",
        "at": "2026-01-15T08:30:00.000Z",
        "choices": {"analytics": True, "language": True, "personalisation": False},
        "policy_version": "1",
        "notice_sha256": "a" * 64,
        "language": "fr",
    }


async def test_a_visit_keeps_no_query_and_only_a_network(front: Front, letters: Letters) -> None:
    assert (await front.post("/cookies", json=visit(user_agent="Firefox/150", language="fr-FR")))[0] == 202
    (body,) = letters.bodies("consent")
    assert body["url"] == "https://www.example.com/stories"
    assert (body["network"], body["user_agent"]) == ("127.0.0.0/24", "Firefox/150")


async def test_consents_and_visits_travel_in_one_array(front: Front, letters: Letters) -> None:
    said = [consent("c-1"), visit("v-1"), {"id": "x"}, consent("c-2", choices={"fortune-telling": True})]
    status, answer = await front.post("/cookies", json=said)
    assert (status, answer["accepted"]) == (202, 2)
    assert [(found["index"], found["id"]) for found in answer["refused"]] == [(2, "x"), (3, "c-2")]
    assert [event.id for event in letters.events("consent")] == ["c-1", "v-1"]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"id": None}, "/id"),
        ({"choices": {}}, "/choices"),
        ({"choices": {"fortune-telling": True}}, "/choices"),
        ({"network": "192.0.2.0/24"}, "/network"),
        ({"policy_version": None}, "/policy_version"),
        ({"email": "jane@example.com"}, "/email"),
        ({"at": (datetime.now(UTC) + timedelta(hours=25)).isoformat()}, "/at"),
    ],
)
async def test_a_bad_consent_is_refused_by_pointer(front: Front, letters: Letters, changes: Any, pointer: str) -> None:
    status, answer = await front.post("/cookies", json=consent(**changes))
    assert (status, answer["errors"][0]["pointer"]) == (422, pointer)
    assert letters.messages() == []


async def test_a_visit_cannot_bring_its_own_network(front: Front) -> None:
    assert (await front.post("/cookies", json=visit(network="192.0.2.0/24")))[0] == 422


async def test_unknown_policy_versions_and_hashes_are_kept(front: Front, letters: Letters) -> None:
    status, _ = await front.post("/cookies", json=consent(policy_version="never-printed", notice_sha256="0" * 64))
    assert (status, letters.bodies("consent")[0]["policy_version"]) == (202, "never-printed")


async def test_a_clock_a_little_ahead_is_forgiven(front: Front, letters: Letters) -> None:
    ahead = datetime.now(UTC) + timedelta(minutes=5)
    assert (await front.post("/cookies", json=consent(at=ahead.isoformat())))[0] == 202
    (event,) = letters.events()
    assert event.happened == event.recordedtime, "it counts as happening when it came"


@pytest.mark.parametrize(
    ("forwarded", "network"),
    [
        (["198.51.100.77"], "198.51.100.0/24"),
        (["203.0.113.9, 198.51.100.77"], "198.51.100.0/24"),
        (["203.0.113.9", "198.51.100.77, 10.1.2.3"], "198.51.100.0/24"),
        (["2001:db8:1:2:3:4:5:6"], "2001:db8:1::/48"),
        (["::ffff:198.51.100.77"], "198.51.100.0/24"),
        (["203.0.113.9, nonsense"], "127.0.0.0/24"),
        ([""], "127.0.0.0/24"),
        ([", ".join(["10.0.0.1"] * 100)], "10.0.0.0/24"),
        ([], "127.0.0.0/24"),
    ],
)
async def test_an_address_is_believed_from_trusted_proxies_only(
    open_door: OpenDoor, letters: Letters, forwarded: list[str], network: str
) -> None:
    headers = [("X-Forwarded-For", hop) for hop in forwarded]
    trusted = (ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8"))
    async with open_door(trusted_proxies=trusted) as behind, open_door() as bare:
        assert (await behind.post("/cookies", json=visit("v-1"), headers=headers))[0] == 202
        assert (await bare.post("/cookies", json=visit("v-2"), headers=headers))[0] == 202
    assert [body["network"] for body in letters.bodies("consent")] == [network, "127.0.0.0/24"]
