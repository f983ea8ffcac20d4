"""Waiting is a wake-up: a worker that polls once an hour starts at once when told, and only then."""

from __future__ import annotations

import threading

import dramatiq

from tests.waiting import until
from tests.workers.broker.conftest import MakeRig
from tests.workers.broker.rig import QUEUE, Rig
from workers.wake import channel

HOUR_S = 3_600.0


def _waits(rig: Rig, queue: str = QUEUE) -> bool:
    """Whether the consumer of `queue` sleeps on its bell."""
    bell: threading.Event = rig.broker.wake.bell(queue)
    return not bell.is_set() and len(bell._cond._waiters) == 1  # type: ignore[attr-defined]


async def test_an_announced_message_starts_without_a_poll(make_rig: MakeRig, redis_url: str) -> None:
    """One by one, so that each finds the consumer asleep; delayed ones and retries too."""
    rig = make_rig(redis_url, poll_s=HOUR_S).start()
    failed: set[str] = set()

    def fail_once(batch: str) -> None:
        if batch not in failed:
            failed.add(batch)
            raise ValueError

    rig.behave = fail_once
    for _ in range(3):
        await until(lambda: _waits(rig) and _waits(rig, f"{QUEUE}.DQ"))
        rig.send()
        await until(lambda: len(rig.done) == len(rig.accepted))
    rig.send(1, delay=100)
    await rig.judge()


async def test_an_unannounced_message_waits_for_the_poll(make_rig: MakeRig, redis_url: str) -> None:
    """The broken variant of the test above: without the announcement nothing happens, with it everything does."""
    rig = make_rig(redis_url, poll_s=HOUR_S)
    fence = threading.Event()
    other = dramatiq.actor(fence.set, broker=rig.broker, queue_name="other", actor_name="other")
    rig.start()
    rig.send()
    await until(lambda: rig.done and _waits(rig))
    message = rig.message("silent")
    rig.reader.hset(f"dramatiq:{QUEUE}.msgs", message["options"]["redis_message_id"], _encoded(message))
    rig.reader.rpush(f"dramatiq:{QUEUE}", message["options"]["redis_message_id"])
    other.send()  # announced by the broker itself
    await until(fence.is_set)
    assert rig.reader.llen(f"dramatiq:{QUEUE}") == 1
    rig.reader.publish(channel("dramatiq"), QUEUE)
    await until(lambda: "silent" in rig.done)


async def test_full_hands_fetch_again_as_soon_as_one_is_free(make_rig: MakeRig, redis_url: str) -> None:
    """With every thread busy the consumer sleeps; an acknowledgement wakes it."""
    rig = make_rig(redis_url, poll_s=HOUR_S, threads=2).start()
    rig.behave = rig.wait_at_gate
    rig.send(40)
    await until(lambda: len(rig.started) == 2 and _waits(rig))
    assert rig.taken() == 2  # no more than its threads can start on
    rig.gate.set()
    await rig.judge()


async def test_wake_ups_go_on_after_the_connection_was_lost(make_rig: MakeRig, redis_url: str) -> None:
    rig = make_rig(redis_url, poll_s=HOUR_S).start()
    rig.send()
    await until(lambda: rig.done and _waits(rig))
    rig.reader.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    rig.send()  # announced to nobody; found because listening anew rings every bell
    await rig.judge()


async def test_an_idle_worker_stops_at_once(make_rig: MakeRig, redis_url: str) -> None:
    """Waits of an hour do not outlive the order to stop: the 60 s allowed here are far less, and not needed."""
    rig = make_rig(redis_url, poll_s=HOUR_S).start()
    rig.send()
    await until(lambda: rig.done and _waits(rig))
    rig.worker.stop(timeout=60_000)
    assert not any(thread.is_alive() for thread in [*rig.worker.workers, *rig.worker.consumers.values()])


def _encoded(message: dict[str, object]) -> bytes:
    return dramatiq.get_encoder().encode(message)
