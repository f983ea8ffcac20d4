"""The clients' own rules, held against the worker's: what a correction means for a value, when a period is over, what
is left of what somebody refused and accepted.

Source: R13, R18, R20, R21; docs/decisions/0021, 0022.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import date
from itertools import permutations, product
from pathlib import Path
from typing import Any

import pytest

from schemas.durations import parse_duration
from schemas.fields import read_moment
from workers.rules.corrections import Patch, judged
from workers.rules.objections import Heard, Wish

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
NAMES = ("Muster", " MUSTER ", "Müller", "MÜLLER", "Mu\u0308ller", "Straße", "STRASSE", "van  der X", "Van der x")
VALUES = (*NAMES, "Ångström", "", None, 5)
CASES = [
    {"field": "last_name", "to": to, **({} if was is None else {"was": str(was)}), "stored": stored}
    for to, was, stored in product(("Muster", "Müller", "Straße"), VALUES, VALUES)
]
DAYS = ("2024-02-29", "2026-01-31", "2025-08-31", "1900-01-01", "2026-12-31", "2027-03-28")
PERIODS = ("P3Y", "P13M", "P1M", "P6M", "P2W", "P7D", "P1Y1M1W1D", "P10Y")


def said(command: list[str], asked: Any, folder: Path = EXAMPLES) -> Any:
    told = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=True, cwd=folder)
    return json.loads(told.stdout)


def of_the_worker(case: dict[str, Any]) -> list[Any]:
    found = judged([(Patch.of(case), case["stored"])])
    return [found.concerned, found.conflicts, {"name": case["to"]} if found.sets else {}]


def test_the_client_in_node_judges_and_counts_as_the_worker_does() -> None:
    program = """
      import { judged, lastDay } from './node/rules.mjs';
      import { readFileSync } from 'node:fs';
      const { cases, days } = JSON.parse(readFileSync(0));
      const told = cases.map((one) => judged([one], { last_name: 'name' }, { name: one.stored }));
      const ends = days.map(([first, period]) => lastDay(first, period) ?? null);
      console.log(JSON.stringify([told.map((one) => [one.concerned, one.conflicts, one.sets]), ends]));"""
    unreadable = [("2026-02-31", "P1Y"), (None, "P1Y"), ("soon", "P1Y"), ("1899-12-31", "P1Y"), (20260101, "P1Y")]
    asked = {"cases": CASES, "days": [*product(DAYS, PERIODS), *unreadable, ("9999-01-01", "P3Y")]}
    told, ends = said(["node", "--input-type=module", "-e", program], asked)
    assert [one for one in zip(CASES, told, strict=True) if one[1] != of_the_worker(one[0])] == []
    worked = [(date.fromisoformat(day) + parse_duration(period)).isoformat() for day, period in product(DAYS, PERIODS)]
    assert ends == [*worked, *[None] * len(unreadable), "9999-12-31"]


def test_the_client_in_shell_is_in_conflict_rather_than_wrong() -> None:
    """It overwrites nothing that the worker would not; letters beyond ASCII may differ in case or form there."""
    program = 'include "greffier"; map(. as $one | {name: .stored} | judged([$one]; {last_name: "name"}))'
    told = said(["jq", "-c", "-L", "shell", program], CASES)
    differing = []
    for case, one in zip(CASES, told, strict=True):
        concerned, conflicts, sets = of_the_worker(case)
        assert one["conflicts"] or not conflicts, case
        if [one["concerned"], one["conflicts"], one["sets"]] != [concerned, conflicts, sets]:
            differing.append(f"{case.get('was', '')}{case['stored']}")
    assert [text for text in differing if text.isascii()] == []
    assert len(differing) < len(CASES) / 10


# ---------------------------------------------------------------------- refused, and accepted again


def no(second: int) -> dict[str, Any]:
    return {"right": "objection", "received_at": f"2026-11-20T12:00:0{second}.000Z"}


def wish(second: int, *, accepts: bool, refused: int, version: int) -> dict[str, Any]:
    known = {"accepts": accepts, "refused_at": no(refused)["received_at"], "version": version}
    return no(second) | {"right": "wish", **known}


LINES = [
    no(1),
    no(3),
    wish(2, accepts=True, refused=1, version=1),
    wish(4, accepts=True, refused=3, version=3),
    wish(4, accepts=False, refused=3, version=2),
    wish(4, accepts=False, refused=3, version=3),
    {"right": "withdrawal", "received_at": "2026-11-20T12:00:05.000Z"},
]
"""As a journal has them, of one address."""
STORIES = [
    [{"line": "begun", "task": f"C-{place}/us", "marks": ["m"], **one} for place, one in enumerate(told)]
    for length in range(4)
    for told in permutations(LINES, length)
]
PROGRAMS = {
    "node": (
        ["node", "--input-type=module", "-e"],
        """
      import { hearing, isAccepted, lastSaid } from './rules.mjs';
      import { readFileSync } from 'node:fs';
      const heard = JSON.parse(readFileSync(0)).map((lines) => lines.reduce((known, one) => hearing(known, one), {}));
      console.log(JSON.stringify(heard.map((one) => [isAccepted(one), lastSaid(one) ?? null])));""",
    ),
    "shell": (["jq", "-c", "-L", "."], 'include "greffier"; map(heard("m") | [accepted, last_said])'),
}


def differing(kind: str, folder: Path) -> list[Any]:
    """The stories of which a client holds something else than the worker."""
    words, program = PROGRAMS[kind]
    told = said([*words, program], STORIES, folder)
    return [one for one in zip(STORIES, told, strict=True) if one[1] != heard_by_the_worker(one[0])]


def heard_by_the_worker(story: list[dict[str, Any]]) -> list[Any]:
    heard, moments = Heard(), []
    for one in story:
        at = read_moment(one["received_at"])
        if one["right"] == "wish":
            heard.hear(Wish(at, one["version"], one["accepts"], read_moment(one["refused_at"])))
        elif one["right"] == "objection":
            heard.hear(at)
        moments += [one["received_at"]] if one["right"] != "withdrawal" else []
    return [heard.accepted, max(moments, default=None)]


@pytest.mark.parametrize("kind", PROGRAMS)
def test_the_clients_end_with_what_the_worker_does_whatever_order_it_was_heard_in(kind: str) -> None:
    assert differing(kind, EXAMPLES / kind) == []


@pytest.mark.parametrize(
    ("kind", "file", "sound", "broken"),
    [
        ("node", "rules.mjs", "!(refused > wish.refused_at)", "true"),
        ("node", "rules.mjs", "one.received_at > other.received_at", "true"),
        ("node", "rules.mjs", "one.version > other.version", "true"),
        ("node", "rules.mjs", "? !one.accepts :", "? one.accepts :"),
        ("shell", "greffier.jq", "(.refused == null or .refused <= .wish.refused_at)", "true"),
        ("shell", "greffier.jq", "max_by([.received_at, .version, (.accepts | not)])", "last"),
        ("shell", "greffier.jq", ".version, (.accepts | not)]", ".version, .accepts]"),
    ],
)
def test_a_client_that_weighs_them_otherwise_is_caught(
    kind: str, file: str, sound: str, broken: str, tmp_path: Path
) -> None:
    shutil.copytree(EXAMPLES / kind, tmp_path / kind)
    rules = tmp_path / kind / file
    assert rules.read_text().count(sound) == 1
    rules.write_text(rules.read_text().replace(sound, broken))
    assert differing(kind, tmp_path / kind)
