"""The commands, as a person runs them: against a real ledger, and `verify` against nothing but a file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from schemas.keyring import generate_keys
from schemas.ledger_keys import PRIVATE, read_ledger_keys
from tests.workers.evidence.cases import CaseBook
from tests.workers.evidence.rig import LedgerRig, TickingClock, over
from workers.evidence_commands import evidence_app


class Shell:
    """Runs ``evidence …`` with the settings of one installation, in a thread, where it may have a loop of its own."""

    def __init__(self, folder: Path, mongo_url: str, prefix: str) -> None:
        generate_keys(folder / "keys")
        self.folder = folder
        self.keys = folder / "keys" / "controller"
        self._environment = {
            "GREFFIER_KEYS": str(self.keys),
            "GREFFIER_MONGO_URL": mongo_url,
            "GREFFIER_MONGO_PREFIX": prefix,
            "COLUMNS": "160",
        }

    async def __call__(self, *arguments: str, settings: bool = True) -> Result:
        nowhere = {"GREFFIER_KEYS": "/nowhere", "GREFFIER_MONGO_URL": "mongodb://127.0.0.1:9", "COLUMNS": "160"}
        environment = self._environment if settings else nowhere
        return await asyncio.to_thread(CliRunner().invoke, evidence_app, arguments, env=environment)


@pytest.fixture
def shell(tmp_path: Path, mongo_url: str, mongo_prefix: str) -> Shell:
    return Shell(tmp_path, mongo_url, mongo_prefix)


@pytest.fixture
def installed(rig: LedgerRig, shell: Shell) -> LedgerRig:
    """The same ledger under the installation's keys."""
    return over(rig.databases, read_ledger_keys(shell.keys), TickingClock())


async def test_a_file_is_verified_anywhere(installed: LedgerRig, shell: Shell) -> None:
    # The installation's key is younger than the rig's clock: a bundle is dated by the real one.
    installed.clock.at = installed.clock.at.replace(year=2100)
    file, keys = shell.folder / "case.json", shell.folder / "ledger.public.json"
    file.write_bytes(await (await CaseBook(installed).whole()).file())
    assert (await shell("keys", "-o", str(keys))).exit_code == 0
    good = await shell("verify", str(file), "--key", str(keys), settings=False)
    assert good.exit_code == 0, good.stderr
    assert "Everything in this file holds" in good.stdout
    assert "Sopexa Example GB Ltd" in good.stdout
    told = json.loads((await shell("verify", str(file), "--json", settings=False)).stdout)
    assert (told["sound"], told["notes"], len(told["stores"])) == (True, ["no_key_given"], 3)
    file.write_bytes(file.read_bytes().replace(b"Sopexa", b"Sopexb", 1))
    bad = await shell("verify", str(file), "--key", str(keys), settings=False)
    assert bad.exit_code == 1
    assert "does NOT hold" in bad.stdout
    assert (await shell("verify", str(file), "--key", str(file), settings=False)).exit_code != 0


async def test_heads_are_kept_elsewhere_and_checked_against(installed: LedgerRig, shell: Shell) -> None:
    installed.clock.at = installed.clock.at.replace(year=2100)
    kept = shell.folder / "heads.json"
    assert (await shell("heads")).exit_code == 1  # nothing to sign yet
    await installed.grow(3, 4)
    assert (await shell("heads", "-o", str(kept), "--to", "auditor")).exit_code == 0
    assert [head["body"]["size"] for head in json.loads(kept.read_text())["heads"]] == [3, 7]
    sound = await shell("check", "--head", str(kept))
    assert (sound.exit_code, "7 entries, 2 signed heads" in sound.stdout) == (0, True), sound.stdout
    assert (await shell("verify", str(kept), settings=False)).exit_code == 0
    kept.write_text(kept.read_text().replace('"size": 3', '"size": 4'))
    assert "head_bad_signature" in (await shell("verify", str(kept), settings=False)).stderr
    kept.write_text(kept.read_text().replace('"size": 4', '"size": 3'))
    await installed.leaves().delete_many({"_id": {"$gte": 2}})
    await installed.signed().delete_many({})
    assert (await shell("check")).exit_code == 0  # by itself it cannot be told
    broken = await shell("check", "--head", str(kept), "--json")
    assert broken.exit_code == 1
    assert json.loads(broken.stdout)["faults"] == ["ledger_truncated at size 2"]


async def test_a_key_is_rotated(shell: Shell) -> None:
    before = read_ledger_keys(shell.keys)
    assert (await shell("rotate-key")).exit_code == 0
    after = read_ledger_keys(shell.keys)
    assert after.log == before.log
    assert after.signing.kid != before.signing.kid
    assert after.verifying[str(before.signing.kid)].not_after is not None
    assert (shell.keys / PRIVATE).stat().st_mode & 0o777 == 0o400
    assert '"d"' not in (await shell("keys")).stdout
