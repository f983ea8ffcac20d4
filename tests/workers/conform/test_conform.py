"""`greffier conform`: full marks for what serves, the right faults for what does not, a certificate for one alone.

Source: R28; design § 6; docs/subsidiary.md "Conformance".
"""

from __future__ import annotations

import asyncio
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from pymongo import MongoClient
from typer.testing import CliRunner, Result

from schemas.errors import ConfigurationError, InvalidMessage
from schemas.jose import Peer
from schemas.keyfiles import write_json
from schemas.orders import WISH
from schemas.party_keys import as_peer, new_party, read_party
from schemas.terms import Right
from tests.workers.subsidiary.conftest import all_parties, parties
from tests.workers.subsidiary.controller import CODE
from workers.commands import register_commands
from workers.conform.description import read_description
from workers.conform.report import Report, Trial, check_certificate, report_on
from workers.conform.running import conform
from workers.conform.trials import TRIALS

__all__ = ["all_parties", "parties"]

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"


AT_LENGTH = [pytest.mark.slow, pytest.mark.timeout(1800)]
"""What starts a program, or a hundred, for each order; and the mapped store, which has tests of its own."""


async def tried(path: str, *only: str) -> Report:
    return await conform(read_description(EXAMPLES / path), only)


def faults(report: Report) -> dict[str, list[str]]:
    return {trial.name: trial.faults for trial in report.trials if not trial.held}


# ---------------------------------------------------------------------- full marks


@pytest.mark.parametrize(
    "path",
    [
        "conform/adapter.yaml",
        *(pytest.param(f"conform/{name}.yaml", marks=AT_LENGTH) for name in ("sql", "node", "shell", "by-hand")),
    ],
)
async def test_what_is_shipped_gets_full_marks(path: str) -> None:
    report = await tried(path)
    assert faults(report) == {}
    assert report.full
    assert report.marks == len(TRIALS) == 19
    refused = ["disposal"] if path == "conform/shell.yaml" else []
    assert report.rights["refused"] == refused
    assert set(report.rights["shown"]) == {*Right, WISH, "disposal", "canary"} - set(refused)


