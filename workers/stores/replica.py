"""A replica set of one: formed on first start, kept when its port changes.

Used for embedded servers and by the compose file's health check, never on a set that an operator built.
"""

from __future__ import annotations

import time
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

SET_NAME = "greffier"

_NOT_YET_INITIALISED = 94
_ALREADY_INITIALISED = 23
_ELECTION_TIMEOUT_MS = 1_000  # nobody else can vote: the default of ten seconds would only delay a start


class AnotherServer(Exception):
    """The server that answers on this port is not the process that was asked for."""


def form_replica_set(host: str, port: int, *, pid: int | None = None, timeout: float = 30.0) -> None:
    """Make the server at `host`:`port` the writable primary of its own set and return when it is.

    `pid`: refuse a server with another process id (raises `AnotherServer`). `timeout`: seconds.
    Raises `TimeoutError` when it does not become primary in time. Safe to repeat.
    """
    deadline = time.monotonic() + timeout
    with _connect(host, port) as client:
        while True:
            try:
                if _is_primary(client, f"{host}:{port}", pid):
                    return
            except PyMongoError:
                pass  # starting, stopping or electing: the deadline decides
            if time.monotonic() >= deadline:
                raise TimeoutError(f"no primary at {host}:{port} after {timeout:.0f} s")
            time.sleep(0.01)


def _connect(host: str, port: int) -> MongoClient[dict[str, Any]]:
    return MongoClient(host, port, directConnection=True, serverSelectionTimeoutMS=500, timeoutMS=500)


def _is_primary(client: MongoClient[dict[str, Any]], address: str, pid: int | None) -> bool:
    if pid is not None and client.admin.command("serverStatus")["pid"] != pid:
        raise AnotherServer
    if client.admin.command("hello").get("isWritablePrimary") and _configured_as(client) == address:
        return True
    match _configured_as(client):
        case None:
            _initiate(client, address)
        case other if other != address:
            _move(client, address)
    return False


def _configured_as(client: MongoClient[dict[str, Any]]) -> str | None:
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as error:
        if error.code == _NOT_YET_INITIALISED:
            return None
        raise
    return str(config["members"][0]["host"])


def _initiate(client: MongoClient[dict[str, Any]], address: str) -> None:
    config = {
        "_id": SET_NAME,
        "members": [{"_id": 0, "host": address}],
        "settings": {"electionTimeoutMillis": _ELECTION_TIMEOUT_MS},
    }
    try:
        client.admin.command("replSetInitiate", config)
    except OperationFailure as error:
        if error.code != _ALREADY_INITIALISED:
            raise


def _move(client: MongoClient[dict[str, Any]], address: str) -> None:
    """The data folder was last served on another port; the set must know itself by the new one."""
    config = client.admin.command("replSetGetConfig")["config"]
    config["members"][0]["host"] = address
    config["version"] += 1
    client.admin.command("replSetReconfig", config, force=True)
