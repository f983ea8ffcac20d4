"""Every right through the worked clients: corrected, restricted and lifted, taken elsewhere, withdrawn, at its end.

Source: R14, R18, R20, R21, R28; docs/subsidiary.md "Without Python".
"""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from tests.workers.cases.court import mails_leave
from tests.workers.cases.test_deciding import DPO
from tests.workers.counter.test_examples import ADA, BOB, Client, client, contact, invoice, other_answers
from tests.workers.test_preferences import PROSPECTING, choose
from tests.workers.test_preferences import client as held_by_the_controller
from tests.workers.test_unsubscribe import at
from workers.cases import deciding
from workers.cases.disposals import open_disposals
from workers.cases.rounds import make_rounds
from workers.services import utc_now
from workers.stores.samples import written_to_by

__all__ = ["client"]

ROWS = {"contacts": [contact(1, ADA, name="Muster", town="Paris"), contact(2, BOB)], "invoices": [invoice(7, 1, 2)]}


async def asked(client: Client, right: str, email: str = ADA, **more: Any) -> dict[str, Any]:
    """What the office answers to a case of the controller's."""
    reference = await client.counters.served(right, email, **more)
    await client.answer()
    task = await client.task(reference)
    assert task["state"] == ("doubtful" if task["entry"]["outcome"] == "conflict" else "receipted"), task
    return {"reference": reference, **task["entry"]}


def newsletter(client: Client) -> list[str]:
    """To whom the office would send it: its own way to its contacts."""
    command = [*client.command, client.code, str(client.store), "--newsletter"]
    return subprocess.run(command, env=client.environment, capture_output=True, text=True, check=True).stdout.split()


