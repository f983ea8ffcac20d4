"""The worker as an office runs it: one process, killed and stopped, with a Redis user who may do nothing else."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from schemas.acl import redis_users, subsidiary_user
from schemas.orders import ORDER_QUEUE, order_namespace
from schemas.register import SHIPPED, load_register
from tests.waiting import until
from tests.workers.subsidiary.controller import CODE, ControllerSide, counts, entry
from tests.workers.subsidiary.kits import URL_VARIABLE, MongoKit, SqliteKit, write_mapping
from tests.workers.subsidiary.test_disposing import RETENTION, customer, with_retention
from tests.workers.subsidiary.test_serving import fill
from workers.broker import HardenedBroker, Hooks, Tuning, build_broker
from workers.local import EmbeddedMongo, EmbeddedValkey
from workers.processes import Process, free_port

ROOT = Path(__file__).parents[3]
ANNA = "anna@example.com"
HEARTBEAT_MS = 1_000

Start = Callable[..., Process]


@pytest.fixture
def environment(parties: Path, tmp_path: Path, redis_url: str) -> dict[str, str]:
    return {
        "PYTHONPATH": str(ROOT),
        "GREFFIER_REDIS_URL": redis_url,
        "GREFFIER_KEYS": str(parties / CODE),
        "GREFFIER_JOURNAL": str(tmp_path / "journal" / "journal.jsonl"),
        "GREFFIER_METRICS_PORT": str(free_port()),
        "GREFFIER_HEARTBEAT_MS": str(HEARTBEAT_MS),
    }


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    started: list[Process] = []

    def start_one(mapping: Path, url: str, *module: str, **env: str) -> Process:
        command = [sys.executable, "-m", *(module or ("schemas", "subsidiary", CODE, "--mapping", str(mapping)))]
        process = Process(
            f"subsidiary-{len(started)}",
            command,
            log=tmp_path / "worker.log",
            env={**environment, URL_VARIABLE: url, **env},
        )
        process.spawn()
        started.append(process)
        return process

    yield start_one
    for process in started:
        process.kill9()


@pytest.fixture
def janitor(controller: ControllerSide, redis_url: str) -> Iterator[HardenedBroker]:
    """What the controller runs in each subsidiary's namespace: it may look for dead workers, the office may not."""
    hooks = Hooks(on_poison=lambda _: None, on_dead=lambda _: None)
    broker = build_broker(redis_url, hooks, namespace=order_namespace(CODE), tuning=Tuning(heartbeat_ms=HEARTBEAT_MS))
    broker.declare_queue(ORDER_QUEUE)
    yield broker
    broker.close()


def journal_lines(environment: dict[str, str]) -> list[dict[str, Any]]:
    path = Path(environment["GREFFIER_JOURNAL"])
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def test_it_answers_and_stops_in_order(
    sqlite_kit: SqliteKit, start: Start, controller: ControllerSide, tmp_path: Path
) -> None:
    await fill(sqlite_kit)
    worker = start(write_mapping(sqlite_kit, tmp_path), sqlite_kit.url)
    asked = entry(ANNA)
    controller.send("no order at all", controller.token(asked))
    await until(lambda: controller.receipts().of(asked["task"]), 30, what="the receipt")
    await until(lambda: controller.waiting() == 0, what="both acknowledged")
    assert worker.pid
    os.kill(worker.pid, signal.SIGTERM)
    await until(lambda: not worker.alive, 15, what="the worker's end")
    assert worker.exit_code == 0
    assert "anna" not in (tmp_path / "worker.log").read_text().lower()
    assert "example.com" not in (tmp_path / "worker.log").read_text()


async def test_killed_in_the_middle_of_an_erasure_it_is_completed_by_the_next(
    sqlite_kit: SqliteKit,
    start: Start,
    controller: ControllerSide,
    tmp_path: Path,
    environment: dict[str, str],
    janitor: HardenedBroker,
) -> None:
    """A writer of the office holds the database, so that the kill falls between the journal and the effect."""
    await fill(sqlite_kit)
    mapping = write_mapping(sqlite_kit, tmp_path)
    worker = start(mapping, sqlite_kit.url)
    sqlite_kit.connection.execute("BEGIN IMMEDIATE")
    asked = entry(ANNA)
    controller.send(controller.token(asked))
    await until(lambda: journal_lines(environment), 30, what="the erasure is begun")
    worker.kill9()
    sqlite_kit.connection.execute("COMMIT")
    assert len(await sqlite_kit.rows("visits")) == 3
    start(mapping, sqlite_kit.url)

    def answered() -> list[dict[str, Any]]:
        janitor.give_back_the_dead()
        return controller.receipts().of(asked["task"])

    (answer,) = await until(answered, 30, what="the receipt after the kill")
    assert counts(answer["collections"])["visits"] == {"matched": 2, "erased": 2}
    assert [line["line"] for line in journal_lines(environment)] == ["begun", "done"]


