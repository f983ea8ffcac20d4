"""``greffier clock`` as a process: another takes over from one that is killed, stopped or told to stop. P9."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis

from producers.clock import Clock
from producers.settings import ClockSettings
from schemas.errors import ConfigurationError
from schemas.routes import CLOCK_LEASE, RETENTION
from schemas.ticks import SCHEDULE
from tests.producers.conftest import Installation, Letters
from tests.producers.test_clock import LEASE_MS, planned
from tests.waiting import until
from workers.local import EmbeddedValkey


class ClockProcess:
    """A clock in a process of its own, known by what it says and what lies in Redis."""

    def __init__(self, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.popen = popen
        self._log = log

    def said(self, event: str) -> dict[str, Any] | None:
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return next((line for line in reversed(lines) if line["event"] == event), None)

    @property
    def name(self) -> str:
        return str((self.said("clock_open") or {"clock": ""})["clock"])


Spawn = Callable[..., ClockProcess]


@pytest.fixture
def spawn(installation: Installation, redis_url: str, tmp_path: Path) -> Iterator[Spawn]:
    running: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> ClockProcess:
        log = tmp_path / f"clock-{len(running)}.log"
        env = {
            "GREFFIER_REDIS_URL": redis_url,
            "GREFFIER_METRICS_PORT": "0",
            "GREFFIER_KEYS": str(installation.door_keys),
            "GREFFIER_CLOCK_LEASE_MS": str(LEASE_MS * 2),
        }
        words = command or ("-m", "tests.producers.clock_in_a_hurry")
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [sys.executable, *words], env={**os.environ, **env}, stderr=output, cwd=Path(__file__).parents[2]
            )
        running.append(popen)
        return ClockProcess(popen, log)

    yield start
    for popen in running:
        popen.kill()
        popen.wait()


class Pair:
    """Two clocks, and who leads."""

    def __init__(self, leader: ClockProcess, stand_by: ClockProcess, letters: Letters) -> None:
        self.leader = leader
        self.stand_by = stand_by
        self._letters = letters

    def holder(self) -> str:
        return (self._letters.client.get(CLOCK_LEASE) or b"").decode()

    def moments(self) -> list[datetime]:
        """Planned moments in the order in which they were published, each as often as it was."""
        return [datetime.fromisoformat(one) for one in planned(self._letters)]

    async def takes_over(self) -> None:
        await until(lambda: self.holder() == self.stand_by.name, 15, what="the other takes over")
        took = len(self.moments())
        await until(lambda: len(self.moments()) > took + 3, what="it keeps time")

    def nothing_is_doubled(self, *, again: int = 0) -> None:
        """Each tick lies there once. ``again``: how many may lie there twice; they are the same events."""
        events = self._letters.events(RETENTION)
        ids, bodies = [event.id for event in events], [event.body for event in events]
        assert len(ids) - len(set(ids)) <= again
        assert len(set(bodies)) == len(set(ids))


@pytest.fixture
async def pair(spawn: Spawn, letters: Letters) -> Pair:
    leader = spawn()
    await until(lambda: leader.said("clock_leads"), 60, what="one leads")
    stand_by = spawn()
    await until(lambda: stand_by.said("clock_open"), 60, what="the other is there")
    found = Pair(leader, stand_by, letters)
    await until(lambda: len(found.moments()) > 3, what="time is kept")
    assert found.holder() == leader.name
    return found


async def test_the_other_takes_over_from_one_that_is_killed(pair: Pair) -> None:
    pair.leader.popen.kill()
    await pair.takes_over()
    pair.nothing_is_doubled(again=1)


async def test_the_other_takes_over_from_one_that_is_stopped_and_comes_back(pair: Pair) -> None:
    """Stopped between its look at the lease and its letter it may finish that one: the event is the same."""
    pair.leader.popen.send_signal(signal.SIGSTOP)
    await pair.takes_over()
    pair.leader.popen.send_signal(signal.SIGCONT)
    await until(lambda: pair.leader.said("clock_stands_by"), what="it sees that it no longer leads")
    seen = len(pair.moments())
    await until(lambda: len(pair.moments()) > seen + 5, what="time is kept")
    assert pair.holder() == pair.stand_by.name
    pair.nothing_is_doubled(again=1)


async def test_told_to_stop_it_gives_the_lease_back(pair: Pair) -> None:
    pair.leader.popen.send_signal(signal.SIGTERM)
    await pair.takes_over()
    assert await asyncio.to_thread(pair.leader.popen.wait, 20) == 0
    assert pair.leader.said("clock_closed")
    pair.nothing_is_doubled()


async def test_the_command_publishes_the_schedule_and_answers_probes(spawn: Spawn, letters: Letters) -> None:
    clock = spawn("-m", "schemas", "clock")
    await until(lambda: len(planned(letters)) == len(SCHEDULE), 60, what="each chore's latest tick")
    port = (clock.said("clock_open") or {})["port"]

    def ask(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    assert await asyncio.to_thread(ask, "/livez") == "alive\n"
    assert await asyncio.to_thread(ask, "/readyz") == "ready\n"
    metrics = await asyncio.to_thread(ask, "/metrics")
    assert "greffier_clock_leads 1.0" in metrics
    assert 'greffier_clock_ticks_total{chore="parked-letters"} 1.0' in metrics


async def test_without_redis_it_stays_up_and_is_not_ready(
    own_valkey: EmbeddedValkey, installation: Installation
) -> None:
    own_valkey.kill9()
    settings = ClockSettings(
        redis_url=own_valkey.url, keys=installation.door_keys, metrics_port=0, clock_lease_ms=LEASE_MS
    )
    async with Clock(settings) as clock, aiohttp.ClientSession(f"http://127.0.0.1:{clock.port}") as http:
        assert (await http.get("/livez")).status == 200
        assert (await http.get("/readyz")).status == 503
        own_valkey.spawn()

        async def ready() -> bool:
            return (await http.get("/readyz")).status == 200

        await until(ready, 20, what="Redis is back")


async def test_a_redis_that_may_lose_what_it_confirmed_is_refused(
    own_valkey: EmbeddedValkey, installation: Installation
) -> None:
    with redis.Redis.from_url(own_valkey.url) as client:
        client.config_set("appendfsync", "everysec")
    settings = ClockSettings(redis_url=own_valkey.url, keys=installation.door_keys, metrics_port=0)
    with pytest.raises(ConfigurationError, match="appendfsync"):
        await Clock(settings).__aenter__()
