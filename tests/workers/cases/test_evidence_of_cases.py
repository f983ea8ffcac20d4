"""What the handling of cases notes makes a file that holds, whatever became of the case."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from schemas.ledger_keys import LedgerKeys, new_ledger_keys
from schemas.terms import Case
from tests.factories import form, someone
from tests.workers.bench import Bench
from tests.workers.cases.court import Court, erased, settled
from workers.cases_facts import facts_of
from workers.evidence.bundle import to_bytes
from workers.evidence.export import Exporter
from workers.evidence.findings import Report
from workers.evidence.keeping import Keeper
from workers.evidence.trusted import Trusted
from workers.evidence.verify import verify
from workers.evidence_commands import evidence_app
from workers.services import utc_now
from workers.stores.heads import Heads
from workers.stores.ledger import Ledger

ADA = someone("Ada")


@pytest.fixture
def ledger_keys() -> LedgerKeys:
    return new_ledger_keys(utc_now())


async def checked(court: Court, keys: LedgerKeys, reference: str) -> tuple[bytes, Report]:
    """The case's file, and what a reader finds in it."""
    services, desk = court.desk.services, court.desk
    ledger = Ledger(services.databases)
    keeper = Keeper(ledger, Heads(services.databases, ledger, keys, services.clock), services.clock)
    facts = await facts_of(services, desk.party, desk.peers, reference)
    assert facts is not None
    raw = to_bytes(await Exporter(keeper, keys, services.clock).export(facts))
    return raw, verify(raw, Trusted(tuple(keys.verifying.values()), log=keys.log))


def standings(report: Report) -> dict[str, str]:
    return {story.code: story.standing.value for story in report.stores}


async def test_a_closed_erasure(bench: Bench, court: Court, ledger_keys: LedgerKeys) -> None:
    await bench.send(form(Case.CONTACT, ADA))
    court.stores["de"].answer = erased(3)
    reference = await court.ask("erasure", ADA.email)
    await court.confirm(reference)
    await court.run(reference)
    for mail in await court.desk.cases.mails_of(reference):
        await court.desk.cases.mail_done(mail["_id"], "sent", court.desk.services.clock())
    case = await settled(court, reference)
    assert case["proof"] == "closed"
    raw, report = await checked(court, ledger_keys, reference)
    assert report.faults == []
    assert standings(report) == {"controller": "verified", "de": "attested", "gb": "attested", "us": "attested"}
    assert ADA.email.encode() not in raw
    assert ADA.last_name.encode() not in raw


async def test_it_is_handed_out_and_checked_by_command(
    bench: Bench, court: Court, keys: Path, mongo_url: str, tmp_path: Path
) -> None:
    reference = await court.ask("objection", ADA.email)
    await court.run(reference)
    environment = {
        "GREFFIER_KEYS": str(keys / "controller"),
        "GREFFIER_MONGO_URL": mongo_url,
        "GREFFIER_MONGO_PREFIX": bench.prefix,
        "COLUMNS": "200",
    }

    async def run(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, evidence_app, arguments, env=environment)

    file, public = tmp_path / "case.json", tmp_path / "keys.json"
    exported = await run("export", reference, "-o", str(file))
    assert (exported.exit_code, exported.stderr) == (0, "")
    assert (await run("keys", "-o", str(public))).exit_code == 0
    checked = await run("verify", str(file), "--key", str(public))
    assert checked.exit_code == 0, checked.stdout
    assert f"Case {reference}, objection" in checked.stdout
    unknown = await run("export", "R-AAAA-AAAA")
    assert (unknown.exit_code, unknown.stderr) == (1, "greffier: there is no such case\n")


async def test_an_open_case_with_a_silent_and_a_lying_store(court: Court, ledger_keys: LedgerKeys) -> None:
    def lies(entry: dict[str, Any]) -> dict[str, Any]:
        if entry["ask"] == "look":
            return {"outcome": "done", "collections": [{"name": "customers", "matched": 3}]}
        return erased(3)(entry)

    court.stores["gb"].answer = lies
    reference = await court.ask("erasure", ADA.email)
    await court.confirm(reference)
    court.stores["us"].answer = None
    await court.run(reference)
    _, report = await checked(court, ledger_keys, reference)
    assert report.faults == []
    assert standings(report) == {"controller": "answered", "de": "answered", "gb": "answered", "us": "silent"}
    court.stores["us"].answer = erased(1)
    case = await court.case(reference)
    await court.desk.cases.change_task((await court.tasks(reference))["us"], {"send_at": court.desk.services.clock()})
    await court.run(reference)
    case = await settled(court, reference)
    assert case["proof"] == "receipted"
    _, report = await checked(court, ledger_keys, reference)
    assert report.faults == []
    assert standings(report)["gb"] == "contradicting"
