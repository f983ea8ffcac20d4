"""The tombstone journal beside the store: what was erased or objected to, and with which receipt. No personal data.

An append-only file of JSON lines, outside the store, so that a restore of the store does not take it along:

============ ========================================================= ==================================
line         says                                                      written, on disk, before
============ ========================================================= ==================================
``begun``    task, right, received_at, keyed hashes of the addresses,  the first row is touched
             what stood there (counts per collection); of a
             disposal, which is about nobody, the counts only
``done``     task, attempt, the receipt's entry                        the receipt is sent
============ ========================================================= ==================================

What somebody wishes of all that they refused and accepted is begun like a right, with what it says. A task that comes
again finds its ``done`` line and answers the same. One that was begun and not done is completed, and what stood there
at its beginning tells what the lost attempt did. One process owns the file at a time.
Source: R26; P2, P5; design § 5.5; reliability § 4 rows 56, 57.
"""

from __future__ import annotations

import fcntl
import hmac
import json
import os
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from schemas.errors import ConfigurationError, Fault, StoreUnavailable
from schemas.fields import read_moment, wire_moment
from schemas.orders import LIFT, WISH
from schemas.terms import Right
from workers.rules.objections import Heard, Wish
from workers.stores.subsidiaries.adapter import Subject

_LABEL: Final = b"greffier/journal/n1/email:"


@dataclass(frozen=True, slots=True)
class Begun:
    """A task as it was begun first. ``right``: none of a disposal, which is about nobody and has no marks.

    ``stood``: one outcome per collection, as planned.
    """

    right: Right | None
    received_at: datetime
    marks: frozenset[str]
    stood: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Done:
    """A task as it was answered last. ``entry``: of the receipt."""

    attempt: int
    entry: dict[str, Any]


@dataclass(slots=True)
class _Places:
    """Where in the file a task's lines begin."""

    begun: int | None = None
    done: int | None = None


@dataclass(slots=True)
class Tombstone:
    """What the journal knows of one address. ``received_at``: of the latest request of that right; ``accepted_at``: of
    the wish by which what they refused is lifted, while it is.
    """

    received_at: dict[Right, datetime] = field(default_factory=dict)
    accepted_at: datetime | None = None


