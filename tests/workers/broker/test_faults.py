"""The faults that lose or strand work on a stock broker, each on both. Source: `reliability.md` § 1."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import pytest

from tests.proxy import Proxy
from tests.waiting import until
from tests.workers.broker.conftest import MakeRig
from tests.workers.broker.rig import QUEUE
from workers.local import EmbeddedValkey

# The stock broker's threads die of what they are given.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


async def test_a_lost_fetch_reply_strands_nothing(make_rig: MakeRig, redis_url: str, hardened: bool) -> None:
    """E5: what Redis handed out and the worker never received comes back."""
    port = urlsplit(redis_url).port
    assert port is not None
    with Proxy(port) as proxy:
        rig = make_rig(f"redis://127.0.0.1:{proxy.port}/0", reader_url=redis_url, hardened=hardened)
        proxy.lose(request=b"\r\nfetch\r\n", every=3)
        rig.send(60)
        rig.start()
        await rig.judge()
        assert proxy.lost >= 1


async def test_delayed_messages_survive_a_redis_restart(
    make_rig: MakeRig, own_valkey: EmbeddedValkey, hardened: bool
) -> None:
    """E6: fifty delayed messages in memory when Redis restarts all run when due."""
    rig = make_rig(own_valkey.url, hardened=hardened).start()
    rig.send(50, delay=3_000)
    await until(lambda: rig.in_memory() == 50)
    own_valkey.kill9()
    own_valkey.restart()
    assert (await rig.judge()).stuck == (0 if hardened else 50)


MALFORMED = [
    b"{not json",
    b"\xff\xfe\xfd",
    b'{"surprise":1}',
    b"[" * 100_000,
    b'{"queue_name":' + b"9" * 5_000 + b"}",
    b'{"queue_name":"submissions","actor_name":["x"],"args":[],"kwargs":{},"options":{},'
    b'"message_id":"m","message_timestamp":1}',
]


async def test_a_malformed_message_harms_no_neighbour(make_rig: MakeRig, redis_url: str, hardened: bool) -> None:
    """E7: six malformed ones among twenty good: the good are done, the others parked."""
    rig = make_rig(redis_url, hardened=hardened)
    rig.send(4)
    for number, raw in enumerate(MALFORMED):
        rig.put_raw(raw, f"malformed-{number}")
        rig.send(3)
    rig.start()
    await rig.judge()
    if hardened:
        assert sorted(poison.redis_id for poison in rig.poisons) == [f"malformed-{n}" for n in range(len(MALFORMED))]
        assert {poison.raw for poison in rig.poisons} == set(MALFORMED)


@pytest.mark.parametrize("steering", ["queue_name", "throws"])
async def test_poison_cannot_stop_a_worker(make_rig: MakeRig, redis_url: str, hardened: bool, steering: str) -> None:
    """E7b: as many poison messages as threads; what comes later is still done."""
    rig = make_rig(redis_url, hardened=hardened, threads=2)
    rig.behave = lambda batch: 1 / 0 if batch.startswith("poison") else None
    for _ in range(rig.threads):
        message = rig.message("poison")
        if steering == "queue_name":
            message["queue_name"] = "elsewhere"
        else:
            message["options"]["throws"] = "x"
        rig.put(message)
    rig.send(20)
    rig.start()
    await rig.judge()
    if hardened:
        assert [poison.code for poison in rig.poisons] == [
            "queue_name" if steering == "queue_name" else "foreign_option"
        ] * 2


async def test_a_failure_while_redis_is_down_loses_nothing(
    make_rig: MakeRig, own_valkey: EmbeddedValkey, hardened: bool
) -> None:
    """E8: eight actors fail while Redis is down; no retry can be scheduled; none is lost."""
    rig = make_rig(own_valkey.url, hardened=hardened, threads=8)
    failed: set[str] = set()

    def fail_once(batch: str) -> None:
        rig.wait_at_gate(batch)
        if batch not in failed:
            failed.add(batch)
            raise ValueError

    rig.behave = fail_once
    rig.send(8)
    rig.start()
    await until(lambda: len(rig.started) == 8)
    own_valkey.kill9()
    rig.gate.set()
    await until(lambda: rig.recorder.processed == 8)
    own_valkey.restart()
    assert (await rig.judge()).lost == (0 if hardened else 8)


async def test_redis_out_of_memory_stops_nothing_for_good(
    make_rig: MakeRig, own_valkey: EmbeddedValkey, hardened: bool
) -> None:
    """E11: at maxmemory acknowledgements and delayed messages are refused; all are done once there is room again."""
    rig = make_rig(own_valkey.url, hardened=hardened, threads=8)
    rig.behave = rig.wait_at_gate
    rig.send(8)
    rig.start()
    await until(lambda: len(rig.started) == 8)
    rig.send(20, delay=1_000)
    due = time.monotonic() + 1.2
    await until(lambda: rig.in_memory() == 20)
    rig.reader.config_set("maxmemory", 1)
    rig.gate.set()
    await until(lambda: rig.recorder.processed == 8 and time.monotonic() > due)
    await until(lambda: rig.reader.info("errorstats").get("errorstat_OOM", {}).get("count", 0) > 10)
    rig.reader.config_set("maxmemory", 0)
    await rig.judge()


async def test_an_acknowledgement_that_timed_out_is_repeated(
    make_rig: MakeRig, own_valkey: EmbeddedValkey, hardened: bool
) -> None:
    """E17: Redis hangs while jobs end, then dies; what was done is acknowledged all the same, and never run again."""
    rig = make_rig(own_valkey.url, hardened=hardened)
    rig.behave = rig.wait_at_gate
    rig.send(4)
    rig.start()
    await until(lambda: len(rig.started) == 4)
    own_valkey.pause()
    rig.gate.set()
    await until(lambda: rig.complaints.count("post_process_message") >= 4)
    own_valkey.kill9()
    own_valkey.restart()
    await rig.judge()
    assert rig.reader.hlen(f"dramatiq:{QUEUE}.msgs") == (0 if hardened else 4)


async def test_redis_hanging_and_coming_back_strands_nothing(make_rig: MakeRig, own_valkey: EmbeddedValkey) -> None:
    """A fetch that timed out may still run on the server later, after the new consumer looked: that is found too."""
    rig = make_rig(own_valkey.url).start()
    rig.send(5)
    await until(lambda: len(rig.done) == 5)
    own_valkey.pause()
    await until(lambda: rig.complaints.count("Consumer encountered a connection error") >= 2, 30)
    own_valkey.resume()
    rig.send(20)
    await rig.judge()


async def test_an_id_pushed_twice_runs_once(make_rig: MakeRig, redis_url: str) -> None:
    """E23: an enqueue repeated after its reply was lost leaves no id behind and has one effect."""
    rig = make_rig(redis_url)
    rig.send(6)
    for redis_id in rig.reader.lrange(f"dramatiq:{QUEUE}", 0, -1):
        rig.reader.rpush(f"dramatiq:{QUEUE}", redis_id)
    rig.start()
    await rig.judge()
    assert not rig.poisons
