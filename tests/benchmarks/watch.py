"""An independent look at what has become durable: a change stream, in a process of its own.

A change stream shows a document once a majority has it in the journal. It costs the time of one notice; `probes` says
how long: the same moment between the acknowledgement of a plain insert and its notice.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from multiprocessing.connection import Connection
from typing import Any, Final

from pymongo import MongoClient, WriteConcern

PROBES: Final = "bench_probes"
PATIENCE_S: Final = 30.0
"""Without any notice; then something was lost or never sent."""


def watch(mongo_url: str, database: str, wanted: int, said_to: Connection) -> dict[str, float]:
    """``_id`` → the moment of its notice (monotonic clock), for the next ``wanted`` inserts into any collection of
    consents or probes. Sends one word through the pipe when it is watching. Raises TimeoutError.
    """
    seen: dict[str, float] = {}
    pipeline = [
        {"$match": {"operationType": "insert", "ns.coll": {"$in": ["consents", PROBES]}}},
        {"$project": {"documentKey": 1}},
    ]
    with (
        MongoClient[dict[str, Any]](mongo_url) as client,
        client[database].watch(pipeline, max_await_time_ms=500) as stream,
    ):
        said_to.send("watching")
        last = time.monotonic()
        while len(seen) < wanted:
            notice = stream.try_next()
            now = time.monotonic()
            if notice is not None:
                seen[notice["documentKey"]["_id"]] = last = now
            elif now - last > PATIENCE_S:
                raise TimeoutError(f"{wanted - len(seen)} of {wanted} never became durable")
    return seen


def probe(mongo_url: str, database: str, names: Iterable[str]) -> dict[str, float]:
    """Insert plain documents one by one: ``_id`` → the moment of its acknowledgement."""
    with MongoClient[dict[str, Any]](mongo_url) as client:
        probes = client[database].get_collection(PROBES, write_concern=WriteConcern(w="majority", j=True))
        acknowledged: dict[str, float] = {}
        for name in names:
            probes.insert_one({"_id": name})
            acknowledged[name] = time.monotonic()
        return acknowledged
