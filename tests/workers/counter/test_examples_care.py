"""The worked clients before what goes wrong around them: strange stores, two at once, kills, who looks on.

Each is tried as `greffier conform` tries it, without a controller: orders as a real one signs them, over HTTP.
Source: R28; P2, P4, P5; docs/subsidiary.md "Without Python".
"""

from __future__ import annotations

import base64
import json
import os
import re
import resource
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from schemas.fields import wire_moment
from workers.conform.bout import Bout
from workers.conform.description import read_description
from workers.conform.group import Answers, Entry
from workers.conform.running import bout_for

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
ADA, BOB = "ada@example.com", "bob@example.com"
ASKED_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
KINDS = ["node", pytest.param("shell", marks=pytest.mark.slow)]
"""The client in shell starts a hundred small programs for an order."""


@dataclass
class Desk:
    """One client at work on a store of its own, and the group that asks it."""

    kind: str
    folder: Path
    bout: Bout
    command: list[str]

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def beside(self) -> Path:
        return self.folder / "beside"

    @property
    def said(self) -> str:
        """All it has printed."""
        return (self.folder / "log").read_text()

    def fill(self, *contacts: dict[str, Any], invoices: tuple[dict[str, Any], ...] = ()) -> None:
        self.store.write_text(json.dumps({"contacts": contacts, "invoices": invoices}))

    def rows(self, name: str = "contacts") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.store.read_text())[name]
        return found

    def entry(self, email: str, right: str = "erasure", **changes: Any) -> Entry:
        return self.bout.group.entry(email, right, **{"received_at": wire_moment(ASKED_AT), **changes})

    async def ask(self, *entries: Entry) -> Answers:
        return await self.bout.send(*entries)

    async def told(self, entry: Entry) -> tuple[str, str | None]:
        """Outcome and reason of the one answer."""
        [answer] = (await self.ask(entry)).of(entry)
        return answer["outcome"], answer.get("reason")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """It, to its end, beside whichever runs."""
        own = {"GREFFIER_KEYS": str(self.bout.group.office), "GREFFIER_JOURNAL": str(self.beside / "journal.jsonl")}
        command = [*self.command, "trial", str(self.store), *words]
        environment = {**os.environ, **own, "GREFFIER_COUNTER_URL": "http://127.0.0.1:9"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


@asynccontextmanager
async def at_work(kind: str, folder: Path, examples: Path = EXAMPLES) -> AsyncIterator[Desk]:
    description = read_description(examples / "conform" / f"{kind}.yaml")
    async with bout_for(replace(description, files=()), folder) as bout:
        place = {"node": ["node", "office.mjs"], "shell": ["sh", "office.sh"]}[kind]
        yield Desk(kind, folder, bout, [place[0], str(examples / kind / place[1])])


@pytest.fixture(params=KINDS)
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    async with at_work(request.param, tmp_path) as desk:
        yield desk


def contact(number: object, email: object, **more: Any) -> dict[str, Any]:
    return {"id": number, "email": email, "name": "Sample Person", "newsletter": True, **more}


def invoice(number: object, of: object, day: object) -> dict[str, Any]:
    return {"id": number, "contact": of, "number": f"I-{number}", "issued_on": day}


# ---------------------------------------------------------------------- strange stores, strange orders


async def whoever_is_written_otherwise_is_found_or_said_not_to_be_known(desk: Desk) -> None:
    """Letters in two parts, a domain in its own letters: nothing-held would be wrong."""
    desk.fill(contact(1, " Ada@Mu\u0308ller.example "), contact(2, "E\u0301mile@example.com"), contact(3, BOB))
    served = ("refused", "not-supported") if desk.kind == "shell" else ("done", None)
    assert await desk.told(desk.entry("ada@xn--mller-kva.example")) == served
    assert await desk.told(desk.entry("\u00e9mile@example.com")) == served
    assert await desk.told(desk.entry(BOB)) == ("done", None)
    assert [row["id"] for row in desk.rows()] == ([1, 2] if desk.kind == "shell" else [])


@pytest.mark.parametrize("zone", ["America/New_York"])
async def test_moments_and_days_are_read_alike_in_every_zone(
    zone: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await _moments_and_days("node", zone, monkeypatch, tmp_path)


@pytest.mark.slow
async def test_and_in_shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    await _moments_and_days("shell", "Asia/Tokyo", monkeypatch, tmp_path)


async def _moments_and_days(kind: str, zone: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("TZ", zone)
    moments = {
        "2026-03-01T13:30:00+02:00": "goes",
        "2026-03-01T12:30:00+02:00": "goes",
        "2026-03-01T12:00:00Z": "goes",
        "soon": "goes",
        None: "goes",
        "2026-02-30T13:00:00Z": "goes",
        "2026-03-01T11:30:00-02:00": "stays",
        "2026-03-01 12:30": "stays",
        "2026-03-01T12:00:00.001Z": "stays",
    }
    days = {"2015-02-30": "stays", "2012-02-29": "goes", "2010-13-01": "stays", "0001-01-01": "stays", "x": "stays"}
    async with at_work(kind, folder) as desk:
        acts = [contact(n, ADA, asked_at=at) for n, at in enumerate(moments, 1)]
        desk.fill(*acts, contact(50, BOB), invoices=tuple(invoice(n, 50, day) for n, day in enumerate(days, 60)))
        asked = [desk.entry(ADA), desk.entry(BOB)]
        await desk.ask(*asked)
        left = [row["id"] for row in desk.rows()]
        assert left == [*(n for n, at in enumerate(moments, 1) if moments[at] == "stays"), 50]
        assert [row["issued_on"] for row in desk.rows("invoices")] == [day for day in days if days[day] == "stays"]


async def where_records_cannot_be_told_apart_nobody_is_served(desk: Desk) -> None:
    """One id twice, none at all, one invoice's number twice, numbers that JavaScript and jq take for one."""
    for contacts, invoices in (
        ([contact(1, ADA), contact(1, BOB)], []),
        ([contact(None, ADA)], [invoice(7, None, "2001-01-01")]),
        ([contact(1, ADA), contact(2, BOB)], [invoice(7, 1, "2001-01-01"), invoice(7, 2, "2001-01-01")]),
        ([contact(2**60 + 1, ADA), contact(2**60 + 2, BOB)], [invoice(7, 2**60 + 2, "2001-01-01")]),
    ):
        desk.fill(*contacts, invoices=tuple(invoices))
        before = desk.store.read_bytes()
        asked = [desk.entry(ADA), desk.entry(ADA, "access"), desk.entry(ADA, "restriction")]
        answers = await desk.ask(*asked)
        assert {answers.of(one)[0].get("reason") for one in asked} == {"schema-mismatch"}
        assert desk.store.read_bytes() == before


async def an_order_is_served_in_its_order(desk: Desk) -> None:
    desk.fill(contact(1, ADA))
    shown, gone = desk.entry(ADA, "access", task="C-9/trial"), desk.entry(ADA, task="C-10/trial")
    answers = await desk.ask(shown, gone)
    assert answers.copies["C-9/trial"][0] == 1
    assert answers.of(gone)[0]["collections"][0]["erased"] == 1


async def what_says_more_than_is_known_is_not_understood(desk: Desk) -> None:
    desk.fill(contact(1, ADA), contact(2, BOB))
    canary = "canary.aaaaaaaa@example.org"
    strange = [
        desk.entry(ADA) | {"only": ["invoices"]},
        desk.entry(ADA) | {"person": {"emails": [5]}},
        desk.entry(ADA) | {"person": {"emails": [ADA], "but_not": [1]}},
        desk.entry(ADA) | {"received_at": "yesterday"},
        desk.bout.group.plant(f"{BOB}\n{canary}"),
        desk.bout.group.plant(f"{canary}\n"),
    ]
    good = desk.entry(BOB)
    answers = await desk.ask(*strange, good)
    assert [answers.of(one)[0].get("reason") for one in strange] == ["not-understood"] * len(strange)
    assert answers.of(good)[0]["outcome"] == "done"
    assert desk.rows() == [contact(1, ADA)]


async def of_several_addresses_each_keeps_the_mark_that_another_task_needs(desk: Desk) -> None:
    desk.fill(contact(1, ADA), contact(2, BOB))
    both = desk.entry(ADA, "restriction", person={"emails": [ADA, BOB]})
    other = desk.entry(BOB, "restriction")
    await desk.ask(both, other)
    lifting = both | {"ask": "lift", "attempt": 2}
    [answer] = (await desk.ask(lifting)).of(lifting)
    assert answer["collections"] == [{"name": "contacts", "matched": 2}]
    assert [row["restricted"] for row in desk.rows()] == [False, True]
    await desk.ask(other | {"ask": "lift", "attempt": 2})
    assert [row["restricted"] for row in desk.rows()] == [False, False]


async def test_strange_stores_and_strange_orders(desk: Desk) -> None:
    """One client through all of them."""
    for case in (
        whoever_is_written_otherwise_is_found_or_said_not_to_be_known,
        where_records_cannot_be_told_apart_nobody_is_served,
        an_order_is_served_in_its_order,
        what_says_more_than_is_known_is_not_understood,
        of_several_addresses_each_keeps_the_mark_that_another_task_needs,
    ):
        await case(desk)


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
async def spied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """The client in Node, whose calls of the disk are written down, and end it where ``doom`` says."""
    (folder / "spy.mjs").write_text(SPY)
    monkeypatch.setenv("NODE_OPTIONS", f"--import {folder / 'spy.mjs'}")
    monkeypatch.setenv("SPY_LOG", str(folder / "calls"))
    monkeypatch.setenv("SPY_DOOM", str(folder / "doom"))
    async with at_work("node", folder) as desk:
        yield desk


async def test_what_was_done_is_on_disk_before_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal first, then the store and its new name, then the journal again; for whoever might read it before."""
    async with spied(tmp_path, monkeypatch) as desk:
        desk.fill(contact(1, ADA))
        desk.store.chmod(0o640)
        assert await desk.told(desk.entry(BOB)) == ("nothing-held", None)
        (tmp_path / "calls").unlink()
        assert await desk.told(desk.entry(ADA)) == ("done", None)
        files: dict[int, str] = {}
        calls = []
        for name, *args in map(json.loads, (tmp_path / "calls").read_text().splitlines()):
            if name == "openSync":
                files[args[-1]] = Path(args[0]).name
            elif name != "writeFileSync":
                calls.append((name, files.get(args[0], "journal") if isinstance(args[0], int) else Path(args[0]).name))
        calls = [call for call in calls if call != ("writeSync", "store.new")]  # how it is written is Node's own matter
        written = [("writeSync", "journal"), ("fsyncSync", "journal")]
        moved = [("fsyncSync", "store.new"), ("renameSync", "store.new"), ("fsyncSync", tmp_path.name)]
        assert calls == [*written, *moved, *written]
        assert desk.store.stat().st_mode & 0o777 == 0o640


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
    assert shown.returncode != 0
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
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    office = tmp_path / "examples" / "shell" / "office.sh"
    text = office.read_text()
    assert sound in text
    office.write_text(text.replace(sound, broken))
    with pytest.raises(AssertionError):
        await _look_on(tmp_path, monkeypatch, tmp_path / "examples")
