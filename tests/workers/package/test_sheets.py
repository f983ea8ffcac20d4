"""CSV: whole for a program, inert for a spreadsheet."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.package.content import Collected
from workers.package.sheets import BYTE_ORDER_MARK, formula_safe, rows

DANGEROUS = [
    "=1+1",
    "+33199900001",
    "-2",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\0=1",
    "\tplain",
    "  =1",
    "\u00a0=1",
    "\u2003=1",
    "\ufeff=1",
    "\u200b=1",
    "harmless\n=1",
    "harmless\r\n  @x",
    "harmless\r+x",
    "harmless\u2028=1",
    "\uff1dcmd",
    "\uff0b1",
    "\uff0d1",
    "\uff20x",
    "\ufe66x",
    "\u22121",
    "line\n\u00a0\uff1dx",
    "=cmd|' /C calc'!A0",
]
HARMLESS = ["", "Zoë", "a=b", "1 + 1", "mail@example.org", "two\nlines", "'quoted", "1-2", "؀", "\u200c"]


@pytest.mark.parametrize("text", DANGEROUS)
def test_what_could_run_stands_behind_an_apostrophe(text: str) -> None:
    assert formula_safe(text) == "'" + text


@pytest.mark.parametrize("text", HARMLESS)
def test_what_could_not_run_is_left_alone(text: str) -> None:
    assert formula_safe(text) == text


def test_the_list_catches_a_guard_that_looks_at_the_first_character_only() -> None:
    """And one that forgets full width, or does not trim."""
    first_only = [text for text in DANGEROUS if text[:1] not in "=+-@\t\r\0"]
    trimmed = [text for text in DANGEROUS if text.strip(" \u00a0")[:1] not in "=+-@\t\r\0"]
    assert len(first_only) > len(trimmed) > 5


def table(*records: dict[str, Any], fields: dict[str, str] | None = None) -> list[list[str]]:
    raw = b"".join(rows(Collected("contacts", fields or {}, records)))
    assert raw.startswith(BYTE_ORDER_MARK)
    return list(csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True))


def test_every_record_is_a_row_under_its_fields() -> None:
    found = table(
        {"name": "Sample", "address": {"city": "Paris", "street": {"no": 1}}, "tags": ["a", {"b": 1}]},
        {"name": 'with "quotes", commas\nand lines', "late": None, "yes": True, "n": -5, "f": -0.5},
        fields={"yes": "", "name": "", "address": "", "unused": ""},
    )
    assert found[0] == ["yes", "name", "address.city", "address.street.no", "f", "late", "n", "tags"]
    assert found[1] == ["", "Sample", "Paris", "1", "", "", "", '["a", {"b": 1}]']
    assert found[2] == ["true", 'with "quotes", commas\nand lines', "", "", "-0.5", "", "-5", ""]


def test_a_field_name_runs_no_more_than_a_value() -> None:
    assert table({"=cmd": "x"})[0] == ["'=cmd"]


def test_no_record_is_a_header_alone() -> None:
    assert table() == [[]] or table() == []


def test_lines_end_as_rfc_4180_says() -> None:
    raw = b"".join(rows(Collected("contacts", {}, [{"a": "b"}])))
    assert raw == BYTE_ORDER_MARK + b'"a"\r\n"b"\r\n'


def test_a_store_that_names_every_field_anew_makes_no_endless_table() -> None:
    found = table(*({f"f{n}-{m}": m for m in range(10)} for n in range(300)))
    assert len(found[0]) == 201
    assert {len(row) for row in found} == {201}
    assert '"f299-9": 9' in found[300][-1], "what has no column of its own is still there"


@given(
    st.lists(st.dictionaries(st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.text()), max_size=4)
)
def test_nothing_in_any_table_could_run(records: list[dict[str, Any]]) -> None:
    for row in table(*records):
        for cell in row:
            number = cell.removeprefix("-").isdigit()
            assert number or cell.startswith("'") or formula_safe(cell) == cell