@pytest.mark.slow
async def test_so_does_a_mapped_mongodb(mongo_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORM_STORE_URL", mongo_url)
    try:
        assert faults(await tried("conform/mongodb.yaml")) == {}
    finally:
        with MongoClient[dict[str, Any]](mongo_url) as client:
            client.drop_database("conform_scratch")


async def test_over_http_what_it_finds_is_the_clients(tmp_path: Path) -> None:
    """The client in Node through some trials; and one that forgets what it did, overwrites what it did not see, and
    takes the last order for the last word.
    """
    wanted = ("unknown person", "rectification", "restriction", WISH, "canary", "duplicate delivery")
    assert faults(await tried("conform/node.yaml", *wanted)) == {}
    for folder in ("node", "conform"):
        shutil.copytree(EXAMPLES / folder, tmp_path / folder)
    for file, sound, broken in (
        ("greffier.mjs", "if (done && done.attempt >= attempt) return", "if (false) return"),
        ("greffier.mjs", "if (done) return", "if (false) return"),
        ("greffier.mjs", "line.right === 'restriction' && line.task !== task", "false"),
        ("rules.mjs", "? 'applies' : 'conflicts'", "? 'applies' : 'applies'"),
        ("rules.mjs", "!(refused > wish.refused_at)", "true"),
        (
            "greffier.mjs",
            "filter((email) => !isAccepted(this.journal.heardOf(email, work.begun)))",
            "filter(() => true)",
        ),
    ):
        client = tmp_path / "node" / file
        assert sound in client.read_text()
        client.write_text(client.read_text().replace(sound, broken))
    found = faults(await conform(read_description(tmp_path / "conform" / "node.yaml"), wanted))
    assert set(found) == {"rectification", "restriction", WISH, "canary", "duplicate delivery"}
    assert "wish: an older no marks who accepted since" in found[WISH]
    assert "wish: an older yes takes away the mark of a newer no" in found[WISH]
    assert "rectification: what somebody set meanwhile was overwritten" in found["rectification"]
    assert found["restriction"] == [
        "restriction: a late repeat marks again what was lifted",
        "lifting: another restriction of the same person is gone",
    ]
    assert found["canary"] == ["canary: a late order plants it again after its erasure"]
    assert "a repeat acts again, or makes rows" in found["duplicate delivery"]


async def test_a_client_that_prints_whom_it_serves_is_found_out(tmp_path: Path) -> None:
    for folder in ("node", "conform"):
        shutil.copytree(EXAMPLES / folder, tmp_path / folder)
    client = tmp_path / "node" / "greffier.mjs"
    sound = "      if (!isUnderstood(entry))"
    assert sound in client.read_text()
    client.write_text(client.read_text().replace(sound, f"      console.error(entry);\n{sound}"))
    found = await conform(read_description(tmp_path / "conform" / "node.yaml"), ["key rotation"])
    assert faults(found) == {"key rotation": ["what it prints names people"]}


# ---------------------------------------------------------------------- the three bad ones

BAD = {
    "says_done": ("rights served", "erasure: says done, and the records still stand"),
    "matches_too_much": ("hostile identifiers", "an address is taken for a pattern or a statement"),
    "ignores_retention": ("retained data", "what must be kept was erased"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_adapter_is_failed_for_what_it_does(name: str) -> None:
    trial, fault = BAD[name]
    others = ("unknown person", "forged orders", "key rotation")
    report = await tried(f"bad/{name}.yaml", trial, *others)
    assert set(faults(report)) == {trial}
    assert fault in faults(report)[trial]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["matches_too_much", "ignores_retention"])
async def test_and_for_nothing_else(name: str) -> None:
    assert set(faults(await tried(f"bad/{name}.yaml"))) == {BAD[name][0]}


# ---------------------------------------------------------------------- the certificate


@pytest.fixture
def passed() -> Report:
    return report_on(read_description(EXAMPLES / "conform" / "sql.yaml"), [Trial(name, checks=1) for name in TRIALS])


def peer_of(keys: Any) -> Peer:
    return Peer(keys.party, {str(keys.signing.kid): keys.signing}, keys.opening)


def test_a_certificate_is_good_for_its_own_adapter_alone(passed: Report, parties: Path, tmp_path: Path) -> None:
    keys, now = read_party(parties / CODE), datetime.now(UTC)
    token, own = passed.certificate(keys), read_description(EXAMPLES / "conform" / "sql.yaml")
    claims = check_certificate(token, peer_of(keys), own, now)
    assert (claims["marks"], claims["adapter"]["name"], len(claims["trials"])) == (19, "mapped-sql", 19)
    for other in ("mongodb", "adapter", "node"):
        with pytest.raises(InvalidMessage, match="another_adapter"):
            check_certificate(token, peer_of(keys), read_description(EXAMPLES / "conform" / f"{other}.yaml"), now)
    changed = tmp_path / "conform"
    shutil.copytree(EXAMPLES / "conform", changed)
    check_certificate(token, peer_of(keys), read_description(changed / "sql.yaml"), now)
    (changed / "sql.mapping.yaml").write_text((changed / "sql.mapping.yaml").read_text().replace("P10Y", "P1Y"))
    with pytest.raises(InvalidMessage, match="another_adapter"):
        check_certificate(token, peer_of(keys), read_description(changed / "sql.yaml"), now)


def test_a_certificate_is_its_signatorys_and_has_an_end(passed: Report, parties: Path) -> None:
    keys, own = read_party(parties / CODE), read_description(EXAMPLES / "conform" / "sql.yaml")
    token, now = passed.certificate(keys), datetime.now(UTC)
    for signatory, at in (
        (peer_of(read_party(parties / "us")), now),
        (peer_of(new_party(CODE)), now),
        (peer_of(keys), now + timedelta(days=401)),
    ):
        with pytest.raises(InvalidMessage):
            check_certificate(token, signatory, own, at)
    with pytest.raises(InvalidMessage):
        check_certificate(token[:-8] + "AAAAAAAA", peer_of(keys), own, now)


def test_without_full_marks_there_is_none(passed: Report, parties: Path) -> None:
    passed.trials[3].check(False, "it does not")
    with pytest.raises(ValueError, match="full marks"):
        passed.certificate(read_party(parties / CODE))
    passed.trials[3].faults.clear()
    passed.trials[3].checks = 0
    assert not passed.full, "a trial that looked at nothing has not held"


# ---------------------------------------------------------------------- the command


async def typed(*words: object) -> Result:
    app = typer.Typer()
    register_commands(app)
    return await asyncio.to_thread(CliRunner().invoke, app, ["conform", *(str(word) for word in words)])


async def test_the_command_prints_signs_and_verifies(
    parties: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passed: Report
) -> None:
    monkeypatch.setattr("schemas.logs.configure_logs", lambda _: None)  # that of this process stays as it is
    sql, certificate = EXAMPLES / "conform" / "sql.yaml", tmp_path / "mine.jws"
    one = await typed(sql, "--only", "unknown person")
    assert (one.exit_code, "1 of 1 marks: it does its part" in one.output) == (0, True)
    bad = await typed(EXAMPLES / "bad" / "ignores_retention.yaml", "--only", "retained data", "--json")
    told = json.loads(bad.stdout[bad.stdout.index('{"adapter"') :])
    assert (bad.exit_code, told["full"], told["trials"][0]["held"]) == (1, False, False)
    assert told["adapter"]["name"] == "ignores-retention"

    certificate.write_text(passed.certificate(read_party(parties / CODE)))
    write_json(tmp_path / "by.json", as_peer(read_party(parties / CODE)))
    good = await typed(sql, "--verify", certificate, "--by", tmp_path / "by.json")
    assert (good.exit_code, "19 marks" in good.output) == (0, True)
    everybody = parties / "controller" / "subsidiaries.public.json"
    assert f"signed by {CODE}" in (await typed(sql, "--verify", certificate, "--by", everybody)).output
    controller = parties / CODE / "controller.public.json"
    assert "unknown_key" in (await typed(sql, "--verify", certificate, "--by", controller)).output
    other = await typed(EXAMPLES / "conform" / "node.yaml", "--verify", certificate, "--by", tmp_path / "by.json")
    assert (other.exit_code, "another_adapter" in other.output) == (1, True)
    assert (await typed(sql, "--certificate", certificate)).exit_code == 2
    assert (await typed(sql, "--only", "everything")).exit_code == 2


async def test_a_store_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    """Whoever names the real store by mistake."""
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    real = tmp_path / "real.json"
    real.write_text('{"contacts": [{"id": 1, "email": "ada@example.com", "name": "Ada"}], "invoices": []}')
    path = tmp_path / "examples" / "conform" / "adapter.yaml"
    path.write_text(path.read_text().replace("json, $STORE", f"json, {real}"))
    with pytest.raises(ConfigurationError, match="not empty"):
        await conform(read_description(path))
    assert "ada@example.com" in real.read_text()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{}", "adapter"),
        ("{adapter: {name: X, version: '1'}}", "adapter"),
        ("{adapter: {name: mine, version: '1'}, over: {pigeon: x}}", "over"),
        ("{adapter: {name: mine, version: '1'}, over: {mapping: m.yaml}, files: [m.yaml]}", "files"),
        ("{adapter: {name: mine, version: '1'}, over: {mapping: m}, files: [d.yaml]}", "bench"),
        ("{adapter: {name: mine, version: '1'}, over: {http: [x]}, files: [d.yaml], bench: [x]}", "replay"),
        ("{adapter: {name: mine, version: '1'}, colour: red}", "colour"),
        ("nothing", "mapping"),
    ],
)
def test_a_description_that_must_be_mended_says_where(tmp_path: Path, content: str, named: str) -> None:
    (tmp_path / "d.yaml").write_text(content)
    with pytest.raises(ConfigurationError, match=named):
        read_description(tmp_path / "d.yaml")
