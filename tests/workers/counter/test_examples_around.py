"""The worked clients before what goes on around them: two at once, a kill, a full disk, and who looks on.

Each broken on purpose is seen. Source: R28; P2, P4, P5; docs/subsidiary.md "Without Python".
"""

from __future__ import annotations

import base64
import json
import os
import re
import resource
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.workers.counter.clients import ADA, BOB, EXAMPLES, Desk, at_work, contact, desk, invoice

__all__ = ["desk"]

# ---------------------------------------------------------------------- two at once, a kill, a full disk


async def test_one_process_has_a_journal_and_what_was_killed_lets_go(desk: Desk) -> None:
    desk.fill(contact(1, ADA))
    assert await desk.told(desk.entry(BOB)) == ("nothing-held", None)  # it runs
    second = desk.run("--replay")
    assert (second.returncode, "another process works with the journal" in second.stderr) == (1, True)
    await desk.bout.carrier.close()  # killed
    leavings = [desk.beside / "journal.jsonl.work.x", Path(f"{desk.store}.new")]
    for one in leavings[desk.kind == "node" :]:
        one.write_text(ADA)
    journal = desk.beside / "journal.jsonl"
    sound = journal.read_text()
    journal.write_text(f'{sound}{{"line":"done","ta')  # a power cut
    assert desk.run("--replay").returncode == 0
    assert journal.read_text() == sound
    journal.write_text(f"what is this\n{sound}")
    assert desk.run("--replay").returncode == 1
    journal.write_text(sound)
    assert [path.name for path in desk.beside.iterdir() if path.name != "journal.jsonl.lock"] == ["journal.jsonl"]
    assert not any(one.exists() for one in leavings[1:]), "people's data"


def in_node(program: str, *words: object, **more: Any) -> subprocess.CompletedProcess[str]:
    command = ["node", "--input-type=module", "-e", program, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=EXAMPLES / "node", **more)


def test_a_claim_is_of_a_process_that_lives_and_is_the_very_one(tmp_path: Path) -> None:
    """Numbers of processes come again: one that is another's by now holds nothing."""
    journal, mine = tmp_path / "journal", os.getpid()
    since = Path(f"/proc/{mine}/stat").read_text().rsplit(") ", 1)[1].split(" ")[19]
    ended = subprocess.Popen(["true"])
    ended.wait()
    program = "import { lock } from './disk.mjs'; lock(process.argv[1]);"
    for pid, content, held in ((mine, since, True), (mine, "", True), (mine, "12", False), (ended.pid, since, False)):
        claim = tmp_path / f"journal.lock.{pid}"
        claim.write_text(content)
        assert (in_node(program, journal).returncode == 1) is held
        assert claim.exists() is held
        claim.unlink(missing_ok=True)
    assert list(tmp_path.iterdir()) == [], "who ends lets go"


def test_half_a_line_that_a_full_disk_left_is_taken_back(tmp_path: Path) -> None:
    program = """
      import fs from 'node:fs'; import { append } from './disk.mjs';
      const file = fs.openSync(process.argv[1], 'a+');
      append(file, 'a'.repeat(700) + '\\n');
      try { append(file, 'b'.repeat(700) + '\\n'); } catch (error) { console.log(error.code); }"""
    limited = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))  # noqa: E731
    assert in_node(program, tmp_path / "journal", preexec_fn=limited).stdout == "EFBIG\n"
    assert (tmp_path / "journal").read_text() == "a" * 700 + "\n"


SPY = """
import fs from 'node:fs';
const { SPY_LOG: log, SPY_DOOM: doom } = process.env;
const { openSync, writeSync, closeSync } = fs;
const shown = (one) => (one instanceof Uint8Array ? 'bytes' : one);
const names = ['writeSync', 'fsyncSync', 'renameSync', 'ftruncateSync', 'openSync', 'writeFileSync', 'rmSync'];
let left = fs.existsSync(doom) ? Number(fs.readFileSync(doom, 'utf8')) : Infinity;
const step = () => { if (left-- <= 0) { fs.unlinkSync(doom); process.kill(process.pid, 'SIGKILL'); } };
for (const name of names) {
  const real = fs[name];
  fs[name] = (...args) => {
    step();
    const found = real(...args);
    if (name === 'openSync') args.push(found);
    const file = openSync(log, 'a');
    writeSync(file, JSON.stringify([name, ...args.map(shown)]) + '\\n');
    closeSync(file);
    step();
    return found;
  };
}
"""


