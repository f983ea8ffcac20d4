"""The four databases, how they are reached, and every index, declared in one place.

``active`` holds what is in use, ``archive`` what only a reason opens, ``evidence`` what must survive a restore of the
others (tombstones, suppression list, who read what), ``keys`` the wrapped data keys. Each has its own URI and
credential; one replica set by default.
Source: design § 4; reliability § 6.3 (majority and journaled writes, every call bounded in time), E3, E25, E34.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from bson.codec_options import CodecOptions
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo import ASCENDING, IndexModel, ReadPreference, WriteConcern
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
    WriteConcernError,
    WTimeoutError,
)
from pymongo.read_concern import ReadConcern

from schemas.errors import StoreUnavailable
from schemas.orders import DISPOSE
from schemas.terms import Case
from workers.settings import StoreSettings

Document = dict[str, Any]
Collection = AsyncIOMotorCollection[Document]
Database = AsyncIOMotorDatabase[Document]

_CALL_TIMEOUT_MS: Final = 10_000
_SELECTION_TIMEOUT_MS: Final = 5_000
_DURABLE: Final = WriteConcern(w="majority", j=True)
_CODEC: Final[CodecOptions[Document]] = CodecOptions(tz_aware=True)

_SHUTTING_DOWN: Final = frozenset({91, 11600, 11602, 189, 10107, 13435, 13436, 10058, 262, 50, 64, 112, 246, 290, 402})
"""Server codes that speak of the server, not of the document (shutdown, election, time, conflict)."""


@dataclass(frozen=True, slots=True)
class Databases:
    """Handles to the four databases; they belong to the event loop that made them."""

    active: Database
    archive: Database
    evidence: Database
    keys: Database

    async def ping(self, *names: str) -> None:
        """Raises :class:`StoreUnavailable` unless the primary of each of these databases answers; by default of all."""
        with available():
            for name in names or ("active", "archive", "evidence", "keys"):
                database: Database = getattr(self, name)
                await database.command("ping")

    async def hello(self) -> Document:
        """What the primary of **active** says of itself: set name, local time (UTC)."""
        with available():
            return await self.active.client.admin.command("hello")

    def close(self) -> None:
        for client in {id(d.client): d.client for d in (self.active, self.archive, self.evidence, self.keys)}.values():
            client.close()


def connect(settings: StoreSettings) -> Databases:
    """Open the databases. To be called inside the event loop that will use them; connects on first use."""
    clients: dict[str, AsyncIOMotorClient[Document]] = {}

    def database(name: str) -> Database:
        own = getattr(settings, f"mongo_{name}_url") or settings.mongo_url
        url = own.get_secret_value()
        if url not in clients:
            clients[url] = _client(url)
        return clients[url].get_database(
            f"{settings.mongo_prefix}_{name}",
            codec_options=_CODEC,
            read_preference=ReadPreference.PRIMARY,
            write_concern=_DURABLE,
            read_concern=ReadConcern("local"),
        )

    return Databases(database("active"), database("archive"), database("evidence"), database("keys"))


def _client(url: str) -> AsyncIOMotorClient[Document]:
    return AsyncIOMotorClient(
        url,
        timeoutMS=_CALL_TIMEOUT_MS,
        serverSelectionTimeoutMS=_SELECTION_TIMEOUT_MS,
        retryWrites=True,
        maxPoolSize=50,
        appname="greffier",
        tz_aware=True,
    )


@contextmanager
def available() -> Iterator[None]:
    """Turn every error that speaks of the server into :class:`StoreUnavailable`; let the others pass.

    A driver's text may quote a value (duplicate keys do), so nothing of it travels on. Source: reliability § 8.8.
    """
    try:
        yield
    except PyMongoError as error:
        if _speaks_of_the_server(error):
            raise StoreUnavailable(type(error).__name__) from None
        raise


def _speaks_of_the_server(error: PyMongoError) -> bool:
    if isinstance(error, BulkWriteError):
        details = error.details or {}
        writes = [fault.get("code") for fault in details.get("writeErrors", [])]
        return bool(details.get("writeConcernErrors")) or any(code in _SHUTTING_DOWN for code in writes)
    if isinstance(error, OperationFailure) and error.code in _SHUTTING_DOWN:
        return True
    unreachable = (
        AutoReconnect,
        NetworkTimeout,
        ServerSelectionTimeoutError,
        ExecutionTimeout,
        WaitQueueTimeoutError,
        WTimeoutError,
        WriteConcernError,
    )
    return isinstance(error, unreachable) or error.timeout


def _index(*keys: str, **options: Any) -> IndexModel:
    return IndexModel([(key, ASCENDING) for key in keys], **options)


INDEXES: Final[dict[str, dict[str, list[IndexModel]]]] = {
    "active": {
        "persons": [_index("refs", unique=True)],
        "submissions": [
            _index("person"),
            _index("device", sparse=True),
            # Over subscriptions alone: every other submission is spared a further index.
            _index("settled", "received", partialFilterExpression={"case": Case.NEWSLETTER.value}),
            # Over contacts whose person is still to be told (Art. 14).
            _index("notice_noted", "notice_by", partialFilterExpression={"notice_by": {"$exists": True}}),
            # Over what was ever corrected: the sweep asks of thousands of persons whether anything was.
            _index("person", "versions", partialFilterExpression={"versions": {"$exists": True}}),
        ],
        "links": [_index("person", "purpose"), _index("submission")],
        "anchors": [_index("refs", sparse=True), _index("about", sparse=True)],
        "notices": [_index("refs", sparse=True), _index("about", sparse=True)],
        "agreements": [_index("refs", sparse=True), _index("about", sparse=True)],
        "confirmations": [_index("about")],
        "consents": [
            _index("device", "happened"),
            _index("expired_noted", "valid_until"),
            # Over choices whose renewal is not noted yet.
            _index("policy_version", "asks_again", partialFilterExpression={"asks_again": {"$exists": True}}),
        ],
        "visits": [_index("device", "happened"), _index("happened"), _index("expires")],
        "parked": [_index("refs", sparse=True), _index("event"), _index("expires"), _index("reason")],
        "batches": [_index("door", "seq"), _index("at", expireAfterSeconds=90 * 86_400)],
        "due": [_index("since")],
        "files.files": [_index("metadata.person")],
        "files.chunks": [_index("files_id", "n", unique=True)],
    },
    "archive": {
        "submissions": [_index("refs"), _index("person")],
        "files.files": [_index("metadata.person")],
        "files.chunks": [_index("files_id", "n", unique=True)],
    },
    "evidence": {
        "reads": [_index("person", "at"), _index("first", "last", sparse=True)],
        "outcomes": [_index("at")],
        "ledger": [
            _index("entry", unique=True),
            _index("case", "number", unique=True, partialFilterExpression={"case": {"$exists": True}}),
        ],
        "cases": [
            _index("joins", unique=True, partialFilterExpression={"joins": {"$exists": True}}),
            _index("wake_at", sparse=True),
            _index("due_on"),
            _index("package.expires", sparse=True),
            _index("withdrawn_at", sparse=True),
            _index("hold.keys", sparse=True),
        ],
        "tasks": [
            _index("case", "store"),
            _index("store", "send_at", sparse=True),
            _index("held", sparse=True),
            _index("unserved_at", sparse=True),
            _index("store", "on", partialFilterExpression={"ask": DISPOSE}),
        ],
        "attempts": [_index("store")],
        "receipts": [_index("cases", "at")],
        "copies": [_index("case"), _index("task", "copy", "place")],
        "mails": [_index("case"), _index("send_at", sparse=True)],
        "slips": [_index("facts", unique=True), _index("waiting", sparse=True)],
        "rounds": [_index("look_at", sparse=True)],
        "canaries": [
            _index("store", "began"),
            _index("look_at", sparse=True),
            _index("forget_at", expireAfterSeconds=0),
        ],
        "preferences": [_index("expires", expireAfterSeconds=0)],
        "turns": [_index("at", expireAfterSeconds=0)],
        "leases": [_index("until", expireAfterSeconds=0)],
        "outside": [
            _index("key", unique=True),
            _index("opens_at", sparse=True),
            _index("look_at", sparse=True),
            _index("alarm", sparse=True),
            _index("drop_at", expireAfterSeconds=0),
        ],
        "errands": [_index("case"), _index("run_at", sparse=True), _index("alarm", sparse=True)],
        "outside_tokens": [_index("sha256", unique=True)],
        "outside_seen": [_index("until", expireAfterSeconds=0)],
        "ticks": [_index("chore", "planned")],
        "renewals": [_index("ends")],
        "withdrawals": [_index("deleted_at", "received_at")],
        "disposals": [_index("day")],
        "expired_consents": [_index("valid_until")],
    },
    "keys": {
        "keys": [_index("hold.name", sparse=True)],
    },
}
"""Database → collection → indexes.

