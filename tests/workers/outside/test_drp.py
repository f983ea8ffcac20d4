"""An authorised agent at the counter, by the Data Rights Protocol, from key setup to the end of a case."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.envelope import Event
from schemas.errors import StoreUnavailable
from schemas.fields import wire_moment
from schemas.keyring import read_sealer
from schemas.routes import RIGHTS_REQUESTED, RIGHTS_SOURCE
from schemas.terms import Case
from tests.factories import form, someone
from tests.workers.cases.court import erased, letters, mails_leave
from tests.workers.outside.conftest import OTHER_KEY, InCourt, signed
from workers.cases.opening import open_case
from workers.cases.outside import take_in
from workers.stores.outside import Outside

REQUESTS = "/v1/data-rights-request"


async def test_a_deletion_from_the_agents_request_to_the_proof(caller: InCourt) -> None:
    whom = someone()
    await caller.bench.send(form(Case.CONTACT, whom))
    caller.court.stores["gb"].answer = erased(2)
    asked = await caller.ask(email=whom.email, **{"agent-request-id": "asked-1"})
    assert asked["status"] == "open"
    assert asked["agent_request_id"] == "asked-1"
    assert whom.email not in json.dumps(caller.bench.collection("outside", "evidence"), default=str)

    reference = await caller.opened(asked["request_id"])
    case = await caller.court.case(reference)
    assert (case["right"], case["channel"], case["peer"]) == ("erasure", "agent", "drp:AGENT_ONE")
    mailed = await letters(caller.court, reference)
    assert list(mailed) == ["confirmation-1"]  # the same proof of the address as for everybody, and no other mail
    assert "through an agent who says that it acts for you" in mailed["confirmation-1"]
    assert (await caller.call("GET", f"{REQUESTS}/{asked['request_id']}"))[1]["status"] == "open"

    await caller.court.confirm(reference)
    running = (await caller.call("GET", f"{REQUESTS}/{asked['request_id']}"))[1]
    assert running["status"] == "in_progress"
    assert running["expected_by"] == (case["answer_by"] - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (await caller.court.run(reference))["answer"] == "answered"
    assert (await caller.call("GET", f"{REQUESTS}/{asked['request_id']}"))[1]["status"] == "fulfilled"
    assert not [one for one in caller.bench.collection("persons") if one]


async def test_results_are_handed_over_once(caller: InCourt) -> None:
    whom = someone()
    await caller.bench.send(form(Case.CONTACT, whom))
    asked = await caller.ask(email=whom.email, exercise="access")
    path = f"{REQUESTS}/{asked['request_id']}"
    reference = await caller.opened(asked["request_id"])
    assert (await caller.call("GET", f"{path}/results"))[0] == 410
    await caller.court.confirm(reference)
    await caller.court.run(reference)
    told = (await caller.call("GET", path))[1]
    assert told["results_url"] == f"https://rights.example.com{path}/results"
    assert (await caller.call("GET", f"{path}/results", agent="AGENT_TWO"))[0] == 403
    assert (await caller.call("GET", f"{path}/results", agent=None))[0] == 401
    fetched = await asyncio.gather(*(caller.call("GET", f"{path}/results") for _ in range(3)))
    assert sorted(status for status, _ in fetched) == [200, 410, 410]
    assert next(body for status, body in fetched if status == 200).startswith(b"PK")
    assert "results_url" not in (await caller.call("GET", path))[1]


async def test_known_and_unknown_are_told_the_same(caller: InCourt) -> None:
    known, unknown = someone(), someone()
    await caller.bench.send(form(Case.CONTACT, known))
    told = []
    for whom in (known, unknown):
        asked = await caller.ask(email=whom.email)
        reference = await caller.opened(asked["request_id"])
        before = (await caller.call("GET", f"{REQUESTS}/{asked['request_id']}"))[1]
        await caller.court.confirm(reference)
        await caller.court.run(reference)
        after = (await caller.call("GET", f"{REQUESTS}/{asked['request_id']}"))[1]
        own = ("request_id", "received_at")
        told.append([{name: one[name] for name in one if name not in own} for one in (asked, before, after)])
    assert told[0] == told[1]


async def test_key_setup_refuses_every_wrong_step_with_403_and_no_body(caller: InCourt) -> None:
    good = caller.envelope()
    wrong = [
        ("AGENT_ONE", b"%%%"),
        ("AGENT_ONE", signed(good, OTHER_KEY)),
        ("AGENT_TWO", signed(good)),  # the URL's agent is not the signed one
        ("AGENT_TWO", signed(good, OTHER_KEY)),
        ("AGENT_NINE", signed(good)),
        ("AGENT_ONE", signed(good | {"business-id": "OTHER"})),
        ("AGENT_ONE", signed(good | {"issued-at": good["expires-at"]})),
        ("AGENT_ONE", signed(good | {"expires-at": good["issued-at"]})),
        ("AGENT_ONE", signed(good | {"drp.version": "0.8"})),
        ("AGENT_ONE", signed(caller.exercise())),  # a request that was overheard opens no door
    ]
    for agent, message in wrong:
        assert await caller.set_up(agent, message) == (403, b"")
    assert not caller.bench.collection("outside_tokens", "evidence")


async def test_a_setup_that_is_replayed_makes_no_second_token(caller: InCourt) -> None:
    message = signed(caller.envelope())
    status, first = await caller.set_up(message=message)
    assert (status, first["agent-id"]) == (200, "AGENT_ONE")
    assert await caller.set_up(message=message) == (403, b"")
    caller.tokens["AGENT_ONE"] = first["token"]
    assert await caller.call("GET", "/v1/agent/AGENT_ONE") == (200, {})
    assert (await caller.call("GET", "/v1/agent/AGENT_TWO"))[0] == 403
    assert (await caller.call("GET", "/v1/agent/AGENT_ONE", agent=None))[0] == 403
    again = await caller.set_up(message=signed(caller.envelope(**{"issued-at": "2026-01-01T00:00:00Z"})))
    assert again[0] == 200
    assert (await caller.call("GET", "/v1/agent/AGENT_ONE"))[0] == 403  # the token before is dead
    assert first["token"] not in json.dumps(caller.bench.collection("outside_tokens", "evidence"), default=str)


async def test_of_many_setups_at_once_one_token_stays(caller: InCourt) -> None:
    """Each is an envelope of its own; what the last one made is good."""
    envelopes = [caller.envelope(**{"issued-at": f"2026-01-01T00:00:0{n}Z"}) for n in range(5)]
    made = await asyncio.gather(*(caller.set_up(message=signed(one)) for one in envelopes))
    assert [status for status, _ in made] == [200] * 5
    good = []
    for _, body in made:
        caller.tokens["AGENT_ONE"] = body["token"]
        good.append((await caller.call("GET", "/v1/agent/AGENT_ONE"))[0])
    assert sorted(good) == [200, 403, 403, 403, 403]


async def test_every_wrong_step_of_a_request_has_its_code_and_leaves_nothing(caller: InCourt) -> None:
    good = caller.exercise()
    wrong = [
        (b"%%%", 400, False),
        (signed(good, OTHER_KEY), 403, False),
        (signed(good | {"agent-id": "AGENT_TWO"}), 403, False),
        (signed(good | {"business-id": "OTHER"}), 403, False),
        (signed(good | {"issued-at": good["expires-at"]}), 400, False),
        (signed(good | {"expires-at": good["issued-at"]}), 400, True),
        (signed(good | {"drp.version": "0.8"}), 400, True),
        (signed(good | {"exercise": "sale:opt-out"}), 400, True),
        (signed(good | {"regime": "gdpr"}), 400, True),
        (signed(good | {"email": "nobody"}), 400, True),
        (signed(good | {"status_callback": "https://10.0.0.1/"}), 400, True),
        (b"A" * 70_000, 413, True),
    ]
    for message, status, fatal in wrong:
        found, told = await caller.call("POST", REQUESTS, message)
        assert (found, told["code"], told["fatal"]) == (status, str(status), fatal)
        assert "ada@" not in told["message"]
    assert (await caller.call("POST", REQUESTS, signed(good), agent=None))[0] == 401
    assert (await caller.call("POST", REQUESTS, signed(good), **{"Content-Type": "application/json"}))[0] == 415
    assert not caller.bench.collection("outside", "evidence")


async def test_the_same_request_again_is_one_and_another_under_its_id_is_refused(caller: InCourt) -> None:
    named = {"agent-request-id": "asked-1"}
    first = await caller.ask(**named)
    assert await caller.ask(**named) == first  # signed anew, with other times
    message = signed(caller.exercise(**named))
    assert (await caller.call("POST", f"{REQUESTS}/", message))[1] == first  # with the slash of older agents
    assert (await caller.call("POST", REQUESTS, message))[1] == first
    status, told = await caller.call("POST", REQUESTS, signed(caller.exercise(**named, exercise="access")))
    assert (status, told["code"], told["fatal"]) == (409, "409", True)
    assert (await caller.ask("AGENT_TWO", **named))["request_id"] != first["request_id"]
    assert len(caller.bench.collection("outside", "evidence")) == 2


async def test_a_request_without_an_id_is_known_by_its_signature(caller: InCourt) -> None:
    await caller.call("GET", "/v1/agent/AGENT_ONE")  # its token, before many ask at once
    message = signed(caller.exercise())
    told = await asyncio.gather(*(caller.call("POST", REQUESTS, message) for _ in range(4)))
    assert [status for status, _ in told] == [200] * 4
    assert len({body["request_id"] for _, body in told}) == 1
    assert (await caller.ask(**{"issued-at": "2026-01-01T00:00:00Z"}))["request_id"] != told[0][1]["request_id"]


async def test_another_agents_request_is_as_one_that_nobody_made(caller: InCourt) -> None:
    asked = await caller.ask()
    for request_id in (asked["request_id"], "c789ff35-7644-4ceb-9981-4b35c264aac3"):
        for method, body in (("GET", None), ("DELETE", signed({}, OTHER_KEY))):
            answered = await caller.call(method, f"{REQUESTS}/{request_id}", body, agent="AGENT_TWO")
            assert answered == (403, {"code": "403", "message": "This request is not yours.", "fatal": False})


@pytest.mark.parametrize("opened", [False, True])
async def test_a_request_is_taken_back(caller: InCourt, opened: bool) -> None:
    asked = await caller.ask()
    if opened:
        reference = await caller.opened(asked["request_id"])
    path, message = f"{REQUESTS}/{asked['request_id']}", signed({"reason": "I changed my mind"})
    assert (await caller.call("DELETE", path, signed({"reason": "no"}, OTHER_KEY)))[0] == 403
    for _ in range(2):
        assert (await caller.call("DELETE", path, message))[1]["status"] == "revoked"
    assert (await caller.call("GET", path))[1]["status"] == "revoked"
    if opened:
        await caller.court.confirm(reference)
        await mails_leave(caller.court, reference)
        assert (await caller.court.run(reference))["answer"] == "withdrawn"
        assert await caller.court.desk.case_key(reference) is None
    else:
        await take_in(caller.court.desk)
        assert not caller.bench.collection("cases", "evidence")


async def test_what_was_served_cannot_be_taken_back(caller: InCourt) -> None:
    asked = await caller.ask()
    reference = await caller.opened(asked["request_id"])
    await caller.court.confirm(reference)
    status, told = await caller.call("DELETE", f"{REQUESTS}/{asked['request_id']}", signed({}))
    assert (status, told["code"]) == (409, "409")
    assert (await caller.court.run(reference))["answer"] == "answered"


async def test_a_revocation_that_was_overheard_revokes_nothing_else(caller: InCourt) -> None:
    first, second = await caller.ask(**{"agent-request-id": "1"}), await caller.ask(**{"agent-request-id": "2"})
    message = signed(caller.envelope(reason="first"))
    assert (await caller.call("DELETE", f"{REQUESTS}/{first['request_id']}", message))[0] == 200
    assert (await caller.call("DELETE", f"{REQUESTS}/{second['request_id']}", message))[0] == 403
    assert (await caller.call("GET", f"{REQUESTS}/{second['request_id']}"))[1]["status"] == "open"


async def test_an_agent_neither_sees_nor_ends_what_the_person_asks_for_herself(caller: InCourt) -> None:
    own = await caller.court.ask("access", "ada@example.com")
    await caller.court.confirm(own)
    asked = await caller.ask(exercise="access")
    assert await caller.opened(asked["request_id"]) != own
    assert (await caller.call("GET", f"{REQUESTS}/{asked['request_id']}"))[1]["status"] == "open"
    assert (await caller.call("DELETE", f"{REQUESTS}/{asked['request_id']}", signed({})))[0] == 200
    assert (await caller.court.run(own))["answer"] == "answered"


@pytest.mark.parametrize("more", [{"confirmed": "yes"}, {"channel": "website"}, {"peer": "drp:AGENT_TWO"}])
async def test_a_letter_that_says_more_than_the_counter_may_opens_no_case(
    caller: InCourt, outside_keys: Path, more: dict[str, str]
) -> None:
    """Whoever had the counter could otherwise enter a request as confirmed."""
    asked = await caller.ask()
    collection = caller.bench.reader[f"{caller.bench.prefix}_evidence"]["outside"]
    reference = caller.bench.collection("outside", "evidence")[0]["reference"]
    said = {"reference": reference, "right": "erasure", "email": "ada@example.com", "channel": "agent"}
    body = json.dumps(said | {"peer": "drp:AGENT_ONE"} | more).encode()
    event = Event(reference, RIGHTS_SOURCE, RIGHTS_REQUESTED, wire_moment(caller.bench.clock()), body)
    letter = read_sealer(outside_keys).seal("forged-1", "outside", 1, [event])
    collection.update_one({"_id": asked["request_id"]}, {"$set": {"letter": letter}})
    await take_in(caller.court.desk)
    [kept] = caller.bench.collection("outside", "evidence")
    assert (kept["refused"], "letter" in kept) == ("says_too_much", False)
    assert not caller.bench.collection("cases", "evidence")
    assert (await caller.call("GET", f"{REQUESTS}/{asked['request_id']}"))[1]["reason"] == "other"


async def test_an_agents_flood_delays_its_own_links_alone(caller: InCourt) -> None:
    """Everybody's lane is theirs: an agent's requests wait for each other."""
    lanes = caller.bench.reader[f"{caller.bench.prefix}_evidence"]["turns"]
    later = caller.bench.clock() + timedelta(hours=1)
    lanes.insert_one({"_id": "links/drp:AGENT_ONE", "at": later, "turn": later, "holder": "another"})
    slow, own = await caller.ask(), await caller.court.ask("erasure", "eve@example.com")
    quick = await caller.ask("AGENT_TWO")
    references = [await caller.opened(slow["request_id"]), own, await caller.opened(quick["request_id"])]
    due = [(await caller.court.desk.cases.mails_of(one))[0]["send_at"] for one in references]
    assert due[0] - due[1] > timedelta(minutes=50)
    assert abs(due[2] - due[1]) < timedelta(minutes=5)


async def test_a_worker_that_dies_after_opening_the_case_opens_no_second_one(
    caller: InCourt, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = await caller.ask()

    async def dies(*_: object) -> bool:
        raise StoreUnavailable("killed")

    with monkeypatch.context() as patched:
        patched.setattr(Outside, "change", dies)
        with pytest.raises(StoreUnavailable):
            await take_in(caller.court.desk)
    caller.bench.clock.at = caller.bench.clock() + timedelta(minutes=1)  # the lease is over
    reference = await caller.opened(asked["request_id"])
    assert [one["_id"] for one in caller.bench.collection("cases", "evidence")] == [reference]


async def test_a_request_that_cannot_be_opened_holds_up_no_other(
    caller: InCourt, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await caller.ask(email="a@example.com"), await caller.ask(email="b@example.com")

    async def fails(desk: Any, data: Any, *more: Any, **named: Any) -> str:
        if data["email"] == "a@example.com":
            raise KeyError("a defect")
        return await open_case(desk, data, *more, **named)

    with monkeypatch.context() as patched:
        patched.setattr("workers.cases.outside.open_case", fails)
        assert await take_in(caller.court.desk) == 2
    assert len(caller.bench.collection("cases", "evidence")) == 1
    caller.bench.clock.at = caller.bench.clock() + timedelta(minutes=1)
    assert await caller.opened(first["request_id"]) != await caller.opened(second["request_id"])


async def test_a_request_that_is_taken_back_while_its_case_is_opened_leaves_none_to_run(
    caller: InCourt, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = await caller.ask()

    async def overtaken(*given: Any, **more: Any) -> str:
        reference = await open_case(*given, **more)
        path = f"{REQUESTS}/{asked['request_id']}"
        assert (await caller.call("DELETE", path, signed({})))[1]["status"] == "revoked"
        return reference

    monkeypatch.setattr("workers.cases.outside.open_case", overtaken)
    await take_in(caller.court.desk)
    [case] = caller.bench.collection("cases", "evidence")
    assert (case["answer"], case["reason"]) == ("withdrawn", "taken_back")