@asynccontextmanager
async def spied(folder: Path, monkeypatch: pytest.MonkeyPatch, examples: Path = EXAMPLES) -> AsyncIterator[Desk]:
    """The client in Node, whose calls of the disk are written down, and end it where ``doom`` says."""
    (folder / "spy.mjs").write_text(SPY)
    monkeypatch.setenv("NODE_OPTIONS", f"--import {folder / 'spy.mjs'}")
    monkeypatch.setenv("SPY_LOG", str(folder / "calls"))
    monkeypatch.setenv("SPY_DOOM", str(folder / "doom"))
    async with at_work("node", folder, examples) as desk:
        yield desk


async def test_what_was_done_is_on_disk_before_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal first, then the store and its new name, then the journal again; for whoever might read it before."""
    await _watch_the_disk(tmp_path, monkeypatch)


async def _watch_the_disk(folder: Path, monkeypatch: pytest.MonkeyPatch, examples: Path = EXAMPLES) -> None:
    async with spied(folder, monkeypatch, examples) as desk:
        desk.fill(contact(1, ADA))
        desk.store.chmod(0o640)
        assert await desk.told(desk.entry(BOB)) == ("nothing-held", None)
        (folder / "calls").unlink()
        assert await desk.told(desk.entry(ADA)) == ("done", None)
        files: dict[int, str] = {}
        calls = []
        for name, *args in map(json.loads, (folder / "calls").read_text().splitlines()):
            if name == "openSync":
                files[args[-1]] = Path(args[0]).name
            elif name != "writeFileSync":
                calls.append((name, files.get(args[0], "journal") if isinstance(args[0], int) else Path(args[0]).name))
        calls = [call for call in calls if call != ("writeSync", "store.new")]  # how it is written is Node's own matter
        written = [("writeSync", "journal"), ("fsyncSync", "journal")]
        moved = [("fsyncSync", "store.new"), ("renameSync", "store.new"), ("fsyncSync", folder.name)]
        assert calls == [*written, *moved, *written]
        assert desk.store.stat().st_mode & 0o777 == 0o640


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "sound", "broken"),
    [
        (
            "greffier.mjs",
            "    work.held.save?.();\n    this.journal.write(work.done);",
            "    this.journal.write(work.done);\n    work.held.save?.();",
        ),
        (
            "greffier.mjs",
            "    this.journal.write(work.begun);\n    work.held.save?.();",
            "    work.held.save?.();\n    this.journal.write(work.begun);",
        ),
        ("disk.mjs", "  syncFolder(file);\n}", "}"),
        ("disk.mjs", "    fs.fchmodSync(beside, mode);\n", ""),
    ],
    ids=["said before it is done", "done before it is begun", "no name on disk", "for nobody else"],
)
async def test_who_says_it_before_it_is_on_disk_is_seen(
    file: str, sound: str, broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _fails(
        tmp_path, f"node/{file}", sound, broken, lambda examples: _watch_the_disk(tmp_path, monkeypatch, examples)
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_killed_at_each_call_of_the_disk_the_account_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spied(tmp_path, monkeypatch) as desk:
        for step in range(200):
            address = desk.bout.canary()
            desk.fill(contact(1, ADA), contact(2, BOB, restricted=True), invoices=(invoice(7, 1, "2001-01-01"),))
            restricted = desk.entry(BOB, "restriction")
            await desk.ask(restricted)
            await desk.bout.carrier.close()
            erased, planted = desk.entry(ADA), desk.bout.group.plant(address)
            lifted = restricted | {"ask": "lift", "attempt": 2}
            (tmp_path / "doom").write_text(str(step))
            answers = await desk.ask(erased, lifted, planted)
            gone, free, stands = (answers.of(one)[0]["collections"] for one in (erased, lifted, planted))
            assert [one["erased"] for one in gone] == [1, 1], step
            assert free == [{"name": "contacts", "matched": 1}], step
            assert stands[0]["matched"] == 1, step
            left = [(row["email"], row.get("restricted")) for row in desk.rows()]
            assert left == [(BOB, False), (address, None)], step
            if (tmp_path / "doom").exists():
                assert step > 20
                return
        raise AssertionError("it has no end of steps")


# ---------------------------------------------------------------------- what others see


async def test_what_is_printed_of_a_fault_quotes_nobody(desk: Desk) -> None:
    desk.store.write_text(f'{{"contacts": [{{"id": 1, "email": "{ADA}"')
    shown = desk.run("--newsletter")
    assert (shown.returncode, "trouble" in shown.stderr) == (1, True)
    order = desk.bout.group.order(desk.entry(BOB))
    assert await desk.bout.carrier.deliver(order) == []
    desk.store.write_text(json.dumps({"contacts": [contact(1, ADA)], "invoices": ADA}))
    assert await desk.bout.carrier.deliver(order) == []
    assert desk.said.count("trouble") == 2
    assert "ada" not in shown.stderr + desk.said


async def test_an_answer_of_ten_megabytes_is_not_read(desk: Desk) -> None:
    assert await desk.bout.carrier.deliver("x" * 10_000_000) == []
    assert "tasks: too large" in desk.said if desk.kind == "node" else "tasks: no answer" in desk.said
    desk.fill(contact(1, ADA))
    assert await desk.told(desk.entry(ADA)) == ("done", None)


WATCHED = ("openssl", "jq", "curl", "sed", "tr", "od", "cut", "head", "tail", "cat", "cp", "mv", "sync", "grep", "sort")
WATCH = """#!/bin/sh
{{ printf '%s' "$0"; printf ' %s' "$@"; printf '\\n'; }} >> {log}
exec {real} "$@"
"""


def watched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of what is called with which arguments, as the table of processes shows them; each call is really made."""
    (folder / "watch").mkdir()
    for name in WATCHED:
        place = folder / "watch" / name
        place.write_text(WATCH.format(log=folder / "seen", real=shutil.which(name)))
        place.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'watch'}:{os.environ['PATH']}")
    return folder / "seen"


