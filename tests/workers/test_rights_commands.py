"""``greffier rights``, as staff type it, over real stores. Source: R22, R23, R30."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from schemas.calendar import civil_day
from schemas.commands import keys_app
from schemas.desk_accounts import read_accounts
from schemas.terms import Case
from tests.factories import form, someone
from tests.workers.bench import Bench
from tests.workers.cases.conftest import court, subsidiary_keys
from tests.workers.cases.court import Court
from workers.cases.engine import advance
from workers.commands import register_commands

__all__ = ["court", "subsidiary_keys"]

Staff = Callable[..., Awaitable[Result]]


@pytest.fixture
def staff(bench: Bench, keys: Path, mongo_url: str) -> Staff:
    app = typer.Typer()
    register_commands(app)
    told = {
        "GREFFIER_REDIS_URL": "redis://nowhere.example.org",  # no decision needs it
        "GREFFIER_MONGO_URL": mongo_url,
        "GREFFIER_MONGO_PREFIX": bench.prefix,
        "GREFFIER_KEYS": str(keys / "controller"),
        "GREFFIER_MAIL_FROM": "rights@example.com",
        "GREFFIER_PUBLIC_URL": "https://rights.example.com",
        "COLUMNS": "250",
    }

    async def typed(*words: str) -> Result:
        return await asyncio.to_thread(lambda: CliRunner().invoke(app, ["rights", *words], env=told))

    return typed


async def entered(bench: Bench, staff: Staff, email: str, right: str = "access", *more: str) -> str:
    day = civil_day(bench.services.clock()) - timedelta(days=2)
    said = await staff(
        "record", right, "--email", email, "--channel", "letter", "--received", f"{day}", "--by", "dpo.sample", *more
    )
    assert said.exit_code == 0, said.output
    return said.stdout.strip()


async def test_a_letter_is_entered_listed_shown_extended_and_refused(bench: Bench, staff: Staff) -> None:
    ada = someone()
    reference = await entered(bench, staff, ada.email, "access", "--language", "en")
    listed = json.loads((await staff("list", "--json")).stdout)
    assert [case["reference"] for case in listed["cases"]] == [reference]
    assert reference in (await staff("list", "--filter", "open")).stdout

    by = ("--by", "dpo.sample")
    said = await staff("extend", reference, "--reason", "redaction", "--text", "Others are named in it.", *by, "--json")
    assert (said.exit_code, json.loads(said.stdout)["extended"]) == (0, True)
    said = await staff("refuse", reference, "--ground", "others_rights", "--text", "They would be named.", *by)
    assert (said.exit_code, "answer refused" in said.stdout) == (0, True)
    shown = json.loads((await staff("show", reference, "--json")).stdout)
    assert {mail["kind"] for mail in shown["mails"]} == {"extension", "refusal"}, (
        "what bears a link waits for a controller"
    )
    assert not [word for word in ada.canaries if word in said.output + json.dumps(shown)]


async def test_a_confirmed_erasure_of_a_child_is_served_without_redis(bench: Bench, staff: Staff, court: Court) -> None:
    ada = someone()
    await bench.send(form(Case.CONTACT, ada))
    reference = await entered(bench, staff, ada.email, "erasure", "--confirmed", "--ground", "child")
    assert await court.desk.cases.due(court.desk.services.clock(), court.desk.services.clock(), 10) == [reference]
    await advance(court.desk, reference)
    assert (await court.tasks(reference))["controller"]["outcome"] == "done"


async def test_a_hold_is_set_and_lifted_by_name(bench: Bench, staff: Staff) -> None:
    ada = someone()
    await bench.send(form(Case.CONTACT, ada))
    reference = await entered(bench, staff, ada.email, "erasure")
    said = await staff("hold", reference, "--ground", "litigation", "--until", "2031-01-31", "--by", "dpo.sample")
    assert (said.exit_code, "held until 2031-01-31: litigation" in said.stdout) == (0, True)
    assert (await staff("lift", reference, "--by", "dpo.sample")).exit_code == 0
    by = {one["body"]["details"].get("by") for one in bench.collection("ledger_pending", "evidence")}
    assert by == {"dpo.sample"}


async def test_a_correction_is_entered_from_a_file(bench: Bench, staff: Staff, court: Court, tmp_path: Path) -> None:
    ada = someone()
    await bench.send(form(Case.CONTACT, ada))
    said = tmp_path / "said.json"
    said.write_text(json.dumps({"last_name": {"was": ada.last_name, "to": "Newname"}}))
    reference = await entered(bench, staff, ada.email, "rectification", "--confirmed", "--corrections", str(said))
    bench.clock.at = bench.services.clock() + timedelta(minutes=1)
    await advance(court.desk, reference)
    shown = json.loads((await staff("show", reference, "--json")).stdout)
    own = next(one for one in shown["stores"] if one["store"] == "controller")
    assert own["collections"] == [{"name": "submissions", "matched": 1, "corrected": 1}]
    day = str(civil_day(bench.services.clock()))
    for wrong in (("--corrections", str(tmp_path / "nowhere.json")), ()):
        asked = ("record", "rectification", "--email", ada.email, "--channel", "letter", "--received", day, *wrong)
        assert (await staff(*asked, "--by", "dpo.sample")).exit_code == (2 if wrong else 1)


async def test_a_withdrawal_shows_how_long_it_takes(bench: Bench, staff: Staff, court: Court) -> None:
    reference = await entered(bench, staff, someone().email, "withdrawal", "--confirmed")
    await advance(court.desk, reference)
    assert "3 store(s) silent for" in (await staff("show", reference)).stdout
    await court.run(reference)
    assert "the last receipt came after" in (await staff("show", reference)).stdout


async def test_a_restriction_is_lifted_by_name(bench: Bench, staff: Staff, court: Court) -> None:
    ada = someone()
    await bench.send(form(Case.CONTACT, ada))
    reference = await entered(bench, staff, ada.email, "restriction", "--confirmed")
    said = await staff("lift", reference, "--by", "dpo.sample")
    assert (said.exit_code, "the person has no answer yet" in said.stderr) == (1, True)
    await court.run(reference)
    assert "held: restriction, GDPR Art. 18" in (await staff("show", reference)).stdout
    said = await staff("lift", reference, "--by", "dpo.sample")
    assert (said.exit_code, "mail lifting: waiting" in said.stdout) == (0, True)


async def test_what_the_case_does_not_allow_is_said_and_exits_with_1(bench: Bench, staff: Staff) -> None:
    reference = await entered(bench, staff, someone().email)
    for words, sentence in (
        (("show", "R-2222-2222-2222"), "there is no such case"),
        (("lift", reference), "no hold was set"),
        (("identity", reference, "--proved"), "no proof of identity was asked for"),
        (("decide", reference, "--store", "gb", "--decision", "again", "--reason", "x"), "no such store"),
        (("hold", reference, "--ground", "Müller", "--until", "2031-01-31"), "/ground"),
    ):
        named = words if words[0] == "show" else (*words, "--by", "dpo.sample")
        said = await staff(*named)
        assert (said.exit_code, sentence in said.stderr) == (1, True), (words, said.output)


async def test_what_is_mistyped_exits_with_2(bench: Bench, staff: Staff) -> None:
    reference = await entered(bench, staff, someone().email)
    for words in (
        ("extend", reference, "--reason", "laziness", "--text", "x"),
        ("refuse", reference, "--ground", "laziness", "--text", "x"),
        ("identity", reference),
        ("list", "--filter", "interesting"),
        ("record", "everything", "--email", "x", "--channel", "letter", "--received", "2026-11-01"),
    ):
        assert (await staff(*words)).exit_code == 2, words


async def test_a_day_of_receipt_in_the_future_opens_nothing(bench: Bench, staff: Staff) -> None:
    said = await staff("record", "access", "--email", "a@example.com", "--channel", "email", "--received", "2099-01-01")
    assert (said.exit_code, "/received" in said.stderr) == (1, True)
    assert bench.collection("cases", "evidence") == []


def test_a_desk_account_is_made_once_and_kept_as_a_digest(tmp_path: Path) -> None:
    file = tmp_path / "desk-accounts.json"
    made = CliRunner().invoke(
        keys_app, ["desk-account", str(file), "--name", "dpo.sample", "--department", "administration", "--decides"]
    )
    assert made.exit_code == 0, made.output
    token = made.stdout.strip()
    [account] = read_accounts(file).accounts.values()
    assert (account.decides, token.split("_", 2)[2] in file.read_text()) == (True, False)
    assert CliRunner().invoke(keys_app, ["revoke-desk-account", str(file), account.id]).exit_code == 0
    assert CliRunner().invoke(keys_app, ["revoke-desk-account", str(file), "nobody"]).exit_code == 1
    wrong = ["desk-account", str(file), "--name", "Ada Lovelace", "--department", "administration"]
    assert CliRunner().invoke(keys_app, wrong).exit_code == 1
