"""One enqueue in flight per queue, answers after the enqueue only, a number for each message, and the drain."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis

from producers import gather
from producers.gather import ENOUGH_EVENTS, Gatherer, in_batches
from producers.publisher import BEHIND, FileContent, Letterbox
from schemas.envelope import MAX_BATCH_BYTES, MAX_EVENTS, Event
from schemas.errors import QueueUnavailable
from schemas.keyring import read_sealer
from tests.producers.conftest import Installation, Letters
from tests.waiting import until
from workers.local import EmbeddedValkey


def event(name: str, size: int = 20) -> Event:
    body = json.dumps({"x": "x" * size}).encode()
    return Event(name, "/cookies", "greffier.cookie.consent", "2026-01-01T00:00:00.000Z", body)


MakeGatherer = Callable[..., Gatherer]


@pytest.fixture
async def make_gatherer(installation: Installation) -> AsyncIterator[MakeGatherer]:
    """Makes gatherers of the kind asked for and closes them."""
    made: list[Gatherer] = []

    def make(redis_url: str, kind: type[Gatherer] = Gatherer, *, letterbox: type[Letterbox] = Letterbox) -> Gatherer:
        made.append(kind(letterbox(redis_url, read_sealer(installation.door_keys), queue_limit=20_000)))
        return made[-1]

    yield make
    for gatherer in made:
        await gatherer.close()


async def test_a_lone_event_leaves_at_once_and_a_burst_fills_batches(
    make_gatherer: MakeGatherer, redis_url: str, letters: Letters
) -> None:
    gatherer = make_gatherer(redis_url)
    waiting = [gatherer.put("consent", [event(f"e-{number}")]) for number in range(1_200)]
    await asyncio.gather(*waiting)

    batches = letters.batches("consent")
    assert [len(batch.events) for batch in batches] == [1, 500, 500, 199]
    assert [found.id for batch in batches for found in batch.events] == [f"e-{number}" for number in range(1_200)]
    assert [batch.seq for batch in batches] == [1, 2, 3, 4]
    assert len({batch.id for batch in batches}) == 4


class Hasty(Letterbox):
    """Broken: never sees that the workers are behind."""

    def behind(self, queue: str) -> bool:
        return False


@pytest.mark.parametrize(("letterbox", "last"), [(Letterbox, [2]), (Hasty, [1, 1])])
async def test_while_workers_are_behind_small_batches_wait_for_company(
    make_gatherer: MakeGatherer, redis_url: str, letters: Letters, letterbox: type[Letterbox], last: list[int]
) -> None:
    gatherer = make_gatherer(redis_url, letterbox=letterbox)
    for number in range(BEHIND + 1):  # nobody takes them
        await gatherer.put("consent", [event(f"e-{number}")])
    await asyncio.gather(gatherer.put("consent", [event("one")]), gatherer.put("consent", [event("other")]))
    assert [len(batch.events) for batch in letters.batches("consent")] == [1] * (BEHIND + 1) + last


async def test_a_batch_that_is_large_enough_does_not_wait_for_company(
    make_gatherer: MakeGatherer, redis_url: str, letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "STAY_S", 3_600.0)
    gatherer = make_gatherer(redis_url)
    for number in range(BEHIND + 1):
        await gatherer.put("consent", [event(f"e-{number}")])
    many = [gatherer.put("consent", [event(f"m-{number}")]) for number in range(ENOUGH_EVENTS)]
    await asyncio.wait_for(asyncio.gather(*many), 10)
    assert len(letters.batches("consent")[-1].events) == ENOUGH_EVENTS


async def test_a_batch_stays_under_256_kib(make_gatherer: MakeGatherer, redis_url: str, letters: Letters) -> None:
    gatherer = make_gatherer(redis_url)
    await asyncio.gather(*[gatherer.put("consent", [event(f"e-{number}", 100_000)]) for number in range(7)])
    sizes = [sum(len(found.body) for found in batch.events) for batch in letters.batches("consent")]
    assert (len(letters.events()), max(sizes) <= MAX_BATCH_BYTES) == (7, True)


def test_pieces_fit_a_message() -> None:
    events = [event(f"e-{number}", 1_000 * (number % 40)) for number in range(700)]
    pieces = in_batches(events)
    assert [found for piece in pieces for found in piece] == events
    assert all(len(piece) <= MAX_EVENTS for piece in pieces)
    assert all(sum(len(found.body) + 1 for found in piece) <= MAX_BATCH_BYTES for piece in pieces)


async def test_each_enqueue_wakes_the_consumers_of_its_queue(
    make_gatherer: MakeGatherer, redis_url: str, letters: Letters
) -> None:
    with letters.client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe("dramatiq:wake")
        listener.get_message(timeout=5)
        await make_gatherer(redis_url).put("newsletter", [event("e-1")])
        heard = await until(lambda: listener.get_message(timeout=0.1), what="the wake-up")
    assert heard["data"] == b"newsletter"


async def test_a_message_is_what_the_worker_expects(
    make_gatherer: MakeGatherer, redis_url: str, letters: Letters
) -> None:
    await make_gatherer(redis_url).put("consent", [event("e-1")])
    (message,) = letters.messages("consent")
    assert (message["queue_name"], message["actor_name"], message["args"]) == ("consent", "consent", [])
    assert set(message["options"]) == {"redis_message_id"}
    assert set(message["kwargs"]) == {"batch"}


class AnswersTooSoon(Gatherer):
    """The broken variant: says "kept" while the batch is still on its way."""

    def put(self, *arguments: Any) -> asyncio.Future[None]:
        super().put(*arguments).add_done_callback(lambda done: done.exception())
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        told.set_result(None)
        return told


async def _promised_and_lost(gatherer: Gatherer, server: EmbeddedValkey) -> set[str]:
    """Events that were confirmed although Redis, frozen and then killed, never wrote them."""
    promised: set[str] = set()

    async def send(name: str) -> None:
        try:
            await gatherer.put("consent", [event(name)])
            promised.add(name)
        except QueueUnavailable:
            pass

    await send("before")
    server.pause()
    sending = [asyncio.create_task(send(f"during-{number}")) for number in range(5)]
    await asyncio.sleep(0)
    server.kill9()
    await asyncio.gather(*sending)
    server.restart()
    await send("after")
    with redis.Redis.from_url(server.url) as client:
        lying = b"".join(client.hvals("dramatiq:consent.msgs"))
    return {name for name in promised if f'"{name}"'.encode() not in lying}


async def test_nothing_is_promised_before_redis_has_it(make_gatherer: MakeGatherer, own_valkey: EmbeddedValkey) -> None:
    assert await _promised_and_lost(make_gatherer(own_valkey.url), own_valkey) == set()


async def test_the_checker_catches_a_door_that_promises_too_soon(
    make_gatherer: MakeGatherer, own_valkey: EmbeddedValkey
) -> None:
    assert await _promised_and_lost(make_gatherer(own_valkey.url, AnswersTooSoon), own_valkey) != set()


async def test_a_failed_batch_fails_all_of_it_and_the_number_does_not_move(
    make_gatherer: MakeGatherer, own_valkey: EmbeddedValkey, installation: Installation
) -> None:
    numbers = await _numbers_around_an_outage(make_gatherer(own_valkey.url), own_valkey, installation)
    assert numbers == [(1, ["e-1"]), (2, ["e-2"])]


async def test_the_checker_catches_a_door_that_numbers_what_it_did_not_send(
    make_gatherer: MakeGatherer, own_valkey: EmbeddedValkey, installation: Installation
) -> None:
    gatherer = make_gatherer(own_valkey.url, letterbox=NumbersTooSoon)
    numbers = await _numbers_around_an_outage(gatherer, own_valkey, installation)
    assert [seq for seq, _ in numbers] != [1, 2]


class NumbersTooSoon(Letterbox):
    """The broken variant: a number is used up by a message that never got there."""

    def post(self, *arguments: Any) -> None:
        try:
            super().post(*arguments)
        except QueueUnavailable:
            self.seq += 1
            raise


async def _numbers_around_an_outage(
    gatherer: Gatherer, server: EmbeddedValkey, installation: Installation
) -> list[tuple[int, list[str]]]:
    await gatherer.put("consent", [event("e-1")])
    server.kill9()
    waiting = [gatherer.put("consent", [event(f"lost-{number}")]) for number in range(3)]
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [QueueUnavailable] * 3
    assert all(answer.retry_after_s > 0 for answer in answers if isinstance(answer, QueueUnavailable))
    server.restart()
    await gatherer.put("consent", [event("e-2")])
    with redis.Redis.from_url(server.url) as client:
        batches = Letters(client, installation.opener).batches("consent")
    return [(batch.seq, [found.id for found in batch.events]) for batch in batches]


async def test_the_room_for_waiting_is_bounded(make_gatherer: MakeGatherer, redis_url: str) -> None:
    gatherer = make_gatherer(redis_url)
    many = [event(f"e-{number}") for number in range(500)]
    waiting = [gatherer.put("consent", many) for _ in range(40)]
    for more in (([event("e")],), ([event("e")], [FileContent("f", "k", b"x" * (129 << 20))])):
        with pytest.raises(QueueUnavailable) as refused:
            gatherer.put("submissions", *more)
        assert refused.value.code == "waiting_room_full"
    await asyncio.gather(*waiting)
    await gatherer.put("submissions", [event("e")])


async def test_closing_answers_everything_that_waits_and_takes_no_more(
    make_gatherer: MakeGatherer, redis_url: str, letters: Letters
) -> None:
    gatherer = make_gatherer(redis_url)
    waiting = [gatherer.put(queue, [event(f"{queue}-{n}")]) for n in range(600) for queue in ("consent", "newsletter")]
    closing = asyncio.create_task(gatherer.close())
    await asyncio.sleep(0)
    with pytest.raises(QueueUnavailable):
        gatherer.put("consent", [event("late")])
    await closing
    assert all(done.done() and done.exception() is None for done in waiting)
    assert Counter(found.id.split("-")[0] for found in letters.events()) == {"consent": 600, "newsletter": 600}


async def test_a_caller_that_went_away_harms_no_neighbour(
    make_gatherer: MakeGatherer, redis_url: str, letters: Letters
) -> None:
    gatherer = make_gatherer(redis_url)
    waiting = [gatherer.put("consent", [event(f"e-{number}")]) for number in range(3)]
    waiting[1].cancel()
    await asyncio.gather(waiting[0], waiting[2])
    assert len(letters.events("consent")) == 3
