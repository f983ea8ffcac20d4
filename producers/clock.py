"""``greffier clock``: time as a publisher. What is due is said in a message, and nobody waits inside the broker.

Of the clocks that run one leads, by a lease in Redis; the others look three times within a lease, and one of them leads
soon after the leader is no longer heard of. The leader publishes each chore's latest planned tick unless it did so
already, which is all there is to it: a start, a takeover, a missed hour and a wall clock that was set back or forward
are one rule, and what was missed is caught up once. Two clocks that both believe they lead publish the same events,
for a tick's id follows from its chore and its planned moment.
Source: design § 4 "Time and no"; P9; reliability § 6.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, Final, Self

import redis
import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest

from producers.intake import utc_now
from producers.publisher import Letterbox, connect
from producers.settings import ClockSettings
from schemas.errors import QueueUnavailable
from schemas.fields import wire_moment
from schemas.keyring import read_sealer
from schemas.routes import CLOCK_LEASE, CLOCK_PUBLISHED, RETENTION
from schemas.ticks import SCHEDULE, Rhythm, tick

LOOKS: Final = 3
"""Looks at the lease within its time: two may fail before it is lost."""
QUEUE_LIMIT: Final = 1000
"""Ticks that nobody takes: more of them help nobody."""

log = structlog.get_logger("greffier.clock")


class Held(IntEnum):
    """What a look at the lease found. ``TAKEN``: it was nobody's and is ours now; ``KEPT``: it was ours already."""

    BY_ANOTHER = 0
    KEPT = 1
    TAKEN = 2


_HOLD: Final = """
local holder = redis.call('get', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
return holder and 1 or 2
"""
_GIVE_BACK: Final = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0
"""


class Lease:
    """Who leads. Redis compares and sets in one step; each call raises :class:`redis.RedisError` when it is away."""

    def __init__(self, client: redis.Redis, name: str, lease_ms: int) -> None:
        self.name = name
        self._lease_ms = lease_ms
        self._hold: Any = client.register_script(_HOLD)
        self._give_back: Any = client.register_script(_GIVE_BACK)

    def hold(self) -> Held:
        """Take the lease if it is nobody's, renew it if it is ours."""
        return Held(self._hold(keys=[CLOCK_LEASE], args=[self.name, self._lease_ms]))

    def give_back(self) -> None:
        """Let the next look of another take it; another's is left alone."""
        self._give_back(keys=[CLOCK_LEASE], args=[self.name])


class Timekeeper:
    """Decides and publishes, one turn at a time. Blocks, and belongs to one thread."""

    def __init__(
        self,
        letterbox: Letterbox,
        client: redis.Redis,
        lease: Lease,
        *,
        now: Callable[[], datetime] = utc_now,
        schedule: Mapping[str, Rhythm] = SCHEDULE,
    ) -> None:
        self._letterbox = letterbox
        self._client = client
        self._lease = lease
        self._now = now
        self._schedule = schedule
        self._published: dict[str, str] = {}
        self.leads = False
        self.answered = False
        """Whether Redis did, at the last turn."""
        self._waits_for = ""

    def turn(self) -> list[str]:
        """Publish what is due, if it is ours to; the chores whose tick was published."""
        said: list[str] = []
        try:
            self._look()
            for chore in self._due():
                # Asked again before each: whoever was stopped in between may lead no longer.
                self._look()
                if not self.leads:
                    break
                self._publish(chore)
                said.append(chore)
        except (redis.RedisError, QueueUnavailable) as error:
            self._wait(error.code if isinstance(error, QueueUnavailable) else "redis_unavailable")
        else:
            self.answered, self._waits_for = True, ""
        return said

    def until_next(self) -> timedelta:
        """From now to the next planned moment of any chore."""
        now = self._now()
        return min(rhythm.following(now) for rhythm in self._schedule.values()) - now

    def give_back(self) -> None:
        """Leave the lease to another, if it is ours."""
        try:
            self._lease.give_back()
        except redis.RedisError:
            log.warning("lease_not_given_back")
        self.leads = False

    def _wait(self, why: str) -> None:
        if why != self._waits_for:  # once, however long it lasts
            log.warning("clock_waits", error=why)
        self.leads, self.answered, self._waits_for = False, False, why

    def _look(self) -> None:
        held = self._lease.hold()
        led, self.leads = self.leads, held is not Held.BY_ANOTHER
        if held is Held.TAKEN or (self.leads and not led):  # others may have published since we last knew
            found: Any = self._client.hgetall(CLOCK_PUBLISHED)
            self._published = {chore.decode(): planned.decode() for chore, planned in found.items()}
        if self.leads is not led:
            log.info("clock_leads" if self.leads else "clock_stands_by", clock=self._lease.name)

    def _due(self) -> list[str]:
        if not self.leads:
            return []
        return [chore for chore in self._schedule if self._published.get(chore) != wire_moment(self._planned(chore))]

    def _publish(self, chore: str) -> None:
        planned = self._planned(chore)
        self._letterbox.post(RETENTION, [tick(chore, planned, self._now())])
        self._published[chore] = wire_moment(planned)
        self._client.hset(CLOCK_PUBLISHED, chore, wire_moment(planned))
        log.info("tick", chore=chore, planned=wire_moment(planned))

    def _planned(self, chore: str) -> datetime:
        return self._schedule[chore].latest(self._now())


