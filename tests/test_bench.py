"""Each benchmark runs and says what it promises to say. Nothing here is about time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigurationError
from workers.bench import run_bench

ROOT = Path(__file__).resolve().parent.parent
PERSISTING = {"bench", "n", "rate_per_s", "raw_per_s", "ratio", "one_per_message_per_s", "rss_mib"}
KEYS = {
    "consents": PERSISTING,
    "submissions": PERSISTING,
    "door": PERSISTING,
    "latency": {"bench", "n", "p50_ms", "p99_ms", "lone_p50_ms", "offered_per_s"},
    "idle": {"bench", "n", "core_percent"},
}
ALIKE = {"submissions", "door", "latency", "idle"}
"""Their stage is that of the others."""


@pytest.mark.parametrize("name", [pytest.param(one, marks=pytest.mark.slow if one in ALIKE else ()) for one in KEYS])
def test_a_benchmark_prints_one_json_object_with_its_figures(name: str) -> None:
    figures = measured(name, patience_s=100)
    assert KEYS[name] <= figures.keys()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_so_does_the_one_that_starts_a_whole_group() -> None:
    figures = measured("rights", "--people", "20000", patience_s=580)
    assert {"n", "tasks_per_s", "confirmed_to_answered_p50_ms", "scaling"} <= figures.keys()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_so_does_the_one_of_unsubscribes() -> None:
    figures = measured("unsubscribe", "--n", "50", patience_s=580)
    assert {"n", "effective_p99_ms", "all_subsidiaries_p99_ms"} <= figures.keys()


def measured(name: str, *options: str, patience_s: float) -> dict[str, Any]:
    argv = [sys.executable, "-m", "schemas", "bench", name, "--json", "--n", "1", "--rounds", "1", *options]
    ran = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=patience_s, check=False)
    assert ran.returncode == 0, ran.stderr
    (line,) = ran.stdout.splitlines()
    figures: dict[str, Any] = json.loads(line)
    assert figures["bench"] == name
    return figures


def test_without_a_checkout_the_command_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="from a checkout"):
        run_bench("idle", [], checkout=tmp_path)
