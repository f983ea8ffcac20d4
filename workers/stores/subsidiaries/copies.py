"""The access copy in canonical bytes, written record by record: a person with 100,000 records is not held twice.

Source: R17; RFC 8785.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any, Final

import rfc8785

from schemas.copies import MAX_COPY_BYTES
from workers.stores.subsidiaries.adapter import CopyPage, StoreRefuses

_EXACT: Final = 2**53 - 1
"""The largest whole number that every JSON reader keeps."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy and what it holds. ``counts``: records per collection; ``content``: canonical bytes."""

    counts: Mapping[str, int]
    content: bytes = field(repr=False)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


async def make_copy(store: str, pages: AsyncIterable[CopyPage]) -> Copy:
    """The copy of a store, from its pages. Raises StoreRefuses ``copy-too-large`` rather than cut it short."""
    collections: list[tuple[str, Mapping[str, str], bytearray]] = []
    counts: dict[str, int] = {}
    total = 0
    async for page in pages:
        if not collections or collections[-1][0] != page.collection:
            collections.append((page.collection, page.fields, bytearray()))
        written = _records(page.records)
        total += len(written)
        if total > MAX_COPY_BYTES:
            raise StoreRefuses("copy-too-large")
        records = collections[-1][2]
        if records and written:
            records += b","
        records += written
        counts[page.collection] = counts.get(page.collection, 0) + len(page.records)
    return Copy(counts, _whole(store, collections))


def _records(records: Sequence[Mapping[str, Any]]) -> bytes:
    return b",".join(rfc8785.dumps(plain(record)) for record in records)


def _whole(store: str, collections: list[tuple[str, Mapping[str, str], bytearray]]) -> bytes:
    """Members in the order RFC 8785 sorts them: collections, store; fields, name, records."""
    content = bytearray(b'{"collections":[')
    for place, (name, fields, records) in enumerate(collections):
        content += b"," if place else b""
        content += b'{"fields":' + rfc8785.dumps(dict(fields)) + b',"name":' + rfc8785.dumps(name)
        content += b',"records":[' + records + b"]}"
    return bytes(content + b'],"store":' + rfc8785.dumps(store) + b"}")


def plain(value: Any) -> Any:
    """A stored value as JSON that every reader understands alike; what JSON has no word for becomes text."""
    match value:
        case None | bool():
            return value
        case str():
            return value.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair is no text
        case int():
            return value if -_EXACT <= value <= _EXACT else str(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case datetime() | date() | time():
            return value.isoformat()
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(bytes(value)).decode("ascii")
        case Mapping():
            return {str(name): plain(one) for name, one in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(one) for one in value]
    return str(value)
