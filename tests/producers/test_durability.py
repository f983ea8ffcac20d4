"""Accepted is kept: 202 only on Redis's word that it is on disk; 503 with ``Retry-After`` when it cannot be given."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator

import aiohttp
import pytest
import redis
from structlog.testing import capture_logs

from producers.settings import DoorSettings
from schemas.errors import ConfigurationError
from tests.producers.conftest import Front, Installation, Letters, OpenDoor
from tests.producers.files import PDF
from tests.producers.samples import NEWSLETTER, consent
from tests.producers.test_uploads import multipart
from tests.proxy import Proxy
from tests.waiting import until
from workers.local import EmbeddedValkey


@pytest.fixture
async def own(open_door: OpenDoor, own_valkey: EmbeddedValkey) -> AsyncIterator[Front]:
    """A door on a Redis that may be harmed."""
    async with open_door(redis_url=_secret(own_valkey.url)) as front:
        yield front


def _secret(url: str) -> object:
    return DoorSettings(redis_url=url).redis_url


@pytest.fixture
def operator(own_valkey: EmbeddedValkey) -> redis.Redis:
    return redis.Redis.from_url(own_valkey.url)


class Callers:
    """Clients that post consents one after the other and write down what they were told."""

    def __init__(self, front: Front, name: str) -> None:
        self.front = front
        self.name = name
        self.kept: set[str] = set()
        self.statuses: dict[int, int] = defaultdict(int)
        self.stopped = False

    async def run(self, count: int) -> None:
        await asyncio.gather(*(self._one(number) for number in range(count)))

    async def _one(self, number: int) -> None:
        sent = 0
        while not self.stopped:
            sent += 1
            event_id = f"{self.name}-{number}-{sent}"
            try:
                await self._post(event_id)
            except aiohttp.ClientConnectionError:  # hung up on before it was read: nobody promised anything
                self.statuses[0] += 1

    async def _post(self, event_id: str) -> None:
        async with self.front.http.post("/cookies", json=consent(event_id)) as answer:
            await answer.read()
            self.statuses[answer.status] += 1
            if answer.status == 202:
                self.kept.add(event_id)
            else:
                assert (answer.status, int(answer.headers["Retry-After"]) > 0) == (503, True)


async def test_every_202_is_in_redis_whatever_happens_to_it(
    own: Front, own_valkey: EmbeddedValkey, installation: Installation
) -> None:
    """Killed, frozen and restarted under load: refused or kept, nothing between, and no gap in the numbers."""
    luck = random.Random(11)
    callers = Callers(own, "e")
    running = asyncio.create_task(callers.run(8))
    for harm in ("kill", "pause", "kill", "kill"):
        before = callers.statuses[202]
        await until(lambda floor=before: callers.statuses[202] > floor + luck.randint(20, 60), what="202s again")
        refused = callers.statuses[503]
        if harm == "kill":
            await asyncio.to_thread(own_valkey.kill9)
        else:
            own_valkey.pause()
        await until(lambda floor=refused: callers.statuses[503] > floor, what="503s")
        await asyncio.to_thread(own_valkey.restart) if harm == "kill" else own_valkey.resume()
    floor = callers.statuses[202]
    await until(lambda: callers.statuses[202] > floor, what="202s at the end")
    callers.stopped = True
    await running

    with redis.Redis.from_url(own_valkey.url) as client:
        batches = Letters(client, installation.opener).batches("consent")
    assert set(callers.statuses) == {202, 503}
    assert callers.kept <= {event.id for batch in batches for event in batch.events}
    numbers = {batch.seq for batch in batches}
    assert numbers == set(range(1, max(numbers) + 1)), "no gap"
    assert max(numbers) - own.door.letterbox.seq in (0, 1), "1: written, and its confirmation lost"


async def test_a_lost_confirmation_is_a_503_and_the_repeat_is_the_same_event(
    open_door: OpenDoor, own_valkey: EmbeddedValkey, installation: Installation
) -> None:
    """Redis wrote it but its answer was lost: the door does not know, says so, and does not number it."""
    with Proxy(own_valkey.port) as proxy:
        async with open_door(redis_url=_secret(f"redis://127.0.0.1:{proxy.port}/0")) as front:
            assert (await front.post("/cookies", json=consent("a")))[0] == 202
            proxy.lose(request=b"EVALSHA", every=1)
            assert (await front.post("/cookies", json=consent("b")))[0] == 503
            proxy.lose(request=b"nothing at all", every=1)
            assert (await front.post("/cookies", json=consent("b")))[0] == 202
            seq = front.door.letterbox.seq
    with redis.Redis.from_url(own_valkey.url) as client:
        batches = Letters(client, installation.opener).batches("consent")
    assert proxy.lost == 1
    assert [(batch.seq, batch.events[0].id) for batch in batches] == [(1, "a"), (2, "b"), (2, "b")]
    assert seq == 2


async def test_a_frozen_redis_is_a_503_within_its_time_limit(own: Front, own_valkey: EmbeddedValkey) -> None:
    own_valkey.pause()
    async with asyncio.timeout(30):
        async with own.http.post("/forms/newsletter", json=NEWSLETTER) as answer:
            assert (answer.status, "Retry-After" in answer.headers) == (503, True)
        assert (await own.http.get("/readyz")).status == 503
        assert (await own.http.get("/livez")).status == 200
    own_valkey.resume()
    await until(lambda: _ready(own), what="ready again")
    assert (await own.post("/forms/newsletter", json=NEWSLETTER))[0] == 202


async def _ready(front: Front) -> bool:
    async with front.http.get("/readyz") as answer:
        return answer.status == 200


async def test_a_full_queue_is_a_503_before_anything_is_lost(
    open_door: OpenDoor, own_valkey: EmbeddedValkey, operator: redis.Redis
) -> None:
    async with open_door(redis_url=_secret(own_valkey.url), queue_limit=3) as front:
        found = [await front.post("/cookies", json=consent(f"c-{number}")) for number in range(5)]
        assert [status for status, _ in found] == [202, 202, 202, 503, 503]
        assert found[-1][1]["code"] == "queue_full"
        assert operator.hlen("dramatiq:consent.msgs") == 3
        assert (await front.post("/forms/newsletter", json=NEWSLETTER))[0] == 202, "another queue has room"
        operator.delete("dramatiq:consent", "dramatiq:consent.msgs")
        await until(lambda: _accepted(front), what="room again")
    operator.close()


async def _accepted(front: Front) -> bool:
    return (await front.post("/cookies", json=consent("again")))[0] == 202


@pytest.mark.parametrize("share", [0.5, 1.5], ids=["over 60 %", "out of memory"])
async def test_a_redis_short_of_memory_is_a_503(own: Front, operator: redis.Redis, share: float) -> None:
    assert (await own.post("/cookies", json=consent("a")))[0] == 202
    used = operator.info("memory")["used_memory"]
    operator.config_set("maxmemory", int(used * (1.5 if share < 1 else 0.9)))

    async def refused() -> bool:
        return (await own.post("/cookies", json=consent("b")))[0] == 503

    await until(refused, what="refusals")
    operator.config_set("maxmemory", 0)
    await until(lambda: _accepted(own), what="room again")
    operator.close()


@pytest.mark.parametrize(
    ("name", "value"), [("appendonly", "no"), ("appendfsync", "everysec"), ("maxmemory-policy", "allkeys-lru")]
)
async def test_a_redis_that_cannot_promise_stops_the_start_by_name(
    open_door: OpenDoor, own_valkey: EmbeddedValkey, operator: redis.Redis, name: str, value: str
) -> None:
    operator.config_set(name, value)
    with pytest.raises(ConfigurationError) as refused:
        async with open_door(redis_url=_secret(own_valkey.url)):
            pass
    assert [fault.path for fault in refused.value.faults] == [name]
    operator.close()


async def test_a_redis_that_lost_its_settings_is_trusted_no_more(
    own: Front, own_valkey: EmbeddedValkey, operator: redis.Redis
) -> None:
    """Another server, or the same one started otherwise, behind the same address: looked at before the next promise."""
    operator.config_set("appendfsync", "everysec")
    operator.client_kill_filter(skipme=True, _type="normal")

    async def distrusted() -> bool:
        status, answer = await own.post("/cookies", json=consent("a"))
        return (status, answer.get("code")) == (503, "redis_not_durable")

    assert await _ready(own) is False
    assert await distrusted()
    operator.config_set("appendfsync", "always")
    await until(lambda: _accepted(own), what="trust again")
    operator.close()


async def test_without_config_the_rest_is_checked_and_the_gap_is_said(
    open_door: OpenDoor, own_valkey: EmbeddedValkey, operator: redis.Redis
) -> None:
    operator.acl_setuser(
        "door", enabled=True, passwords=["+secret"], keys=["*"], channels=["*"], commands=["+@all", "-config"]
    )
    url = own_valkey.url.replace("redis://", "redis://door:secret@")
    with capture_logs() as logs:
        async with open_door(redis_url=_secret(url)) as front:
            assert (await front.post("/cookies", json=consent()))[0] == 202
    assert "appendfsync_not_verified" in {line["event"] for line in logs}
    operator.config_set("appendonly", "no")
    with pytest.raises(ConfigurationError):
        async with open_door(redis_url=_secret(url)):
            pass
    operator.close()


async def test_a_door_may_open_before_redis_does(open_door: OpenDoor, own_valkey: EmbeddedValkey) -> None:
    own_valkey.kill9()
    async with open_door(redis_url=_secret(own_valkey.url)) as front:
        assert await _ready(front) is False
        assert (await front.post("/cookies", json=consent()))[0] == 503
        await asyncio.to_thread(own_valkey.restart)
        await until(lambda: _ready(front), what="ready")
        assert (await front.post("/cookies", json=consent()))[0] == 202


async def test_a_file_without_its_message_is_forgotten_by_redis(
    own: Front, operator: redis.Redis, own_valkey: EmbeddedValkey, open_door: OpenDoor
) -> None:
    """The enqueue fails after the file was laid down: no 202, and the file has an end."""
    with Proxy(own_valkey.port) as proxy:
        async with open_door(redis_url=_secret(f"redis://127.0.0.1:{proxy.port}/0")) as front:
            assert (await front.post("/cookies", json=consent("a")))[0] == 202
            proxy.lose(request=b"EVALSHA", every=1)
            assert (await front.post("/forms/job-application", data=multipart(("cv", "cv.pdf", PDF))))[0] == 503
    (key,) = operator.keys("greffier:file:*")
    assert 0 < operator.ttl(key) <= 3600
    operator.close()


async def test_a_door_that_is_drained_answers_what_it_holds(open_door: OpenDoor, letters: Letters) -> None:
    async with open_door() as front:
        callers = Callers(front, "d")
        running = asyncio.create_task(callers.run(8))
        await until(lambda: callers.statuses[202] > 50, what="load")
        callers.stopped = True
        await front.door.drain()
        await running
    assert set(callers.statuses) <= {202, 503, 0}
    assert callers.kept <= {event.id for event in letters.events("consent")}
    assert [batch.seq for batch in letters.batches("consent")] == list(range(1, front.door.letterbox.seq + 1))


def test_a_door_is_told_of_no_database() -> None:
    assert not [name for name in DoorSettings.model_fields if "mongo" in name]
