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

COLLECTIONS: Final = ("submissions", "anchors", "confirmations", "consents", "visits")
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
    """Insert documents with ``_id`` (the event's key) and ``digest``; never overwrites."""
    taken = await insert_new(collection, list(documents))
    if not taken:
        return Inserted(frozenset(), frozenset())
    offered = {documents[position]["_id"]: bytes(documents[position]["digest"]) for position in taken}
    with available():
        fields = {"digest": 1, "person": 1}
        stored = {one["_id"]: one async for one in collection.find({"_id": {"$in": list(offered)}}, fields)}
    # One that is gone meanwhile was undone or erased by somebody else: the look that follows decides about it.
    conflicting = frozenset(key for key, one in stored.items() if bytes(one["digest"]) != offered[key])
    owners = {key: one["person"] for key, one in stored.items() if "person" in one}
    return Inserted(frozenset(offered) - conflicting, conflicting, owners)


async def kept_events(databases: Databases, keys: Iterable[str]) -> set[str]:
    """Which of these events stand in one of the collections of events."""
    wanted = {"_id": {"$in": list(keys)}}
    with available():
        return {found["_id"] for name in COLLECTIONS async for found in databases.active[name].find(wanted, {"_id": 1})}
