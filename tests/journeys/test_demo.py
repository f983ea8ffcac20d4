"""``greffier demo``, as a newcomer types it: exit 0, a row for each kind, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROWS = (
    "contact form",
    "newsletter subscription",
    "white paper",
    "job application with CV",
    "CRM contacts",
    "what dates move by",
    "cookie consents",
    "visits, kept where",
    "one person forgotten",
    "one click in a mail",
    "a cookie consent withdrawn",
    "thirteen months later",
    "three years later, and eight",
    "names in the clear",
)


@pytest.mark.timeout(180)
def test_the_demo_shows_each_kind_and_leaves_nothing_behind(tmp_path: Path) -> None:
    here = {"TMPDIR": str(tmp_path), "COLUMNS": "160", "GREFFIER_DEMO_MARK": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-m", "schemas", "demo"],
        capture_output=True,
        text=True,
        env={**os.environ, **here},
        check=False,
        timeout=150,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "All of it held" in ended.stdout
    assert [row for row in ROWS if row not in ended.stdout] == []
    assert " NO " not in ended.stdout
    assert children_of(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def children_of(mark: str) -> list[str]:
    """Processes that still bear the mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("GREFFIER_DEMO_MARK") == mark:
                found.append(process.name())
        except psutil.Error:  # somebody else's, or just gone
            continue
    return found
