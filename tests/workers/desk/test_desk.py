"""What staff see and decide over HTTP, and that every call is written down by name. Source: R8, R30."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.desk_accounts import revoke_account
from schemas.rights import new_reference
from schemas.terms import Case
from tests.factories import form, someone
from tests.workers.bench import Bench
from tests.workers.cases.court import Court, erased
from tests.workers.desk.conftest import Chair
from workers.cases.engine import advance
from workers.cases.opening import open_case

NOVEMBER = datetime(2026, 11, 2, 10, tzinfo=UTC)


def calls(bench: Bench) -> list[tuple[str, str, str | None, str]]:
    found = bench.collection("desk_calls", "evidence")
    return [(one["name"], one["what"], one["case"], one["outcome"]) for one in found]


async def asked(court: Court, right: str) -> str:
    """A request that arrives at the time of the test."""
    data = {"reference": new_reference(), "right": right, "email": someone().email, "channel": "website"}
    reference = await open_case(court.desk, data, court.desk.services.clock())
    await advance(court.desk, reference)
    return reference


# ---------------------------------------------------------------------- who


@pytest.mark.parametrize("token", [None, "gd_000000000000_x", "gk_1_2", "x", "gd_"])
async def test_nobody_unknown_sees_anything(bench: Bench, chair: Chair, token: str | None) -> None:
    reference = await chair.court.ask("access", someone().email)
    for path in ("/api/cases", f"/api/cases/{reference}", "/api/nowhere"):
        status, said = await chair.get(path, token)
        assert (status, said["code"]) == (401, "unknown_account")
    assert calls(bench) == []


async def test_an_account_that_only_looks_decides_nothing(bench: Bench, chair: Chair) -> None:
    reference = await chair.court.ask("access", someone().email)
    assert (await chair.get(f"/api/cases/{reference}", "clerk"))[0] == 200
    status, said = await chair.post(f"/api/cases/{reference}/lift", {}, "clerk")
    assert (status, said["code"]) == (403, "may_not_decide")
    assert calls(bench) == [
        ("clerk.sample", "GET /api/cases/{reference}", reference, "asked"),
        ("clerk.sample", "POST /api/cases/{reference}/lift", reference, "may_not_decide"),
    ]


async def test_a_revoked_account_is_dead_at_the_next_call(chair: Chair) -> None:
    assert (await chair.get("/api/cases", "clerk"))[0] == 200
    assert revoke_account(chair.accounts, chair.clerk.split("_")[1])
    assert (await chair.get("/api/cases", "clerk"))[0] == 401
    assert (await chair.get("/api/cases"))[0] == 200
    assert chair.dpo.split("_", 2)[2] not in chair.accounts.read_text()


# ---------------------------------------------------------------------- looking


async def test_a_case_is_shown_whole_and_without_the_person(bench: Bench, chair: Chair, court: Court) -> None:
    ada = someone()
    await bench.send(form(Case.CONTACT, ada))
    court.stores["de"].answer, court.stores["us"].answer = erased(3), None
    reference = await court.ask("erasure", ada.email, details=f"I am {ada.last_name}.")
    await court.confirm(reference)
    await court.run(reference)

    status, shown = await chair.get(f"/api/cases/{reference}")
    assert (status, shown["answer"], shown["proof"]) == (200, "accepted", "served")
    stores = {one["store"]: one for one in shown["stores"]}
    assert set(stores) == {"controller", "de", "gb", "us"}
    assert (stores["de"]["outcome"], stores["de"]["collections"][0]["erased"]) == ("done", 3)
    assert (stores["gb"]["outcome"], stores["us"]["state"]) == ("nothing-held", "waiting")
    assert stores["de"]["receipt"] in {one["sha256"] for one in shown["receipts"]}
    assert shown["deadlines"]["calendar"].startswith("FR, holidays")
    assert [one["kind"] for one in shown["mails"]] == ["confirmation"]
    assert not [word for word in ada.canaries if word in json.dumps(shown)]


async def test_lists_come_page_by_page_the_nearest_date_first(bench: Bench, chair: Chair, court: Court) -> None:
    bench.clock.at = NOVEMBER
    for number in range(53):
        bench.clock.at = NOVEMBER + timedelta(hours=number)
        await asked(court, "access")
    _, first = await chair.get("/api/cases")
    _, second = await chair.get("/api/cases", after=first["next"])
    assert (len(first["cases"]), len(second["cases"]), second["next"]) == (50, 3, None)
    both = [(one["due_on"], one["reference"]) for one in [*first["cases"], *second["cases"]]]
    assert both == sorted(both)
    assert len(set(both)) == 53


async def test_lists_tell_what_is_late_before_it_is_late(bench: Bench, chair: Chair, court: Court) -> None:
    bench.clock.at = NOVEMBER
    reference = await asked(court, "erasure")
    await court.confirm(reference)

    async def found() -> list[str]:
        listed = {name: (await chair.get("/api/cases", filter=name))[1] for name in ("open", "due-soon", "overdue")}
        return [name for name, said in listed.items() if said["cases"]]

    assert await found() == ["open"]
    bench.clock.at = datetime(2026, 11, 23, tzinfo=UTC)
    assert await found() == ["open", "due-soon"]
    bench.clock.at = datetime(2026, 12, 2, 23, tzinfo=UTC)
    assert await found() == ["open", "overdue"]
    status, said = await chair.get("/api/cases", filter="interesting")
    assert (status, said["errors"][0]["pointer"]) == (422, "/filter")


# ---------------------------------------------------------------------- deciding


async def test_an_extension_and_a_refusal_by_http(bench: Bench, chair: Chair, court: Court) -> None:
    bench.clock.at = NOVEMBER
    reference = await asked(court, "access")
    status, shown = await chair.post(
        f"/api/cases/{reference}/extend", {"reason": "volume", "text": "There is a great deal of it."}
    )
    assert (status, shown["due_on"], shown["extended"]) == (200, "2027-02-02", True)
    status, shown = await chair.post(
        f"/api/cases/{reference}/refuse", {"refusal": "cannot_identify", "text": "Nobody of that name."}
    )
    assert (status, shown["answer"], shown["refusal"]) == (200, "refused", "cannot_identify")
    status, said = await chair.post(f"/api/cases/{reference}/identity", {"ask": "Who is it?"})
    assert (status, said["code"]) == (409, "not_open")
    noted = [one["body"]["details"] for one in bench.collection("ledger_pending", "evidence")]
    assert [one["by"] for one in noted if "by" in one] == ["dpo.sample"] * 2
    assert {name for name, *_ in calls(bench)} == {"dpo.sample"}


async def test_a_hold_is_set_and_lifted_by_http(bench: Bench, chair: Chair, court: Court) -> None:
    ada = someone()
    await bench.send(form(Case.CONTACT, ada))
    reference = await court.ask("erasure", ada.email)
    said = {"ground": "litigation, GDPR Art. 17(3)(e)", "until": "2030-01-31"}
    status, shown = await chair.post(f"/api/cases/{reference}/hold", said)
    assert (status, shown["hold"], shown["held"]) == (200, said, True)
    status, shown = await chair.post(f"/api/cases/{reference}/lift")
    assert (status, shown["hold"]) == (200, None)


async def test_identity_is_asked_and_proved_by_http(chair: Chair, court: Court) -> None:
    reference = await court.ask("erasure", someone().email)
    status, shown = await chair.post(f"/api/cases/{reference}/identity", {"ask": "Another name is on file."})
    assert (status, shown["answer"]) == (200, "identity_pending")
    status, shown = await chair.post(f"/api/cases/{reference}/identity", {"proved": True})
    assert (status, len(shown["deadlines"]["pauses"])) == (200, 1)
    await advance(court.desk, reference)
    assert (await court.case(reference))["answer"] == "accepted"


async def test_a_doubt_is_settled_by_http(chair: Chair, court: Court) -> None:
    reference = await court.ask("erasure", someone().email)
    await court.confirm(reference)
    await court.run(reference)
    task = (await court.tasks(reference))["gb"]
    await court.desk.cases.change_task(task, {"state": "doubtful", "reason": "look_disagrees"})
    said = {"store": "gb", "decision": "accept", "reason": "seen on the spot"}
    status, shown = await chair.post(f"/api/cases/{reference}/decide", said)
    [store] = [one for one in shown["stores"] if one["store"] == "gb"]
    assert (status, store["state"], store["settled"]["decision"]) == (200, "proved", "accept")
    assert (await chair.post(f"/api/cases/{reference}/decide", {**said, "store": "xx"}))[0] == 404


@pytest.mark.parametrize(
    ("route", "body", "pointer"),
    [
        ("extend", {"reason": "too-much-work", "text": "x"}, "/reason"),
        ("extend", {"reason": "volume"}, "/text"),
        ("refuse", {"refusal": "excessive", "text": "   "}, "/text"),
        ("hold", {"ground": "Dr. Müller's file", "until": "2030-01-31"}, "/ground"),
        ("hold", {"ground": "litigation", "until": "soon"}, "/until"),
        ("identity", {}, ""),
        ("identity", {"ask": "Why?", "proved": True}, ""),
        ("decide", {"store": "gb", "decision": "believe", "reason": "x"}, "/decision"),
        ("lift", {"shoe_size": 44}, "/shoe_size"),
    ],
)
async def test_what_is_mistyped_decides_nothing(chair: Chair, route: str, body: Any, pointer: str) -> None:
    reference = await chair.court.ask("access", someone().email)
    before = await chair.court.case(reference)
    status, said = await chair.post(f"/api/cases/{reference}/{route}", body)
    assert (status, said["errors"][0]["pointer"]) == (422, pointer)
    assert await chair.court.case(reference) == before


async def test_problems_say_nothing_that_was_said(chair: Chair) -> None:
    assert (await chair.get("/api/cases/R-2222-2222-2222"))[0] == 404
    path = "/api/cases/R-2222-2222-2222/extend"
    assert (await chair.post(path, ["x"]))[0] == 400
    assert (await chair.post(path, {}, **{"Content-Type": "text/plain"}))[0] == 415
    status, said = await chair.post(path, {"reason": "volume", "text": "Quessandier"})
    assert (status, "Quessandier" in json.dumps(said)) == (404, False)


async def test_it_says_whether_it_is_alive_and_ready(chair: Chair) -> None:
    for path in ("/livez", "/readyz"):
        assert (await chair.get(path, None))[0] == 200