class Journal:
    """The open file. Its methods block on the disk: call those that write from a thread."""

    def __init__(self, path: Path, key: bytes) -> None:
        """Open, lock and read it. Raises :class:`ConfigurationError` when another process has it or it is damaged."""
        self._key = key
        self._path = path
        self._writing = threading.Lock()
        self._tasks: dict[str, _Places] = {}
        self._heard: defaultdict[str, Heard] = defaultdict(Heard)
        self._restrictions: dict[str, frozenset[str]] = {}
        self._lifted: set[str] = set()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise _unusable(error.strerror or "cannot be opened") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._end = self._read_all()
            _sync_folder(path.parent)
        except BlockingIOError:
            os.close(self._file)
            raise _unusable("another process works with it") from None
        except BaseException:
            os.close(self._file)
            raise

    # ------------------------------------------------------------------ knowing

    def mark(self, normal_form: str) -> str:
        """The keyed hash that stands for an address."""
        return hmac.digest(self._key, _LABEL + normal_form.encode(), "sha256").hex()

    def marks(self, subject: Subject) -> list[str]:
        """The keyed hashes of a person's addresses."""
        return sorted(self.mark(one) for one in subject.normal_forms)

    def done(self, task: str) -> Done | None:
        """How a task was answered last."""
        place = self._tasks.get(task, _Places()).done
        if place is None:
            return None
        line = self._line_at(place)
        return Done(line["attempt"], line["entry"])

    def begun(self, task: str) -> Begun | None:
        """How a task was begun first."""
        place = self._tasks.get(task, _Places()).begun
        return None if place is None else _begun(self._line_at(place))

    def heard(self, normal_form: str) -> Heard:
        """What was ever begun of this address's "no" and wishes."""
        return self._heard.get(self.mark(normal_form), Heard())

    def tombstones(self) -> dict[str, Tombstone]:
        """Keyed hash → what was asked for it, of everything ever begun: what a restored store must be held against."""
        found: dict[str, Tombstone] = {}
        for right, begun in self._standing():
            for mark in begun.marks:
                moments = found.setdefault(mark, Tombstone()).received_at
                moments[right] = max(begun.received_at, moments.get(right, begun.received_at))
        for mark, heard in self._heard.items():
            if heard.wish is not None:
                moments = found.setdefault(mark, Tombstone()).received_at
                if heard.accepted:
                    moments.pop(Right.OBJECTION, None)
                    found[mark].accepted_at = heard.wish.at
                else:
                    moments[Right.OBJECTION] = heard.latest or heard.wish.at
        return found

    def is_restricted_by_another(self, tasks: Collection[str], subject: Subject) -> bool:
        """Whether a restriction of this person stands that another task than these asked for. It reads no disk."""
        theirs = frozenset(self.marks(subject))
        marked = list(self._restrictions.items())  # at one stroke: a thread may be writing down another
        return any(marks & theirs for task, marks in marked if task not in self._lifted and task not in tasks)

    def _standing(self) -> Iterator[tuple[Right, Begun]]:
        """Every task about a person that was ever begun, but for what was lifted."""
        for task, places in self._tasks.items():
            begun = None if places.begun is None else _begun(self._line_at(places.begun))
            if begun is not None and begun.right is not None and task not in self._lifted:
                yield begun.right, begun

    def __len__(self) -> int:
        return len(self._tasks)

    # ------------------------------------------------------------------ writing

    def begin(self, tasks: Iterable[tuple[str, Right, Subject, Collection[dict[str, Any]]]], at: datetime) -> None:
        """Write down tasks about to be begun, with what stands; on return it is on disk.

        A task keeps its first ``begun`` line. Raises StoreUnavailable when the disk does not take it.
        """
        self._append(
            {
                "line": "begun",
                "task": task,
                "right": right.value,
                "received_at": wire_moment(subject.received_at),
                "marks": self.marks(subject),
                "stood": list(stood),
                "at": wire_moment(at),
            }
            for task, right, subject, stood in tasks
            if self._tasks.get(task, _Places()).begun is None
        )

    def begin_wish(self, task: str, subject: Subject, wish: Wish, at: datetime) -> None:
        """The same for what somebody wishes."""
        said = {"accepts": wish.accepts, "refused_at": wire_moment(wish.refused_at), "version": wish.version}
        if self._tasks.get(task, _Places()).begun is None:
            line = {"line": "begun", "task": task, "right": WISH, "received_at": wire_moment(wish.at), **said}
            self._append([line | {"marks": self.marks(subject), "stood": [], "at": wire_moment(at)}])

    def begin_disposal(self, task: str, stood: Collection[dict[str, Any]], at: datetime) -> None:
        """The same for a disposal."""
        if self._tasks.get(task, _Places()).begun is None:
            self._append([{"line": "begun", "task": task, "stood": list(stood), "at": wire_moment(at)}])

    def finish(self, entries: Iterable[dict[str, Any]]) -> None:
        """Write down receipt entries about to be sent; on return they are on disk. Raises StoreUnavailable."""
        self._append(
            {"line": "done", "task": entry["task"], "attempt": entry["attempt"], "entry": entry} for entry in entries
        )

    def close(self) -> None:
        """Let go of the file and its lock."""
        os.close(self._file)

    def _append(self, lines: Iterable[dict[str, Any]]) -> None:
        with self._writing:
            encoded = [(line, json.dumps(line, separators=(",", ":")).encode() + b"\n") for line in lines]
            if not encoded:
                return
            start = self._end
            try:
                _write(self._file, b"".join(text for _, text in encoded))
                os.fsync(self._file)
            except OSError as error:
                self._forget_after(start)
                raise StoreUnavailable(f"journal: {error.strerror}") from None
            for line, text in encoded:
                self._note(line, self._end)
                self._end += len(text)

    def _forget_after(self, start: int) -> None:
        """Take back half a line: the next one must not be glued to it."""
        try:
            os.ftruncate(self._file, start)
        except OSError as error:
            raise StoreUnavailable(f"journal: {error.strerror}") from None

    # ------------------------------------------------------------------ reading

    def _read_all(self) -> int:
        """Note every line; cut off a torn last one, which nothing was done after. Where the sound part ends."""
        end = 0
        for place, text in self._lines():
            if not text.endswith(b"\n"):
                os.ftruncate(self._file, place)
                break
            try:
                self._note(json.loads(text), place)
            except (ValueError, KeyError, TypeError):
                raise _unusable(f"the line at byte {place} is damaged: restore the file, do not edit it") from None
            end = place + len(text)
        return end

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        place = 0
        with os.fdopen(os.dup(self._file), "rb") as stream:
            stream.seek(0)
            for text in stream:
                yield place, text
                place += len(text)

    def _note(self, line: dict[str, Any], place: int) -> None:
        places = self._tasks.setdefault(line["task"], _Places())
        if line["line"] == "done":
            places.done = place
            (self._lifted.add if line["entry"]["ask"] == LIFT else self._lifted.discard)(line["task"])
        elif places.begun is None:
            places.begun = place
            if line.get("right") == Right.RESTRICTION:
                self._restrictions[line["task"]] = frozenset(line["marks"])
            said = _said(line)
            if said is not None:
                for mark in line["marks"]:
                    self._heard[mark].hear(said)

    def _line_at(self, place: int) -> dict[str, Any]:
        size, text = 4096, b""
        while b"\n" not in text:
            text = os.pread(self._file, size, place)
            if len(text) < size and b"\n" not in text:
                raise StoreUnavailable("journal: cut short from outside")
            size *= 8
        found: dict[str, Any] = json.loads(text[: text.index(b"\n")])
        return found


def _said(line: dict[str, Any]) -> Wish | datetime | None:
    """A wish, or the moment of a "no", where a ``begun`` line is of one."""
    if line.get("right") == Right.OBJECTION:
        return read_moment(line["received_at"])
    if line.get("right") == WISH:
        refused_at = read_moment(line["refused_at"])
        return Wish(read_moment(line["received_at"]), line["version"], line["accepts"], refused_at)
    return None


def _begun(line: dict[str, Any]) -> Begun:
    right, received_at = line.get("right"), read_moment(line.get("received_at", line["at"]))
    right = None if right == WISH else right
    marks, stood = frozenset(line.get("marks", ())), tuple(line["stood"])
    return Begun(None if right is None else Right(right), received_at, marks, stood)


def _write(file: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(file, left) :]


def _sync_folder(folder: Path) -> None:
    """So that the file's name itself survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(problem: str) -> ConfigurationError:
    return ConfigurationError("journal", Fault("GREFFIER_JOURNAL", problem))
