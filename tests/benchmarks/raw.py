"""What the driver alone can do: the same documents, the same indexes, the same write concern, in bulks.

Measured through one connection and through four; the better one is what our own rate is compared with.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pymongo import MongoClient, WriteConcern
from pymongo.collection import Collection

from schemas.envelope import MAX_EVENTS
from tests.benchmarks.stage import Stage, chunks

CONNECTIONS: Final = (1, 4)
_DURABLE: Final = WriteConcern(w="majority", j=True)

Document = dict[str, Any]
Place = tuple[str, str]
"""Database and collection."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one batch of events led to: place → documents."""

    documents: Mapping[Place, Sequence[Document]]


def rates(stage: Stage, loads: Sequence[Load], events: int) -> list[float]:
    """Events per second, through each number of :data:`CONNECTIONS`."""
    return [events / _seconds(stage, loads, connections) for connections in CONNECTIONS]


def as_loads(keys: Sequence[str], documents_of: Mapping[Place, Mapping[str, Sequence[Document]]]) -> list[Load]:
    """One load per 500 events. ``documents_of``: place → event key → the documents it led to."""
    return [
        Load({place: [one for key in batch for one in by_key[key]] for place, by_key in documents_of.items()})
        for batch in chunks(keys, MAX_EVENTS)
    ]


def _seconds(stage: Stage, loads: Sequence[Load], connections: int) -> float:
    suffix = uuid.uuid4().hex[:8]
    places = {place for load in loads for place in load.documents}
    for database, collection in places:
        _fresh(stage, database, collection, suffix)
    clients = [MongoClient[Document](stage.mongo_url, maxPoolSize=1) for _ in range(connections)]
    try:
        for client in clients:
            client.admin.command("ping")
        threads = [
            threading.Thread(target=_write, args=(client, loads[number::connections], suffix))
            for number, client in enumerate(clients)
        ]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - began
    finally:
        for client in clients:
            client.close()
        for database, collection in places:
            stage.database(database).drop_collection(f"{collection}_{suffix}")


def _fresh(stage: Stage, database: str, collection: str, suffix: str) -> None:
    """An empty collection with the indexes that the product's own has."""
    new = stage.database(database).create_collection(f"{collection}_{suffix}")
    for name, index in stage.database(database)[collection].index_information().items():
        if name != "_id_":
            new.create_index(index.pop("key"), name=name, **_options(index))


def _options(index: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: index[name] for name in ("unique", "sparse", "expireAfterSeconds") if name in index}


def _write(client: MongoClient[Document], loads: Sequence[Load], suffix: str) -> None:
    for load in loads:
        for (database, name), documents in load.documents.items():
            collection: Collection[Document] = client[f"greffier_{database}"].get_collection(
                f"{name}_{suffix}", write_concern=_DURABLE
            )
            collection.insert_many(documents, ordered=False)
