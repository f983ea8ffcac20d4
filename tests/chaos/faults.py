"""What is done to a running installation, in the order a seed says.

| fault | kills | what |
| --- | --- | --- |
| `door`, `controller`, `office`, `redis`, `mongo` | 1 | ``kill -9`` at a random instant |
| `after-write` | 1 | a controller, between its write to MongoDB and its acknowledgement to Redis |
| `after-enqueue` | 1 | a door, between Redis's confirmation and its answer |
| `reboot` | 2 | Redis and MongoDB within three seconds of each other, as when their host restarts |
| `actors-fail` | 2 | MongoDB until the actors give up, and Redis at that very moment: E8 of `reliability.md` |

A killed server stays down for a moment and comes back on its port and data; the rest is started again by its keeper.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import redis
from pymongo.errors import PyMongoError

from schemas.routes import NAMESPACE
from tests.chaos.checker import Reader, keys_in_redis, keys_of, standing
from tests.chaos.load import Load
from tests.installation import Child, Installation
from tests.waiting import until
from workers.local import EmbeddedServer

SINGLE: Final = ("after-write", "redis", "after-enqueue", "mongo", "controller", "door")
KILLS: Final = {"reboot": 2, "actors-fail": 2}
HUNT_S: Final = 20.0
FROZEN_S: Final = 0.03  # what is still so after this long, with its owner frozen, is the owner's
ACTORS_GIVE_UP_S: Final = 10.0  # each call of a controller's driver looks this long for its server


@dataclass(frozen=True)
class Fault:
    """``wait_s`` before it; ``stagger_s`` between its two kills; ``down_s``: how long each server stays away."""

    kind: str
    wait_s: float
    stagger_s: float
    down_s: tuple[float, float]
    first: str

    @property
    def kills(self) -> int:
        return KILLS.get(self.kind, 1)


def plan(seed: int, kills: int) -> list[Fault]:
    """At least ``kills`` faults; a third of them come in pairs."""
    chance = random.Random(seed)
    pairs = max(1, round(kills / 6))
    kinds = ["reboot"] * pairs + [SINGLE[n % len(SINGLE)] for n in range(kills - 2 * pairs)]
    chance.shuffle(kinds)
    return [fault(kind, chance) for kind in kinds]


def fault(kind: str, chance: random.Random) -> Fault:
    """One of a kind, at an instant that chance says."""
    return Fault(
        kind,
        wait_s=chance.uniform(0.3, 2.0),
        stagger_s=chance.uniform(0.0, 3.0),
        down_s=(chance.uniform(0.2, 2.0), chance.uniform(0.2, 2.0)),
        first=chance.choice(["redis", "mongo"]),
    )


def aimed(times: int) -> list[Fault]:
    """Actors that fail, because MongoDB is away, at the moment when Redis is away too."""
    down_s = (6.0, ACTORS_GIVE_UP_S + 2)
    return [Fault("actors-fail", wait_s=1.0, stagger_s=ACTORS_GIVE_UP_S - 1, down_s=down_s, first="mongo")] * times


class Breaker:
    """Commits faults that need no look at what is under way."""

    def __init__(self, installation: Installation, seed: int) -> None:
        self._installation = installation
        self._chance = random.Random(seed)
        self.committed: list[str] = []

    async def commit(self, faults: Sequence[Fault]) -> None:
        """One after the other."""
        for fault in faults:
            await asyncio.sleep(fault.wait_s)  # the random instant, not a wait for anything
            await self._commit(fault)

    async def _commit(self, fault: Fault) -> None:
        match fault.kind:
            case "door" | "controller" | "office":
                self._kill(self._chance.choice(self._children(fault.kind)))
            case "redis" | "mongo":
                await self._keep_down(self._server(fault.kind), fault.down_s[0])
            case "reboot" | "actors-fail":
                await self._both(fault)

    def _kill(self, victim: Child | EmbeddedServer) -> None:
        victim.kill9()
        self.committed.append(victim.name)

    async def _keep_down(self, server: EmbeddedServer, down_s: float) -> None:
        self._installation.held_down.add(server.name)
        self._kill(server)
        await asyncio.sleep(down_s)  # how long it is away is the fault
        self._installation.held_down.discard(server.name)

    async def _both(self, fault: Fault) -> None:
        first, second = self._server("redis"), self._server("mongo")
        down = fault.down_s
        if fault.first == "mongo":
            first, second, down = second, first, (down[1], down[0])

        async def later() -> None:
            await asyncio.sleep(fault.stagger_s)
            await self._keep_down(second, down[1])

        await asyncio.gather(self._keep_down(first, down[0]), later())

    def _children(self, kind: str) -> list[Child]:
        return self._installation.of_kind(kind)

    def _server(self, name: str) -> EmbeddedServer:
        return next(server for server in self._installation.servers if server.name == name)


class Hunter(Breaker):
    """Kills in the middle of a step, too. ``redelivered``: messages whose events stood already when the controller that
    held them died; ``asked_again``: events that Redis had confirmed when the door that was to say so died.
    """

    def __init__(self, installation: Installation, load: Load, seed: int) -> None:
        super().__init__(installation, seed)
        self._load = load
        self._redis = installation.redis()
        self._mongo: Reader = installation.mongo()
        self.redelivered = 0
        self.asked_again = 0

    def close(self) -> None:
        self._redis.close()
        self._mongo.close()

    async def _commit(self, fault: Fault) -> None:
        match fault.kind:
            case "after-write":
                await self._hunt(self._children("controller"), self._written_not_acknowledged)
            case "after-enqueue":
                await self._hunt(self._children("door"), self._enqueued_not_answered)
            case _:
                await super()._commit(fault)

    # ------------------------------------------------------------------ inside a transition

    async def _hunt(self, among: Sequence[Child], caught: Callable[[], Any]) -> None:
        """Freeze one of them again and again, until it is seen in the middle of the step; then kill it."""
        deadline = time.monotonic() + HUNT_S
        while time.monotonic() < deadline:
            victim = self._chance.choice(among)
            if await self._frozen_in_the_step(victim, caught):
                return
            await asyncio.sleep(self._chance.uniform(0.002, 0.02))  # another instant
        self._kill(victim)

    async def _frozen_in_the_step(self, victim: Child, caught: Callable[[], Any]) -> bool:
        victim.pause()
        try:
            seen = set(caught())
            if seen:
                await asyncio.sleep(FROZEN_S)
                seen &= set(caught())
            if seen:
                self._kill(victim)
                self._note(victim, len(seen))
            return bool(seen)
        except (redis.RedisError, PyMongoError):  # a server that is just coming back
            return False
        finally:
            victim.resume()

    def _note(self, victim: Child, seen: int) -> None:
        if victim in self._installation.controllers:
            self.redelivered += seen
        else:
            self.asked_again += seen

    def _written_not_acknowledged(self) -> list[bytes]:
        """Messages in work all of whose events stand."""
        taken = [
            (key.rpartition(b".")[2].decode(), redis_id)
            for key in self._redis.scan_iter(match=f"{NAMESPACE}:__acks__.*")
            for redis_id in cast("set[bytes]", self._redis.smembers(key))
            if not key.endswith(b".DQ")
        ]
        bodies = [(redis_id, self._redis.hget(f"{NAMESPACE}:{queue}.msgs", redis_id)) for queue, redis_id in taken]
        events = {redis_id: keys_of(cast(bytes, body)) for redis_id, body in bodies if body}
        stands = standing(self._mongo, [key for keys in events.values() for key in keys])
        return [redis_id for redis_id, keys in events.items() if all(stands[key] for key in keys)]

    def _enqueued_not_answered(self) -> list[str]:
        """Events that Redis or MongoDB has and whose publisher still waits."""
        waiting = list(self._load.in_flight)
        have = keys_in_redis(self._redis) | set(standing(self._mongo, waiting))
        return [key for key in waiting if key in have]


async def all_up(installation: Installation) -> None:
    """Until everything that was killed is back and ready."""
    await until(lambda: all(server.alive for server in installation.servers), 30, what="servers back")
    await installation.all_ready()
