"""Art. 20: what the person gave, on consent or a contract, for other programs; anything else is refused."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import timedelta
from typing import Any

import pytest

from schemas.ledger_keys import LedgerKeys
from schemas.terms import Case, LawfulBasis
from tests.factories import contact, file, form, someone
from tests.workers.bench import Bench
from tests.workers.cases.court import Court, Entry, letters, mails_leave, settled
from tests.workers.cases.test_consent import HOUR, served, subscribed
from tests.workers.cases.test_deciding import entered
from tests.workers.cases.test_evidence_of_cases import checked, ledger_keys, standings
from workers import subject_access
from workers.rules.cases import TaskState

__all__ = ["ledger_keys"]


async def package_of(court: Court, reference: str) -> dict[str, Any] | None:
    """Member → content, as whoever downloads it sees it; ``data.json`` read."""
    archive = await court.desk.packages.get(reference)
    if archive is None:
        return None
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name: opened.read(name).decode() for name in opened.namelist()} | {
            "data.json": json.loads(opened.read("data.json"))
        }


def gave(entry: Entry) -> Entry:
    """A store to which the person gave one record."""
    told: Entry = {"outcome": "done", "collections": [{"name": "customers", "matched": 1}]}
    records = [{"name": "Testine"}]
    copy = {"collections": [{"fields": {"name": "Name"}, "name": "customers", "records": records}], "store": "de"}
    return told if entry["ask"] == "look" else told | {"copy": copy}


async def test_what_was_given_on_consent_or_contract_and_nothing_else(
    bench: Bench, court: Court, ledger_keys: LedgerKeys
) -> None:
    ada = someone()
    await subscribed(bench, ada)  # on consent
    await bench.send(form(Case.JOB_APPLICATION, ada, received=bench.clock() - HOUR))  # towards a contract
    await bench.send(form(Case.CONTACT, ada, received=bench.clock() - HOUR))  # on legitimate interests
    await bench.send(contact(Case.CLIENT, ada, received=bench.clock() - HOUR))  # on a contract, said by the CRM
    court.stores["de"].answer = gave
    reference = await served(court, ada, "portability")

    package = await package_of(court, reference)
    assert package is not None
    assert "index.html" not in package
    data = package["data.json"]
    assert data["format"] == "greffier-portable-data/1"
    assert (data["processing"], data["recipients"]) == ([], [])
    stores = {one["code"]: one["collections"] for one in data["stores"]}
    own, de = stores["controller"], stores["de"]
    assert {one["case"] for one in own[0]["records"]} == {"newsletter", "job-application"}
    application = next(one for one in own[0]["records"] if one["case"] == "job-application")
    assert application["last_name"] == ada.last_name
    assert set(application) == {"case", "received", "last_name", "first_name", "email", "phone", "postal_address"}
    assert de[0]["records"] == [{"name": "Testine"}]
    answer = (await letters(court, reference))["answer-1"]
    for words in (
        "portability of the data you gave us",
        "hand it on to whom you like",
        "sales prospecting: this right exists only for data held on consent or a contract (Art. 20(1)(a) GDPR)",
        "holds nothing that you gave on your consent or for a contract",
    ):
        assert words in answer
    await mails_leave(court, reference)
    assert (await settled(court, reference))["proof"] == "closed"
    _, report = await checked(court, ledger_keys, reference)
    assert (report.faults, standings(report)["de"]) == ([], "attested")
    assert len(await bench.read(ada.email)) == 2, "nothing about it changes"


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "this right exists only for data held on consent or a contract"),
        ("fr", "ce droit ne vaut que pour des données fondées sur consentement ou contrat"),
    ],
)
async def test_what_is_held_on_legitimate_interests_is_refused_with_its_reason(
    bench: Bench, court: Court, language: str, words: str
) -> None:
    ada = someone()
    await bench.send(form(Case.CONTACT, ada, received=bench.clock() - HOUR))
    reference = await court.ask("portability", ada.email, language=language)
    await court.confirm(reference)
    await court.run(reference)
    assert (await court.tasks(reference))["controller"]["outcome"] == "nothing-held"
    assert await package_of(court, reference) is None
    answer = (await letters(court, reference))["answer-1"]
    assert words in answer
    assert "ZIP" not in answer, "no package, no link"
    assert "cnil.fr" in answer
    await mails_leave(court, reference)
    assert (await settled(court, reference))["proof"] == "closed"


@pytest.mark.parametrize("right", ["portability", "access"])
async def test_the_files_that_came_with_an_application_are_in_the_package(
    bench: Bench, court: Court, right: str
) -> None:
    ada, cv = someone(), file()
    applied = form(Case.JOB_APPLICATION, ada, received=bench.clock() - HOUR, cv=cv.field)
    await bench.upload(cv, applied)
    await bench.send(applied)
    reference = await served(court, ada, right)
    archive = await court.desk.packages.get(reference)
    assert archive is not None
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.read("files/001-cv.pdf") == cv.content
        assert json.loads(opened.read("data.json"))["files"][0]["sha256"] == cv.field["sha256"]
    assert cv.content not in [bytes(one["sealed"]) for one in bench.collection("copies", "evidence")]


async def test_nothing_crosses_a_border_without_a_basis(bench: Bench, court: Court) -> None:
    bench.clock.at = bench.clock() + timedelta(days=365 * 6)  # every basis has run out
    reference = await entered(court, someone(), "portability", confirmed="yes")
    states = {store: task["state"] for store, task in (await court.tasks(reference)).items()}
    assert states["us"] == TaskState.BARRED
    assert states["de"] == TaskState.WAITING


async def test_a_copy_that_asks_no_basis_is_caught(bench: Bench, court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken variant gives whatever is held."""
    monkeypatch.setattr(subject_access, "PORTABLE", frozenset(LawfulBasis))
    with pytest.raises(AssertionError):
        await test_what_is_held_on_legitimate_interests_is_refused_with_its_reason(bench, court, "en", "only for data")