def counted(told: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Collections by name; what is none is left out."""
    return {one["name"]: {k: v for k, v in one.items() if k != "name" and v} for one in told["collections"]}


def row(client: Client, number: int = 1) -> dict[str, Any]:
    [found] = [one for one in client.rows()["contacts"] if one["id"] == number]
    return found


def corrected(**patches: tuple[str, str]) -> dict[str, Any]:
    said = {name: dict(zip(("was", "to"), patch, strict=True)) for name, patch in patches.items()}
    city = said.pop("city", None)
    return {"corrections": said | ({"postal_address": {"city": city}} if city else {})}


async def test_it_corrects_what_the_person_saw_and_nothing_else(client: Client) -> None:
    client.fill(**ROWS)
    told = await asked(client, "rectification", **corrected(last_name=("MUSTER ", "Master")))
    assert (told["outcome"], counted(told)) == ("done", {"contacts": {"matched": 1, "corrected": 1}})
    assert row(client) == ROWS["contacts"][0] | {"name": "Master"}

    crossing = corrected(last_name=("Muster", "Mister"), city=("Paris", "Lyon"))
    told = await asked(client, "rectification", **crossing)
    assert (told["outcome"], counted(told)) == ("conflict", {"contacts": {"matched": 1, "conflicting": 1}})
    assert row(client) == ROWS["contacts"][0] | {"name": "Master"}, "a row in conflict is left whole"

    told = await asked(client, "rectification", **corrected(city=("Paris", "Lyon"), first_name=("Ada", "Ida")))
    assert counted(told) == {"contacts": {"matched": 1, "corrected": 1}}
    assert row(client)["town"] == "Lyon"
    assert row(client, 2) == ROWS["contacts"][1]
    journal = (client.folder / "beside" / "journal.jsonl").read_text()
    assert not any(name in journal for name in ("Muster", "Master", "Mister", "Lyon", ADA))


async def test_whoever_is_restricted_is_used_by_nobody_until_it_is_lifted(client: Client) -> None:
    client.fill(**ROWS)
    assert newsletter(client) == [ADA, BOB]
    told = await asked(client, "restriction")
    await other_answers(client.counters)
    assert counted(told) == {"contacts": {"matched": 1, "restricted": 1}}
    assert newsletter(client) == [BOB]
    assert counted(await asked(client, "access")) == {"contacts": {"matched": 1}, "invoices": {"matched": 1}}
    assert {one["id"] for one in client.rows()["contacts"]} == {1, 2}, "it is stored"
    backup = client.store.read_text()

    reference, court = told["reference"], client.counters.court
    await mails_leave(court, reference)
    await deciding.lift(court.desk, reference, DPO)
    await client.counters.closed(reference)  # its letter has left
    await client.counters.post()
    await client.answer()
    lifted = (await client.task(reference))["entry"]
    assert (lifted["ask"], counted(lifted)) == ("lift", {"contacts": {"matched": 1}})
    assert newsletter(client) == [ADA, BOB]
    client.store.write_text(backup.replace('"restricted":true', '"restricted":false'))
    await client.run("--replay")
    assert newsletter(client) == [ADA, BOB], "what was lifted stays so"


@pytest.mark.slow
async def test_it_hands_over_what_was_given_and_withdraws_as_often_as_asked(client: Client) -> None:
    client.fill(**ROWS)
    told = await asked(client, "portability")
    assert counted(told) == {"contacts": {"matched": 1}}, "the invoices are kept because the law asks for them"
    for _ in range(2):
        told = await asked(client, "withdrawal")
        assert (told["outcome"], counted(told)) == ("done", {"contacts": {"matched": 1, "restricted": 1}})
    assert client.rows() == {**ROWS, "contacts": [{**ROWS["contacts"][0], "newsletter": False}, ROWS["contacts"][1]]}


async def test_what_is_over_goes_and_is_counted(client: Client) -> None:
    """By the register's rule; what is on an invoice, restricted, or of no known date stays and says why."""
    over, year = f"{utc_now().year - 5}-01-31", utc_now().year
    contacts = [
        contact(1, ADA, last_contact=over),
        contact(2, BOB, last_contact=f"{year}-01-01"),
        contact(3, "ida@example.com", last_contact=over),
        contact(4, "eve@example.com", last_contact=over, restricted=True),
        contact(5, "dan@example.com", last_contact="2020-02-31"),
    ]
    client.fill(contacts=contacts, invoices=[invoice(7, 1, 11), invoice(8, 3, 2), invoice(9, 4, 11)])
    await open_disposals(client.counters.bench.services)
    for _ in range(2):
        await client.counters.post()
        await client.answer()
        await client.lapse()
    [task] = [
        one
        for one in client.counters.bench.collection("tasks", "evidence")
        if one.get("ask") == "dispose" and one["store"] == client.code
    ]
    if client.command[0] == "sh":
        assert (task["entry"]["outcome"], task["entry"]["reason"]) == ("refused", "not-supported")
        assert client.rows()["contacts"] == contacts
        return
    ground = "accounting, ten years, restriction, no readable date"
    invoices = {"matched": 2, "erased": 1, "retained": 1, "ground": "accounting, ten years"}
    assert counted(task["entry"]) == {
        "contacts": {"matched": 4, "erased": 1, "retained": 3, "ground": ground},
        "invoices": {**invoices, "until": f"{year + 8}-03-01"},
    }
    assert client.rows() == {"contacts": contacts[1:], "invoices": [invoice(8, 3, 2), invoice(9, 4, 11)]}


async def test_what_is_accepted_again_by_the_mailed_link_is_sent_again(client: Client) -> None:
    """From what the person chose, by a round of the controller's, to the office's own recipients, and back."""
    counters, whom = client.counters, await held_by_the_controller(client.counters.bench)
    client.fill(contacts=[contact(1, whom.email.upper()), contact(2, BOB), contact(3, whom.email, newsletter=False)])

    async def chosen(minute: int, *, accepts: bool) -> dict[str, Any]:
        await choose(counters.bench, whom, {PROSPECTING: accepts}, at(minute))
        await make_rounds(counters.court.desk)
        await counters.post()
        await client.answer()
        await other_answers(counters)
        assert all("over_at" in one for one in counters.bench.collection("rounds", "evidence"))
        return {
            one["id"]: (one["newsletter"], one["objected"]) for one in client.rows()["contacts"] if "objected" in one
        }

    assert await chosen(1, accepts=False) == {1: (True, True), 3: (False, True)}
    backup = client.store.read_text()
    assert newsletter(client) == [BOB]
    assert written_to_by(client.store) == {BOB}, "the demo and the benchmarks read it alike"
    assert await chosen(2, accepts=True) == {1: (True, False), 3: (False, False)}
    assert newsletter(client) == [whom.email.upper(), BOB], "and what they had never asked for is not sent"
    assert written_to_by(client.store) == {whom.email.upper(), BOB}
    client.store.write_text(backup)
    await client.run("--replay")
    assert newsletter(client) == [whom.email.upper(), BOB]
    assert await chosen(3, accepts=False) == {1: (True, True), 3: (False, True)}
    await client.run("--replay")
    assert newsletter(client) == [BOB]
    assert whom.email not in (client.folder / "beside" / "journal.jsonl").read_text().lower()
