"""A ledger that is not what was signed, or that nobody signs, is seen by whoever looks. P12; R29; I22."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from schemas.fields import read_moment
from schemas.ledger_keys import read_ledger_keys
from tests.waiting import until
from tests.workers.bench import Bench
from tests.workers.evidence.rig import LedgerRig, TickingClock, over, some
from workers.doctor import examine
from workers.processes import Process, free_port
from workers.status import HEAD_OVERDUE, look_around
from workers.stores.heads import at_one_look


@pytest.fixture
def rig(bench: Bench, keys: Path) -> LedgerRig:
    """The ledger of the bench's databases, as a worker keeps it."""
    bench.clock.at = TickingClock().at + timedelta(days=1, minutes=1)
    return over(bench.services.databases, read_ledger_keys(keys / "controller"), TickingClock())


async def alarms(bench: Bench) -> list[str]:
    """What ``greffier status`` says of it; what ``greffier doctor`` says must agree."""
    found = await look_around(bench.services, bench.redis)
    said = [alarm for alarm in found.alarms if alarm.startswith("ledger")]
    [finding] = [one for one in await examine(bench.services) if one.check == "ledger (P12)"]
    assert finding.fit is (not said)
    return said


async def test_a_ledger_that_is_kept_is_no_alarm(bench: Bench, rig: LedgerRig) -> None:
    assert await alarms(bench) == [], "nor is an empty one"
    await rig.grow(3, 5)
    bench.clock.at = rig.clock.at + timedelta(days=30)
    assert await alarms(bench) == [], "an old head is none where nothing is new"
    state = await at_one_look(bench.services.databases)
    assert (state.size, state.signed, state.waiting_since, state.fault) == (8, 8, None, None)


@pytest.mark.parametrize("placed", [False, True])
async def test_entries_that_nobody_signs_are_an_alarm(bench: Bench, rig: LedgerRig, placed: bool) -> None:
    """Whether they have their place already or still wait for it."""
    await rig.grow(3)
    noted = await rig.ledger.append(*some(2, first=3))
    assert len(noted) == 2
    if placed:
        await rig.keeper.sequence()
    since = some(1)[0].as_json()["at"]
    assert (await at_one_look(bench.services.databases)).waiting_since == since
    bench.clock.at = read_moment(since) + HEAD_OVERDUE
    assert await alarms(bench) == []
    bench.clock.at += timedelta(seconds=1)
    [alarm] = await alarms(bench)
    assert f"entries wait since {since}" in alarm
    await rig.keeper.settle()
    assert await alarms(bench) == []


def truncated(bench: Bench) -> None:
    bench.reader[f"{bench.prefix}_evidence"]["ledger"].delete_one({"_id": 2})


def missing(bench: Bench) -> None:
    bench.reader[f"{bench.prefix}_evidence"]["ledger"].delete_one({"_id": 1})


def altered(bench: Bench) -> None:
    leaves = bench.reader[f"{bench.prefix}_evidence"]["ledger"]
    leaves.update_one({"_id": 2}, {"$set": {"hashes": [bytes(32)]}})


def contradicting(bench: Bench) -> None:
    pending = bench.reader[f"{bench.prefix}_evidence"]["ledger_pending"]
    pending.insert_one({"_id": "other", "body": some(1)[0].as_json(), "conflict": True})


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        (truncated, "ledger_truncated"),
        (missing, "ledger_leaf_missing"),
        (altered, "ledger_altered"),
        (contradicting, "entries_contradict"),
    ],
)
async def test_a_ledger_that_is_not_what_was_signed_is_an_alarm(
    bench: Bench, rig: LedgerRig, harm: Callable[[Bench], None], fault: str
) -> None:
    await rig.grow(3)
    harm(bench)
    [alarm] = await alarms(bench)
    assert fault in alarm
    assert "greffier evidence check" in alarm


@pytest.mark.parametrize("broken", [False, True])
async def test_a_worker_whose_ledger_broke_is_alive_and_not_ready(
    bench: Bench, rig: LedgerRig, keys: Path, redis_url: str, mongo_url: str, tmp_path: Path, broken: bool
) -> None:
    rig.clock.at = datetime.now(UTC)  # the worker's keys are of today, and sign nothing older
    await rig.grow(3)
    if broken:
        truncated(bench)
    port = free_port()
    env = {
        "GREFFIER_REDIS_URL": redis_url,
        "GREFFIER_MONGO_URL": mongo_url,
        "GREFFIER_MONGO_PREFIX": bench.prefix,
        "GREFFIER_KEYS": str(keys / "controller"),
        "GREFFIER_METRICS_PORT": str(port),
        "GREFFIER_MAIL_FROM": "rights@example.com",
        "GREFFIER_PUBLIC_URL": "https://rights.example.com",
    }
    argv = [sys.executable, "-m", "schemas", "controller", "--queues", "rights"]
    worker = Process("controller", argv, log=tmp_path / "log", env=env)
    worker.spawn()
    try:
        seen = "ledger is not what was signed" if broken else "ledger checked"
        await until(lambda: seen in worker.log.read_text(), 30, what="the worker looked at the ledger")
        await until(lambda: status_of(port, "/readyz") == (503 if broken else 200), 30, what="readiness says so")
        assert status_of(port, "/livez") == 200
    finally:
        worker.kill9()


def status_of(port: int, path: str) -> int:
    """What a probe would see; 0 while nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
