"""Hostile and careless files: a clear fault on the file or the place, never a crash, never a guess."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigurationError
from schemas.register import load_register
from schemas.register_reading import SIZE_LIMIT_BYTES, parse_mapping, read_mapping

BOMB = b"a: &a [x, x, x, x]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\nd: [*c, *c, *c, *c]\n"


@pytest.mark.parametrize(
    ("content", "path", "problem"),
    [
        (b"", "(file)", "empty"),
        (b"# nothing\n", "(file)", "empty"),
        (b"- a list\n", "(file)", "not a mapping"),
        (b"just a sentence\n", "(file)", "not a mapping"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "(file)", "not UTF-8 text"),
        (b"a: \x00\n", "(file)", "not YAML"),
        (b"a: [1, 2\n", "(file)", "not YAML"),
        (b"\ta: 1\n", "(file)", "not YAML"),
        (BOMB, "(file)", "anchors and aliases are not allowed (line 1)"),
        (b"a: *nowhere\n", "(file)", "anchors and aliases are not allowed"),
        (b"a: " + b"[" * 5000 + b"]" * 5000, "(file)", "nested deeper than 16"),
        (b"a: 1\n---\nb: 2\n", "(file)", "another document"),
        (b"a: " + b"x" * SIZE_LIMIT_BYTES, "(file)", "larger than 256 KiB"),
        (b"!!python/object/new:os.system {a: 1}\n", "(file)", "tags are not allowed"),
        (b"a: !!python/object/apply:os.system ['true']\n", "a", "tags are not allowed"),
        (b"a: {b: !!binary aGk=}\n", "a.b", "tags are not allowed"),
        (b"? [a, b]\n: 1\n", "(file)", "a key must be plain text"),
        (b"a: {b: 1, b: 2}\n", "a.b", "written twice (line 1)"),
        (b'"\\e[2J": 1\n"\\e[2J": 2\n', "\\x1b[2J", "written twice (line 2)"),
    ],
)
def test_a_hostile_file_is_one_clear_fault(content: bytes, path: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "register.yaml"
    file.write_bytes(content)

    with pytest.raises(ConfigurationError) as caught:
        load_register(file)

    found = [fault for fault in caught.value.faults if fault.path == path and problem in fault.problem]
    assert found, caught.value.faults


def test_every_duplicate_is_named_with_its_line() -> None:
    _, faults = parse_mapping(b"a: 1\nb:\n  c: 1\n  c: 2\na: 3\n")

    assert [str(fault) for fault in faults] == ["b.c: written twice (line 4)", "a: written twice (line 5)"]


def test_norway_is_a_country_and_no_answer() -> None:
    text = b"country: NO\nversion: 1.10\nwhen: 2026-01-01\n"

    read, faults = parse_mapping(text)

    assert (read, faults) == ({"country": "NO", "version": "1.10", "when": "2026-01-01"}, ())
    assert yaml.safe_load(text)["country"] is False, "the usual loader no longer guesses: plain reading may be dropped"


@given(st.binary(max_size=300))
def test_any_bytes_give_faults_or_a_mapping(content: bytes) -> None:
    mapping, faults = parse_mapping(content)

    assert mapping or faults or content.strip() in (b"{}", b"\xef\xbb\xbf{}")


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    for path in (tmp_path / "missing.yaml", tmp_path, pipe, Path("/dev/zero")):
        mapping, faults = read_mapping(path)
        assert mapping == {}
        assert [fault.problem for fault in faults] == ["no such file"]
