"""``Idempotency-Key``: the same request twice is one event; another body under a used key is refused."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from producers.door.idempotency import LEASE, Claim, Idempotency
from producers.door.problems import Refused
from producers.publisher import Claims
from schemas.errors import QueueUnavailable
from tests.producers.conftest import ORIGIN, Front, Letters, OpenDoor
from tests.producers.files import PDF
from tests.producers.samples import CANARIES, CLIENT, CONTACT, NEWSLETTER, cloud
from tests.producers.test_uploads import multipart

PATH = "/forms/contact"


def keyed(key: str, **headers: str) -> dict[str, str]:
    return {"Idempotency-Key": key, **headers}


def one_event_per_key(events: list[Any]) -> bool:
    """The promise, as a look at the queue sees it: every repeat bears one id, one time and one body."""
    return len({(event.id, event.recordedtime, event.body) for event in events}) == 1


async def test_the_same_request_twice_is_one_event(front: Front, letters: Letters) -> None:
    key = secrets.token_hex(8)
    first = await front.post(PATH, json=CONTACT, headers=keyed(f'"{key}"'))
    second = await front.post(PATH, json=CONTACT, headers=keyed(key))
    assert first[0] == second[0] == 202
    assert first[1] == second[1]
    assert one_event_per_key(letters.events())
    assert len(letters.events()) == 1, "and it is not even posted again"


async def test_a_publishers_request_is_posted_once_too(front: Front, letters: Letters) -> None:
    kinds = {"application/cloudevents+json": cloud(), "application/cloudevents-batch+json": [cloud("a"), cloud("b")]}
    for kind, body in kinds.items():
        headers = keyed(secrets.token_hex(8), **front.bearer, **{"Content-Type": kind})
        first = await front.post("/events", json=body, headers=headers)
        assert (first[0], await front.post("/events", json=body, headers=headers)) == (202, first)
        other = [cloud("a", time="2026-01-01T00:00:00Z", data={**CLIENT, "position": "other"})]
        status, answer = await front.post("/events", json=other if body != cloud() else other[0], headers=headers)
        assert (status, answer["code"]) == (422, "idempotency_key_reused")
    assert [event.id for event in letters.events()] == ["crm-1", "a", "b"]


async def test_without_a_key_a_repeat_is_another_event(front: Front, letters: Letters) -> None:
    """What the check above looks like when the promise is not kept."""
    await front.post(PATH, json=CONTACT)
    await front.post(PATH, json=CONTACT)
    assert not one_event_per_key(letters.events())


async def test_another_body_under_a_used_key_is_refused(front: Front, letters: Letters) -> None:
    key = secrets.token_hex(8)
    assert (await front.post(PATH, json=CONTACT, headers=keyed(key)))[0] == 202
    status, answer = await front.post(PATH, json={**CONTACT, "first_name": "Berthe"}, headers=keyed(key))
    assert (status, answer["code"]) == (422, "idempotency_key_reused")
    assert len(letters.events()) == 1


async def test_a_body_that_was_refused_uses_no_key_up(front: Front) -> None:
    key = secrets.token_hex(8)
    assert (await front.post(PATH, json={**CONTACT, "email": "x"}, headers=keyed(key)))[0] == 422
    assert (await front.post(PATH, json=CONTACT, headers=keyed(key)))[0] == 202


async def test_two_clients_and_two_forms_may_use_one_key(front: Front, letters: Letters) -> None:
    key = secrets.token_hex(8)
    answers = [
        await front.post(PATH, json=CONTACT, headers=keyed(key)),
        await front.post(PATH, json=CONTACT, headers=keyed(key, Origin=ORIGIN)),
        await front.post("/forms/newsletter", json=NEWSLETTER, headers=keyed(key)),
    ]
    assert [status for status, _ in answers] == [202] * 3
    assert len({answer["id"] for _, answer in answers}) == 3


async def test_the_same_form_in_another_multipart_is_the_same_form(front: Front, letters: Letters) -> None:
    key = secrets.token_hex(8)
    path = "/forms/job-application"
    first = await front.post(path, data=multipart(("cv", "cv.pdf", PDF)), headers=keyed(key))
    second = await front.post(path, data=multipart(("cv", "cv.pdf", PDF)), headers=keyed(key))
    assert first == second
    assert len(letters.client.keys("greffier:file:*")) == 1
    status, _ = await front.post(path, data=multipart(("cv", "cv.pdf", PDF + b"\n")), headers=keyed(key))
    assert status == 422, "another file is another body"


@pytest.mark.parametrize("key", ["", '""', '"unfinished', "a b", "x" * 256, '"é"', 'a"b', "\t"])
async def test_a_key_is_one_short_string(front: Front, key: str) -> None:
    async with front.http.post(PATH, json=CONTACT, headers=keyed(key)) as answer:
        assert answer.status == 400


async def test_redis_holds_digests_only_and_for_a_day(front: Front, letters: Letters) -> None:
    key = secrets.token_hex(8)
    await front.post(PATH, json=CONTACT, headers=keyed(key))
    (claim,) = letters.client.keys("greffier:claim:*")
    assert 0 < letters.client.ttl(claim) <= 24 * 3600
    seen = claim + (letters.client.get(claim) or b"")
    assert not [word for word in (*CANARIES, key) if word.encode() in seen]


async def test_two_doors_agree(open_door: OpenDoor, letters: Letters) -> None:
    key = secrets.token_hex(8)
    async with open_door() as one, open_door() as two:
        assert await one.post(PATH, json=CONTACT, headers=keyed(key)) == await two.post(
            PATH, json=CONTACT, headers=keyed(key)
        )
    assert len(letters.events()) == 1


async def test_many_at_once_are_one_event(open_door: OpenDoor, letters: Letters) -> None:
    key = secrets.token_hex(8)
    async with open_door() as one, open_door() as two:
        sent = [front.post(PATH, json=CONTACT, headers=keyed(key)) for front in (one, two) for _ in range(10)]
        answers = await asyncio.gather(*sent)
    assert {status for status, _ in answers} <= {202, 409}
    assert len({answer["id"] for status, answer in answers if status == 202}) == 1
    assert len(letters.events()) == 1


class Moved:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Moved:
    return Moved()


@pytest.fixture
def idempotency(redis_url: str, clock: Moved) -> Iterator[Idempotency]:
    found = Idempotency(b"k" * 32, Claims(redis_url), clock)
    yield found
    found.close()


class Post:
    """A post that waits to be let go, and counts."""

    def __init__(self, error: Exception | None = None) -> None:
        self.began = asyncio.Event()
        self.go_on = asyncio.Event()
        self.times: list[datetime] = []
        self.error = error

    async def __call__(self, received_at: datetime) -> None:
        self.times.append(received_at)
        self.began.set()
        await self.go_on.wait()
        if self.error:
            raise self.error


CLAIM = Claim("name", "id")


async def test_a_repeat_while_the_first_runs_is_told_to_wait(idempotency: Idempotency, clock: Moved) -> None:
    post = Post()
    first = asyncio.create_task(idempotency.once(CLAIM, b"body", clock.now, post))
    await post.began.wait()
    with pytest.raises(Refused) as refused:
        await idempotency.once(CLAIM, b"body", clock.now, post)
    assert (refused.value.status, refused.value.headers) == (409, {"Retry-After": "1"})
    with pytest.raises(Refused) as refused:
        await idempotency.once(CLAIM, b"other", clock.now, post)
    assert refused.value.status == 422
    post.go_on.set()
    assert await first == clock.now
    assert len(post.times) == 1


async def test_a_claim_whose_door_died_is_taken_over_with_its_time(idempotency: Idempotency, clock: Moved) -> None:
    died = Post()
    first = asyncio.create_task(idempotency.once(CLAIM, b"body", clock.now, died))
    await died.began.wait()
    first.cancel()
    began, clock.now = clock.now, clock.now + LEASE + timedelta(seconds=1)
    again = Post()
    again.go_on.set()
    assert await idempotency.once(CLAIM, b"body", clock.now, again) == began
    assert again.times == [began]


async def test_a_failed_post_is_tried_again_at_once_with_its_first_time(idempotency: Idempotency, clock: Moved) -> None:
    failing = Post(QueueUnavailable("redis_unavailable"))
    failing.go_on.set()
    with pytest.raises(QueueUnavailable):
        await idempotency.once(CLAIM, b"body", clock.now, failing)
    began, clock.now = clock.now, clock.now + timedelta(seconds=1)
    again = Post()
    again.go_on.set()
    assert await idempotency.once(CLAIM, b"body", clock.now, again) == began
    assert await idempotency.once(CLAIM, b"body", clock.now, again) == began
    assert len(again.times) == 1


async def test_a_key_reads_the_same_quoted_or_bare(idempotency: Idempotency) -> None:
    assert idempotency.claim("a", "k") == idempotency.claim("a", "k")
    assert idempotency.claim("a", "k") != idempotency.claim("b", "k")
    assert idempotency.claim("a", "k").name not in idempotency.claim("a", "k").id
