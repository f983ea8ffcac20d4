"""`greffier up`: the whole system from one command, as an outsider sees it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from pymongo import MongoClient

from schemas.errors import ConfigurationError
from schemas.keyring import read_api_keys, read_opener, read_sealer
from schemas.ticks import SCHEDULE
from tests.waiting import until_blocking
from workers.sample_keys import make_keys
from workers.up import System

SERVED = {
    *("redis", "mongo", "mongo-de", "mail", "door", "controller", "desk", "counter", "clock"),
    *("subsidiary-de", "subsidiary-us", "subsidiary-jp"),
}


class Running:
    """A ``greffier up`` in a process of its own, known only by what it prints and writes."""

    def __init__(self, data: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self.data = data
        self.ready_file = data.with_name(f"{data.name}.json")
        self.output = data.with_name(f"{data.name}.out")
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "schemas", "up", "--data", str(data)),
                    *("--ready-file", str(self.ready_file), "--port", "0", *options),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
            )
        self.children: set[int] = set()

    def wait_ready(self) -> dict[str, Any]:
        until_blocking(lambda: "greffier is up" in self.output.read_text() or self.process.poll() is not None, 110)
        assert self.process.poll() is None, self.output.read_text()
        return self.facts()

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self.ready_file.read_text())
        self.children.update(facts["pids"].values())
        return facts

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(60)

    def left_behind(self) -> list[int]:
        return [pid for pid in self.children if runs(pid)]


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Running]]:
    """Those that were started for `running`, each on the data of the one before."""
    systems = [Running(tmp_path_factory.mktemp("up") / "data")]
    yield systems
    if systems[-1].process.poll() is None:
        systems[-1].end()


@pytest.fixture
def running(started: list[Running]) -> Running:
    """One for all tests here: to start it takes ten processes. Another only if a test has ended it."""
    if started[-1].process.poll() is not None:
        started.append(Running(started[-1].data))
    started[-1].wait_ready()
    return started[-1]


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_one_line_says_that_everything_answers(running: Running) -> None:
    lines = running.output.read_text().splitlines()
    assert len(lines) == 1
    assert running.facts()["door"] in lines[0]
    assert running.facts()["data"] in lines[0]


def test_the_ready_file_has_what_an_outsider_needs_and_nothing_unbuilt(running: Running) -> None:
    facts = running.facts()
    assert set(facts) == {"door", "desk", "counter", "redis", "mongo", "data", "mail", "crm_api_key", "pids"}
    assert set(facts["pids"]) == SERVED
    assert all(runs(pid) for pid in facts["pids"].values())
    assert Path(facts["data"]).is_absolute()
    assert {log.name for log in (Path(facts["data"]) / "logs").iterdir()} == {f"{name}.log" for name in SERVED}
    assert running.ready_file.stat().st_mode & 0o077 == 0, "it holds a key"


def test_everything_in_the_ready_file_answers(running: Running) -> None:
    facts = running.facts()
    for kind in ("door", "desk", "counter"):
        assert [status(facts[kind] + path) for path in ("/livez", "/readyz")] == [200, 200], kind
    with redis.Redis.from_url(facts["redis"]) as client:
        assert client.ping()
    with MongoClient[dict[str, Any]](facts["mongo"]) as mongo:
        assert "greffier_active" in mongo.list_database_names()


def test_a_mailing_tool_asks_the_desk_with_its_sample_account(running: Running) -> None:
    """Which looks into Redis as a user who may hardly do anything else."""
    facts = running.facts()
    token = (Path(facts["data"]) / "keys" / "sample-mailer-token").read_text()
    request = urllib.request.Request(
        f"{facts['desk']}/api/audience/sales-prospecting", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert set(json.load(answer)) == {"members", "left_out", "next"}
    with redis.Redis.from_url(facts["redis"]) as client:
        assert "desk" in {one["user"] for one in client.client_list()}


def post(url: str, token: str, event: dict[str, Any]) -> int:
    request = urllib.request.Request(
        f"{url}/events",
        data=json.dumps(event).encode(),
        headers={"Content-Type": "application/cloudevents+json", "Authorization": f"Bearer {token}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def contact(event_id: str) -> dict[str, Any]:
    data = {"last_name": "Exemple", "first_name": "Alex", "email": "alex@example.org", "position": "Buyer"}
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": "https://crm.example.org",
        "type": "greffier.contact.client",
        "data": {**data, "country": "FR", "language": "fr", "source": "trade fair", "collected_at": "2026-10-01"},
    }


def persisted(mongo_url: str) -> int:
    with MongoClient[dict[str, Any]](mongo_url) as client:
        return client["greffier_active"]["submissions"].count_documents({})


def test_each_chore_is_done_soon_after_the_start(running: Running) -> None:
    with MongoClient[dict[str, Any]](running.facts()["mongo"]) as client:
        done = {"done": {"$exists": True}}
        until_blocking(lambda: set(client.greffier_evidence.ticks.distinct("chore", done)) == set(SCHEDULE), 30)


def test_an_event_posted_with_the_sample_key_stands_in_mongodb(running: Running) -> None:
    facts = running.facts()
    before = persisted(facts["mongo"])
    assert post(facts["door"], facts["crm_api_key"], contact("up-1")) == 202
    until_blocking(lambda: persisted(facts["mongo"]) == before + 1)


@pytest.mark.parametrize("name", sorted(SERVED))
def test_a_child_that_is_killed_is_restarted_and_the_system_goes_on(running: Running, name: str) -> None:
    """Servers too: they come back on the same port with the same data; the ready file names the new process."""
    facts = running.facts()
    before, killed = persisted(facts["mongo"]), facts["pids"][name]
    os.kill(killed, signal.SIGKILL)
    until_blocking(lambda: running.facts()["pids"][name] != killed)
    until_blocking(lambda: posted_again(facts, f"up-after-{name}"), 30)
    until_blocking(lambda: persisted(facts["mongo"]) == before + 1, 60)
    assert set(running.facts()["pids"]) == SERVED


def posted_again(facts: dict[str, Any], event_id: str) -> bool:
    try:
        return post(facts["door"], facts["crm_api_key"], contact(event_id)) == 202
    except (urllib.error.URLError, ConnectionError):
        return False


def test_a_folder_in_use_is_refused(running: Running) -> None:
    with pytest.raises(ConfigurationError, match="is in use by another `greffier up`"):
        System(Path(running.facts()["data"]), port=0).start()
    assert all(runs(pid) for pid in running.facts()["pids"].values())


def assert_it_left_nothing(system: Running, how: signal.Signals) -> None:
    assert system.end(how) == 0
    assert system.left_behind() == []
    assert not system.ready_file.exists()


@pytest.mark.slow  # the normal run interrupts the last one of `test_killed_it_leaves_no_process`
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_told_to_stop_it_leaves_nothing(tmp_path: Path, how: signal.Signals) -> None:
    system = Running(tmp_path / "data")
    system.wait_ready()
    assert_it_left_nothing(system, how)


def test_told_to_stop_while_it_starts_it_leaves_nothing(tmp_path: Path) -> None:
    system = Running(tmp_path / "data")
    mongo_log = tmp_path / "data" / "logs" / "mongo.log"
    until_blocking(lambda: mongo_log.exists() or system.process.poll() is not None, 30)
    children = psutil.Process(system.process.pid).children(recursive=True)
    assert system.end() == 0
    # The kernel ends a child that was not known yet when its parent has ended.
    until_blocking(lambda: [child for child in children if runs(child.pid)] == [], 30)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_killed_it_leaves_no_process_and_the_same_folder_goes_on(running: Running) -> None:
    """With the same keys and data; whatever else the first one left is no hindrance. Interrupted, it leaves nothing."""
    facts = running.facts()
    before = persisted(facts["mongo"])
    assert post(facts["door"], facts["crm_api_key"], contact("kept")) == 202
    until_blocking(lambda: persisted(facts["mongo"]) == before + 1)
    running.end(signal.SIGKILL)
    until_blocking(lambda: running.left_behind() == [])
    again = Running(running.data, "--workers", "2")
    try:
        later = again.wait_ready()
        assert later["crm_api_key"] == facts["crm_api_key"]
        assert set(later["pids"]) == SERVED | {"controller-2"}
        assert persisted(later["mongo"]) == before + 1
    finally:
        assert_it_left_nothing(again, signal.SIGINT)


def test_a_port_in_use_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"{port} is in use; choose one with --port"):
            System(tmp_path, port=port).start()
    assert not (tmp_path / "redis").exists()


def test_a_child_that_cannot_start_stops_the_start_and_says_why(tmp_path: Path) -> None:
    """A register that is missing stops every process, by name; what had started is stopped again."""
    system = Running(tmp_path / "data", env={"GREFFIER_REGISTER": str(tmp_path / "no-register.yaml")})
    try:
        assert system.process.wait(60) == 2
    finally:
        system.process.terminate()  # should it have started all the same, it stops what it started
    assert "no-register.yaml" in system.output.read_text()
    assert not system.ready_file.exists()
    started = [process for process in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(process.info["cmdline"])]
    assert started == []


def test_keys_are_made_once_and_fit_together(tmp_path: Path) -> None:
    token = make_keys(tmp_path / "keys")
    assert make_keys(tmp_path / "keys") == token
    assert len(read_api_keys(tmp_path / "keys" / "door").keys) == 1
    assert token.startswith("gk_")
    assert (tmp_path / "keys" / "sample-crm-api-key").stat().st_mode & 0o077 == 0
    read_sealer(tmp_path / "keys" / "door")
    read_opener(tmp_path / "keys" / "controller")
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys"]


def test_keys_of_another_origin_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "keys" / "door").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="were not made by `greffier up`"):
        make_keys(tmp_path / "keys")
