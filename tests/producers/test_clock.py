"""Time as a publisher: one clock leads, each tick is one event, and what was missed is caught up once. P9."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta

import pytest
import redis
from structlog.testing import capture_logs

from producers.clock import Held, Lease, Timekeeper
from producers.publisher import FileContent, Letterbox, connect
from schemas.envelope import Event
from schemas.fields import wire_moment
from schemas.keyring import read_sealer
from schemas.routes import CLOCK_LEASE, RETENTION
from schemas.ticks import Daily, Every, Rhythm
from tests.producers.conftest import Installation, Letters
from tests.waiting import until_blocking
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
    for one in (clock, keeper(wall, url=own_valkey.url)):  # one that led, and one that is started just now
        with capture_logs() as said:
            assert [one.turn() for _ in range(3)] == [[]] * 3
        assert (one.leads, one.answered) == (False, False)
        assert [line["event"] for line in said].count("clock_waits") == 1, "it says so, once"
    own_valkey.spawn()
    until_blocking(lambda: clock.turn() == ["sweep"], 20, what="it goes on")
    with redis.Redis.from_url(own_valkey.url) as client:
        assert planned(Letters(client, installation.opener)) == hours(12, 13)
