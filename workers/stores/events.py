"""Documents that bear an event's identity: inserted once, whatever is delivered again.

Each holds the keyed digest of its event's body. The same id with the same body is a repeat and changes nothing; with
another body it is a conflict, to be parked and never merged.
Source: P2; design § 4 "Same id, other body"; reliability I4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from workers.stores.mongo import Collection, Databases, Document, available, insert_new

COLLECTIONS: Final = ("submissions", "anchors", "notices", "agreements", "confirmations", "consents", "visits")
"""The collections of **active** whose ``_id`` is an event's key."""


@dataclass(frozen=True, slots=True)
class Inserted:
    """``_id`` values of a bulk: those that stood already with the same body, and with another one.

    ``owners``: of those that stood and belong to a person, whose they are.
    """

    repeated: frozenset[str]
    conflicting: frozenset[str]
    owners: Mapping[str, str] = field(default_factory=dict)


async def insert_events(collection: Collection, documents: Sequence[Document]) -> Inserted:
    """Insert documents with ``_id`` (the event's key) and ``digest``; never overwrites.

    On return each of them stood, its own or another: one found and gone at the second glance is inserted again. It was
    left by an attempt that died, and an erasure took it with whom it was about: this may be a fresh act of his, so
    whether it stays is for the look after the write to say.
    """
    repeated, conflicting, owners = set[str](), set[str](), dict[str, str]()
    waiting = list(documents)
    while waiting:
        taken = [waiting[position] for position in sorted(await insert_new(collection, waiting))]
        stored = await _stored(collection, taken)
        found = [document for document in taken if document["_id"] in stored]
        waiting = [document for document in taken if document["_id"] not in stored]
        for document in found:
            key, one = document["_id"], stored[document["_id"]]
            (repeated if bytes(one["digest"]) == bytes(document["digest"]) else conflicting).add(key)
            if "person" in one:
                owners[key] = one["person"]
    return Inserted(frozenset(repeated), frozenset(conflicting), owners)


async def _stored(collection: Collection, documents: Sequence[Document]) -> dict[str, Document]:
    """What stands under these keys: digest and person."""
    if not documents:
        return {}
    wanted = {"_id": {"$in": [document["_id"] for document in documents]}}
    with available():
        return {one["_id"]: one async for one in collection.find(wanted, {"digest": 1, "person": 1})}


async def kept_events(databases: Databases, keys: Iterable[str]) -> set[str]:
    """Which of these events stand in one of the collections of events."""
    wanted = {"_id": {"$in": list(keys)}}
    with available():
        return {found["_id"] for name in COLLECTIONS async for found in databases.active[name].find(wanted, {"_id": 1})}
