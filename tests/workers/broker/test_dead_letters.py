"""What was tried in vain reaches the parker, by the hook or by the sweep, and leaves Redis only then."""

from __future__ import annotations

import json

from schemas.errors import StoreUnavailable
from tests.waiting import until
from tests.workers.broker.conftest import MakeRig
from tests.workers.broker.rig import QUEUE, Rig

DEAD = f"dramatiq:{QUEUE}.XQ"


def _fail(batch: str) -> None:
    raise ValueError(f"cannot store {batch}")


def _in_redis(rig: Rig) -> tuple[int, int]:
    return rig.reader.zcard(DEAD), rig.reader.hlen(f"{DEAD}.msgs")


async def test_a_dead_letter_is_handed_over_and_then_removed(make_rig: MakeRig, redis_url: str) -> None:
    rig = make_rig(redis_url)
    rig.behave = _fail
    rig.send()
    rig.start()
    await until(lambda: rig.dead and _in_redis(rig) == (0, 0))
    (letter,) = rig.dead
    assert (letter.queue, letter.reason) == (QUEUE, "ValueError")
    assert json.loads(letter.raw)["kwargs"]["batch"] in rig.accepted
    assert len(rig.started) == 1 + 5  # once, and five retries
    assert rig.accepted[0] not in repr(letter)


async def test_a_dead_letter_the_hook_missed_is_swept(make_rig: MakeRig, redis_url: str) -> None:
    """The store is away when it dies: it stays in Redis, and the sweep hands it over later."""
    rig = make_rig(redis_url)
    rig.behave = _fail
    away = True

    def keep(letter: object) -> None:
        if away:
            raise StoreUnavailable

    rig.on_dead = keep
    rig.send(3)
    rig.start()
    await until(lambda: _in_redis(rig) == (3, 3))
    assert not rig.dead
    away = False
    await until(lambda: len(rig.dead) == 3 and _in_redis(rig) == (0, 0))


async def test_one_letter_the_parker_refuses_does_not_hide_the_others(make_rig: MakeRig, redis_url: str) -> None:
    rig = make_rig(redis_url)
    for number in range(130):
        rig.reader.zadd(DEAD, {f"letter-{number:03}": number})
        rig.reader.hset(f"{DEAD}.msgs", f"letter-{number:03}", b"{}")

    def keep(letter: object) -> None:
        if getattr(letter, "redis_id", "") in {"letter-000", "letter-060"}:
            raise RuntimeError

    rig.on_dead = keep
    assert rig.broker.sweep_dead_letters() == 128
    assert rig.reader.zrange(DEAD, 0, -1) == [b"letter-000", b"letter-060"]


async def test_redis_never_holds_a_traceback(make_rig: MakeRig, redis_url: str, hardened: bool) -> None:
    """A traceback quotes values. Stock dramatiq writes it into the retry."""
    rig = make_rig(redis_url, hardened=hardened)
    kept = []

    def fail_once(batch: str) -> None:
        kept.extend(rig.reader.hvals(f"dramatiq:{QUEUE}.msgs"))
        if len(kept) == 1:
            raise ValueError("Ada Example, 1 Example Street")

    rig.behave = fail_once
    rig.send()
    rig.start()
    await until(lambda: len(kept) == 2 and rig.done)
    assert (b"Example Street" in kept[1]) is not hardened
    assert json.loads(kept[1])["options"]["retries"] == 1
