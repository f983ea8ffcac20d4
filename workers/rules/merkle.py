"""The Merkle tree of the ledger: hashes, proofs and their verification, as RFC 6962 and RFC 9162 have them.

A hash of all entries in which each can be shown to stand where it stands, and in which an older state can be shown to
be the beginning of a newer one, with a few dozen hashes each. Pure: what verifies a file offline and what keeps the
ledger are the same lines.

Every complete subtree ends at one leaf. So each leaf carries the hashes of the subtrees it completes (one more than
itself on average), and appending, the root, and every proof cost O(log n) look-ups by leaf number.
Source: RFC 6962 § 2.1; RFC 9162 § 2.1.3.2, § 2.1.4.2; P12; crypto-and-evidence § 5.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256().digest()


def leaf_hash(data: bytes) -> bytes:
    """The hash of one entry."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees, in their order."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Subtree(NamedTuple):
    """A complete subtree: ``2 ** level`` leaves, the last of which is number ``last``."""

    level: int
    last: int


class Span(NamedTuple):
    """The leaves from ``begin`` to before ``end``, as a proof speaks of them."""

    begin: int
    end: int

    @property
    def subtrees(self) -> list[Subtree]:
        """The complete subtrees it consists of, from left to right."""
        found, end = [], self.begin
        for level in reversed(range((self.end - self.begin).bit_length())):
            if (self.end - self.begin) >> level & 1:
                end += 1 << level
                found.append(Subtree(level, end - 1))
        return found


HashOf = Callable[[Subtree], bytes]


def span_hash(span: Span, hash_of: HashOf) -> bytes:
    """The tree hash of a span whose subtrees' hashes are at hand."""
    return _fold([hash_of(subtree) for subtree in span.subtrees])


def _fold(peaks: Sequence[bytes]) -> bytes:
    if not peaks:
        return EMPTY_ROOT
    folded = peaks[-1]
    for peak in reversed(peaks[:-1]):
        folded = node_hash(peak, folded)
    return folded


@dataclass
class Frontier:
    """The right edge of a tree: enough to append to it and to know its root, in O(log n) memory."""

    size: int = 0
    peaks: list[bytes] = field(default_factory=list)

    def append(self, leaf: bytes) -> list[bytes]:
        """Take one more leaf's hash; the hashes of every subtree it completes, by level, itself first."""
        completed = [leaf]
        while self.size >> (len(completed) - 1) & 1:
            completed.append(node_hash(self.peaks.pop(), completed[-1]))
        self.peaks.append(completed[-1])
        self.size += 1
        return completed

    @property
    def root(self) -> bytes:
        return _fold(self.peaks)


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root over these leaves' hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root


def inclusion_spans(index: int, size: int) -> list[Span]:
    """What proves leaf ``index`` in the tree of ``size`` leaves, in the order of the proof. Raises ValueError."""
    if not 0 <= index < size:
        raise ValueError("no such leaf in a tree of this size")
    begin, end, spans = 0, size, []
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            spans.append(Span(middle, end))
            end = middle
        else:
            spans.append(Span(begin, middle))
            begin = middle
    return spans[::-1]


def consistency_spans(older: int, newer: int) -> list[Span]:
    """What proves that the tree of ``older`` leaves begins the one of ``newer``. Raises ValueError."""
    if not 0 < older <= newer:
        raise ValueError("the older tree is empty or larger than the newer one")
    begin, end, spans, whole = 0, newer, [], True
    while older != end:
        middle = begin + _split(end - begin)
        if older <= middle:
            spans.append(Span(middle, end))
            end = middle
        else:
            spans.append(Span(begin, middle))
            begin, whole = middle, False
    if not whole:
        spans.append(Span(begin, end))
    return spans[::-1]


def _split(leaves: int) -> int:
    """The largest power of two below the number of leaves."""
    return 1 << (leaves - 1).bit_length() - 1


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf of this hash is number ``index`` of the tree of ``size`` leaves with this root."""
    if not 0 <= index < size or not _are_hashes(leaf, root, *proof):
        return False
    first, second, seen = index, size - 1, leaf
    for sibling in proof:
        if second == 0:
            return False
        if first & 1 or first == second:
            seen = node_hash(sibling, seen)
            first, second = _rise(first, second)
        else:
            seen = node_hash(seen, sibling)
        first, second = first >> 1, second >> 1
    return second == 0 and seen == root


def verify_consistency(older: int, newer: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the tree of ``older`` leaves is the beginning of the one of ``newer`` leaves."""
    if not 0 < older <= newer or not _are_hashes(old_root, new_root, *proof):
        return False
    if older == newer:
        return not proof and old_root == new_root
    if not proof:
        return False
    path = list(proof) if older & (older - 1) else [old_root, *proof]
    first, second = older - 1, newer - 1
    while first & 1:
        first, second = first >> 1, second >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if second == 0:
            return False
        if first & 1 or first == second:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            first, second = _rise(first, second)
        else:
            new = node_hash(new, sibling)
        first, second = first >> 1, second >> 1
    return second == 0 and old == old_root and new == new_root


def _rise(first: int, second: int) -> tuple[int, int]:
    """Pass the levels at which the node stands alone at the right edge."""
    while first and not first & 1:
        first, second = first >> 1, second >> 1
    return first, second


def _are_hashes(*values: bytes) -> bool:
    return all(len(value) == HASH_BYTES for value in values)
