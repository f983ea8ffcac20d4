"""An access copy on its way: canonical bytes, whole beside its receipt, or in parts when it is too large for a message.

A copy is ``{"collections": [{"fields", "name", "records"}], "store"}``; the receipt's ``copy_sha256`` is over its
canonical bytes (RFC 8785). Up to :data:`INLINE_BYTES` it travels beside the receipt. A larger one is cut, and each part
is a message of its own, sent before the receipt::

    receipts(token = JWE({"part": {"task", "copy_sha256", "place", "of", "bytes": base64}}))

A part is not signed: it is worth nothing without the signed receipt whose ``copy_sha256`` the joined parts must have.
A copy is read record by record (:func:`read_copy`): a person may have 100,000 of them.
Source: R17; P7; design § 5.5.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.errors import InvalidMessage
from schemas.fields import SHA256_HEX, pattern
from schemas.shapes import Shape
from schemas.strict_json import parse_next

INLINE_BYTES: Final = 1024 * 1024
"""Sealed, 1.4 MiB; a message may hold 2 MiB, and the receipt goes with it."""
PART_BYTES: Final = 768 * 1024
"""Base64 twice (part and seal) makes 1.4 MiB of it."""
MAX_COPY_BYTES: Final = 64 * 1024 * 1024
MAX_PARTS: Final = -(-MAX_COPY_BYTES // PART_BYTES)
_NUMBER: Final = pattern(r"^(0|[1-9][0-9]{0,3})$", 4)

PART: Final = Shape(
    "part",
    required={
        "task": pattern(r"^[A-Za-z0-9-]{1,64}/[a-z]{2,16}$", 96),
        "copy_sha256": SHA256_HEX,
        "place": _NUMBER,
        "of": _NUMBER,
        "bytes": pattern(r"^[A-Za-z0-9+/=]*$", 2 * PART_BYTES),
    },
)
"""``place`` counts from 0; numbers are text, as everything an identifier may hold."""


def cut(task: str, copy: bytes) -> Iterator[dict[str, str]]:
    """The parts of a copy's canonical bytes."""
    digest = hashlib.sha256(copy).hexdigest()
    starts = range(0, len(copy), PART_BYTES)
    for place, start in enumerate(starts):
        yield {
            "task": task,
            "copy_sha256": digest,
            "place": str(place),
            "of": str(len(starts)),
            "bytes": base64.b64encode(copy[start : start + PART_BYTES]).decode("ascii"),
        }


def join(parts: Sequence[Mapping[str, Any]]) -> bytes | None:
    """The copy's bytes from parts that bear one ``copy_sha256``, in any order, repeated ones included.

    None while some are missing. Raises :class:`InvalidMessage` ``bad_copy`` when they are not what they say.
    """
    if not parts:
        return None
    by_place = {int(part["place"]): part for part in parts}
    wanted = {(part["of"], part["copy_sha256"]) for part in parts}
    if len(wanted) != 1:
        raise InvalidMessage("bad_copy")
    of, digest = next(iter(wanted))
    if set(by_place) != set(range(int(of))):
        return None
    try:
        copy = b"".join(base64.b64decode(by_place[place]["bytes"], validate=True) for place in range(int(of)))
    except binascii.Error:
        raise InvalidMessage("bad_copy") from None
    if hashlib.sha256(copy).hexdigest() != digest:
        raise InvalidMessage("bad_copy")
    return copy


def check_part(found: object) -> dict[str, str]:
    """A part of a copy within bounds, at a place that the copy has. Raises :class:`InvalidMessage`."""
    part: dict[str, str] = PART.check(found)
    if not int(part["place"]) < int(part["of"]) <= MAX_PARTS:
        raise InvalidMessage("bad_part")
    return part


# ---------------------------------------------------------------------- reading

_WINDOW: Final = 64 * 1024
_MAX_NODES: Final = 2_000_000
"""Values in one record: what a document of 16 MiB may hold."""


@dataclass(frozen=True, slots=True)
class Records:
    """The records of one collection, decoded one by one each time they are gone through."""

    _copy: bytes = field(repr=False)
    _start: int

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        yield from _Reader(self._copy, self._start).records()


@dataclass(frozen=True, slots=True)
class CopiedCollection:
    """One collection of a copy. ``fields``: what each member of a record means, in words."""

    name: str
    fields: Mapping[str, str]
    records: Records


def read_copy(store: str, copy: bytes) -> tuple[CopiedCollection, ...]:
    """The collections of a store's copy in its canonical bytes, every record looked at once, none of them held.

    Raises :class:`InvalidMessage` ``bad_copy`` for what is no such copy, or another store's.
    """
    try:
        return tuple(_collections(store, _Reader(copy)))
    except InvalidMessage:
        raise InvalidMessage("bad_copy") from None


def _collections(store: str, reader: _Reader) -> Iterator[CopiedCollection]:
    """Members in the order RFC 8785 sorts them: collections, store; fields, name, records."""
    reader.demand('{"collections":[')
    first = True
    while not reader.meets("]"):
        if not first:
            reader.demand(",")
        first = False
        reader.demand('{"fields":')
        fields = reader.value()
        reader.demand(',"name":')
        name = reader.value()
        reader.demand(',"records":[')
        start = reader.place
        for _ in reader.records():
            pass
        reader.demand("}")
        if not isinstance(name, str) or not isinstance(fields, dict):
            raise InvalidMessage("bad_copy")
        yield CopiedCollection(name, fields, Records(reader.copy, start))
    reader.demand(',"store":')
    if reader.value() != store:
        raise InvalidMessage("bad_copy")
    reader.demand("}")
    if not reader.at_end:
        raise InvalidMessage("bad_copy")


class _Reader:
    """Goes through a copy with no more of it decoded than the value it stands at."""

    def __init__(self, copy: bytes, start: int = 0) -> None:
        self.copy = copy
        self._text = ""
        self._at = 0
        self._unread = start

    @property
    def place(self) -> int:
        """Where it stands, in bytes."""
        return self._unread - len(self._text[self._at :].encode())

    @property
    def at_end(self) -> bool:
        return self._at == len(self._text) and self._unread == len(self.copy)

    def meets(self, word: str) -> bool:
        """Step over ``word`` where it comes next."""
        while len(self._text) - self._at < len(word) and self._more():
            pass
        found = self._text.startswith(word, self._at)
        self._at += len(word) if found else 0
        return found

    def demand(self, word: str) -> None:
        if not self.meets(word):
            raise InvalidMessage("bad_copy")

    def value(self) -> Any:
        """The object or the text that comes next."""
        while True:
            try:
                value, self._at = parse_next(self._text, self._at, max_nodes=_MAX_NODES)
            except InvalidMessage as fault:
                if fault.code != "not_json" or not self._more():
                    raise
            else:
                return value

    def records(self) -> Iterator[Mapping[str, Any]]:
        """Objects up to the end of their list, which is stepped over."""
        first = True
        while not self.meets("]"):
            if not first:
                self.demand(",")
            first = False
            if not self.meets("{"):
                raise InvalidMessage("bad_copy")
            self._at -= 1
            yield self.value()

    def _more(self) -> bool:
        """Decode more: as much again as is waiting, so that a long value is not begun too often."""
        rest = self._text[self._at :]
        piece = self.copy[self._unread : self._unread + max(_WINDOW, len(rest))]
        try:
            decoded, taken = codecs.utf_8_decode(piece, "strict", False)
        except UnicodeDecodeError:
            raise InvalidMessage("not_utf8") from None
        self._text, self._at = rest + decoded, 0
        self._unread += taken
        return taken > 0
