"""Entries take their place in the ledger: numbered, chained within their case, hashed into the tree. Pure.

Source: P12; crypto-and-evidence § 5 "Evidence log".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import rfc8785

from schemas.evidence import VERSION
from workers.rules.merkle import Frontier, leaf_hash


@dataclass(frozen=True, slots=True)
class CaseEnd:
    """The last entry of a case so far: its number and its leaf hash."""

    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class PlacedLeaf:
    """An entry in its place. ``text``: the very characters hashed; ``hashes``: of the subtrees it completes."""

    seq: int
    entry: str
    case: str | None
    number: int | None
    text: str
    hashes: list[bytes]


def place(entries: Iterable[Mapping[str, Any]], frontier: Frontier, ends: Mapping[str, CaseEnd]) -> list[PlacedLeaf]:
    """Put entries (:meth:`schemas.evidence.Entry.as_json`) behind the leaves of ``frontier``, which grows by them.

    ``ends``: the last entry of every case among them that has any.
    """
    latest, placed = dict(ends), []
    for found in entries:
        leaf: dict[str, Any] = {"v": VERSION, "seq": frontier.size, **found}
        case = found.get("case")
        if case is not None:
            before = latest.get(case)
            leaf["number"] = before.number + 1 if before else 0
            if before:
                leaf["previous"] = before.hash.hex()
        text = rfc8785.dumps(leaf)
        hashes = frontier.append(leaf_hash(text))
        if case is not None:
            latest[case] = CaseEnd(leaf["number"], hashes[0])
        placed.append(PlacedLeaf(leaf["seq"], found["id"], case, leaf.get("number"), text.decode(), hashes))
    return placed
