"""Documents that bear an event's identity: inserted once, whatever is delivered again.

Each holds the keyed digest of its event's body. The same id with the same body is a repeat and changes nothing; with
another body it is a conflict, to be parked and never merged.
Source: P2; design § 4 "Same id, other body"; reliability I4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from workers.stores.mongo import Collection, Databases, Document, available, insert_new

COLLECTIONS: Final = ("submissions", "anchors", "confirmations", "consents", "visits")
"""The collections of **active** whose ``_id`` is an event's key."""


@dataclass(frozen=True, slots=True)
class Inserted:
    """``_id`` values of a bulk: those that stood already with the same body, and with another one."""

    repeated: frozenset[str]
    conflicting: frozenset[str]


async def insert_events(collection: Collection, documents: Sequence[Document]) -> Inserted:
    """Insert documents with ``_id`` (the event's key) and ``digest``; never overwrites."""
    taken = await insert_new(collection, list(documents))
    if not taken:
        return Inserted(frozenset(), frozenset())
    offered = {documents[position]["_id"]: bytes(documents[position]["digest"]) for position in taken}
    with available():
        stored = {
            found["_id"]: bytes(found["digest"])
            async for found in collection.find({"_id": {"$in": list(offered)}}, {"digest": 1})
        }
    # One that is gone meanwhile was undone or erased by somebody else: the look that follows decides about it.
    conflicting = frozenset(key for key, digest in stored.items() if digest != offered[key])
    return Inserted(frozenset(offered) - conflicting, conflicting)


async def kept_events(databases: Databases, keys: Iterable[str]) -> set[str]:
    """Which of these events stand in one of the collections of events."""
    wanted = {"_id": {"$in": list(keys)}}
    with available():
        return {found["_id"] for name in COLLECTIONS async for found in databases.active[name].find(wanted, {"_id": 1})}
