"""Small calls of the same moment travel together: one round trip and one durable write for whoever asked meanwhile.

A lone call leaves at once. While one is on its way, others of its kind wait, and go together in the next: a driver's
call, a round trip and a journaled write cost about the same for one document as for a hundred, and a worker that takes
a hundred cases a step further asks the same of each. Nothing else changes for who calls: a call returns when what it
asked for is durable, and fails by itself where the fault is its own.
Source: design § 4 (majority and journaled writes); P2.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

from pymongo import DeleteMany, DeleteOne, InsertOne, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure

from workers.stores.mongo import DUPLICATE_KEY, Document, available
from workers.stores.mongo import Collection as Stored

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE: Final = 200
"""Calls that travel together at most."""

ONE_REPLY: Final = 100_000
"""Documents of one answer, as far as its bytes allow."""

_IDS_AT_ONCE: Final = 10_000
"""Ids in one statement, which may not be longer than 16 MiB."""

Write = InsertOne[Document] | UpdateOne | DeleteOne | DeleteMany


class Gatherer(Generic[T, R]):
    """Calls of one kind. ``send``: makes several, in any order; each one's result, or the exception that is its own."""

    def __init__(self, send: Callable[[list[T]], Awaitable[Sequence[R | Exception]]], at_once: int = AT_ONCE) -> None:
        self._send = send
        self._at_once = at_once
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._sender: asyncio.Task[None] | None = None

    async def call(self, asked: T) -> R:
        """Raises what ``send`` raises, or says of this call."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[R] = loop.create_future()
        self._waiting.append((asked, outcome))
        if self._sender is None:
            self._sender = loop.create_task(self._send_waiting())
        return await outcome

    async def _send_waiting(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._at_once], self._waiting[self._at_once :]
                await self._send_batch(batch)
        finally:
            self._sender = None
            for _, outcome in self._waiting:  # only when cancelled: the loop ends
                outcome.cancel()

    async def _send_batch(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._send([asked for asked, _ in batch])
        except Exception as error:
            results = [error] * len(batch)
        except BaseException:
            for _, outcome in batch:
                outcome.cancel()
            raise
        for (_, outcome), result in zip(batch, results, strict=True):
            if outcome.done():
                continue  # whoever asked was cancelled
            if isinstance(result, Exception):
                outcome.set_exception(result)
            else:
                outcome.set_result(result)


class Gathered:
    """A collection, asked and changed by many at once. One per process and event loop."""

    def __init__(self, collection: Stored) -> None:
        self._collection = collection
        self._finds: dict[Hashable, Gatherer[list[Any], list[Document]]] = {}
        self._counts: dict[str, Gatherer[list[Any], int]] = {}
        self._writes: Gatherer[Sequence[Write], Mapping[int, int]] = Gatherer(self._write_all)
        self._changes: Gatherer[Sequence[UpdateOne], bool] = Gatherer(self._change_all)

    # ------------------------------------------------------------------ reading

    async def get(self, name: str) -> Document | None:
        """One document by its ``_id``."""
        found = await self.having("_id", [name])
        return found[0] if found else None

    async def having(self, field: str, values: Iterable[Any], *fields: str) -> list[Document]:
        """The documents whose ``field`` is, or whose list of that name holds, one of these values.

        All fields, or only those named. The documents are the caller's own.
        """
        wanted = list(dict.fromkeys(values))
        if not wanted:
            return []
        if len(wanted) > AT_ONCE:  # so many are worth a call of their own, and nobody else's are to be told apart
            return await self._find(field, fields, wanted)
        gatherer = self._finds.get((field, fields))
        if gatherer is None:
            gatherer = self._finds[field, fields] = Gatherer(lambda asked: self._find_all(field, fields, asked))
        return await gatherer.call(wanted)

    async def count(self, field: str, values: Iterable[Any]) -> int:
        """How many documents :meth:`having` would find, where ``field`` holds no list."""
        wanted = list(dict.fromkeys(values))
        if not wanted:
            return 0
        gatherer = self._counts.get(field)
        if gatherer is None:
            gatherer = self._counts[field] = Gatherer(lambda asked: self._count_all(field, asked))
        return await gatherer.call(wanted)

    async def _find_all(self, field: str, fields: tuple[str, ...], asked: list[list[Any]]) -> list[list[Document]]:
        found = await self._find(field, fields, _union(asked))
        if not found:
            return [[] for _ in asked]
        if field == "_id":  # one document a value at most
            by_id = {document["_id"]: document for document in found}
            chosen = [[by_id[value] for value in values if value in by_id] for values in asked]
            return chosen if len(asked) == 1 else [list(map(dict, documents)) for documents in chosen]
        by_value: defaultdict[Any, list[Document]] = defaultdict(list)
        for document in found:
            for value in dict.fromkeys(_held(document, field)):
                by_value[value].append(document)
        return [_each_once(by_value, values) for values in asked]

    async def _find(self, field: str, fields: tuple[str, ...], wanted: list[Any]) -> list[Document]:
        if len(wanted) > _IDS_AT_ONCE:
            found = await asyncio.gather(*(self._find(field, fields, piece) for piece in _pieces(wanted)))
            # A list may hold values of two pieces.
            return list({document["_id"]: document for some in found for document in some}.values())
        projection = dict.fromkeys((field, *fields), 1) if fields else None
        query = {field: {"$in": wanted}}
        with available():
            return await self._collection.find(query, projection, batch_size=ONE_REPLY).to_list(None)

    async def _count_all(self, field: str, asked: list[list[Any]]) -> list[int]:
        stages: list[Document] = [
            {"$match": {field: {"$in": _union(asked)}}},
            {"$group": {"_id": f"${field}", "documents": {"$sum": 1}}},
        ]
        with available():
            counted = {one["_id"]: one["documents"] async for one in self._collection.aggregate(stages)}
        return [sum(counted.get(value, 0) for value in values) for values in asked]

    # ------------------------------------------------------------------ writing

    async def insert_new(self, documents: Sequence[Document]) -> set[int]:
        """Insert what is not there yet; the positions whose ``_id`` or unique key already was."""
        if not documents:
            return set()
        faults = await self._writes.call([InsertOne(document) for document in documents])
        if any(code != DUPLICATE_KEY for code in faults.values()):
            raise _error(faults)
        return set(faults)

    async def write(self, *writes: Write) -> None:
        """Make these writes, in any order.

        Raises :class:`StoreUnavailable`, and where one of them is refused, the others being made,
        :class:`pymongo.errors.DuplicateKeyError` or :class:`pymongo.errors.OperationFailure`.
        """
        faults = await self._writes.call(writes) if writes else {}
        if faults:
            raise _error(faults)

    async def change(self, *changes: UpdateOne) -> bool:
        """Make compare-and-sets; ``True``: every one. ``False``: perhaps not, read again what they were about."""
        return await self._changes.call(changes) if changes else True

    async def delete(self, field: str, values: Iterable[Any], keep: Collection[Any] = ()) -> int:
        """Delete what :meth:`having` finds, but for what has one of the ids in ``keep``; how many there were."""
        wanted = list(dict.fromkeys(values))
        found = [one["_id"] for one in await self.having(field, wanted, "_id") if one["_id"] not in keep]
        # Asked for once more: what stands under that id by now may be somebody else's, who came back.
        await self.write(*(DeleteMany({"_id": {"$in": some}, field: {"$in": wanted}}) for some in _pieces(found)))
        return len(found)

    async def _write_all(self, asked: list[Sequence[Write]]) -> list[Mapping[int, int]]:
        """Unordered, so that one that is refused stops no other; the server's code for each that was, by position."""
        try:
            with available():
                await self._collection.bulk_write([write for writes in asked for write in writes], ordered=False)
        except BulkWriteError as error:
            codes = {fault["index"]: fault["code"] for fault in (error.details or {}).get("writeErrors", [])}
            return _by_caller(asked, codes)
        return [{}] * len(asked)

    async def _change_all(self, asked: list[Sequence[UpdateOne]]) -> list[bool]:
        changes = [change for one in asked for change in one]
        with available():
            result = await self._collection.bulk_write(changes, ordered=False)
        return [result.matched_count == len(changes)] * len(asked)


