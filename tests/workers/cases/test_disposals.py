"""What subsidiaries are asked to dispose of, what is believed of their answers, and what is shown of them. R13; P7."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import InvalidMessage
from schemas.ticks import SUBSIDIARIES_RETENTION
from tests.factories import someone
from tests.workers.actors.ticking import run
from tests.workers.bench import Bench, Document
from tests.workers.cases.court import Court, nothing_held
from tests.workers.subsidiary.kits import SqliteKit
from tests.workers.subsidiary.test_disposing import RETENTION, customer, ids, mapped
from workers.actors.subsidiary import serve_order
from workers.cases.disposals import open_disposals
from workers.office import Office, RefusedLog, Trust
from workers.status import look_around
from workers.stores.office_disposals import Reported
from workers.stores.subsidiaries import open_store
from workers.stores.subsidiaries.journal import Journal

German = tuple[Office, SqliteKit, list[str]]

NOW = datetime(2026, 11, 23, 4, tzinfo=UTC)
TASK = "retention-2026-11-23/de"


def disposed(entry: dict[str, Any]) -> dict[str, Any]:
    """A store that let go of five and kept two."""
    one = {"name": "customers", "matched": 7, "erased": 5, "retained": 2, "ground": "legal hold"}
    return {"outcome": "partly-retained", "collections": [one]} if entry["ask"] == "dispose" else nothing_held(entry)


@pytest.fixture
def at_work(court: Court, bench: Bench) -> Court:
    """The morning of a day; every store answers."""
    bench.clock.at = NOW
    for store in court.stores.values():
        store.answer = disposed
    return court


async def asked(court: Court) -> dict[str, str]:
    """Today's orders, by store, on their way."""
    await open_disposals(court.desk.services)
    await court.post()
    return dict(court.posted)


def task(bench: Bench, name: str = TASK) -> Document:
    (found,) = [one for one in bench.collection("tasks", "evidence") if one["_id"] == name]
    return found


async def reported(court: Court) -> dict[str, Reported]:
    return {one.store: one for one in await court.desk.services.office_disposals.reported(sorted(court.stores))}


async def test_every_subsidiary_is_asked_by_the_registers_periods_and_nobody_is_named(at_work: Court) -> None:
    orders = await asked(at_work)
    assert set(orders) == set(at_work.stores)
    (entry,) = at_work.order("de", orders["de"])["entries"]
    periods = {one.pop("rule"): one for one in entry.pop("periods")}
    assert entry == {"task": TASK, "attempt": 1, "ask": "dispose", "on": "2026-11-23"}
    assert periods["relation"] == {"active": "P3Y"}
    assert periods["application"] == {"active": "P3M", "archive": "P5Y"}
    assert set(periods) == set(at_work.desk.services.trust.register.retention)


async def test_the_chore_asks_once_a_day(bench: Bench) -> None:
    number = len(bench.services.trust.register.subsidiaries)
    assert (await run(bench, SUBSIDIARIES_RETENTION, NOW))["counts"] == {"asked": number}
    await open_disposals(bench.services)
    assert len(bench.collection("tasks", "evidence")) == number


async def test_a_report_is_kept_and_shown_with_who_is_silent(at_work: Court, bench: Bench) -> None:
    at_work.stores["us"].answer = None
    await asked(at_work)
    await at_work.deliver()
    found = await reported(at_work)
    assert found["de"] == Reported(
        *("de", None, "2026-11-23", "2026-11-23T04:00:00.000Z", "partly-retained", None, 5, 0, 2, ("legal hold",))
    )
    assert found["us"] == Reported("us", "2026-11-23")
    assert task(bench)["entry"]["collections"][0]["erased"] == 5
    noted = [one["body"] for one in bench.collection("ledger_pending", "evidence")]
    kinds = sorted((one["kind"], one["details"]["store"]) for one in noted)
    accepted = [("receipt_accepted", store) for store in ("de", "gb")]
    assert kinds == [*(("order_issued", store) for store in ("de", "gb", "us")), *accepted]
    assert {one["case"] for one in noted} == {"retention-2026-11-23"}
    shown = (await look_around(at_work.desk.services, bench.redis)).office_disposals
    assert {one.store: one.silent_since for one in shown} == {
        "de": None,
        "gb": None,
        "us": "2026-11-23",
    }


async def test_who_is_silent_is_asked_again_and_the_next_day_only_for_that_day(at_work: Court, bench: Bench) -> None:
    at_work.stores["us"].answer = None
    await asked(at_work)
    await at_work.deliver()
    bench.clock.at = NOW + timedelta(minutes=1)
    await at_work.post()
    assert [store for store, _ in at_work.posted] == ["us"]
    bench.clock.at = NOW + timedelta(days=1)
    at_work.posted.clear()
    orders = await asked(at_work)
    assert [entry["on"] for entry in at_work.order("us", orders["us"])["entries"]] == ["2026-11-24"]
    at_work.stores["us"].answer = disposed
    await at_work.deliver()
    assert (await reported(at_work))["us"].silent_since is None


