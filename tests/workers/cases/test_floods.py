"""Floods of requests: nobody is locked out, nobody's mailbox is filled, nothing is lost. Source: reliability § 8.7."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from schemas.rights import new_reference
from schemas.terms import Case, Purpose
from tests.factories import form, someone
from tests.workers.bench import Bench
from tests.workers.cases.court import Court
from workers.cases.engine import advance
from workers.cases.opening import open_case

ADA = someone("Ada")
BO = someone("Bo")
AT_ONCE = 50
MANY = [pytest.param(300), pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])]


async def flood(court: Court, emails: Iterable[str], right: str = "access", **more: Any) -> list[str]:
    """Requests as fast as they come in; the references of their cases."""
    together = asyncio.Semaphore(AT_ONCE)

    async def ask(email: str) -> str:
        async with together:
            data = {"reference": new_reference(), "right": right, "email": email, "channel": "website", **more}
            reference = await open_case(court.desk, data, court.desk.services.clock())
            await advance(court.desk, reference)
            return reference

    return await asyncio.gather(*map(ask, emails))


def mails(bench: Bench) -> list[dict[str, Any]]:
    return bench.collection("mails", "evidence")


@pytest.mark.parametrize("many", MANY)
async def test_many_requests_for_one_address_are_one_case_and_one_mail(bench: Bench, court: Court, many: int) -> None:
    assert len(set(await flood(court, [ADA.email] * many))) == 1
    assert len(bench.collection("cases", "evidence")) == 1
    assert len(mails(bench)) == 1
    keys = [key for key in bench.collection("keys", "keys") if "destroyed_at" not in key]
    assert len(keys) == 1, "those that lost the race left no key behind"


@pytest.mark.parametrize("many", MANY)
async def test_one_request_each_for_many_addresses_from_one_network_is_mailed_slowly(
    bench: Bench, court: Court, many: int
) -> None:
    """Every one of them is a case; strangers are not written to in a burst; somebody elsewhere does not wait."""
    now = bench.clock.at = court.desk.services.clock()
    crowd = await flood(court, (f"stranger{n}@example.org" for n in range(many)), crowded="yes")
    assert len(set(crowd)) == len(bench.collection("cases", "evidence")) == many
    due = sorted(mail["send_at"] for mail in mails(bench))
    assert sum(moment <= now for moment in due) == 1
    assert due[-1] - due[0] >= (many - 1) * timedelta(seconds=10) - timedelta(seconds=1)

    elsewhere = await court.ask("access", ADA.email)
    (mail,) = await court.desk.cases.mails_of(elsewhere)
    assert mail["send_at"] <= now


async def test_nobody_can_be_locked_out(court: Court) -> None:
    """Somebody else asks in her name, over and over; she uses the link she was mailed, and is served."""
    (reference,) = set(await flood(court, [ADA.email] * 30))
    await court.confirm(reference)
    assert (await court.run(reference))["answer"] == "answered"
    again = await court.ask("access", ADA.email)
    assert again != reference
    await court.confirm(again)
    assert (await court.run(again))["answer"] == "answered", "what is confirmed is never slowed down"


async def test_objections_in_her_name_fill_nobodys_mailbox_and_each_holds_at_once(bench: Bench, court: Court) -> None:
    """They need no link, so each is believed; after the first of a day the rest is one case that waits for the next."""
    await bench.send(form(Case.CONTACT, ADA))
    first = await court.ask("objection", ADA.email)
    assert (await court.run(first))["answer"] == "answered"
    (second,) = set(await flood(court, [ADA.email] * 30, right="objection"))
    case = await court.run(second)
    assert (case["answer"], case["proof"]) == ("accepted", "none")
    assert not await bench.read(ADA.email, Purpose.SALES_PROSPECTING)
    assert len(mails(bench)) == 1

    bench.clock.at = case["serve_from"]
    assert case["serve_from"] - case["received_at"] <= timedelta(days=1)
    assert case["wake_at"] == case["serve_from"]
    assert (await court.run(second))["answer"] == "answered"
    other = await court.ask("objection", BO.email)
    assert (await court.run(other))["answer"] == "answered", "somebody else does not wait"


async def test_the_unpaced_variant_is_caught(bench: Bench, court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without joining, a flood is a flood: the first test above would fail."""

    async def nobody_joins(_: bytes) -> None:
        return None

    monkeypatch.setattr(court.desk.cases, "joined", nobody_joins)
    monkeypatch.setattr(court.desk.services.trust.references, "of", lambda *_: new_reference().encode())
    await flood(court, [ADA.email] * 10)
    assert len(mails(bench)) == 10
