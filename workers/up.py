"""The whole system on one machine: embedded servers, a door, controllers, a clock; started, kept alive, stopped.

`greffier up` and `make up` run it; the demo, the journeys and the benchmarks start the same thing. Keys are made for
this data folder only. Never a production default: docker-compose.yml is the plain start for that.
Source: design § 6.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

import typer

from schemas.acl import COUNTER, DESK, subsidiary_user
from schemas.desk_accounts import FILE as DESK_ACCOUNTS
from schemas.errors import ConfigurationError, Fault
from schemas.register import SHIPPED
from workers.local import HOST, EmbeddedMongo, EmbeddedValkey, Server, open_mongo, open_redis, start_together
from workers.processes import Keeper, Process, free_port, polling
from workers.sample_group import STORE_URL, WITH_MONGODB, Office, found_group
from workers.sample_keys import make_keys, make_redis_users
from workers.stores.samples import make_sales

READY_TIMEOUT = 60.0  # seconds
LOOK_EVERY = 0.2  # seconds between two looks at the children
DOOR_GRACE = 15.0
CONTROLLER_GRACE = 30.0  # a worker gives itself 25 s to finish or hand back what it holds

# Whatever proxy the environment names, a child on this machine is asked directly.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Child:
    """A process of ours: the port on which it says that it is ready, and how long it may take to stop.

    ``port``: 0 for one that listens nowhere.
    """

    process: Process
    port: int
    grace: float
    speaks_http: bool = True


class System:
    """The processes of one data folder, and what an outsider needs to know to reach them.

    ``offices``: whether the sample group's subsidiaries run too, each on a store of its own.
    """

    def __init__(self, data: Path, *, port: int = 8080, controllers: int = 1, offices: bool = True) -> None:
        self.data = data.resolve()
        self.port = port or free_port()
        self._controllers_wanted = controllers
        self._offices_wanted = offices
        self._keeper = Keeper()
        self._servers: list[Server] = []
        self._office_server: EmbeddedMongo | None = None
        self._children: list[Child] = []
        self._mail_port = free_port()
        self._desk_port = free_port()
        self._counter_port = free_port()
        self._lock: IO[str] | None = None
        self.crm_api_key = ""
        self.offices: dict[str, Office] = {}
        self._redis_passwords: dict[str, str] = {}
        self.register: Path = SHIPPED

    def start(self) -> None:
        """Start everything and return when everything answers. Raises `ConfigurationError`; then nothing runs."""
        try:
            self._lock = _lock_folder(self.data)
            _refuse_taken_port(self.port)
            self.crm_api_key = make_keys(self.data / "keys")
            own_register = os.environ.get("GREFFIER_REGISTER")
            if own_register:
                self.register = Path(own_register)  # whose subsidiaries are somewhere else: no sample offices
            elif self._offices_wanted:
                self.register, self.offices = found_group(self.data)
            self._start_servers()
            self._start_children()
        except BaseException:
            self.stop()
            raise

    def _start_servers(self) -> None:
        self._servers = [open_redis(self.data), open_mongo(self.data)]
        if isinstance(self._servers[0], EmbeddedValkey):
            workers = [subsidiary_user(code) for code, office in self.offices.items() if not office.over_http]
            users = [DESK, COUNTER, *workers]
            self._redis_passwords = make_redis_users(self._servers[0].users, self.register, users)
        if self.offices:
            self._office_server = EmbeddedMongo(self.offices[WITH_MONGODB].folder)
            self._office_server.name = f"mongo-{WITH_MONGODB}"
            self._office_server.log = self.data / "logs" / f"{self._office_server.name}.log"
            start_together(*self._servers, self._office_server)
            self._keeper.keep(self._office_server)
            make_sales(self._office_server.url)
        else:
            start_together(*self._servers)
        self._keeper.keep(*(server for server in self._servers if isinstance(server, Process)))

    def _start_children(self) -> None:
        controllers = [self._controller(number) for number in range(1, self._controllers_wanted + 1)]
        self._children = [self._mail(), self._door(), *controllers, self._desk(), self._counter(), self._clock()]
        self._children += [self._office(office) for office in self.offices.values()]
        for child in self._children:
            child.process.spawn()
        for child in self._children:
            _wait_until_ready(child)
        self._keeper.keep(*(child.process for child in self._children))

    def _greffier(self, name: str, words: Sequence[str], port: int, grace: float, env: dict[str, str]) -> Child:
        """A process of our own kind, by the command that a container would run too."""
        process = Process(
            name,
            [sys.executable, "-m", "schemas", *words],
            env={"GREFFIER_REDIS_URL": self._servers[0].url, **env},
            log=self.data / "logs" / f"{name}.log",
        )
        return Child(process, port, grace)

    def _mail(self) -> Child:
        """Where mail lands: a real SMTP server that puts everything into a folder."""
        argv = [sys.executable, "-m", "aiosmtpd", "--nosetuid", "--smtputf8", "--listen", f"{HOST}:{self._mail_port}"]
        sink = ["--class", "aiosmtpd.handlers.Mailbox", str(self.mailbox)]
        process = Process("mail", [*argv, *sink], log=self.data / "logs" / "mail.log")
        return Child(process, self._mail_port, DOOR_GRACE, speaks_http=False)

    @property
    def mailbox(self) -> Path:
        """The folder (a Maildir) where mail lands."""
        return self.data / "mail"

    def _door(self) -> Child:
        env = {
            "GREFFIER_DOOR_HOST": HOST,
            "GREFFIER_DOOR_PORT": str(self.port),
            "GREFFIER_METRICS_PORT": str(free_port()),
            "GREFFIER_KEYS": str(self.data / "keys" / "door"),
            "GREFFIER_REGISTER": str(self.register),
        }
        return self._greffier("door", ["door"], self.port, DOOR_GRACE, env)

    def _controller(self, number: int) -> Child:
        port = free_port()
        env = {
            "GREFFIER_MONGO_URL": self._servers[1].url,
            "GREFFIER_METRICS_PORT": str(port),
            "GREFFIER_KEYS": str(self.data / "keys" / "controller"),
            "GREFFIER_REGISTER": str(self.register),
            "GREFFIER_MAIL_FROM": "rights@example.com",
            "GREFFIER_PUBLIC_URL": f"http://{HOST}:{self.port}",
            "GREFFIER_COUNTER_URL": f"http://{HOST}:{self._counter_port}",
            "GREFFIER_SMTP_PORT": str(self._mail_port),
            "GREFFIER_SMTP_STARTTLS": "false",
        }
        name = "controller" if number == 1 else f"controller-{number}"
        return self._greffier(name, ["controller"], port, CONTROLLER_GRACE, env)

    def _desk(self) -> Child:
        env = {
            "GREFFIER_REDIS_URL": self._redis_url_of(DESK),
            "GREFFIER_MONGO_URL": self._servers[1].url,
            "GREFFIER_DESK_HOST": HOST,
            "GREFFIER_DESK_PORT": str(self._desk_port),
            "GREFFIER_DESK_ACCOUNTS": str(self.data / "keys" / DESK_ACCOUNTS),
            "GREFFIER_KEYS": str(self.data / "keys" / "controller"),
            "GREFFIER_REGISTER": str(self.register),
            "GREFFIER_MAIL_FROM": "rights@example.com",
            "GREFFIER_PUBLIC_URL": f"http://{HOST}:{self.port}",
            "GREFFIER_COUNTER_URL": f"http://{HOST}:{self._counter_port}",
        }
        return self._greffier("desk", ["desk"], self._desk_port, DOOR_GRACE, env)

    def _counter(self) -> Child:
        env = {
            "GREFFIER_REDIS_URL": self._redis_url_of(COUNTER),
            "GREFFIER_REGISTER": str(self.register),
            "GREFFIER_MONGO_URL": self._servers[1].url,
            "GREFFIER_COUNTER_HOST": HOST,
            "GREFFIER_COUNTER_PORT": str(self._counter_port),
            "GREFFIER_KEYS": str(self.data / "keys" / "counter"),
            "GREFFIER_DOOR_URL": f"http://{HOST}:{self.port}",
        }
        return self._greffier("counter", ["counter"], self._counter_port, DOOR_GRACE, env)

    def _clock(self) -> Child:
        port = free_port()
        env = {"GREFFIER_METRICS_PORT": str(port), "GREFFIER_KEYS": str(self.data / "keys" / "door")}
        return self._greffier("clock", ["clock"], port, DOOR_GRACE, env)

    def _office(self, office: Office) -> Child:
        if office.over_http:
            return self._client(office)
        port = free_port()
        env = {
            "GREFFIER_REDIS_URL": self._redis_url_of(subsidiary_user(office.code)),
            "GREFFIER_KEYS": str(office.keys),
            "GREFFIER_JOURNAL": str(office.journal),
            "GREFFIER_METRICS_PORT": str(port),
            STORE_URL: self.store_url(office),
        }
        words = ["subsidiary", office.code, "--mapping", str(office.mapping)]
        return self._greffier(f"subsidiary-{office.code}", words, port, CONTROLLER_GRACE, env)

    def _client(self, office: Office) -> Child:
        """An office without Python: it asks the counter, listens nowhere, and is ready once it runs."""
        env = {
            "GREFFIER_COUNTER_URL": f"http://{HOST}:{self._counter_port}",
            "GREFFIER_KEYS": str(office.keys),
            "GREFFIER_JOURNAL": str(office.journal),
        }
        name = f"subsidiary-{office.code}"
        return Child(Process(name, office.client, env=env, log=self.data / "logs" / f"{name}.log"), 0, DOOR_GRACE)

    def _redis_url_of(self, user: str) -> str:
        """Redis as one of its users, where the server is ours."""
        url, password = self._servers[0].url, self._redis_passwords.get(user)
        return url.replace("://", f"://{user}:{password}@", 1) if password else url

    def store_url(self, office: Office) -> str:
        """Where an office's own store answers."""
        if office.code == WITH_MONGODB and self._office_server is not None:
            return self._office_server.url
        return f"sqlite:///{office.database}"

    def facts(self) -> dict[str, Any]:
        """What the ready file says; parts not built yet are absent."""
        redis, mongo = self._servers
        return {
            "door": f"http://{HOST}:{self.port}",
            "desk": f"http://{HOST}:{self._desk_port}",
            "counter": f"http://{HOST}:{self._counter_port}",
            "redis": redis.url,
            "mongo": mongo.url,
            "data": str(self.data),
            "mail": str(self.mailbox),
            "crm_api_key": self.crm_api_key,
            "pids": self._keeper.pids(),
        }

    def look(self) -> list[str]:
        """Start again what died; the names of those started."""
        return self._keeper.look()

    def stop(self) -> None:
        """Stop in the order in which work flows: first what takes in, last what keeps."""
        for child in self._children:
            if child.process.name == "door":
                child.process.stop(child.grace)
        for child in self._children:
            child.process.terminate()
        for child in self._children:
            child.process.stop(child.grace)
        for server in (*self._servers, self._office_server):
            if server is not None:
                server.stop()
        if self._lock is not None:
            self._lock.close()