async def test_a_week_of_silence_is_an_alarm_until_there_is_an_answer(at_work: Court, bench: Bench) -> None:
    async def alarms() -> list[str]:
        return [one for one in (await look_around(at_work.desk.services, bench.redis)).alarms if "is over" in one]

    at_work.stores["us"].answer = None
    for day in range(8):
        assert await alarms() == [], "a store may be away for a while"
        bench.clock.at = NOW + timedelta(days=day)
        await asked(at_work)
        await at_work.deliver()
    [alarm] = await alarms()
    assert alarm.startswith("subsidiary us: since 2026-11-23 it has not said what it did")
    at_work.stores["us"].answer = disposed
    bench.clock.at = NOW + timedelta(days=8)
    await asked(at_work)
    await at_work.deliver()
    assert await alarms() == []


async def test_a_refusal_is_shown_with_its_reason(at_work: Court) -> None:
    refused = {"outcome": "refused", "collections": [], "reason": "no-retention"}
    at_work.stores["de"].answer = lambda _: dict(refused)
    await asked(at_work)
    await at_work.deliver()
    assert ((found := (await reported(at_work))["de"]).outcome, found.reason) == ("refused", "no-retention")


async def test_only_its_signer_is_believed_and_only_what_it_was_asked(at_work: Court, bench: Bench) -> None:
    orders = await asked(at_work)
    forged = at_work.receipt("de", orders["de"], by=at_work.stores["gb"].keys)
    assert forged is not None
    with pytest.raises(InvalidMessage):
        await at_work.take("de", forged)
    british = at_work.receipt("gb", orders["gb"])
    assert british is not None
    with pytest.raises(InvalidMessage):
        await at_work.take("de", british)
    entry = {"task": TASK, "attempt": 1, "ask": "serve", "at": "2026-11-23T04:00:00.000Z"}
    order = at_work.order("de", orders["de"])["jti"]
    entry |= disposed({"ask": "dispose"})
    for change in ({}, {"ask": "dispose", "attempt": 2}, {"ask": "dispose", "task": "retention-2026-11-22/de"}):
        claims = {"jti": "01890000-0000-7000-8000-000000000001", "order": order, "entries": [entry | change]}
        await at_work.take("de", at_work.seal(at_work.stores["de"], claims, {}))
    assert task(bench)["state"] == "waiting"


async def test_a_receipt_that_comes_again_changes_nothing(at_work: Court, bench: Bench) -> None:
    orders = await asked(at_work)
    receipt = at_work.receipt("de", orders["de"])
    assert receipt is not None
    await at_work.take("de", receipt)
    before = task(bench)
    await at_work.take("de", receipt)
    at_work.stores["de"].answer = lambda _: {"outcome": "nothing-held", "collections": []}
    other = at_work.receipt("de", orders["de"])
    assert other is not None
    await at_work.take("de", other)
    assert task(bench) == before


async def test_cases_beside_it_are_served_as_ever(at_work: Court) -> None:
    for store in at_work.stores.values():
        store.answer = nothing_held
    reference = await at_work.ask("erasure", someone("ada").email)
    await at_work.confirm(reference)
    await open_disposals(at_work.desk.services)
    case = await at_work.run(reference)
    assert case["proof"] == "receipted"
    assert {one.outcome for one in (await reported(at_work)).values()} == {"nothing-held"}


# ---------------------------------------------------------------------- with a real office


@pytest.fixture
async def office(subsidiary_keys: Path, tmp_path: Path, fast_path: Path) -> AsyncIterator[German]:
    """The German one: its own keys, journal and store; what it sends to the controller is kept."""
    kit, sent = SqliteKit(fast_path), list[str]()
    await kit.create()

    class Post:
        def post(self, token: str) -> None:
            sent.append(token)

    trust = Trust(subsidiary_keys / "subsidiaries" / "de", "de")
    store = open_store(mapped(kit, **RETENTION), kit.url)
    journal = Journal(tmp_path / "journal.jsonl", trust.journal_key)
    yield (
        Office("de", trust, store, journal, Post(), RefusedLog(tmp_path / "refused"), lambda: datetime.now(UTC)),
        kit,
        sent,
    )
    await store.close()
    journal.close()
    await kit.drop()


async def test_from_the_chore_to_the_count_in_status(court: Court, office: German) -> None:
    german, kit, sent = office
    await kit.insert("customers", customer(1, "2001-01-01"), customer(2, date.today().isoformat()), customer(3, "soon"))  # noqa: DTZ011
    orders = await asked(court)
    await serve_order(german, orders["de"])
    (receipt,) = sent
    await court.take("de", receipt)
    assert await ids(kit, "customers") == [2, 3]
    found = (await reported(court))["de"]
    assert (found.erased, found.retained, found.grounds) == (1, 1, ("no readable date",))
    assert found.silent_since is None
