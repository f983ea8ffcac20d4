"""The file of signed heads that is kept elsewhere: whoever has it can tell later whether the ledger was rewritten.

Source: P12; crypto-and-evidence § 5 "anchor outside the cluster"; reliability § 8.8.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from schemas.errors import InvalidMessage
from schemas.evidence import HEAD, SIGNED_HEAD, one_of
from schemas.fields import IDENTIFIER, SHA256_HEX, listed
from schemas.ledger_keys import LedgerKeys
from schemas.shapes import Shape
from schemas.signed import DATED_KEY, DatedKey, check_document
from schemas.strict_json import parse
from workers.evidence.trusted import Trusted
from workers.rules.merkle import verify_consistency

if TYPE_CHECKING:
    from workers.evidence.keeping import Keeper

Head = dict[str, Any]

HEADS: Final = "greffier-ledger-heads"
_MAX_NODES: Final = 10_000_000
_MOST: Final = 200_000

FILE: Final = Shape(
    "heads",
    required={
        "type": one_of(HEADS),
        "log": IDENTIFIER,
        "keys": listed(DATED_KEY.as_field, 1, 100),
        "heads": listed(SIGNED_HEAD.as_field, 0, _MOST),
        "proofs": listed(listed(SHA256_HEX, 0, 64), 0, _MOST),
    },
)


async def heads_file(keeper: Keeper, keys: LedgerKeys) -> dict[str, Any]:
    """Heads of :meth:`Heads.for_others`, each but the first with the proof that the one before is its beginning."""
    heads = await keeper.heads.for_others()
    proofs = [
        [one.hex() for one in await keeper.ledger.consistency(older["body"]["size"], newer["body"]["size"])]
        for older, newer in pairwise(heads)
    ]
    return {"type": HEADS, **keys.public(), "heads": heads, "proofs": proofs}


def is_heads_file(raw: bytes) -> bool:
    """Whether it says so of itself; cheap, and no promise that it can be read."""
    return f'"{HEADS}"'.encode() in raw[:200]


def read_heads(raw: bytes) -> list[Head]:
    """The heads of such a file; whether they hold is for a check. Raises :class:`InvalidMessage`."""
    return _read(raw)[0]


def check_heads(raw: bytes, trusted: Trusted, known: Iterable[Head] = ()) -> list[Head]:
    """The heads of such a file: each signed, each the beginning of the next; offline.

    ``known``: heads from an older file, each of which must stand here as it was.
    Raises :class:`InvalidMessage`, also ``heads_not_consistent``, ``no_trusted_key`` and ``known_head_missing``.
    """
    heads, proofs, stated = _read(raw)
    keys = {dated.kid: dated for one in stated if (dated := trusted.accept(one))}
    if not keys:
        raise InvalidMessage("no_trusted_key", "/keys")
    for n, head in enumerate(heads):
        try:
            check_document(head, HEAD, keys)
        except InvalidMessage as error:
            raise InvalidMessage(f"head_{error.code}", f"/heads/{n}") from None
    for n, ((older, newer), proof) in enumerate(zip(pairwise(heads), proofs, strict=True)):
        if not _begins(older["body"], newer["body"], proof):
            raise InvalidMessage("heads_not_consistent", f"/proofs/{n}")
    roots = {(head["body"]["log"], head["body"]["size"]): head["body"]["root"] for head in heads}
    for head in known:
        if roots.get((head["body"]["log"], head["body"]["size"])) != head["body"]["root"]:
            raise InvalidMessage("known_head_missing", "/heads")
    return heads


def _read(raw: bytes) -> tuple[list[Head], list[list[str]], list[DatedKey]]:
    found = FILE.check(parse(raw, max_nodes=_MAX_NODES))
    if len(found["proofs"]) != max(len(found["heads"]) - 1, 0):
        raise InvalidMessage("heads_not_consistent", "/proofs")
    return found["heads"], found["proofs"], [DatedKey.from_json(one) for one in found["keys"]]


def _begins(older: Mapping[str, Any], newer: Mapping[str, Any], proof: Sequence[str]) -> bool:
    roots = bytes.fromhex(older["root"]), bytes.fromhex(newer["root"])
    hashes = [bytes.fromhex(one) for one in proof]
    return older["log"] == newer["log"] and verify_consistency(older["size"], newer["size"], *roots, hashes)
