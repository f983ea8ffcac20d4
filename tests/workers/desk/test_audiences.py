"""What a mailing tool gets over HTTP, and when it gets nothing. Source: R8, R9, R10, R24; P5, P8, P10."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from schemas.newsletter import Addressee
from schemas.party_keys import read_token_key
from schemas.routes import NAMESPACE, NEWSLETTER
from schemas.terms import Case, Purpose, SuppressionGround
from tests.factories import form, someone
from tests.workers.bench import Bench
from tests.workers.desk.conftest import Chair
from workers import audience as audience_module
from workers.arrivals import stored_so_far
from workers.members import LeftOut
from workers.one_click import named_in
from workers.stores.suppression import No

PATH = "/api/audience/sales-prospecting"
NOBODY = {why.value: 0 for why in LeftOut}


async def held(bench: Bench, many: int) -> list[str]:
    people = [someone() for _ in range(many)]
    await bench.send(*(form(Case.CONTACT, whom) for whom in people))
    return [whom.email for whom in people]


async def suppress(bench: Bench, email: str) -> None:
    services = bench.services
    no = No(services.trust.register.prospecting, SuppressionGround.UNSUBSCRIBE, services.clock())
    await services.suppressions.add(email, no)


async def asked(chair: Chair, token: str = "mailer", path: str = PATH, **params: str) -> Any:
    status, said = await chair.get(path, token, **params)
    assert status == 200, said
    return said


async def test_a_tool_gets_each_with_what_was_given_and_the_headers_of_a_mail(
    bench: Bench, chair: Chair, keys: Path
) -> None:
    [email] = await held(bench, 1)
    page = await asked(chair)
    [row] = page["members"]
    assert (row["email"], row["case"], page["left_out"], page["next"]) == (email, "contact", NOBODY, None)
    link = row["headers"]["List-Unsubscribe"]
    assert link.startswith("<https://rights.example.com/unsubscribe/")
    references, key = bench.services.trust.references, read_token_key(keys / "controller")
    whose = Addressee(references.suppression(email)[0], row["person"])
    assert named_in([link], key, references, datetime.now(UTC)) == [whose]
    [read] = bench.collection("reads", "evidence")
    assert (read["reader"], read["department"], read["shown"]) == ("mailer.sample", "marketing-sales", 1)


async def test_each_page_is_looked_at_when_it_is_asked_for(bench: Bench, chair: Chair) -> None:
    emails = await held(bench, 5)
    first = await asked(chair, size="2")
    written = [row["email"] for row in first["members"]]
    for email in emails:
        if email not in written:
            await suppress(bench, email)
            break
    second = await asked(chair, size="2", after=first["next"])
    third = await asked(chair, size="2", after=second["next"])
    pages = (first, second, third)
    shown = [row["email"] for page in pages for row in page["members"]]
    assert (len(shown), sum(page["left_out"]["suppressed"] for page in pages)) == (4, 1)
    assert set(shown) < set(emails)
    assert third["next"] is None


async def test_where_a_walk_stands_says_nothing_and_serves_no_other_walk(bench: Bench, chair: Chair) -> None:
    await held(bench, 3)
    following = (await asked(chair, size="1"))["next"]
    persons = [one["_id"] for one in bench.collection("persons")]
    assert not [person for person in persons if person in following]
    for path, params in (
        ("/api/audience/provide-services", {"after": following}),
        (PATH, {"after": following, "subsidiary": "us"}),
        (PATH, {"after": persons[0]}),
        (PATH, {"after": following[:-4]}),
    ):
        status, said = await chair.get(path, "mailer", **params)
        assert (status, said["code"], said["errors"][0]["pointer"]) == (422, "unknown_cursor", "/after")


@pytest.mark.parametrize("size", ["0", "1001", "-1", "ten", "", "1e3"])
async def test_a_page_has_a_size_that_can_be(chair: Chair, size: str) -> None:
    status, said = await chair.get(PATH, "mailer", size=size)
    assert (status, said["errors"][0]["pointer"]) == (422, "/size")


@pytest.mark.parametrize(
    ("path", "params", "token", "status", "code"),
    [
        ("/api/audience/world-domination", {}, "mailer", 404, "unknown_purpose"),
        (PATH, {"subsidiary": "atlantis"}, "mailer", 404, "unknown_subsidiary"),
        ("/api/audience/recruitment", {}, "mailer", 403, "not_for_this_purpose"),
        (PATH, {}, "dpo", 403, "not_for_this_purpose"),
        ("/api/audience/provide-services", {"subsidiary": "us"}, "mailer", 403, "not_for_this_purpose"),
        (PATH, {}, "gd_000000000000_x", 401, "unknown_account"),
    ],
)
async def test_who_may_not_have_an_audience_is_told_why(
    bench: Bench, chair: Chair, path: str, params: dict[str, str], token: str, status: int, code: str
) -> None:
    [email] = await held(bench, 1)
    said = await chair.get(path, token, **params)
    assert (said[0], said[1]["code"]) == (status, code)
    assert email not in json.dumps(said[1])
    refused = [entry["outcome"] for entry in bench.collection("reads", "evidence")]
    assert refused == (["refused"] if status == 403 else [])


async def test_without_a_live_basis_nothing_crosses(bench: Bench, chair: Chair) -> None:
    await held(bench, 1)
    register = bench.services.trust.register
    expires = register.subsidiaries["us"].transfer.expires_on
    assert expires is not None
    assert (await asked(chair, subsidiary="us"))["members"]
    bench.clock.at = datetime(expires.year + 1, 1, 1, 12, tzinfo=UTC)
    status, said = await chair.get(PATH, "mailer", subsidiary="us")
    assert (status, said["code"]) == (403, "no_transfer_basis")


async def test_nothing_is_answered_while_a_no_is_on_its_way(
    bench: Bench, chair: Chair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience_module, "stored_so_far", lambda *asked: stored_so_far(*asked, patience_s=0.05))
    [email] = await held(bench, 1)
    waiting = f"{NAMESPACE}:{NEWSLETTER}.msgs"
    await bench.redis.hset(waiting, "a-no", b"sealed")  # type: ignore[misc]
    async with chair.http.get(PATH, headers={"Authorization": f"Bearer {chair.mailer}"}) as answer:
        assert (answer.status, "Retry-After" in answer.headers) == (503, True)
        assert email not in await answer.text()
    await bench.redis.delete(waiting)
    assert len((await asked(chair))["members"]) == 1


async def test_who_was_erased_or_said_no_since_the_page_before_is_not_there(bench: Bench, chair: Chair) -> None:
    emails = await held(bench, 4)
    first = await asked(chair, size="1")
    others = [email for email in emails if email != first["members"][0]["email"]]
    await bench.services.forgetting.forget(others[0])
    await suppress(bench, others[1])
    second = await asked(chair, after=first["next"])
    assert [row["email"] for row in second["members"]] == [others[2]]
    assert second["left_out"]["suppressed"] == 1


async def test_what_a_tool_asked_is_written_down_by_its_name(bench: Bench, chair: Chair) -> None:
    await held(bench, 1)
    await asked(chair, "mailer", f"/api/audience/{Purpose.SALES_INFORMATION}")
    [call] = bench.collection("desk_calls", "evidence")
    assert (call["name"], call["what"]) == ("mailer.sample", "GET /api/audience/{purpose}")
