"""``POST /events``: CloudEvents in three modes, keys and their reach, batches with bad neighbours."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cloudevents.core.bindings.http import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from schemas.keyring import revoke_api_key
from tests.producers.conftest import Front, Installation, Letters
from tests.producers.samples import CLIENT, cloud

STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}


def by_library(**changes: Any) -> CloudEvent:
    event = cloud(**changes)
    data = event.pop("data")
    event["datacontenttype"] = "application/json"
    if "time" in event:
        event["time"] = datetime.fromisoformat(event["time"])
    return CloudEvent(event, data)


def structured(event: dict[str, Any]) -> dict[str, Any]:
    message = to_structured(by_library(**event), JSONFormat())
    return {"data": message.body, "headers": message.headers}


def binary(event: dict[str, Any]) -> dict[str, Any]:
    message = to_binary(by_library(**event), JSONFormat())
    return {"data": message.body, "headers": message.headers}


def batch(event: dict[str, Any]) -> dict[str, Any]:
    return {"data": json.dumps([cloud(**event)]), "headers": BATCH}


@pytest.mark.parametrize("mode", [structured, binary, batch])
async def test_an_event_arrives_the_same_in_each_mode(front: Front, letters: Letters, mode: Any) -> None:
    request = mode({"event_id": "crm-7", "time": "2026-03-04T05:06:07+00:00"})
    request["headers"] = {**request["headers"], **front.bearer}

    status, answer = await front.post("/events", **request)

    assert (status, answer) == (202, {"accepted": 1, "refused": []})
    (event,) = letters.events("submissions")
    assert (event.id, event.source, event.type) == ("crm-7", "https://crm.example.com", "greffier.contact.client")
    assert event.time == "2026-03-04T05:06:07.000Z"
    assert json.loads(event.body) == CLIENT


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("greffier.contact.interacted", {"kind": "meeting", "at": "2026-03-04T05:06:07Z", "email": CLIENT["email"]}),
        ("greffier.contact.ended", {"at": "2026-03-04T05:06:07Z", "about": "crm-7"}),
        ("greffier.contact.informed", {"means": "letter", "at": "2026-03-04T05:06:07Z", "about": "crm-7"}),
        ("greffier.application.decided", {"outcome": "refused", "at": "2026-03-04T05:06:07Z", "about": "f-1"}),
    ],
)
async def test_anchors_bear_the_time_they_tell(front: Front, letters: Letters, kind: str, data: Any) -> None:
    event = cloud(type=kind, data=data)
    status, _ = await front.post("/events", json=event, headers={**STRUCTURED, **front.bearer})
    assert (status, letters.events()[0].time) == (202, "2026-03-04T05:06:07.000Z")
    neither = {name: value for name, value in data.items() if name not in ("email", "about")}
    for wrong in (neither, {**data, "email": CLIENT["email"], "about": "crm-7"}):
        status, _ = await front.post("/events", json={**event, "data": wrong}, headers={**STRUCTURED, **front.bearer})
        assert status == 422


AGREED = {
    "email": CLIENT["email"],
    "purpose": "event-invitations",
    "at": "2026-03-04T05:06:07Z",
    "policy_version": "1",
    "notice_sha256": "0" * 64,
    "language": "fr",
}


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("greffier.consent.given", {"purpose": "gossip"}),
        ("greffier.consent.given", {"notice_sha256": None}),
        ("greffier.consent.given", {"email": "nobody"}),
        ("greffier.consent.withdrawn", {"at": None}),
        ("greffier.consent.withdrawn", {"about": "crm-7"}),
    ],
)
async def test_an_agreement_bears_its_proof_and_its_end_needs_none(
    front: Front, letters: Letters, kind: str, wrong: dict[str, Any]
) -> None:
    """Source: R8, R16."""
    data = AGREED if kind.endswith("given") else {name: AGREED[name] for name in ("email", "purpose", "at")}
    status, _ = await front.post("/events", json=cloud(type=kind, data=data), headers={**STRUCTURED, **front.bearer})
    assert (status, letters.events()[0].time) == (202, "2026-03-04T05:06:07.000Z")
    bad = {name: value for name, value in {**data, **wrong}.items() if value is not None}
    status, said = await front.post("/events", json=cloud(type=kind, data=bad), headers={**STRUCTURED, **front.bearer})
    assert status == 422
    assert CLIENT["email"] not in json.dumps(said)


async def test_data_may_be_packed_in_base64(front: Front, letters: Letters) -> None:
    event = cloud(
        datacontenttype="application/json", data_base64=base64.b64encode(json.dumps(CLIENT).encode()).decode()
    )
    del event["data"]
    status, _ = await front.post("/events", json=event, headers={**STRUCTURED, **front.bearer})
    assert (status, letters.bodies()) == (202, [CLIENT])


async def test_a_trace_is_carried_and_a_bad_one_left_out(front: Front, letters: Letters) -> None:
    good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for number, trace in enumerate((good, "00-" + "0" * 32 + "-b7ad6b7169203331-01", "nonsense")):
        event = cloud(f"crm-{number}", traceparent=trace)
        assert (await front.post("/events", json=event, headers={**STRUCTURED, **front.bearer}))[0] == 202
    assert [event.traceparent for event in letters.events()] == [good, None, None]


@pytest.mark.parametrize(
    "header", [None, "Bearer", "Bearer nonsense", "Bearer gk_000000000000_wrong", "Basic eDp5", "Bearer é"]
)
async def test_without_a_valid_key_nobody_publishes(front: Front, letters: Letters, header: str | None) -> None:
    headers = {**STRUCTURED, **({"Authorization": header} if header else {})}
    async with front.http.post("/events", json=cloud(), headers=headers) as answer:
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert letters.messages() == []


async def test_a_wrong_secret_under_a_known_id_is_refused(front: Front, installation: Installation) -> None:
    headers = {**STRUCTURED, "Authorization": f"Bearer gk_{installation.key.id}_{'x' * 43}"}
    assert (await front.post("/events", json=cloud(), headers=headers))[0] == 401


async def test_a_key_made_or_revoked_counts_at_the_next_request(front: Front, installation: Installation) -> None:
    fresh = {**STRUCTURED, "Authorization": f"Bearer {installation.add_key()}"}
    assert (await front.post("/events", json=cloud(), headers=fresh))[0] == 202
    revoke_api_key(installation.door_keys, fresh["Authorization"].split("_")[1])
    assert (await front.post("/events", json=cloud(), headers=fresh))[0] == 401


async def test_a_key_holds_until_its_last_day(front: Front, installation: Installation) -> None:
    today = datetime.now(UTC).date()
    for day, status in ((today, 202), (today - timedelta(days=1), 401)):
        token = installation.add_key(expires=day.isoformat())
        headers = {**STRUCTURED, "Authorization": f"Bearer {token}"}
        assert (await front.post("/events", json=cloud(), headers=headers))[0] == status


@pytest.mark.parametrize(
    "change",
    [
        {"source": "https://other.example.org"},
        {"type": "greffier.newsletter.confirmed", "data": {"about": "x", "at": "2026-01-01T00:00:00Z"}},
        {"type": "greffier.form.contact"},
        {"type": "greffier.cookie.consent"},
    ],
)
async def test_a_key_reaches_no_further_than_its_scope(front: Front, letters: Letters, change: dict[str, Any]) -> None:
    status, answer = await front.post("/events", json=cloud(**change), headers={**STRUCTURED, **front.bearer})
    assert (status, answer["code"]) == (403, "not_allowed")
    both = [cloud("good"), cloud("bad", **change)]
    status, answer = await front.post("/events", json=both, headers={**BATCH, **front.bearer})
    assert (status, answer["accepted"], answer["refused"][0]["index"]) == (202, 1, 1)
    status, _ = await front.post("/events", json=both[1:], headers={**BATCH, **front.bearer})
    assert status == 403
    assert [event.id for event in letters.events()] == ["good"]


async def test_even_a_key_for_everything_cannot_speak_as_the_door(front: Front, installation: Installation) -> None:
    token = installation.add_key(types=("*",), sources=("*",))
    headers = {**STRUCTURED, "Authorization": f"Bearer {token}"}
    for source in ("/forms/contact", "/cookies"):
        status, answer = await front.post("/events", json=cloud(source=source), headers=headers)
        assert (status, answer["code"]) == (422, "reserved_source")
    for kind in ("greffier.form.job-application", "greffier.cookie.visit"):
        assert (await front.post("/events", json=cloud(type=kind), headers=headers))[0] == 403


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"specversion": "0.3"}, "/specversion"),
        ({"specversion": 1.0}, "/specversion"),
        ({"type": "com.example.other"}, "/type"),
        ({"id": ""}, "/id"),
        ({"id": None}, "/id"),
        ({"id": "x" * 129}, "/id"),
        ({"id": "jane@example.com"}, "/id"),
        ({"source": None}, "/source"),
        ({"source": "a b"}, "/source"),
        ({"time": "yesterday"}, "/time"),
        ({"time": (datetime.now(UTC) + timedelta(hours=25)).isoformat()}, "/time"),
        ({"datacontenttype": "text/xml"}, "/data"),
        ({"data": "text"}, "/data"),
        ({"data": {**CLIENT, "phone": "+33123456789"}}, "/data/phone"),
        ({"data": {**CLIENT, "collected_at": "2999-01-01"}}, "/data/collected_at"),
        (
            {"data": {**CLIENT, "collected_at": (datetime.now(UTC) + timedelta(days=2)).date().isoformat()}},
            "/data/collected_at",
        ),
        ({"data_base64": "e30="}, "/data"),
    ],
)
async def test_a_bad_event_is_refused_by_pointer(front: Front, letters: Letters, change: Any, pointer: str) -> None:
    event = cloud(**change)
    status, answer = await front.post("/events", json=event, headers={**STRUCTURED, **front.bearer})
    assert (status, answer["errors"][0]["pointer"]) == (422, pointer)
    status, answer = await front.post("/events", json=[cloud("good"), event], headers={**BATCH, **front.bearer})
    assert (status, answer["accepted"]) == (202, 1)
    assert [(found["index"], found["errors"][0]["pointer"]) for found in answer["refused"]] == [(1, pointer)]
    status, answer = await front.post("/events", json=[event], headers={**BATCH, **front.bearer})
    assert (status, answer["errors"][0]["pointer"]) == (422, f"/0{pointer}")
    assert len(letters.events()) == 1


async def test_a_child_among_contacts_is_refused_alone(front: Front, letters: Letters) -> None:
    child = cloud("child", data={**CLIENT, "position": "élève, j'ai onze ans"})
    status, answer = await front.post("/events", json=[child, cloud("grown")], headers={**BATCH, **front.bearer})
    assert (status, answer["accepted"], answer["refused"][0]["id"]) == (202, 1, "child")
    assert [event.id for event in letters.events()] == ["grown"]


async def test_an_unusable_id_is_not_quoted_back(front: Front) -> None:
    events = [cloud(), cloud("jane@example.com")]
    _, answer = await front.post("/events", json=events, headers={**BATCH, **front.bearer})
    assert answer["refused"][0]["id"] is None


@pytest.mark.parametrize(("count", "status"), [(0, 422), (1, 202), (500, 202), (501, 413)])
async def test_a_batch_holds_1_to_500_events(front: Front, letters: Letters, count: int, status: int) -> None:
    events = [cloud(f"crm-{number}") for number in range(count)]
    found, answer = await front.post("/events", json=events, headers={**BATCH, **front.bearer})
    assert found == status
    assert len(letters.events()) == (count if status == 202 else 0)
    if count == 500:
        assert answer["accepted"] == 500
        assert all(len(batch.events) <= 500 for batch in letters.batches())
        assert all(sum(len(event.body) for event in batch.events) <= 256 * 1024 for batch in letters.batches())


async def test_499_of_500_land(front: Front, letters: Letters) -> None:
    events = [cloud(f"crm-{number}") for number in range(500)]
    events[250]["data"] = {**CLIENT, "email": "none"}
    status, answer = await front.post("/events", json=events, headers={**BATCH, **front.bearer})
    assert (status, answer["accepted"], [found["index"] for found in answer["refused"]]) == (202, 499, [250])
    assert len(letters.events()) == 499


async def test_one_id_twice_is_one_event_or_a_conflict(front: Front, letters: Letters) -> None:
    other = cloud("a", data={**CLIENT, "position": "other"})
    events = [cloud("a"), cloud("a"), other, cloud("a", source="https://crm.example.com/two")]
    status, answer = await front.post("/events", json=events, headers={**BATCH, **front.bearer})
    assert (status, answer["accepted"], [found["index"] for found in answer["refused"]]) == (202, 3, [2])
    assert [(event.source, event.id) for event in letters.events()] == [
        ("https://crm.example.com", "a"),
        ("https://crm.example.com/two", "a"),
    ]


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/cloudevents+xml", "application/cloudevents-batch+avro", "application/json", "text/xml"],
)
async def test_another_content_type_is_not_read(front: Front, content_type: str) -> None:
    headers = {"Content-Type": content_type, **front.bearer}
    assert (await front.post("/events", data=json.dumps(cloud()), headers=headers))[0] == 415


@pytest.mark.parametrize(
    "change",
    [{"ce-id": "%C0%A0"}, {"ce-id": "%FF"}, {"ce-data": "{}"}, {}],
)
async def test_a_binary_event_with_broken_headers_is_refused(front: Front, change: dict[str, str]) -> None:
    request = binary({})
    headers = [*request["headers"].items(), *front.bearer.items()]
    headers = [(name, value) for name, value in headers if name not in change] + list(change.items())
    if not change:
        headers += [("ce-type", "greffier.contact.client")]  # a second time
    assert (await front.post("/events", data=request["data"], headers=headers))[0] == 400


async def test_binary_attributes_are_percent_decoded_once(front: Front, letters: Letters) -> None:
    request = binary({})
    headers = {**request["headers"], **front.bearer, "ce-id": '"crm%2D9"'}
    assert (await front.post("/events", data=request["data"], headers=headers))[0] == 202
    assert letters.events()[0].id == "crm-9"
