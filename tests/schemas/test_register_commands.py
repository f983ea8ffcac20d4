"""``greffier register check`` and ``show``, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from schemas.register import SHIPPED, load_register
from schemas.register_commands import register_app
from schemas.terms import Case, CookiePurpose, Department, Purpose

WIDE = {"COLUMNS": "200"}


def broken(tmp_path: Path) -> Path:
    file = tmp_path / "broken.yaml"
    text = SHIPPED.read_text(encoding="utf-8")
    file.write_text(text.replace("active: P3M", "active: P3X").replace("country: GB", "country: UK"), encoding="utf-8")
    return file


def test_a_sound_register_is_one_line_and_exit_code_0() -> None:
    done = CliRunner().invoke(register_app, ["check"])

    assert done.exit_code == 0
    assert done.stdout.startswith("sound: 9 cases, 9 purposes")
    assert len(done.stdout.splitlines()) == 1


def test_every_fault_is_a_line_with_its_path_and_exit_code_1(tmp_path: Path) -> None:
    done = CliRunner().invoke(register_app, ["check", str(broken(tmp_path))])

    assert done.exit_code == 1
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [
        "retention.application.active",
        "subsidiaries.gb.country",
    ]


def test_check_speaks_json(tmp_path: Path) -> None:
    sound = CliRunner().invoke(register_app, ["check", "--json"])
    faulty = CliRunner().invoke(register_app, ["check", "--json", str(broken(tmp_path))])

    assert (sound.exit_code, json.loads(sound.stdout)) == (0, {"sound": True, "faults": []})
    found = json.loads(faulty.stdout)
    assert (faulty.exit_code, found["sound"]) == (1, False)
    assert {fault["path"] for fault in found["faults"]} == {"retention.application.active", "subsidiaries.gb.country"}


def test_the_register_the_process_would_use_is_the_one_checked(tmp_path: Path) -> None:
    done = CliRunner().invoke(register_app, ["check"], env={"GREFFIER_REGISTER": str(broken(tmp_path))})

    assert done.exit_code == 1


@pytest.mark.parametrize("command", ["check", "show"])
def test_a_file_that_is_not_there_is_a_fault(command: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(register_app, [command, str(tmp_path / "none.yaml")])

    assert done.exit_code == 1
    assert done.stdout.strip() == "(file): no such file"


def test_show_prints_all_of_it_for_people() -> None:
    done = CliRunner().invoke(register_app, ["show"], env=WIDE)
    register = load_register()

    assert done.exit_code == 0
    for words in (*Case, *Purpose, *CookiePurpose, *register.retention, *register.subsidiaries):
        assert words in done.stdout
    for department in Department:
        assert register.departments[department].label in done.stdout
    assert "13 months" in done.stdout
    assert "default: Code civil" in done.stdout
    assert "adequacy until 2031-12-27" in done.stdout


def test_show_speaks_json() -> None:
    done = CliRunner().invoke(register_app, ["show", "--json"])

    shown = json.loads(done.stdout)
    assert done.exit_code == 0
    assert shown["cases"]["newsletter"]["fields"]["required"] == ["email"]
    assert shown["retention"]["application"]["active"] == "P3M"


def test_words_of_the_file_are_never_taken_for_markup(tmp_path: Path) -> None:
    file = tmp_path / "marked.yaml"
    text = SHIPPED.read_text(encoding="utf-8").replace("label: Invite to events", 'label: "[bold]Invite[/bold]"')
    file.write_text(text, encoding="utf-8")

    assert "[bold]Invite[/bold]" in CliRunner().invoke(register_app, ["show", str(file)], env=WIDE).stdout