def up(data: Path, *, ready_file: Path | None, port: int, controllers: int) -> None:
    """Run the system until SIGTERM, SIGINT or SIGHUP, then stop all of it."""
    system = System(data, port=port, controllers=controllers)
    with _until_told_to_stop():
        try:
            _withdraw(ready_file)  # one left by a start that was killed would be taken for ours
            system.start()
            facts = system.facts()
            _publish(ready_file, facts)
            typer.echo(f"greffier is up: door {facts['door']}, data {facts['data']}; Ctrl-C stops it")
            while True:
                time.sleep(LOOK_EVERY)
                if system.look():
                    _publish(ready_file, system.facts())
        finally:
            system.stop()
            _withdraw(ready_file)


class _Stop(BaseException):
    """The operator asked for the end. Not an `Exception`: nothing on the way may take it for a failure."""


@contextlib.contextmanager
def _until_told_to_stop() -> Iterator[None]:
    asked = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in asked:  # asked twice: stopping is under way already
            signal.signal(number, signal.SIG_IGN)
        raise _Stop

    earlier = {number: signal.signal(number, stop) for number in asked}
    try:
        yield
    except _Stop:
        pass
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _lock_folder(data: Path) -> IO[str]:
    """Two systems on one folder would both write its files; the lock ends with this process, however it ends."""
    data.mkdir(parents=True, exist_ok=True)
    lock = (data / ".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise ConfigurationError("data folder", Fault(str(data), "is in use by another `greffier up`")) from None
    return lock


def _refuse_taken_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            fault = Fault("port", f"{port} is in use; choose one with --port, or any free one with --port 0")
            raise ConfigurationError("door", fault) from None


def _wait_until_ready(child: Child) -> None:
    """Until it says it is ready. Raises `ConfigurationError` when it dies or is too late."""
    for _ in polling(time.monotonic() + READY_TIMEOUT, every=0.02):
        if not child.process.alive:
            fault = Fault("start", f"it ended with {child.process.exit_code}: {child.process.last_words()}")
            raise ConfigurationError(child.process.name, fault)
        with contextlib.suppress(OSError):
            if _is_ready(child):
                return
    raise ConfigurationError(
        child.process.name, Fault("start", f"not ready within {READY_TIMEOUT:.0f} s; see {child.process.log}")
    )


def _is_ready(child: Child) -> bool:
    if not child.port:
        return True
    if not child.speaks_http:
        with socket.create_connection((HOST, child.port), timeout=5):
            return True
    with _DIRECT.open(f"http://{HOST}:{child.port}/readyz", timeout=5) as answer:
        return bool(answer.status == 200)


def _publish(ready_file: Path | None, facts: dict[str, Any]) -> None:
    """Write the ready file so that a reader finds none, the old or the new one, never half of it."""
    if ready_file is None:
        return
    beside = ready_file.with_name(f".{ready_file.name}.{os.getpid()}")
    beside.touch(mode=0o600)
    beside.write_text(json.dumps(facts, indent=2) + "\n")
    beside.replace(ready_file)


def _withdraw(ready_file: Path | None) -> None:
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)
