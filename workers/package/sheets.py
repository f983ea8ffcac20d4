"""CSV for people who open it in a spreadsheet: RFC 4180, and nothing in it that a spreadsheet would run.

A text that could begin a formula gets a leading apostrophe; so does one whose second line could, and one that writes
its lead-in in full width, which some programs fold back. Numbers are numbers and stay as they are.
Source: ASVS 1.2.10; reliability § 8.1; RFC 4180.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from workers.package.content import Collected, Record

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""Without it, spreadsheets take the accents of UTF-8 for something else."""

_LEAD_INS: Final = frozenset("=+-@\t\r\0\u2212")
_MAX_DEPTH: Final = 8
_MAX_COLUMNS: Final = 200
_OTHER: Final = "(other)"
"""The column of what goes beyond: a store that names each record's fields anew would make a table of nothing."""


def formula_safe(text: str) -> str:
    """The text, behind an apostrophe where any of its lines could begin a formula."""
    return "'" + text if _could_run(text) else text


def _could_run(text: str) -> bool:
    return text[:1] in _LEAD_INS or any(_leads_in(line) for line in text.splitlines())


def _leads_in(line: str) -> bool:
    for char in line:
        if char in _LEAD_INS:
            return True
        if not char.isspace() and unicodedata.category(char) not in ("Cf", "Cc"):
            return unicodedata.normalize("NFKC", char)[:1] in _LEAD_INS
    return False


def rows(collected: Collected) -> Iterator[bytes]:
    """The lines of a collection's CSV file, its header first. Goes through the records twice, holding one at a time."""
    names = _columns(collected)
    columns, other = names[:_MAX_COLUMNS], [_OTHER] if len(names) > _MAX_COLUMNS else []
    line = io.StringIO(newline="")
    writer = csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    yield BYTE_ORDER_MARK
    writer.writerow([formula_safe(name) for name in (*columns, *other)])
    for record in collected.records:
        yield _taken(line)
        flat = dict(_flat(record))
        cells = [_cell(flat.pop(name, None)) for name in columns]
        writer.writerow([*cells, *(_cell(flat or None) for _ in other)])
    yield _taken(line)


def _taken(line: io.StringIO) -> bytes:
    written = line.getvalue()
    line.seek(0)
    line.truncate()
    # NUL ends a cell in some readers; a lone surrogate cannot be written at all.
    return written.replace("\0", "\ufffd").encode("utf-8", "replace")


def _columns(collected: Collected) -> list[str]:
    """The named fields in their order, then whatever else the records hold."""
    seen: set[str] = set()
    for record in collected.records:
        if len(seen) <= _MAX_COLUMNS:
            seen.update(name for name, _ in _flat(record))
    named = [name for field in collected.fields for name in sorted(seen) if f"{name}.".startswith(f"{field}.")]
    return list(dict.fromkeys([*named, *sorted(seen)]))


def _flat(record: Record, before: str = "", depth: int = 0) -> Iterable[tuple[str, Any]]:
    """Nested objects as dotted names; lists stay whole."""
    for name, value in record.items():
        if isinstance(value, Mapping) and value and depth < _MAX_DEPTH:
            yield from _flat(value, f"{before}{name}.", depth + 1)
        else:
            yield f"{before}{name}", value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return formula_safe(text)