async def test_a_store_that_is_away_pauses_the_worker_and_costs_no_retry(
    own_mongo: EmbeddedMongo, start: Start, controller: ControllerSide, tmp_path: Path
) -> None:
    kit = MongoKit(own_mongo.url, "office")
    await kit.create()
    await kit.insert("subscribers", {"id": 1, "address": ANNA})
    start(write_mapping(kit, tmp_path), kit.url)
    warm = entry(ANNA, ask="look")
    controller.send(controller.token(warm))
    await until(lambda: controller.receipts().of(warm["task"]), 30, what="the store seen once")
    own_mongo.kill9()
    asked = entry(ANNA)
    controller.send(controller.token(asked))
    log = tmp_path / "worker.log"
    await until(lambda: "fetching pauses" in log.read_text(), 30, what="the pause")
    assert controller.waiting() == 1
    own_mongo.restart()
    (answer,) = await until(lambda: controller.receipts().of(asked["task"]), 40, what="the receipt after the outage")
    assert counts(answer["collections"]) == {"subscribers": {"matched": 1, "erased": 1}}
    assert not controller.redis.hlen(f"{order_namespace(CODE)}:{ORDER_QUEUE}.DQ.msgs")
    await kit.drop()


# ---------------------------------------------------------------------- Redis, as a user who may do no more

FORBIDDEN: list[tuple[Any, ...]] = [
    ("GET", "greffier:file:x"),
    ("HGETALL", "dramatiq:submissions.msgs"),
    ("HMGET", "from.gb:receipts.msgs", "x"),
    ("HGET", "to.us:orders.msgs", "x"),
    ("RPUSH", "to.us:orders", "x"),
    ("HSET", "from.us:receipts.msgs", "x", "y"),
    ("SMEMBERS", "to.us:__acks__.x.orders"),
    ("DEL", "to.gb:orders"),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("EVAL", "return 1", "0"),
    ("SCRIPT", "LOAD", "return 1"),
    ("FLUSHALL",),
    ("CONFIG", "GET", "*"),
    ("ACL", "LIST"),
    ("PUBLISH", "dramatiq:wake", "submissions"),
    ("SUBSCRIBE", "to.us:wake"),
]


@pytest.fixture
def restricted(own_valkey: EmbeddedValkey, parties: Path) -> Iterator[tuple[str, ControllerSide, redis.Redis]]:
    """A Redis of its own with a user for the subsidiary; the controller has used its namespace before."""
    admin = redis.Redis.from_url(own_valkey.url)
    (user,) = [one for one in redis_users(load_register()) if one.name == subsidiary_user(CODE)]
    selectors = re.findall(r"\(.*?\)|[^ ]+", user.rules)
    admin.execute_command("ACL", "SETUSER", user.name, "on", ">secret", *selectors)
    hooks = Hooks(on_poison=lambda _: None, on_dead=lambda _: None)
    broker = build_broker(own_valkey.url, hooks, namespace=order_namespace(CODE))
    broker.declare_queue(ORDER_QUEUE)
    broker.do_fetch(ORDER_QUEUE, 0)  # whoever may load dramatiq's script has done so
    broker.close()
    side = ControllerSide(parties, own_valkey.url)
    yield own_valkey.url.replace("redis://", f"redis://{subsidiary_user(CODE)}:secret@"), side, admin
    side.close()
    admin.close()


async def test_its_redis_user_needs_its_own_two_namespaces_and_nothing_else(
    sqlite_kit: SqliteKit, start: Start, restricted: tuple[str, ControllerSide, redis.Redis], tmp_path: Path
) -> None:
    url, controller, admin = restricted
    await fill(sqlite_kit)
    worker = start(write_mapping(sqlite_kit, tmp_path), sqlite_kit.url, GREFFIER_REDIS_URL=url)
    asked = entry(ANNA)
    controller.send(controller.token(asked), "poison")
    (answer,) = await until(lambda: controller.receipts().of(asked["task"]), 30, what="the receipt")
    assert answer["outcome"] == "partly-retained"
    await until(lambda: controller.waiting() == 0, what="acknowledged")
    worker.terminate()
    await until(lambda: not worker.alive, 15, what="the worker's end")
    assert worker.exit_code == 0
    assert admin.execute_command("ACL", "LOG") == []


