"""A worker process ends in order, at once when told twice, and never lives on half dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from dramatiq import Message

from tests.waiting import until
from tests.workers.broker.app import QUEUE, THREADS
from tests.workers.broker.conftest import MakeRig
from tests.workers.broker.rig import SWIFT
from workers.processes import Process

StartApp = Callable[..., Process]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def start_app(tmp_path: Path, redis_url: str) -> Iterator[StartApp]:
    started: list[Process] = []

    def start(kind: str = "hardened", *, shutdown_s: float = 25.0) -> Process:
        argv = [sys.executable, "-m", "tests.workers.broker.app", kind, redis_url, str(shutdown_s)]
        process = Process(f"app-{len(started)}", argv, log=tmp_path / "app.log", env={"PYTHONPATH": str(ROOT)})
        process.spawn()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill9()


class Queue:
    """The publisher's and the observer's side."""

    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(url)

    def send(self, *batches: str) -> None:
        for batch in batches:
            redis_id = str(uuid.uuid4())
            message = Message(QUEUE, QUEUE, (), {"batch": batch}, {"redis_message_id": redis_id})
            self.client.hset(f"dramatiq:{QUEUE}.msgs", redis_id, message.encode())
            self.client.rpush(f"dramatiq:{QUEUE}", redis_id)
        self.client.publish("dramatiq:wake", QUEUE)

    def told(self, what: str) -> list[str]:
        return [entry.decode() for entry in self.client.lrange(what, 0, -1)]

    def ready(self) -> int:
        return int(self.client.llen(f"dramatiq:{QUEUE}"))

    def taken(self) -> int:
        return sum(self.client.scard(key) for key in self.client.scan_iter(match="dramatiq:__acks__*"))


@pytest.fixture
def queue(redis_url: str) -> Iterator[Queue]:
    queue = Queue(redis_url)
    yield queue
    queue.client.close()


HELD = [f"hold-{number}" for number in range(6)]


async def test_sigterm_finishes_what_runs_and_leaves_the_rest(start_app: StartApp, queue: Queue) -> None:
    """E4: nothing lost, nothing taken along, exit 0; clients opened and closed inside the loop."""
    app = start_app()
    queue.send(*HELD)
    await until(lambda: len(queue.told("started")) == THREADS, 60)
    app.terminate()
    queue.client.rpush("go", "on")
    await until(lambda: app.exit_code is not None, 60)
    done = len(queue.told("done"))
    assert app.exit_code == 0
    assert done + queue.ready() == len(HELD)
    assert done >= THREADS
    assert queue.taken() == 0
    assert (queue.told("booted"), queue.told("closed")) == (["yes"], ["yes"])


async def test_what_outlasts_the_grace_is_handed_back(start_app: StartApp, queue: Queue) -> None:
    """E4b: jobs that do not end are cancelled and put back, at no cost of a retry."""
    app = start_app(shutdown_s=0.3)
    queue.send(*HELD)
    await until(lambda: len(queue.told("started")) == THREADS, 60)
    app.terminate()
    await until(lambda: app.exit_code is not None, 60)
    assert app.exit_code == 0
    assert queue.ready() == len(HELD)
    assert queue.taken() == 0
    assert b'"retries"' not in b"".join(queue.client.hvals(f"dramatiq:{QUEUE}.msgs"))


def _sigterm(app: Process) -> None:
    """As often as called; `Process.terminate` asks once only."""
    if app.alive:
        os.kill(app.pid, signal.SIGTERM)


async def test_a_second_sigterm_exits_at_once(start_app: StartApp, queue: Queue) -> None:
    """E16, hardened: whatever still runs."""
    app = start_app(shutdown_s=600)
    queue.send(*HELD)
    await until(lambda: len(queue.told("started")) == THREADS, 60)
    _sigterm(app)
    await until(lambda: _sigterm(app) or app.exit_code is not None, 60)
    assert app.exit_code == 128 + signal.SIGTERM


async def test_a_second_sigterm_hangs_a_stock_worker(start_app: StartApp, queue: Queue) -> None:
    """E16, the broken variant: its main thread has ended, its loop thread keeps it alive with all it holds."""
    app = start_app("stock", shutdown_s=600)
    queue.send(*HELD)
    await until(lambda: len(queue.told("started")) == THREADS, 60)
    _sigterm(app)
    await until(lambda: queue.told("stopping"), 60)
    _sigterm(app)
    await until(lambda: queue.told("main-ended"), 60)
    with pytest.raises(AssertionError):
        await until(lambda: app.exit_code is not None, 2)


async def test_a_process_with_a_dead_thread_leaves(start_app: StartApp, queue: Queue) -> None:
    """Fault matrix 14: exit code 70, so that the supervisor starts it again; the message comes back."""
    app = start_app()
    queue.send("die")
    await until(lambda: app.exit_code is not None, 60)
    assert app.exit_code == 70


async def test_a_killed_workers_messages_are_given_back(
    start_app: StartApp, make_rig: MakeRig, redis_url: str, queue: Queue, hardened: bool
) -> None:
    """E1b: what a worker held when it was killed comes back within heartbeat and janitor, delayed ones too."""
    app = start_app()
    queue.send(*HELD[:THREADS])
    await until(lambda: len(queue.told("started")) == THREADS, 60)
    rig = make_rig(redis_url, hardened=hardened, tuning=replace(SWIFT, heartbeat_ms=1_000))
    rig.send(3, delay=2_000)
    await until(lambda: queue.taken() == THREADS + 3)
    app.kill9()
    rig.accepted += HELD[:THREADS]
    rig.start()
    await rig.judge()
    if hardened:
        await until(lambda: rig.reader.zcard("dramatiq:__heartbeats__") == 1)  # the dead one is forgotten


async def test_messages_of_a_queue_that_is_gone_are_given_back(make_rig: MakeRig, redis_url: str) -> None:
    """A dead worker also held something of a queue nobody declares any more: it returns to that queue."""
    rig = make_rig(redis_url)
    rig.reader.zadd("dramatiq:__heartbeats__", {"gone": 1})
    for name in ("retired", "retired.DQ"):
        rig.reader.sadd(f"dramatiq:__acks__.gone.{name}", "m")
        rig.reader.hset(f"dramatiq:{name}.msgs", "m", b"{}")
    assert rig.broker.give_back_the_dead() == 2
    assert rig.reader.lrange("dramatiq:retired", 0, -1) == [b"m"]
    assert rig.reader.lrange("dramatiq:retired.DQ", 0, -1) == [b"m"]
    assert rig.reader.zscore("dramatiq:__heartbeats__", "gone") is None
    assert rig.broker.give_back_the_dead() == 0


async def test_a_worker_whose_parent_is_gone_ends(redis_url: str, queue: Queue, tmp_path: Path) -> None:
    """Nobody would stop or restart it. Started without the kernel's help, so that its own watch must see it."""
    parent = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    argv = [sys.executable, "-m", "tests.workers.broker.app", "hardened", redis_url, "5"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "GREFFIER_PARENT_PID": str(parent.pid)}
    with (tmp_path / "app.log").open("wb") as log, subprocess.Popen(argv, env=env, stderr=log) as app:
        try:
            await until(lambda: queue.told("booted"), 60)
            assert app.poll() is None
            parent.communicate()
            await until(lambda: app.poll() is not None, 60)
            assert app.returncode == 0
        finally:
            app.kill()
            parent.kill()
