"""Versions of the policy: published once and unchanged, and who must be told of one. R16."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from schemas.register import SHIPPED, Register, parse_register
from schemas.register_reading import read_mapping
from schemas.terms import Case, Department, Means, Purpose, SuppressionGround
from tests import factories
from tests.factories import NOON
from tests.workers.bench import Bench
from workers import policy
from workers.commands import register_commands
from workers.gate import Reader
from workers.policy import PolicyRefused
from workers.services import Services, services_over
from workers.status import look_around
from workers.stores.suppression import No

DAY = timedelta(days=1)
BY = "dpo.sample"
READER = Reader("mailing-test", Department.MARKETING_SALES)
RAW, _ = read_mapping(SHIPPED)


def raw_with(text: str = "A second notice.", current: str = "2") -> dict[str, Any]:
    raw = copy.deepcopy(RAW)
    notice = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "text": text}
    raw["policy"]["versions"]["2"] = {"effective_on": "2026-11-15", "notices": {"en": notice}}
    raw["policy"]["current"] = current
    return raw


def under(bench: Bench, register: Register) -> Services:
    """The same stores, read by who has that register."""
    services = bench.services
    trust = replace(services.trust, register=register)
    return services_over(services.databases, services.uploads, trust, services.clock, services.skew)


@pytest.fixture
def second(bench: Bench) -> Services:
    """An installation whose register has a second version, which is current; it is a day later."""
    bench.clock.at = NOON + DAY
    return under(bench, parse_register(raw_with()))


async def held_under(bench: Bench, *versions: str) -> factories.Someone:
    """Somebody whose records are under these versions, the first one first."""
    whom = factories.someone()
    for number, version in enumerate(versions):
        received = NOON + number * timedelta(minutes=1)
        await bench.send(factories.form(Case.CONTACT, whom, policy_version=version, received=received))
    return whom


async def owed(services: Services, reader: Reader = READER) -> set[str]:
    return {member.email async for member in policy.to_tell(services, reader, "2")}


def ids(bench: Bench) -> dict[str, str]:
    """Event → person, as an independent client sees it."""
    return {one["_id"]: one["person"] for one in bench.collection("submissions")}


# --- publishing -----------------------------------------------------------------------------------------------------


async def test_a_version_is_published_once_with_the_hashes_of_its_notices(bench: Bench, second: Services) -> None:
    assert await policy.publish(second, "1", BY)
    assert await policy.publish(second, "2", BY)
    bench.clock.at = NOON + 9 * DAY
    assert not await policy.publish(second, "2", "somebody.else")
    kept = {one["_id"]: one for one in bench.collection("policies", "evidence")}
    shown = hashlib.sha256(b"A second notice.").hexdigest()
    assert (kept["2"]["notices"], kept["2"]["published_at"], kept["2"]["by"]) == ({"en": shown}, NOON + DAY, BY)
    entries = [one["body"] for one in bench.collection("ledger_pending", "evidence")]
    found = [(one["kind"], one["details"]["version"], one["details"]["digest"]) for one in entries]
    assert found == [("policy_published", version, kept[version]["digest"]) for version in ("1", "2")]


async def test_what_was_published_is_not_changed(bench: Bench, second: Services) -> None:
    """Neither its text nor its day, and no other version is published while one is."""
    await policy.publish(second, "1", BY)
    await policy.publish(second, "2", BY)
    changed = under(bench, parse_register(raw_with("Another text.")))
    for version in ("1", "2"):
        with pytest.raises(PolicyRefused, match="version 2 is published, and the register says something else"):
            await policy.publish(changed, version, BY)
    with pytest.raises(PolicyRefused, match="the register has it no more"):
        await policy.publish(bench.services, "1", BY)
    with pytest.raises(PolicyRefused, match="has no version 3"):
        await policy.publish(second, "3", BY)


async def test_a_digest_of_less_than_what_was_shown_is_caught(
    bench: Bench, second: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "digest_of", lambda _, version: hashlib.sha256(version.encode()).hexdigest())
    await policy.publish(second, "2", BY)
    changed = under(bench, parse_register(raw_with("Another text.")))
    assert not await policy.publish(changed, "2", BY), "another text passed under an old version"


async def test_one_that_broke_off_is_finished_by_somebody_else(
    bench: Bench, second: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(*_: object) -> bool:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr("workers.stores.policies.Policies.publish", die)
        with pytest.raises(ConnectionError):
            await policy.publish(second, "2", BY)
    assert await policy.publish(second, "2", "somebody.else")
    assert len(bench.collection("ledger_pending", "evidence")) == 1


# --- telling --------------------------------------------------------------------------------------------------------


async def test_who_is_held_under_older_versions_alone_must_be_told(bench: Bench, second: Services) -> None:
    old, both, unknown = await held_under(bench, "1", "1"), await held_under(bench, "2", "1"), factories.someone()
    await held_under(bench, "2")
    await bench.send(factories.contact(Case.PROSPECT, unknown))
    await policy.publish(second, "2", BY)
    state = await policy.look_at_policy(second)
    assert (state.held, state.to_tell, state.under) == (4, 2, {"1": 2, "2": 1, "none": 1})
    assert await owed(second) == {old.email, unknown.email}
    assert both.email not in await owed(second)


async def test_it_is_read_as_everything_is(bench: Bench, second: Services) -> None:
    """For what is live, by whose attributions it is, without who was erased or said no; and it is recorded. R8, R9."""
    old, gone, ended = [await held_under(bench, "1") for _ in range(3)]
    applied = factories.someone()
    await bench.send(factories.form(Case.JOB_APPLICATION, applied))
    unwanted = factories.someone()
    await bench.send(factories.contact(Case.PROSPECT, unwanted))
    await policy.publish(second, "2", BY)
    prospecting = No(second.trust.register.prospecting, SuppressionGround.OBJECTION, NOON)
    for whom in (unwanted, ended):
        await bench.services.suppressions.add(whom.email, prospecting)
    await bench.services.forgetting.forget(gone.email)
    assert await owed(second) == {old.email, ended.email}, "who said no to prospecting is still served otherwise"
    assert await owed(second, Reader("hr-test", Department.ADMINISTRATION)) == {applied.email}
    reads = bench.collection("reads", "evidence")
    assert {one["reader"] for one in reads} == {"mailing-test", "hr-test"}
    assert Purpose.PROVIDE_SERVICES in {one["purpose"] for one in reads}


async def test_a_message_tells_whom_it_was_sent_to(bench: Bench, second: Services) -> None:
    told, other = await held_under(bench, "1"), await held_under(bench, "1")
    await policy.publish(second, "2", BY)
    [person] = {one.person async for one in policy.to_tell(second, READER, "2") if one.email == told.email}
    assert await policy.tell(second, "2", Means.MAIL, BY, [person]) == 1
    assert await policy.tell(second, "2", Means.MAIL, BY, [person, person]) == 0, "once"
    assert await owed(second) == {other.email}
    state = await policy.look_at_policy(second)
    assert (state.told, state.to_tell, state.website_since) == ({"mail": 1}, 1, None)
    entries = [one["body"]["details"] for one in bench.collection("ledger_pending", "evidence")]
    assert [one for one in entries if "means" in one] == [{"version": "2", "means": "mail", "people": 1, "by": BY}]
    assert person not in json.dumps(entries)
    await bench.services.forgetting.forget(told.email)
    assert person not in str(bench.collection("persons")), "what they were told goes with them"


async def test_the_website_tells_everybody_from_that_day(bench: Bench, second: Services) -> None:
    await held_under(bench, "1")
    await policy.publish(second, "2", BY)
    await policy.tell(second, "2", Means.WEBSITE, BY)
    bench.clock.at = NOON + 5 * DAY
    await policy.tell(second, "2", Means.WEBSITE, "somebody.else")
    state = await policy.look_at_policy(second)
    assert (state.to_tell, state.website_since) == (0, "2026-11-21T12:00:00.000Z")
    assert await owed(second) == set()


async def test_what_is_told_of_an_older_version_tells_of_no_newer_one(bench: Bench, second: Services) -> None:
    whom = await held_under(bench, "1")
    await policy.publish(second, "1", BY)
    await policy.publish(second, "2", BY)
    await policy.tell(second, "1", Means.WEBSITE, BY)
    assert await owed(second) == {whom.email}


async def test_who_was_told_must_be_said_of_a_version_that_is_published(second: Services) -> None:
    with pytest.raises(PolicyRefused, match="not published"):
        await policy.tell(second, "2", Means.WEBSITE, BY)
    with pytest.raises(PolicyRefused, match="not published"):
        await owed(second)
    await policy.publish(second, "2", BY)
    for means, persons in ((Means.MAIL, []), (Means.LETTER, []), (Means.WEBSITE, ["somebody"])):
        with pytest.raises(PolicyRefused, match="list of whom"):
            await policy.tell(second, "2", means, BY, persons)


async def test_a_new_version_of_which_nobody_is_told_is_an_alarm(bench: Bench, second: Services) -> None:
    async def alarms() -> list[str]:
        return [one for one in (await look_around(second, bench.redis)).alarms if one.startswith("policy")]

    assert await alarms() == [], "nothing was published here"
    await policy.publish(second, "1", BY)
    assert len(await alarms()) == 1
    await policy.publish(second, "2", BY)
    assert len(await alarms()) == 1
    await policy.tell(second, "2", Means.WEBSITE, BY)
    assert await alarms() == []


# --- as it is typed -------------------------------------------------------------------------------------------------

Staff = Callable[..., Awaitable[Result]]


@pytest.fixture
def staff(bench: Bench, keys: Path, mongo_url: str, redis_url: str, tmp_path: Path) -> Staff:
    app = typer.Typer()
    register_commands(app)
    (tmp_path / "register.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(raw_with()))))
    told = {
        "GREFFIER_REDIS_URL": redis_url,
        "GREFFIER_MONGO_URL": mongo_url,
        "GREFFIER_MONGO_PREFIX": bench.prefix,
        "GREFFIER_KEYS": str(keys / "controller"),
        "GREFFIER_REGISTER": str(tmp_path / "register.yaml"),
    }

    async def typed(*words: str, **more: Any) -> Result:
        return await asyncio.to_thread(lambda: CliRunner().invoke(app, ["policy", *words], env=told, **more))

    return typed


async def test_of_nobody_nothing_is_told(staff: Staff) -> None:
    state = json.loads((await staff("status", "--json")).stdout)
    assert (state["held"], state["to_tell"], state["published_at"]) == (0, 0, None)
    refused = await staff("publish", "7", "--by", BY)
    assert (refused.exit_code, "has no version 7" in refused.output) == (1, True)


async def test_from_publishing_to_the_last_one_told(bench: Bench, staff: Staff) -> None:
    for _ in range(3):
        await held_under(bench, "1")
    assert (await staff("publish", "2", "--by", BY)).exit_code == 0
    assert "published before" in (await staff("publish", "2", "--by", BY)).output
    said = await staff("to-tell", "2", "--json", "--by", BY)
    rows = [json.loads(line) for line in said.stdout.splitlines() if line.startswith('{"person"')]
    assert {row["person"] for row in rows} == set(ids(bench).values())
    listed = "\n".join(row["person"] for row in rows) + "\n"
    assert (await staff("told", "2", "--means", "letter", "--persons", "-", "--by", BY, input=listed)).exit_code == 0
    state = json.loads((await staff("status", "--json")).stdout)
    assert (state["to_tell"], state["told"], state["published"]) == (0, {"letter": 3}, ["2"])
    refused = await staff("told", "1", "--means", "website", "--by", BY)
    assert (refused.exit_code, "not published" in refused.output) == (1, True)
