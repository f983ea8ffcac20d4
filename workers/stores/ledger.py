"""The ledger in **evidence**: entries that were promised, and leaves that have their place for good.

``append`` is a durable insert among the *pending* and nothing more: whoever notes a fact never waits for the order of
facts. A sequencer, in any worker, takes what is pending, batch by batch, and inserts leaves whose ``_id`` is their
place. Two sequencers at once cannot both have a place: the loser stops and looks again. A crash at any step leaves an
entry pending, or a leaf whose pending entry is dropped at the next pass.

======================= ===================================================================================
collection              document
======================= ===================================================================================
ledger_pending          ``_id``: the entry's id; ``body``: the entry; ``conflict``: it contradicts its leaf;
                        ``noted``: the server's logical time, by which entries get their place: the natural order
                        of documents is lost when a server that crashed replays its oplog
ledger                  ``_id``: place from 0; ``entry``, ``case``, ``number``; ``leaf``: the characters that
                        are hashed; ``hashes``: of the complete subtrees that end here, by level
ledger_heads            ``_id``: size; ``head``: the signed head (:mod:`workers.stores.heads`)
======================= ===================================================================================

Leaves are only inserted, never changed; the role that writes here needs no update or delete on ``ledger``.
Source: P12; design § 4 "The ledger"; crypto-and-evidence § 5 "Concurrency"; reliability § 4 row 63.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bson.timestamp import Timestamp
from pymongo.errors import BulkWriteError
from pymongo.read_concern import ReadConcern

from schemas.errors import Conflict, StoreUnavailable
from schemas.evidence import Entry
from workers.rules.leaves import CaseEnd, PlacedLeaf, place
from workers.rules.merkle import Frontier, Span, Subtree, consistency_spans, inclusion_spans, span_hash
from workers.stores.mongo import DUPLICATE_KEY, Collection, Databases, Document, available, insert_new

AT_ONCE: Final = 1_000
"""Entries that get their place in one pass."""

_SERVER_SETS_IT: Final = Timestamp(0, 0)
"""Replaced at insertion by a time that only grows, and that stands in the oplog."""

_READ_AT_ONCE: Final = 2_000


class LedgerBroken(StoreUnavailable):
    """The ledger is not what was signed: nothing more is written before somebody has looked at it."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass of a sequencer did. ``left``: there is more to do, or somebody else was quicker."""

    placed: int
    left: bool


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf as it is kept."""

    seq: int
    text: str
    hashes: list[bytes]


class Ledger:
    """Appending, sequencing and proving. ``news``: set when this process has appended something."""

    def __init__(self, databases: Databases) -> None:
        self._pending: Collection = databases.evidence["ledger_pending"]
        # Only what a majority has is built upon: a leaf that an election undoes must not have followers.
        self._leaves: Collection = databases.evidence["ledger"].with_options(read_concern=ReadConcern("majority"))
        self._broken: str | None = None
        self.news = asyncio.Event()

    # ------------------------------------------------------------------ writing

    async def append(self, *entries: Entry) -> tuple[str, ...]:
        """Write entries down for good, in one round trip; their ids. Appending one again changes nothing.

        Raises :class:`Conflict` when an entry says something else than the one of its id (all others are kept),
        :class:`LedgerBroken` and :class:`StoreUnavailable`.
        """
        self.require_sound()
        bodies = [entry.as_json() for entry in entries]
        noted = [{"_id": body["id"], "body": body, "noted": _SERVER_SETS_IT} for body in bodies]
        taken = await insert_new(self._pending, noted)
        self.news.set()
        if taken:
            await self._compare([bodies[position] for position in sorted(taken)])
        return tuple(entry.id for entry in entries)

    def stop(self, why: str) -> None:
        """From now on this process writes nothing more to the ledger."""
        self._broken = why

    @property
    def sound(self) -> bool:
        """Whether this process may still write to it."""
        return self._broken is None

    def require_sound(self) -> None:
        """Raises :class:`LedgerBroken` once :meth:`stop` was called."""
        if self._broken is not None:
            raise LedgerBroken(self._broken)

    async def _compare(self, bodies: Sequence[Mapping[str, Any]]) -> None:
        ids = [body["id"] for body in bodies]
        with available():
            found = {one["_id"]: one["body"] async for one in self._pending.find({"_id": {"$in": ids}})}
        if any(body["id"] in found and not _same(body, found[body["id"]]) for body in bodies):
            raise Conflict("other_entry_of_this_id")

    async def sequence(self, limit: int = AT_ONCE) -> Pass:
        """Give pending entries their place, as they came. Any number of workers may do this at once.

        Raises :class:`LedgerBroken`, :class:`StoreUnavailable`.
        """
        self.require_sound()
        waiting = {"conflict": {"$exists": False}}
        with available():
            found = await self._pending.find(waiting).sort("noted", 1).limit(limit).to_list(None)
        fresh = await self._without_standing([one["body"] for one in found])
        if not fresh:
            return Pass(0, len(found) == limit)
        # In this order: what somebody else adds after the first look makes the insert below fail at its first leaf.
        frontier = await self.frontier()
        ends = await self._case_ends({body["case"] for body in fresh if "case" in body})
        placed = await asyncio.to_thread(place, fresh, frontier, ends)  # a long batch must not hold up the actors
        if not await self._insert(placed):
            return Pass(0, left=True)
        await self._drop([leaf.entry for leaf in placed])
        return Pass(len(placed), len(found) == limit)

    async def _without_standing(self, bodies: list[Document]) -> list[Document]:
        """Drop pending entries that have their leaf already; what contradicts its leaf is marked and kept."""
        ids = [body["id"] for body in bodies]
        with available():
            found = self._leaves.find({"entry": {"$in": ids}}, {"entry": 1, "leaf": 1})
            standing = {one["entry"]: json.loads(one["leaf"]) async for one in found}
        again = [body for body in bodies if body["id"] in standing]
        contradicting = [body["id"] for body in again if not _same(body, standing[body["id"]])]
        if contradicting:
            with available():
                await self._pending.update_many({"_id": {"$in": contradicting}}, {"$set": {"conflict": True}})
        await self._drop([name for name in standing if name not in contradicting])
        return [body for body in bodies if body["id"] not in standing]

    async def _insert(self, placed: Sequence[PlacedLeaf]) -> bool:
        """Whether these places were ours. Ordered: a place is never taken before the one below it."""
        try:
            with available():
                await self._leaves.insert_many([_document(leaf) for leaf in placed], ordered=True)
        except BulkWriteError as error:
            faults = (error.details or {}).get("writeErrors", [])
            if any(fault["code"] != DUPLICATE_KEY for fault in faults):
                raise
            return False
        return True

    async def _drop(self, ids: list[str]) -> None:
        if ids:
            with available():
                await self._pending.delete_many({"_id": {"$in": ids}})

    async def _case_ends(self, cases: set[str]) -> dict[str, CaseEnd]:
        last = {"_id": "$case", "number": {"$last": "$number"}, "hash": {"$last": {"$first": "$hashes"}}}
        mine = {"case": {"$in": sorted(cases)}}
        stages: list[Document] = [{"$match": mine}, {"$sort": {"case": 1, "number": 1}}, {"$group": last}]
        with available():
            return {
                one["_id"]: CaseEnd(one["number"], bytes(one["hash"])) async for one in self._leaves.aggregate(stages)
            }

    # ------------------------------------------------------------------ reading and proving

    async def size(self) -> int:
        """How many leaves there are."""
        with available():
            last = await self._leaves.find_one({}, {"_id": 1}, sort=[("_id", -1)])
        return 0 if last is None else int(last["_id"]) + 1

    async def frontier(self) -> Frontier:
        """The right edge of the whole tree."""
        size = await self.size()
        subtrees = Span(0, size).subtrees
        hashes = await self._hashes(subtrees)
        return Frontier(size, [hashes[subtree] for subtree in subtrees])

    async def root(self, size: int) -> bytes:
        """The root over the first ``size`` leaves, from what is kept. Raises :class:`LedgerBroken`."""
        return (await self._span_hashes([Span(0, size)]))[0]

    async def inclusions(self, seqs: Iterable[int], size: int) -> dict[int, list[bytes]]:
        """What proves each of these leaves in the tree of ``size``. Raises ValueError, :class:`LedgerBroken`."""
        spans = {seq: inclusion_spans(seq, size) for seq in seqs}
        hashes = await self._hashes(subtree for one in spans.values() for span in one for subtree in span.subtrees)
        return {seq: [span_hash(span, hashes.__getitem__) for span in one] for seq, one in spans.items()}

    async def consistency(self, older: int, newer: int) -> list[bytes]:
        """What proves that the tree of ``older`` leaves begins that of ``newer``. Raises ValueError."""
        return await self._span_hashes(consistency_spans(older, newer))

    async def _span_hashes(self, spans: Sequence[Span]) -> list[bytes]:
        hashes = await self._hashes(subtree for span in spans for subtree in span.subtrees)
        return [span_hash(span, hashes.__getitem__) for span in spans]

    async def _hashes(self, subtrees: Iterable[Subtree]) -> dict[Subtree, bytes]:
        wanted = set(subtrees)
        with available():
            found = self._leaves.find({"_id": {"$in": sorted({one.last for one in wanted})}}, {"hashes": 1})
            hashes = {leaf["_id"]: leaf["hashes"] async for leaf in found}
        try:
            return {one: bytes(hashes[one.last][one.level]) for one in wanted}
        except (KeyError, IndexError):
            raise LedgerBroken("ledger_leaf_missing") from None

    async def leaves(self, query: Mapping[str, Any]) -> AsyncIterator[Leaf]:
        """Leaves by a query of ours, in their order."""
        with available():
            async for one in self._leaves.find(dict(query)).sort("_id", 1).batch_size(_READ_AT_ONCE):
                yield Leaf(one["_id"], one["leaf"], [bytes(each) for each in one["hashes"]])

    async def leaves_of(self, case: str) -> list[Leaf]:
        """Every leaf of a case, in their order."""
        return [leaf async for leaf in self.leaves({"case": case})]

    async def leaves_by_entry(self, ids: Iterable[str]) -> list[Leaf]:
        """The leaves of these entries, in their order."""
        return [leaf async for leaf in self.leaves({"entry": {"$in": list(ids)}})]

    async def pending(self, *, conflicting: bool = False) -> int:
        """How many entries wait for their place, or contradict their leaf."""
        with available():
            return await self._pending.count_documents({"conflict": {"$exists": conflicting}})

    async def waiting_since(self, signed: int) -> str | None:
        """When the oldest entry was noted that is not among the first ``signed`` leaves; ``None``: there is none."""
        oldest: list[Document] = [
            {"$match": {"conflict": {"$exists": False}}},
            {"$group": {"_id": None, "at": {"$min": "$body.at"}}},
        ]
        with available():
            leaf = await self._leaves.find_one({"_id": signed}, {"leaf": 1})
            moments = [found["at"] async for found in self._pending.aggregate(oldest)]
        if leaf is not None:
            moments.append(json.loads(leaf["leaf"])["at"])
        return min(moments, default=None)


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two entries of one id say the same. Their times may differ: the first one counts."""
    return all(one.get(name) == other.get(name) for name in ("kind", "case", "details"))


def _document(leaf: PlacedLeaf) -> Document:
    chained = {} if leaf.case is None else {"case": leaf.case, "number": leaf.number}
    return {"_id": leaf.seq, "entry": leaf.entry, **chained, "leaf": leaf.text, "hashes": leaf.hashes}