class Clock:
    """One clock process. ``async with Clock(settings)``: it keeps time inside, and gives the lease back after.

    Raises :class:`ConfigurationError` on entering when a key, a setting or Redis's durability must be mended. A Redis
    that is merely away does not stop it.
    """

    def __init__(
        self,
        settings: ClockSettings,
        *,
        now: Callable[[], datetime] = utc_now,
        schedule: Mapping[str, Rhythm] = SCHEDULE,
    ) -> None:
        self._settings = settings
        url = settings.redis_url.get_secret_value()
        self._letterbox = Letterbox(url, read_sealer(settings.keys), queue_limit=QUEUE_LIMIT, queues=[RETENTION])
        self._client = connect(url)
        self.name: Final = f"clock-{secrets.token_hex(8)}"
        lease = Lease(self._client, self.name, settings.clock_lease_ms)
        self._keeper = Timekeeper(self._letterbox, self._client, lease, now=now, schedule=schedule)
        self._look_s = settings.clock_lease_ms / 1000 / LOOKS
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="clock")
        self._stopping = asyncio.Event()
        self._registry = CollectorRegistry()
        self._ticks = Counter("greffier_clock_ticks", "ticks published", ("chore",), registry=self._registry)
        self._leads = Gauge("greffier_clock_leads", "1 while this clock leads", registry=self._registry)
        self.port = 0

    async def __aenter__(self) -> Self:
        with contextlib.suppress(QueueUnavailable):  # the first turn says so
            await self._off_loop(self._letterbox.check)
        await self._listen()
        self._keeping = asyncio.create_task(self._keep_time())
        log.info("clock_open", clock=self.name, port=self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        await self._keeping
        await self._off_loop(self._keeper.give_back)
        await self._runner.cleanup()
        self._letterbox.close()
        self._client.close()
        self._thread.shutdown(wait=False)
        log.info("clock_closed", clock=self.name)

    async def _keep_time(self) -> None:
        while not self._stopping.is_set():
            try:
                for chore in await self._off_loop(self._keeper.turn):
                    self._ticks.labels(chore).inc()
            except Exception:  # a defect: said, not ready, and tried again
                self._keeper.answered = False
                log.exception("turn_failed")
            self._leads.set(self._keeper.leads)
            wait = min(self._look_s, max(0.0, self._keeper.until_next().total_seconds()))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)

    async def _off_loop(self, do: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, do)

    async def _listen(self) -> None:
        application = web.Application()
        application.router.add_get("/livez", _alive)
        application.router.add_get("/readyz", self._ready)
        application.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._settings.metrics_host, self._settings.metrics_port).start()
        self.port = int(self._runner.addresses[0][1])

    async def _ready(self, _: web.Request) -> web.Response:
        """Ready: Redis answered the last look, whether this clock leads or stands by."""
        ready = self._keeper.answered
        return web.Response(status=200 if ready else 503, text="ready\n" if ready else "not ready\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _alive(_: web.Request) -> web.Response:
    return web.Response(text="alive\n")