def _pieces(values: list[Any]) -> list[list[Any]]:
    return [values[start : start + _IDS_AT_ONCE] for start in range(0, len(values), _IDS_AT_ONCE)]


def _union(asked: Sequence[list[Any]]) -> list[Any]:
    if len(asked) == 1:
        return asked[0]
    return list(dict.fromkeys(value for values in asked for value in values))


def _held(document: Mapping[str, Any], path: str) -> list[Any]:
    """What stands at a path, each element of a list by itself."""
    found: Any = document
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found if isinstance(found, list) else [found]


def _each_once(by_value: Mapping[Any, list[Document]], values: Iterable[Any]) -> list[Document]:
    found = {document["_id"]: document for value in values for document in by_value.get(value, ())}
    return [dict(document) for document in found.values()]


def _by_caller(asked: Iterable[Sequence[Write]], codes: Mapping[int, int]) -> list[Mapping[int, int]]:
    """What a bulk says of its writes, for each caller by the positions of his own."""
    ends = list(itertools.accumulate(map(len, asked), initial=0))
    return [
        {at - first: code for at, code in codes.items() if first <= at < last}
        for first, last in itertools.pairwise(ends)
    ]


def _error(faults: Mapping[int, int]) -> OperationFailure:
    """Without the server's words, which quote values."""
    code = next(iter(faults.values()))
    return DuplicateKeyError("duplicate key", code) if code == DUPLICATE_KEY else OperationFailure("refused", code)
