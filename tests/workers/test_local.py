"""Embedded servers: they start, keep what they promised, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from pymongo import MongoClient
from pymongo.write_concern import WriteConcern

from schemas.errors import ConfigurationError
from tests.waiting import until_blocking
from workers import local
from workers.local import (
    EmbeddedMongo,
    EmbeddedServer,
    EmbeddedValkey,
    OperatorServer,
    open_mongo,
    open_redis,
    start_together,
)
from workers.processes import free_port


def put(server: EmbeddedServer, name: str) -> None:
    """Store one thing and return once the server has promised to keep it."""
    if isinstance(server, EmbeddedValkey):
        with redis.Redis.from_url(server.url) as client:
            client.set(name, "kept")
    else:
        with MongoClient[dict[str, Any]](server.url) as client:
            things = client["test"]["things"].with_options(write_concern=WriteConcern("majority", j=True))
            things.insert_one({"_id": name})


def holds(server: EmbeddedServer, name: str) -> bool:
    if isinstance(server, EmbeddedValkey):
        with redis.Redis.from_url(server.url) as client:
            return bool(client.get(name) == b"kept")
    with MongoClient[dict[str, Any]](server.url) as client:
        return client["test"]["things"].find_one({"_id": name}) is not None


Kind = type[EmbeddedValkey] | type[EmbeddedMongo]
KINDS = pytest.mark.parametrize("kind", [EmbeddedValkey, EmbeddedMongo])


@KINDS
def test_a_stopped_server_leaves_no_process(kind: Kind, fast_path: Path) -> None:
    with kind(fast_path) as server:
        assert psutil.pid_exists(server.pid)
    assert not psutil.pid_exists(server.pid)


@KINDS
def test_what_was_promised_survives_kill_9(kind: Kind, fast_path: Path) -> None:
    """Same port, same data: a client that only waits finds everything again."""
    with kind(fast_path) as server:
        put(server, "before")
        port = server.port
        server.kill9()
        server.restart()
        assert server.port == port
        assert holds(server, "before")
        put(server, "after")


@KINDS
def test_data_can_be_served_on_another_port(kind: Kind, fast_path: Path) -> None:
    """A second `up` on the same folder finds what the first one kept, whatever port it gets."""
    with kind(fast_path) as server:
        put(server, "before")
        server.kill9()
    with kind(fast_path, port=free_port()) as server:
        assert holds(server, "before")
        put(server, "after")


@KINDS
def test_two_at_once_do_not_meet(kind: Kind, fast_path: Path) -> None:
    with kind(fast_path / "one") as one, kind(fast_path / "two") as two:
        put(one, "mine")
        assert not holds(two, "mine")


@KINDS
def test_a_port_lost_meanwhile_is_exchanged(kind: Kind, fast_path: Path) -> None:
    with socket.socket() as other:
        server = kind(fast_path)
        other.bind((local.HOST, server.port))
        other.listen()
        lost = server.port
        with server:
            assert server.port != lost
            put(server, "anything")


@KINDS
def test_another_server_on_the_port_is_not_taken_for_ours(kind: Kind, fast_path: Path) -> None:
    """Two that chose the same port at the same moment: the loser moves, and never serves from the winner."""
    with kind(fast_path / "winner") as winner:
        loser = kind(fast_path / "loser")
        loser.port = winner.port
        with loser:
            assert loser.port != winner.port
            put(winner, "mine")
            assert not holds(loser, "mine")


@KINDS
def test_a_given_port_that_is_taken_is_said(kind: Kind, fast_path: Path) -> None:
    with socket.socket() as other:
        other.bind((local.HOST, 0))
        other.listen()
        server = kind(fast_path, port=other.getsockname()[1])
        with pytest.raises(ConfigurationError, match=r"port: \d+ is in use"):
            server.start()
        assert not server.alive


@KINDS
def test_a_paused_server_answers_nobody_and_goes_on(kind: Kind, fast_path: Path) -> None:
    with kind(fast_path) as server:
        put(server, "before")
        server.pause()
        until_blocking(lambda: psutil.Process(server.pid).status() == psutil.STATUS_STOPPED)
        server.resume()
        assert holds(server, "before")


@KINDS
def test_a_paused_server_can_be_stopped(kind: Kind, fast_path: Path) -> None:
    with kind(fast_path) as server:
        server.pause()
    assert not server.alive


def test_valkey_is_set_as_promises_need_it(fast_path: Path) -> None:
    """Source: reliability.md § 6.3."""
    with EmbeddedValkey(fast_path, max_memory="64mb") as server, redis.Redis.from_url(server.url) as client:
        expected = {
            "appendonly": "yes",
            "appendfsync": "always",
            "no-appendfsync-on-rewrite": "no",
            "maxmemory": str(64 << 20),
            "maxmemory-policy": "noeviction",
            "save": "",
        }
        assert {name: client.config_get(name)[name] for name in expected} == expected


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
@KINDS
def test_a_server_dies_with_its_parent(kind: Kind, fast_path: Path) -> None:
    """Even kill -9 of the parent leaves nothing."""
    code = (
        "import sys; from pathlib import Path; from workers import local\n"
        f"server = local.{kind.__name__}(Path(sys.argv[1])).start(); print(server.pid, flush=True); sys.stdin.read()"
    )
    root = Path(local.__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", code, str(fast_path)], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert psutil.pid_exists(child)
        os.kill(parent.pid, signal.SIGKILL)
    until_blocking(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


def test_servers_start_together_or_not_at_all(fast_path: Path) -> None:
    with socket.socket() as other:
        other.bind((local.HOST, 0))
        other.listen()
        good = EmbeddedValkey(fast_path)
        bad = EmbeddedValkey(fast_path / "bad", port=other.getsockname()[1])
        with pytest.raises(ConfigurationError):
            start_together(good, bad)
    assert not good.alive
    assert not bad.alive


def test_a_server_named_by_the_operator_is_used_as_it_is(fast_path: Path) -> None:
    env = {"REDIS_URL": "redis://redis.example.org/3", "MONGO_URL": "mongodb://mongo.example.org"}
    for server, url in ((open_redis(fast_path, env), env["REDIS_URL"]), (open_mongo(fast_path, env), env["MONGO_URL"])):
        assert isinstance(server, OperatorServer)
        start_together(server)
        server.stop()
        assert server.url == url
    assert list(fast_path.iterdir()) == []


def executable(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    path.chmod(0o755)
    return path


def test_a_server_on_path_comes_before_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = executable(tmp_path / "mongod", "#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert local.find_mongod() == str(mine)
    assert local.find_valkey() != str(tmp_path / "valkey-server")


def test_no_server_for_this_platform_is_a_clear_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(local, "MONGO_WHEELS", ("greffier-no-such-wheel",))
    monkeypatch.setattr(local, "VALKEY_WHEELS", ("greffier-no-such-wheel",))
    with pytest.raises(ConfigurationError, match=r"no mongod on PATH .* set MONGO_URL to a running server"):
        EmbeddedMongo(tmp_path)
    with pytest.raises(ConfigurationError, match=r"no valkey-server or redis-server on PATH .* set REDIS_URL"):
        EmbeddedValkey(tmp_path)


def test_a_server_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = executable(tmp_path / "bin" / "mongod", "#!/bin/sh\necho 'libcurl.so.4 is missing' >&2\nexit 127\n")
    monkeypatch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")
    with pytest.raises(ConfigurationError, match=r"ended with 127: libcurl.so.4 is missing"):
        EmbeddedMongo(tmp_path).start()
