"""The journal keeps what was done, across kills and torn lines, for one process at a time, and names nobody."""

from __future__ import annotations

import os
import resource
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigurationError, StoreUnavailable
from schemas.terms import Right
from workers.stores.subsidiaries.adapter import Subject
from workers.stores.subsidiaries.journal import Journal

KEY = b"k" * 32
AT = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)
ANNA = Subject(("Anna@example.com", "anna@example.org"), AT)
STOOD = ({"name": "leads", "matched": 2, "erased": 2},)


def done(task: str = "R-1/gb", attempt: int = 1) -> dict[str, Any]:
    return {"task": task, "attempt": attempt, "ask": "serve", "outcome": "done", "collections": [], "at": "x"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def test_what_was_written_is_there_after_a_kill(path: Path) -> None:
    journal = Journal(path, KEY)
    journal.begin([("R-1/gb", Right.ERASURE, ANNA, STOOD)], AT)
    journal.finish([done(attempt=1), done(attempt=2)])
    journal.close()  # a kill lets go of the lock in the same way
    again = Journal(path, KEY)
    begun, last = again.begun("R-1/gb"), again.done("R-1/gb")
    assert begun is not None
    assert (begun.right, begun.received_at, begun.stood) == (Right.ERASURE, AT, STOOD)
    assert last is not None
    assert last.attempt == 2
    assert again.done("R-2/gb") is None
    again.close()


def test_it_names_nobody(path: Path) -> None:
    journal = Journal(path, KEY)
    journal.begin([("R-1/gb", Right.ERASURE, ANNA, STOOD)], AT)
    journal.close()
    assert "anna" not in path.read_text().lower()
    assert "example" not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    other = Journal(path.with_name("other"), b"another key of 32 bytes.........")
    assert other.marks(ANNA) != journal.marks(ANNA)
    other.close()


def test_spellings_of_one_address_bear_one_mark(path: Path) -> None:
    journal = Journal(path, KEY)
    assert journal.marks(ANNA) == journal.marks(Subject(("anna@example.com", "ANNA@example.org"), AT))
    journal.close()


@pytest.mark.parametrize("torn", [b'{"line":"done","task":"R-1/gb","att', b'{"line":"done"', b"\x00\x00\x00"])
def test_a_torn_last_line_is_cut_off_and_the_next_one_is_whole(path: Path, torn: bytes) -> None:
    journal = Journal(path, KEY)
    journal.begin([("R-1/gb", Right.ERASURE, ANNA, STOOD)], AT)
    journal.close()
    with path.open("ab") as file:
        file.write(torn)
    again = Journal(path, KEY)
    assert again.done("R-1/gb") is None
    again.finish([done()])
    again.close()
    third = Journal(path, KEY)
    assert third.done("R-1/gb") is not None
    third.close()


def test_a_damaged_line_in_the_middle_is_not_passed_over(path: Path) -> None:
    journal = Journal(path, KEY)
    journal.begin([(f"R-{n}/gb", Right.ERASURE, ANNA, STOOD) for n in range(3)], AT)
    journal.close()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:50] + b"\n" + lines[2])
    with pytest.raises(ConfigurationError, match="damaged"):
        Journal(path, KEY)


def test_one_process_at_a_time(path: Path) -> None:
    journal = Journal(path, KEY)
    with pytest.raises(ConfigurationError, match="another process"):
        Journal(path, KEY)
    journal.close()
    Journal(path, KEY).close()


def test_a_task_keeps_its_first_beginning(path: Path) -> None:
    journal = Journal(path, KEY)
    journal.begin([("R-1/gb", Right.ERASURE, ANNA, STOOD)], AT)
    journal.begin([("R-1/gb", Right.ERASURE, ANNA, ())], AT)
    begun = journal.begun("R-1/gb")
    assert begun is not None
    assert begun.stood == STOOD
    journal.close()


def test_tombstones_hold_the_latest_request_of_each_right(path: Path) -> None:
    journal = Journal(path, KEY)
    later = Subject(("anna@example.com",), AT + timedelta(days=3))
    journal.begin(
        [
            ("R-1/gb", Right.ERASURE, ANNA, ()),
            ("R-2/gb", Right.ERASURE, later, ()),
            ("R-3/gb", Right.OBJECTION, ANNA, ()),
        ],
        AT,
    )
    found = journal.tombstones()
    assert found[journal.mark("anna@example.com")].received_at == {
        Right.ERASURE: later.received_at,
        Right.OBJECTION: AT,
    }
    assert found[journal.mark("anna@example.org")].received_at[Right.ERASURE] == AT
    assert journal.mark("bob@example.org") not in found
    journal.close()


def test_a_full_disk_promises_nothing_and_leaves_no_half_line(path: Path) -> None:
    """A file size limit stands in for the disk: the write ends in the middle of the lines."""
    journal = Journal(path, KEY)
    journal.begin([("R-1/gb", Right.ERASURE, ANNA, STOOD)], AT)
    sound = path.read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(sound) + 40, before[1]))
    try:
        with pytest.raises(StoreUnavailable):
            journal.finish([done()])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == sound
    assert journal.done("R-1/gb") is None
    journal.finish([done()])
    assert journal.done("R-1/gb") is not None
    journal.close()


def test_it_is_on_disk_when_the_call_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of things is the promise: written, then synced, then known."""
    journal = Journal(path, KEY)
    seen: list[tuple[int, bool]] = []
    sync = os.fsync

    def watch(file: int) -> None:
        seen.append((os.fstat(file).st_size, journal.begun("R-1/gb") is not None))
        sync(file)

    monkeypatch.setattr(os, "fsync", watch)
    journal.begin([("R-1/gb", Right.ERASURE, ANNA, STOOD)], AT)
    assert seen == [(path.stat().st_size, False)]
    journal.close()


def test_a_restriction_stands_until_its_own_task_lifts_it(path: Path) -> None:
    journal = Journal(path, KEY)
    journal.begin([(task, Right.RESTRICTION, ANNA, STOOD) for task in ("R-1/gb", "R-2/gb")], AT)
    journal.finish([done("R-1/gb"), done("R-2/gb")])
    journal.finish([{**done("R-1/gb", 2), "ask": "lift"}])
    for _ in range(2):
        assert journal.is_restricted_by_another({"R-1/gb"}, ANNA)
        assert not journal.is_restricted_by_another({"R-2/gb"}, ANNA)
        assert not journal.is_restricted_by_another({"R-1/gb"}, Subject(("bob@example.com",), AT))
        journal.close()
        journal = Journal(path, KEY)
    journal.finish([done("R-1/gb", 3)])  # asked anew
    assert journal.is_restricted_by_another({"R-2/gb"}, ANNA)
    journal.close()


def test_who_lifts_reads_no_journal_that_another_order_is_written_to(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of tasks stand in it, and a thread of another order writes one more at any moment."""
    journal = Journal(path, KEY)
    journal.begin([(f"R-{number}/gb", Right.OBJECTION, ANNA, STOOD) for number in range(3)], AT)
    read = Journal._line_at

    def meanwhile(self: Journal, place: int) -> dict[str, Any]:
        self.begin([(f"R-late-{place}/gb", Right.OBJECTION, ANNA, STOOD)], AT)
        return read(self, place)

    monkeypatch.setattr(Journal, "_line_at", meanwhile)
    assert not journal.is_restricted_by_another(set(), ANNA)
    monkeypatch.undo()
    assert len(journal) == 3, "no line was read"
    journal.close()
