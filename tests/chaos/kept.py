"""P1 under fire: publish, kill, let it come to rest, and ask plain clients whether every 202 was kept exactly once.

``python -m tests.chaos.kept --faults 60 --seed 7`` runs it by hand and prints a report; exit code 0 only if it held.
Settings are those of production but for the heartbeat: five seconds of silence instead of sixty until a worker counts
as dead, which only shortens the waiting. Source: P1, P2; reliability § 4, § 9.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp

from tests.chaos.checker import Findings, check, leftovers, missing
from tests.chaos.faults import Fault, Hunter, all_up, plan
from tests.chaos.load import DEVICES, Load, Log
from tests.installation import Installation, installed
from tests.waiting import until

T = TypeVar("T")

HEARTBEAT_MS: Final = 5_000
SETTLE_S: Final = 120.0
LOSSES_S: Final = 3.0
AFTERMATH_S: Final = 1.0  # of load after the last fault
MIN_KILLS: Final = 12
LONG_KILLS: Final = 60


@dataclass(frozen=True)
class Report:
    """What a run did and saw. ``settled_s``: from the last 202 to nothing left in Redis."""

    seed: int
    findings: Findings
    kills: Mapping[str, int]
    requests: int
    answers: Mapping[str, int]
    unexpected: Sequence[str]
    held_at_death: int
    asked_again: int
    load_s: float
    longest_wait_s: float
    settled_s: float

    @property
    def redeliveries(self) -> int:
        """Messages worked on again: those counted with their batch, and those that a killed worker had written."""
        return self.findings.redelivered + self.held_at_death

    @property
    def duplicates(self) -> int:
        """Events that were published again, under the same id, into another message, and changed nothing."""
        return self.findings.reposted

    @property
    def counts(self) -> bool:
        """Whether the run has tried what it is to show: something came twice, on both ways in."""
        return self.redeliveries > 0 and self.duplicates > 0

    @property
    def held(self) -> bool:
        return not self.findings.faults and not self.unexpected

    def __str__(self) -> str:
        found = self.findings
        lines = [
            f"seed {self.seed}: {sum(self.kills.values())} kills {dict(self.kills)} in {self.load_s:.1f} s",
            f"accepted: {self.requests} requests, {found.events} events, in {found.batches} messages",
            f"answers: {dict(self.answers)}; longest wait for a 202: {self.longest_wait_s:.1f} s",
            f"redelivered: {found.redelivered} messages, and {self.held_at_death} written by a worker killed before "
            f"it acknowledged",
            f"published twice and kept once: {self.duplicates} events; {self.asked_again} had been enqueued "
            f"when the door that was to say so was killed",
            f"at rest {self.settled_s:.1f} s after the last 202",
            *(f"FAULT: {fault}" for fault in (*found.faults, *self.unexpected)),
        ]
        return "\n".join(lines)


async def run(
    data: Path, faults: Sequence[Fault], *, seed: int, rate: float = 100.0, controllers: int = 2, **options: Any
) -> Report:
    """The whole story on an installation of its own. ``options``: as :class:`Installation`, for broken variants."""
    env = {"GREFFIER_HEARTBEAT_MS": str(HEARTBEAT_MS), **options.pop("env", {})}
    async with installed(data, controllers=controllers, env=env, **options) as installation:
        log = Log(data / "accepted.jsonl")
        load = Load([door.url for door in installation.doors], installation.key_header, log, seed, rate)
        breaker = Hunter(installation, load, seed)
        try:
            return await _story(installation, load, breaker, faults, seed)
        finally:
            log.close()
            breaker.close()


async def _story(installation: Installation, load: Load, breaker: Hunter, faults: Sequence[Fault], seed: int) -> Report:
    await prepare(installation, load)
    began = time.monotonic()
    publishing = asyncio.create_task(load.run())
    try:
        await breaker.commit(faults)
        await asyncio.sleep(AFTERMATH_S)  # load goes on for a moment: what is back must be taking it
    finally:
        load.stop()
    await publishing
    load_s = time.monotonic() - began
    findings, settled_s = await rest_and_check(installation, load)
    return Report(
        seed=seed,
        findings=findings,
        kills=Counter(name.partition("-")[0] for name in breaker.committed),
        requests=load.log.count,
        answers=load.answers,
        unexpected=load.unexpected,
        held_at_death=breaker.redelivered,
        asked_again=breaker.asked_again,
        load_s=load_s,
        longest_wait_s=load.longest_wait_s,
        settled_s=settled_s,
    )


async def prepare(installation: Installation, load: Load) -> None:
    """Consents first, and wait until they stand: visits that nothing covers are dropped, and rightly so."""
    async with aiohttp.ClientSession() as session:
        await load.prepare(session)
    with installation.mongo() as reader:
        consents = reader["greffier_active"]["consents"]
        await until(lambda: consents.count_documents({}) >= DEVICES, 30, what="the first consents kept")


async def rest_and_check(installation: Installation, load: Load) -> tuple[Findings, float]:
    """Wait until Redis is empty, or until something is lost for good; close the doors; check everything."""
    began = time.monotonic()
    await all_up(installation)
    with installation.redis() as server, installation.mongo() as reader:
        accepted = load.log.read()
        look_for_losses = _every(
            LOSSES_S, lambda: missing(server, reader, accepted)
        )  # heavy, and of use to broken variants only
        with contextlib.suppress(AssertionError):  # what never comes to rest is found below, by name
            await until(lambda: not leftovers(server) or look_for_losses(), SETTLE_S, what="at rest")
        settled_s = time.monotonic() - began
        return check(server, reader, accepted, await last_numbers(installation)), settled_s


def _every(seconds: float, look: Callable[[], T]) -> Callable[[], T | None]:
    """`look`, but no more often than that."""
    due = time.monotonic() + seconds

    def sometimes() -> T | None:
        nonlocal due
        if time.monotonic() < due:
            return None
        found = look()
        due = time.monotonic() + seconds
        return found

    return sometimes


async def last_numbers(installation: Installation) -> dict[str, int]:
    """Door → how many messages Redis confirmed to it, as it said when it closed. A killed one says nothing."""
    closing = [door.pid for door in installation.doors]
    for door in installation.doors:
        door.terminate()
    await until(
        lambda: all(door.pid != pid or not door.alive for door, pid in zip(installation.doors, closing, strict=True)),
        30,
        what="doors closed",
    )
    lines = [line for door in installation.doors for line in door.log.read_text().splitlines() if "door_closed" in line]
    said = [json.loads(line) for line in lines]
    return {line["door"]: line["seq"] for line in said}


async def play(faults: int, seed: int, data: Path | None = None) -> Report:
    """One run with at least so many kills; in a temporary folder unless told otherwise."""
    with tempfile.TemporaryDirectory(prefix="greffier-chaos-") as folder:
        return await run(data or Path(folder), plan(seed, faults), seed=seed)


def main() -> int:
    """By hand; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=LONG_KILLS)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--data", type=Path, help="keep servers, keys and logs here")
    asked = parser.parse_args()
    report = asyncio.run(play(asked.faults, asked.seed, asked.data))
    print(report)
    return 0 if report.held and report.counts else 1


if __name__ == "__main__":
    sys.exit(main())
