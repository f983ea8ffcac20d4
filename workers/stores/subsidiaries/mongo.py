"""The rows of a MongoDB database. Majority and journaled writes; every call bounded in time.

A row is changed only if the fields its fate was read from are still what they were: each write carries them in its
filter, so no lock is needed and nothing that somebody changed meanwhile is lost.
Source: R28; reliability § 6.3.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Hashable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from bson import encode
from bson.codec_options import CodecOptions
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import DeleteMany, ReadPreference, UpdateOne, WriteConcern
from pymongo.collation import Collation, CollationStrength
from pymongo.errors import ConfigurationError as BadUri
from pymongo.errors import InvalidURI, OperationFailure, PyMongoError

from schemas.errors import ConfigurationError, Fault
from workers.stores.mongo import available
from workers.stores.subsidiaries import decisions
from workers.stores.subsidiaries.adapter import StoreRefuses
from workers.stores.subsidiaries.mapping import Constant, Letters
from workers.stores.subsidiaries.mapping import Mapping as OfficeMapping
from workers.stores.subsidiaries.rows import (
    PAGE,
    AllRows,
    AnyWhere,
    ByAddress,
    ByKey,
    ByOwner,
    OpenSession,
    Row,
    Where,
    known_by,
)

Document = dict[str, Any]

_CALL_TIMEOUT_MS: Final = 10_000
_SELECTION_TIMEOUT_MS: Final = 5_000
_UNAUTHORISED: Final = 13
_ANY_CASE: Final = Collation("en", strength=CollationStrength.SECONDARY)
"""Finds ``Anna@`` for ``anna@`` and a little too much; an index serves it only if it was made with this collation."""


class MongoRows:
    """Both sessions are the same: the database knows no long transaction here, and needs none."""

    undoes = False

    def __init__(self, mapping: OfficeMapping, url: str) -> None:
        self._mapping = mapping
        try:
            self._client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
                url,
                timeoutMS=_CALL_TIMEOUT_MS,
                serverSelectionTimeoutMS=_SELECTION_TIMEOUT_MS,
                retryWrites=True,
                appname="greffier-subsidiary",
                tz_aware=True,
                connect=False,
            )
        except (InvalidURI, BadUri, ValueError):
            raise ConfigurationError("mapping", Fault("store", "the URL is not a MongoDB URI")) from None
        self._database = self._client.get_database(
            str(mapping.store.database),
            codec_options=CodecOptions(tz_aware=True),
            read_preference=ReadPreference.PRIMARY,
            write_concern=WriteConcern(w="majority", j=True),
        )

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[OpenSession]:
        yield self

    @asynccontextmanager
    async def writing(self, *, at_once: bool = False) -> AsyncIterator[OpenSession]:
        yield self

    async def ping(self) -> None:
        with available():
            await self._database.command("ping")

    async def check(self) -> list[Fault]:
        """A document database has no columns to compare with: only whether the collections are there."""
        with available():
            there = set(await self._database.list_collection_names())
        return [
            Fault(f"collections.{name}", "no such collection in the store")
            for name in self._mapping.collections
            if self._mapping.source(name) not in there
        ]

    async def close(self) -> None:
        self._client.close()

    # ------------------------------------------------------------------ the session

    async def pages(self, name: str, where: AnyWhere, fields: Collection[str]) -> AsyncGenerator[list[Row], None]:
        wanted = sorted({*fields, *_paths(where)})
        tops = {path.partition(".")[0]: True for path in wanted}
        cursor = self._database[self._mapping.source(name)].find(
            _filter(where), tops, batch_size=PAGE, collation=_collation(where)
        )
        compared = [top for top in tops if top != "_id"]
        documents = await _page_of(cursor)
        while documents:
            yield [
                Row(
                    document["_id"],
                    {path: _at(document, path) for path in wanted},
                    {top: document.get(top, _ABSENT) for top in compared},
                )
                for document in documents
            ]
            documents = await _page_of(cursor) if len(documents) == PAGE else []

    async def delete(self, name: str, rows: Sequence[Row]) -> int:
        with _answering():
            result = await self._database[self._mapping.source(name)].bulk_write(
                [DeleteMany(same) for same in _unchanged_together(rows)], ordered=False
            )
        return result.deleted_count

    async def update(self, name: str, rows: Sequence[Row], settings: Mapping[str, Constant], where: Where) -> int:
        if isinstance(where, ByAddress) and where.within is not None:
            writes = [_update_within(row, settings, where) for row in rows]
        else:
            writes = [_update(row, settings) for row in rows]
        with _answering():
            result = await self._database[self._mapping.source(name)].bulk_write(writes, ordered=False)
        return result.matched_count

    async def insert(self, name: str, settings: Mapping[str, Constant]) -> None:
        now, document = datetime.now(UTC), Document()
        for path, constant in settings.items():
            *above, last = path.split(".")
            inner = document
            for part in above:
                inner = inner.setdefault(part, {})
            inner[last] = decisions.value_of(constant, now)
        with _answering():
            await self._database[self._mapping.source(name)].insert_one(document)

    async def missed(
        self, name: str, rows: Sequence[Row], settings: Mapping[str, Constant] | None, since: datetime
    ) -> AbstractSet[Hashable]:
        """Looked at after the change: what is gone, or stands as it was to be set, was changed."""
        tops = {path.partition(".")[0]: True for path in settings or {}} or {"_id": True}
        there = {"_id": {"$in": [row.key for row in rows]}}
        cursor = self._database[self._mapping.source(name)].find(there, tops, batch_size=PAGE)
        with _answering():
            documents = await cursor.to_list(None)
        return {known_by(one["_id"]) for one in documents if settings is None or not _is_set(settings, one, since)}

    async def values(self, name: str, path: str) -> AsyncIterator[list[str]]:
        page: list[str] = []
        cursor = self._database[self._mapping.source(name)].find({}, {path: True}, batch_size=PAGE)
        with _answering():
            async for document in cursor:
                page += [text for text in _as_list(_at(document, path)) if isinstance(text, str)]
                if len(page) >= PAGE:
                    yield page
                    page = []
        if page:
            yield page


_ABSENT: Final = object()
"""A field that a document does not have, which is not the same as null."""


@contextmanager
def _answering() -> Iterator[None]:
    """What speaks of the server becomes StoreUnavailable, any other refusal of it StoreRefuses; no text travels on."""
    try:
        with available():
            yield
    except OperationFailure as error:
        raise StoreRefuses("store-forbids" if error.code == _UNAUTHORISED else "store-rejects") from None
    except PyMongoError:
        raise StoreRefuses("store-rejects") from None


async def _page_of(cursor: Any) -> list[Document]:
    with _answering():
        found: list[Document] = await cursor.to_list(PAGE)
    return found


def _is_set(settings: Mapping[str, Constant], document: Document, since: datetime) -> bool:
    since = since.replace(microsecond=since.microsecond // 1000 * 1000)  # the database keeps no less
    return all(decisions.was_set(one, _at(document, path), since) for path, one in settings.items())


def _paths(where: AnyWhere) -> list[str]:
    match where:
        case ByOwner():
            return [where.path]
        case ByAddress():
            return [_path(where, identifier.field) for identifier in where.identifiers]
        case ByKey() | AllRows():
            return []


def _path(where: ByAddress, field: str) -> str:
    return field if where.within is None else f"{where.within}.{field}"


def _filter(where: AnyWhere) -> Document:
    match where:
        case ByOwner():
            return {where.path: {"$in": list(where.values)}}
        case ByAddress():
            ways: list[Document] = [{path: {"$in": sorted(where.written)}} for path in _paths(where)]
            return ways[0] if len(ways) == 1 else {"$or": ways}
        case ByKey():
            return {"_id": {"$in": list(where.keys)}}
        case AllRows():
            return {}


def _collation(where: AnyWhere) -> Collation | None:
    any_case = isinstance(where, ByAddress) and any(one.letters is Letters.AS_TYPED for one in where.identifiers)
    return _ANY_CASE if any_case else None


def _at(document: object, path: str) -> Any:
    """What stands at a dotted path; through arrays, a list of what stands in each element."""
    found = document
    for part in path.split("."):
        if isinstance(found, list):
            inside = [element.get(part) for element in found if isinstance(element, dict)]
            found = [value for one in inside for value in _as_list(one)]
        else:
            found = found.get(part) if isinstance(found, dict) else None
    return found


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _unchanged(row: Row) -> Document:
    """The row, if what was read of it still stands."""
    return {"_id": row.key, **_still(row)}


def _still(row: Row) -> Document:
    read: dict[str, Any] = row.as_read
    return {top: {"$exists": False} if value is _ABSENT else {"$eq": value} for top, value in read.items()}


def _unchanged_together(rows: Sequence[Row]) -> list[Document]:
    """The same for many rows: one filter for all of which the same was read."""
    alike: dict[bytes, tuple[Document, list[Any]]] = {}
    for row in rows:
        still = _still(row)
        alike.setdefault(encode(still), (still, []))[1].append(row.key)
    return [{"_id": {"$in": keys}, **still} for still, keys in alike.values()]


def _update(row: Row, settings: Mapping[str, Constant]) -> UpdateOne:
    now = datetime.now(UTC)
    return UpdateOne(
        _unchanged(row), {"$set": {path: decisions.value_of(constant, now) for path, constant in settings.items()}}
    )


def _update_within(row: Row, settings: Mapping[str, Constant], where: ByAddress) -> UpdateOne:
    """Change only the sub-documents that hold one of the addresses."""
    now, field = datetime.now(UTC), where.identifiers[0].field
    stored = _as_list(_at({"row": row.as_read}, f"row.{_path(where, field)}"))
    ours = [text for text in stored if isinstance(text, str) and _is_written(text, where)]
    changes = {f"{where.within}.$[ours].{name}": decisions.value_of(one, now) for name, one in settings.items()}
    return UpdateOne(_unchanged(row), {"$set": changes}, array_filters=[{f"ours.{field}": {"$in": ours}}])


def _is_written(text: str, where: ByAddress) -> bool:
    return text.lower() in where.written or decisions.normal_form(text) in where.written
