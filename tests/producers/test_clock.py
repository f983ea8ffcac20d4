"""Time as a publisher: one clock leads, each tick is one event, and what was missed is caught up once. P9."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis

from producers.clock import Clock, Held, Lease, Timekeeper
from producers.publisher import FileContent, Letterbox, connect
from producers.settings import ClockSettings
from schemas.envelope import Event
from schemas.errors import ConfigurationError
from schemas.fields import wire_moment
from schemas.keyring import read_sealer
from schemas.routes import CLOCK_LEASE, RETENTION
from schemas.ticks import Daily, Every, Rhythm
from tests.producers.conftest import Installation, Letters
from tests.waiting import until, until_blocking
from workers.local import EmbeddedValkey

HOURLY: Mapping[str, Rhythm] = {"sweep": Every(timedelta(hours=1))}
TWO: Mapping[str, Rhythm] = {**HOURLY, "weed": Daily(time(0, 10))}
START = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
LEASE_MS = 300


class WallClock:
    """What the wall shows: set by the test."""

    def __init__(self, at: datetime = START) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


MakeKeeper = Callable[..., Timekeeper]


@pytest.fixture
def keeper(redis_url: str, installation: Installation) -> MakeKeeper:
    """Timekeepers, each as of a process of its own."""
    numbers = iter(range(100))

    def make(
        wall: WallClock,
        schedule: Mapping[str, Rhythm] = HOURLY,
        *,
        lease_ms: int = 60_000,
        kind: type[Lease] = Lease,
        box: type[Letterbox] = Letterbox,
        url: str = redis_url,
    ) -> Timekeeper:
        client = connect(url)
        letterbox = box(url, read_sealer(installation.door_keys), queue_limit=1000, queues=[RETENTION])
        return Timekeeper(letterbox, client, kind(client, f"c{next(numbers)}", lease_ms), now=wall, schedule=schedule)

    return make


def planned(letters: Letters) -> list[str]:
    """The moments of the ticks that lie in the queue, as somebody reads them who knows the keys and not our code."""
    return [json.loads(event.body)["planned"] for event in letters.events(RETENTION)]


def hours(*of_day: int) -> list[str]:
    return [wire_moment(START.replace(hour=hour, minute=0)) for hour in of_day]


# ---------------------------------------------------------------------- what is due


def test_a_start_publishes_the_latest_tick_and_a_restart_nothing(keeper: MakeKeeper, letters: Letters) -> None:
    wall = WallClock()
    first = keeper(wall, TWO)
    assert sorted(first.turn()) == ["sweep", "weed"]
    assert first.turn() == []
    first.give_back()
    assert keeper(wall, TWO).turn() == []
    assert sorted(planned(letters)) == sorted([*hours(12), wire_moment(datetime(2026, 11, 19, 23, 10, tzinfo=UTC))])
    assert {event.source for event in letters.events(RETENTION)} == {"/clock"}


def test_each_is_published_when_it_is_due_and_until_then_there_is_nothing_to_do(
    keeper: MakeKeeper, letters: Letters
) -> None:
    wall = WallClock()
    clock = keeper(wall)
    for hour in (12, 13, 14):
        wall.at = START.replace(hour=hour)
        assert clock.turn() == ["sweep"]
        assert clock.until_next() == timedelta(minutes=30)
    assert planned(letters) == hours(12, 13, 14)


class OneByOne(Every):
    """Broken on purpose: what comes after what was published last, so that every missed tick is caught up."""

    at = START - timedelta(days=3)

    def latest(self, now: datetime) -> datetime:
        OneByOne.at = min(self.at + self.period, Every.latest(self, now))
        return self.at


def catches_up_once(keeper: MakeKeeper, letters: Letters, rhythm: Rhythm) -> None:
    wall = WallClock(START - timedelta(days=3))
    earlier = keeper(wall, {"sweep": rhythm})
    earlier.turn()
    earlier.give_back()
    wall.at = START
    later = keeper(wall, {"sweep": rhythm})
    for _ in range(5):
        later.turn()
    assert len(planned(letters)) == 2
    assert planned(letters)[-1:] == hours(12)


def test_what_was_missed_for_three_days_is_caught_up_once(keeper: MakeKeeper, letters: Letters) -> None:
    catches_up_once(keeper, letters, HOURLY["sweep"])


def test_a_clock_that_catches_up_every_missed_tick_is_noticed(keeper: MakeKeeper, letters: Letters) -> None:
    with pytest.raises(AssertionError):
        catches_up_once(keeper, letters, OneByOne(timedelta(hours=1)))


@pytest.mark.parametrize(
    "shown",
    [(12, 11, 12, 13, 14), (12, 20, 12, 13, 14), (12, 13, 10, 11, 12, 13, 14), (12, 14)],
    ids=["set back", "forward and back", "further back", "forward"],
)
def test_a_wall_clock_that_is_set_neither_doubles_nor_loses(
    keeper: MakeKeeper, letters: Letters, shown: Sequence[int]
) -> None:
    """Whatever the wall showed, there is the tick of that hour; one that comes again is the same event."""
    wall = WallClock()
    clock = keeper(wall)
    for hour in shown:
        wall.at = START.replace(hour=hour)
        clock.turn()
        assert planned(letters)[-1:] == hours(hour), "the newest in the queue is the one that is due now"
    events = letters.events(RETENTION)
    assert len({event.id for event in events}) == len({event.body for event in events}) == len(set(shown))


# ---------------------------------------------------------------------- who leads


def test_of_two_one_leads_and_the_other_follows_when_the_lease_is_given_back(
    keeper: MakeKeeper, letters: Letters
) -> None:
    wall = WallClock()
    leader, stand_by = keeper(wall), keeper(wall)
    assert (leader.turn(), stand_by.turn()) == (["sweep"], [])
    wall.at += timedelta(hours=1)
    assert (stand_by.turn(), leader.turn()) == ([], ["sweep"])
    stand_by.give_back()
    assert stand_by.turn() == [], "only who holds the lease can give it back"
    leader.give_back()
    assert stand_by.turn() == [], "it is known what was published"
    wall.at += timedelta(hours=1)
    assert (leader.turn(), stand_by.turn()) == ([], ["sweep"])
    assert planned(letters) == hours(12, 13, 14)


class Uncompared(Lease):
    """Broken on purpose: takes the lease whoever holds it."""

    def __init__(self, client: redis.Redis, name: str, lease_ms: int) -> None:
        super().__init__(client, name, lease_ms)
        self._client = client

    def hold(self) -> Held:
        self._client.set(CLOCK_LEASE, self.name, px=self._lease_ms)
        return Held.KEPT


def silent_after_it_lost_the_lease(keeper: MakeKeeper, redis_url: str, letters: Letters, kind: type[Lease]) -> None:
    """A leader that was paused for longer than its lease comes back after another took over."""
    wall = WallClock()
    paused, other = keeper(wall, lease_ms=LEASE_MS, kind=kind), keeper(wall)
    assert paused.turn() == ["sweep"]
    with redis.Redis.from_url(redis_url) as client:
        until_blocking(lambda: not client.exists(CLOCK_LEASE), what="its lease runs out")
    wall.at += timedelta(hours=1)
    assert other.turn() == ["sweep"]
    wall.at += timedelta(hours=1)
    assert paused.turn() == []
    assert not paused.leads
    assert planned(letters) == hours(12, 13)


def test_a_leader_that_was_paused_publishes_nothing_more(keeper: MakeKeeper, redis_url: str, letters: Letters) -> None:
    silent_after_it_lost_the_lease(keeper, redis_url, letters, Lease)


def test_a_lease_that_is_not_compared_is_noticed(keeper: MakeKeeper, redis_url: str, letters: Letters) -> None:
    with pytest.raises(AssertionError):
        silent_after_it_lost_the_lease(keeper, redis_url, letters, Uncompared)


class Robbed(Letterbox):
    """While it posts, another clock gets the lease."""

    def post(self, queue: str, events: Sequence[Event], files: Sequence[FileContent] = ()) -> None:
        super().post(queue, events, files)
        self._client.set(CLOCK_LEASE, "another")


class Trusting(Lease):
    """Broken on purpose: having led once in a turn, it does not look again."""

    def hold(self) -> Held:
        return getattr(self, "_found", None) or self._first()

    def _first(self) -> Held:
        self._found = super().hold()
        return self._found


@pytest.mark.parametrize(("kind", "published"), [(Lease, 1), (Trusting, 2)], ids=["ours", "broken"])
def test_a_lease_lost_between_two_ticks_ends_it_at_once(
    keeper: MakeKeeper, letters: Letters, kind: type[Lease], published: int
) -> None:
    clock = keeper(WallClock(), TWO, box=Robbed, kind=kind)
    assert len(clock.turn()) == len(planned(letters)) == published


def test_redis_away_is_waited_for(keeper: MakeKeeper, own_valkey: EmbeddedValkey, installation: Installation) -> None:
    wall = WallClock()
    clock = keeper(wall, url=own_valkey.url)
    assert clock.turn() == ["sweep"]
    own_valkey.kill9()
    wall.at += timedelta(hours=1)
    assert clock.turn() == []
    assert (clock.leads, clock.answered) == (False, False)
    own_valkey.spawn()
    until_blocking(lambda: clock.turn() == ["sweep"], 20, what="it goes on")
    with redis.Redis.from_url(own_valkey.url) as client:
        assert planned(Letters(client, installation.opener)) == hours(12, 13)


# ---------------------------------------------------------------------- as processes


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
    await until(lambda: len(planned(letters)) == 3, 60, what="each chore's latest tick")
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
