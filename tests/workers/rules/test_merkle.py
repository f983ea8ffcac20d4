"""The Merkle tree agrees with published vectors, with the RFC's own recursion, and refuses every altered proof."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.rules.merkle import (
    EMPTY_ROOT,
    Frontier,
    Span,
    Subtree,
    consistency_spans,
    inclusion_spans,
    leaf_hash,
    node_hash,
    root_of,
    span_hash,
    verify_consistency,
    verify_inclusion,
)

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "merkle.json").read_text())
EIGHT = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")] + [
    bytes(range(0x60, 0x70))
]
MOST = 40


def described(vector: dict[str, Any]) -> str:
    return " ".join(
        str(value) for name, value in vector.items() if name in ("leafIdx", "treeSize", "size1", "size2", "desc")
    )


def raw(text: str) -> bytes:
    return base64.b64decode(text)


def proof_of(vector: dict[str, Any]) -> list[bytes]:
    return [raw(one) for one in vector["proof"] or ()]


def included(vector: dict[str, Any], proof: Sequence[bytes]) -> bool:
    size, root = vector["treeSize"], raw(vector["root"])
    return verify_inclusion(raw(vector["leafHash"]), vector["leafIdx"], size, proof, root)


def consistent(vector: dict[str, Any], proof: Sequence[bytes]) -> bool:
    return verify_consistency(vector["size1"], vector["size2"], raw(vector["root1"]), raw(vector["root2"]), proof)


@pytest.mark.parametrize("vector", VECTORS["inclusion"], ids=described)
def test_published_inclusion_proofs(vector: dict[str, Any]) -> None:
    assert included(vector, proof_of(vector)) is not vector["wantErr"]


@pytest.mark.parametrize("vector", VECTORS["consistency"], ids=described)
def test_published_consistency_proofs(vector: dict[str, Any]) -> None:
    assert consistent(vector, proof_of(vector)) is not vector["wantErr"]


Proof = list[bytes]
OTHER = hashlib.sha256(b"other").digest()
BENT: dict[str, Callable[[Proof], list[Proof]]] = {
    "modified": lambda proof: [
        [*proof[:n], bytes([one[0] ^ 4, *one[1:]]), *proof[n + 1 :]] for n, one in enumerate(proof)
    ],
    "truncated": lambda proof: [proof[:-1], proof[1:]] if proof else [],
    "preceding": lambda proof: [[OTHER, *proof], [b"", *proof]],
    "trailing": lambda proof: [[*proof, OTHER], [*proof, b""]],
    "inserted": lambda proof: [[*proof[:1], OTHER, *proof[1:]]],
    "reversed": lambda proof: [proof[::-1]] if proof[::-1] != proof else [],
}


@pytest.mark.parametrize("family", BENT)
@pytest.mark.parametrize("kind", ["inclusion", "consistency"])
def test_the_published_families_of_bad_proofs(kind: str, family: str) -> None:
    check = included if kind == "inclusion" else consistent
    for vector in VECTORS[kind]:
        if not vector["wantErr"]:
            for bad in BENT[family](proof_of(vector)):
                assert not check(vector, bad), described(vector)


def test_known_values() -> None:
    """Source: crypto-and-evidence § 5."""
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert leaf_hash(b"").hex().startswith("6e340b9c")
    assert leaf_hash(b"L123456").hex().startswith("395aa064")
    assert node_hash(b"N123", b"N456").hex().startswith("aa217fe8")
    root = root_of(map(leaf_hash, EIGHT))
    assert root.hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    assert root_of([]) == EMPTY_ROOT


def recursive_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962 § 2.1 as it stands there."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else EMPTY_ROOT
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(recursive_root(leaves[:k]), recursive_root(leaves[k:]))


class Grown:
    """A tree grown leaf by leaf, with what each leaf carries."""

    def __init__(self, size: int) -> None:
        self.leaves = [leaf_hash(str(n).encode()) for n in range(size)]
        frontier = Frontier()
        self.carried, self.roots = [], [frontier.root]
        for leaf in self.leaves:
            self.carried.append(frontier.append(leaf))
            self.roots.append(frontier.root)

    def hash_of(self, subtree: Subtree) -> bytes:
        return self.carried[subtree.last][subtree.level]

    def proof(self, spans: Sequence[Span]) -> Proof:
        return [span_hash(span, self.hash_of) for span in spans]


GROWN = Grown(MOST)


def test_growing_leaf_by_leaf_gives_the_recursive_roots() -> None:
    for size in range(MOST + 1):
        assert GROWN.roots[size] == recursive_root(GROWN.leaves[:size])
        assert span_hash(Span(0, size), GROWN.hash_of) == GROWN.roots[size]


def test_a_leaf_carries_two_hashes_on_average() -> None:
    assert sum(map(len, Grown(1024).carried)) < 2 * 1024


def test_every_leaf_of_every_tree_is_proved_and_no_other() -> None:
    for size in range(1, MOST + 1):
        for index in range(size):
            proof = GROWN.proof(inclusion_spans(index, size))
            assert verify_inclusion(GROWN.leaves[index], index, size, proof, GROWN.roots[size])
            other = (index + 1) % size
            assert size == 1 or not verify_inclusion(GROWN.leaves[other], index, size, proof, GROWN.roots[size])
            assert size == 1 or not verify_inclusion(GROWN.leaves[index], other, size, proof, GROWN.roots[size])


def test_every_tree_begins_every_later_one() -> None:
    for newer in range(1, MOST + 1):
        for older in range(1, newer + 1):
            proof = GROWN.proof(consistency_spans(older, newer))
            assert verify_consistency(older, newer, GROWN.roots[older], GROWN.roots[newer], proof)
            assert not verify_consistency(older, newer, OTHER, GROWN.roots[newer], proof)
            assert not verify_consistency(older, newer, GROWN.roots[older], OTHER, proof)


def test_edges() -> None:
    root = GROWN.roots[3]
    assert not verify_consistency(0, 3, EMPTY_ROOT, root, [])
    assert verify_consistency(3, 3, root, root, [])
    assert not verify_consistency(3, 3, root, root, [root])
    assert not verify_consistency(3, 2, root, GROWN.roots[2], [])
    assert not verify_inclusion(GROWN.leaves[0], -1, 3, [], root)
    for wrong in ((3, 3), (-1, 3), (0, 0)):
        with pytest.raises(ValueError, match="no such leaf"):
            inclusion_spans(*wrong)
    for wrong in ((0, 3), (4, 3)):
        with pytest.raises(ValueError, match="older tree"):
            consistency_spans(*wrong)


@given(size=st.integers(1, 2**60), data=st.data())
@settings(max_examples=200, deadline=None)
def test_a_huge_tree_needs_few_hashes(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    assert len(inclusion_spans(index, size)) <= size.bit_length()
    assert len(consistency_spans(index + 1, size)) <= size.bit_length() + 1
    assert sum(len(span.subtrees) for span in inclusion_spans(index, size)) <= 2 * size.bit_length()


def test_what_the_vectors_are_good_for() -> None:
    """A tree that doubles its last leaf, and one that hashes leaves like nodes, both miss the published root."""

    def doubling(leaves: list[bytes]) -> bytes:
        while len(leaves) > 1:
            leaves = [*leaves, leaves[-1]] if len(leaves) % 2 else leaves
            leaves = [node_hash(leaves[n], leaves[n + 1]) for n in range(0, len(leaves), 2)]
        return leaves[0]

    published = {vector["treeSize"]: raw(vector["root"]) for vector in VECTORS["inclusion"] if not vector["wantErr"]}
    leaves = [leaf_hash(data) for data in EIGHT]
    assert {size: root_of(leaves[:size]) for size in published} == published
    assert doubling(leaves[:5]) != published[5]
    assert root_of(hashlib.sha256(data).digest() for data in EIGHT) != published[8]