@pytest.mark.parametrize("command", FORBIDDEN, ids=lambda command: " ".join(map(str, command)))
def test_its_redis_user_can_do_nothing_else(
    command: tuple[Any, ...], restricted: tuple[str, ControllerSide, redis.Redis]
) -> None:
    with redis.Redis.from_url(restricted[0]) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command)


# ---------------------------------------------------------------------- the command


def run(environment: dict[str, str], url: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "schemas", "subsidiary", CODE, *words],
        env={**os.environ, **environment, URL_VARIABLE: url},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


async def test_check_says_what_would_be_done_and_names_nobody(
    sqlite_kit: SqliteKit, environment: dict[str, str], tmp_path: Path
) -> None:
    await fill(sqlite_kit)
    mapping = str(write_mapping(sqlite_kit, tmp_path))
    told = run(environment, sqlite_kit.url, "--mapping", mapping, "--check", "--json")
    assert told.returncode == 0, told.stderr
    example = json.loads(told.stdout)["example"]
    assert counts(example["erasure"])["visits"] == {"matched": 2, "erased": 2}
    assert json.loads(told.stdout)["without_retention"] == ["customers", "invoices", "visits", "leads", "subscribers"]
    assert "example.com" not in told.stdout
    in_words = run(environment, sqlite_kit.url, "--mapping", mapping, "--check")
    assert in_words.stdout.startswith("the mapping fits the store")
    assert len(await sqlite_kit.rows("visits")) == 3


async def test_check_counts_what_is_over_by_a_register_and_touches_nothing(
    sqlite_kit: SqliteKit, environment: dict[str, str], tmp_path: Path
) -> None:
    await sqlite_kit.insert("customers", customer(1, "2001-01-01"), customer(2, "soon"))
    stated = with_retention(customers=RETENTION["customers"])
    asked = ("--mapping", str(write_mapping(sqlite_kit, tmp_path, stated)), "--check", "--register", str(SHIPPED))
    told = run(environment, sqlite_kit.url, *asked, "--json")
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert counts(found["over"])["customers"] == {
        "matched": 2,
        "erased": 1,
        "retained": 1,
        "ground": "no readable date",
    }
    assert found["without_retention"] == ["leads", "subscribers"]
    assert '"erased": 1' in run(environment, sqlite_kit.url, *asked).stdout
    assert len(await sqlite_kit.rows("customers")) == 2


async def test_a_mapping_that_does_not_fit_stops_the_start_by_name(
    sqlite_kit: SqliteKit, environment: dict[str, str], tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(sqlite_kit.store + "collections: {gone: {found_by: [email], fields: {email: E}, erasure: delete}}")
    started = run(environment, sqlite_kit.url, "--mapping", str(wrong))
    assert started.returncode == 2
    assert "collections.gone: no such table in the store" in started.stderr
    assert "Traceback" not in started.stderr
    checked = run(environment, sqlite_kit.url, "--mapping", str(wrong), "--check", "--json")
    assert checked.returncode == 1
    assert json.loads(checked.stdout)["faults"][0]["path"] == "collections.gone"


async def test_keys_of_another_stop_the_start(
    sqlite_kit: SqliteKit, environment: dict[str, str], parties: Path, tmp_path: Path
) -> None:
    other = {**environment, "GREFFIER_KEYS": str(parties / "us")}
    started = run(other, sqlite_kit.url, "--mapping", str(write_mapping(sqlite_kit, tmp_path)))
    assert started.returncode == 2
    assert "is of us, not of gb" in started.stderr


async def test_replay_waits_for_nobody_who_has_the_journal_and_reports(
    sqlite_kit: SqliteKit, environment: dict[str, str], start: Start, controller: ControllerSide, tmp_path: Path
) -> None:
    await sqlite_kit.insert("subscribers", {"id": 1, "address": ANNA})
    mapping = write_mapping(sqlite_kit, tmp_path)
    worker = start(mapping, sqlite_kit.url)
    asked = entry(ANNA)
    controller.send(controller.token(asked))
    await until(lambda: controller.receipts().of(asked["task"]), 30, what="the receipt")
    busy = run(environment, sqlite_kit.url, "--mapping", str(mapping), "--replay", "--json")
    assert busy.returncode == 2
    assert "another process works with it" in busy.stderr
    worker.stop(15)
    await sqlite_kit.insert("subscribers", {"id": 2, "address": ANNA})
    told = run(environment, sqlite_kit.url, "--mapping", str(mapping), "--replay", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == {
        "looked_at": 1,
        "people": 1,
        "erased": 1,
        "anonymised": 0,
        "restricted": 0,
        "retained": 0,
        "refused": {},
    }
    assert not await sqlite_kit.rows("subscribers")