async def _look_on(folder: Path, monkeypatch: pytest.MonkeyPatch, examples: Path = EXAMPLES) -> None:
    seen = watched(folder, monkeypatch)
    async with at_work("shell", folder, examples) as desk:
        desk.fill(contact(1, ADA))
        desk.store.chmod(0o640)
        backup = desk.store.read_text()
        asked = desk.entry(ADA)
        assert await desk.told(asked) == ("done", None)
        calls = seen.read_text().splitlines()
        await desk.bout.carrier.close()
        desk.store.write_text(backup)
        assert desk.run("--replay").returncode == 0
        assert desk.rows() == []
        keys = json.loads((desk.bout.group.office / "party.private.json").read_text())
        journal = base64.b64decode((desk.bout.group.office / "journal.key").read_text())
        padded = [bytes(one ^ pad for one in journal.ljust(64, b"\0")).hex() for pad in (0x36, 0x5C)]
        own = [base64.urlsafe_b64decode(keys[name]["d"] + "=").hex() for name in ("signing", "opening")]
        secrets = [ADA, journal.hex(), *padded, *own, *(keys[name]["d"] for name in ("signing", "opening"))]
        arguments = seen.read_text()
        assert [one for one in secrets if one in arguments] == []
        assert "Sample Person" not in arguments
        assert desk.store.stat().st_mode & 0o777 == 0o640
        disk = [one.split() for one in calls if re.search("/(sync|mv) ", one)]
        order = [" ".join(word.split("/")[-1] for word in call[:2]) for call in disk]
        written = order.index("sync store.new")
        assert order[written - 1 : written + 4] == [
            "sync journal.jsonl",
            "sync store.new",
            "mv store.new",
            f"sync {folder.name}",
            "sync journal.jsonl",
        ]


async def test_no_address_and_no_key_of_ours_is_an_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lists processes reads it. Beside: what was done is on disk before it is said, for whom the store was."""
    await _look_on(tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sound", "broken"),
    [
        ("""jq -c --rawfile email "$work/email" '""", """jq -c --arg email "$email" '"""),
        ("    openssl dgst -sha256 -binary | hex\n", '    openssl dgst -sha256 -hmac "$outer" -binary | hex\n'),
        ("""  sync "$(dirname "$store")"\n""", ""),
    ],
    ids=["an address", "the journal's key", "no name on disk"],
)
async def test_who_shows_them_or_waits_for_no_disk_is_seen(
    sound: str, broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _fails(tmp_path, "shell/office.sh", sound, broken, lambda examples: _look_on(tmp_path, monkeypatch, examples))


async def _fails(folder: Path, file: str, sound: str, broken: str, watch: Callable[[Path], Awaitable[None]]) -> None:
    """What watches the examples sees one that was broken on purpose."""
    examples = folder / "examples"
    shutil.copytree(EXAMPLES, examples)
    text = (examples / file).read_text()
    assert sound in text
    (examples / file).write_text(text.replace(sound, broken))
    with pytest.raises(AssertionError):
        await watch(examples)