A TTL index may clear ``batches``, ``turns``, ``leases`` and ``preferences``: numbers of messages, moments that are
over, what links show that have ended; and of other
organisations' requests what is long final, and signatures of messages that have expired.
"""


async def create_indexes(databases: Databases) -> None:
    """Make what is missing; safe to run at every start of every worker."""
    with available():
        for database, collections in INDEXES.items():
            handle: Database = getattr(databases, database)
            for collection, indexes in collections.items():
                await handle[collection].create_indexes(indexes)


_PIECE: Final = 1_250
"""Ids in one of several statements that go side by side: the server works on each by a processor of its own."""


def pieces(ids: Sequence[str]) -> list[Sequence[str]]:
    """Many ids for statements side by side."""
    return [ids[start : start + _PIECE] for start in range(0, len(ids), _PIECE)]


DUPLICATE_KEY: Final = 11000


async def insert_new(collection: Collection, documents: list[Document]) -> set[int]:
    """Insert what is not there yet, in one unordered bulk; the positions whose ``_id`` or unique key already was.

    Raises :class:`StoreUnavailable`; any other failure of a document is an error of ours and is raised as it is.
    """
    if not documents:
        return set()
    try:
        with available():
            await collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        faults = (error.details or {}).get("writeErrors", [])
        if any(fault["code"] != DUPLICATE_KEY for fault in faults):
            raise
        return {fault["index"] for fault in faults}
    return set()
