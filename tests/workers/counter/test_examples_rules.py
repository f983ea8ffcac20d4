"""The clients' own rules, held against the worker's: what a correction means for a value, when a period is over.

Source: R13, R18; docs/decisions/0021.
"""

from __future__ import annotations

import json
import subprocess
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

from schemas.durations import parse_duration
from workers.rules.corrections import Patch, judged

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
NAMES = ("Muster", " MUSTER ", "Müller", "MÜLLER", "Mu\u0308ller", "Straße", "STRASSE", "van  der X", "Van der x")
VALUES = (*NAMES, "Ångström", "", None, 5)
CASES = [
    {"field": "last_name", "to": to, **({} if was is None else {"was": str(was)}), "stored": stored}
    for to, was, stored in product(("Muster", "Müller", "Straße"), VALUES, VALUES)
]
DAYS = ("2024-02-29", "2026-01-31", "2025-08-31", "1900-01-01", "2026-12-31", "2027-03-28")
PERIODS = ("P3Y", "P13M", "P1M", "P6M", "P2W", "P7D", "P1Y1M1W1D", "P10Y")


def said(command: list[str], asked: Any) -> Any:
    told = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=True, cwd=EXAMPLES)
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
