"""The whole system on one machine: embedded servers, a door, controllers; started, kept alive, stopped.

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
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import IO, Any

import typer

from schemas.errors import ConfigurationError, Fault
from schemas.keyring import add_api_key, generate_keys, new_api_key
from workers.local import HOST, Server, open_mongo, open_redis, start_together
from workers.processes import Keeper, Process, free_port, polling

READY_TIMEOUT = 60.0  # seconds
LOOK_EVERY = 0.2  # seconds between two looks at the children
DOOR_GRACE = 15.0
CONTROLLER_GRACE = 30.0  # a worker gives itself 25 s to finish or hand back what it holds

# Whatever proxy the environment names, a child on this machine is asked directly.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class System:
    """The processes of one data folder, and what an outsider needs to know to reach them."""

    def __init__(self, data: Path, *, port: int = 8080, controllers: int = 1) -> None:
        self.data = data.resolve()
        self.port = port or free_port()
        self._controllers_wanted = controllers
        self._keeper = Keeper()
        self._servers: list[Server] = []
        self._door: Process | None = None
        self._controllers: list[Process] = []
        self._lock: IO[str] | None = None
        self.crm_api_key = ""

    def start(self) -> None:
        """Start everything and return when everything answers. Raises `ConfigurationError`; then nothing runs."""
        try:
            self._lock = _lock_folder(self.data)
            _refuse_taken_port(self.port)
            self.crm_api_key = make_keys(self.data / "keys")
            self._start_servers()
            self._start_children()
        except BaseException:
            self.stop()
            raise

    def _start_servers(self) -> None:
        self._servers = [open_redis(self.data), open_mongo(self.data)]
        start_together(*self._servers)
        self._keeper.keep(*(server for server in self._servers if isinstance(server, Process)))

    def _start_children(self) -> None:
        ports = {"door": self.port}
        self._door = self._greffier("door", self._door_environment())
        for number in range(1, self._controllers_wanted + 1):
            name = "controller" if number == 1 else f"controller-{number}"
            ports[name] = free_port()
            self._controllers.append(self._greffier(name, self._controller_environment(ports[name])))
        children = [self._door, *self._controllers]
        for child in children:
            child.spawn()
        for child in children:
            _wait_until_ready(child, ports[child.name])
        self._keeper.keep(*children)

    def _greffier(self, name: str, env: dict[str, str]) -> Process:
        """A process of our own kind, by the command that a container would run too."""
        argv = [sys.executable, "-m", "schemas", name.partition("-")[0]]
        return Process(name, argv, env=env, log=self.data / "logs" / f"{name}.log")

    def _door_environment(self) -> dict[str, str]:
        return {
            "GREFFIER_REDIS_URL": self._servers[0].url,
            "GREFFIER_DOOR_HOST": HOST,
            "GREFFIER_DOOR_PORT": str(self.port),
            "GREFFIER_METRICS_PORT": str(free_port()),
            "GREFFIER_KEYS": str(self.data / "keys" / "door"),
        }

    def _controller_environment(self, metrics_port: int) -> dict[str, str]:
        return {
            "GREFFIER_REDIS_URL": self._servers[0].url,
            "GREFFIER_MONGO_URL": self._servers[1].url,
            "GREFFIER_METRICS_PORT": str(metrics_port),
            "GREFFIER_KEYS": str(self.data / "keys" / "controller"),
            "GREFFIER_MAIL_FROM": "rights@example.com",
            "GREFFIER_PUBLIC_URL": f"http://{HOST}:{self.port}",
            "GREFFIER_SMTP_STARTTLS": "false",
        }

    def facts(self) -> dict[str, Any]:
        """What the ready file says; parts not built yet are absent."""
        redis, mongo = self._servers
        return {
            "door": f"http://{HOST}:{self.port}",
            "redis": redis.url,
            "mongo": mongo.url,
            "data": str(self.data),
            "crm_api_key": self.crm_api_key,
            "pids": self._keeper.pids(),
        }

    def look(self) -> list[str]:
        """Start again what died; the names of those started."""
        return self._keeper.look()

    def stop(self) -> None:
        """Stop in the order in which work flows: first what takes in, last what keeps."""
        if self._door is not None:
            self._door.stop(DOOR_GRACE)
        for controller in self._controllers:
            controller.terminate()
        for controller in self._controllers:
            controller.stop(CONTROLLER_GRACE)
        for server in self._servers:
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


def make_keys(folder: Path) -> str:
    """Every key of this folder's installation, made once; returns the sample CRM's key.

    The sample's token stands beside the keys in clear, which no real installation does: this one is for looking.
    """
    sample = folder / "sample-crm-api-key"
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}.unfinished-{os.getpid()}")
        generate_keys(unfinished)
        token, entry = new_api_key()
        add_api_key(unfinished / "door", entry)
        (unfinished / sample.name).touch(mode=0o600)
        (unfinished / sample.name).write_text(token)
        unfinished.rename(folder)  # whole or not at all: a start that was cut off leaves no half set
    try:
        return sample.read_text()
    except OSError:
        fault = Fault(str(sample), "is missing: these keys were not made by `greffier up`; name another data folder")
        raise ConfigurationError("data folder", fault) from None


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


def _wait_until_ready(child: Process, port: int) -> None:
    """Until the child's ``/readyz`` answers 200. Raises `ConfigurationError` when it dies or is too late."""
    for _ in polling(time.monotonic() + READY_TIMEOUT, every=0.02):
        if not child.alive:
            fault = Fault("start", f"it ended with {child.exit_code}: {child.last_words()}")
            raise ConfigurationError(child.name, fault)
        with contextlib.suppress(OSError), _DIRECT.open(f"http://{HOST}:{port}/readyz", timeout=5) as answer:
            if answer.status == 200:
                return
    raise ConfigurationError(child.name, Fault("start", f"not ready within {READY_TIMEOUT:.0f} s; see {child.log}"))


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
