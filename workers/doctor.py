"""Is this installation fit to keep its promises? Settings of both servers, clocks, register and keys, asked directly.

Each check names the promise that rests on it. What cannot be asked (a managed Redis without ``CONFIG``) is not passed
over in silence: it is a finding.
Source: reliability § 6.3 (values), E2, E3, E12, E24; design § 4 "a skew bound that doctor measures".
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from schemas.calendar import PARIS
from schemas.errors import StoreUnavailable
from workers.services import Services
from workers.status import ledger_alarms
from workers.stores.heads import at_one_look

_REDIS_SETTINGS: Final = {
    "appendonly": ("yes", "without it a restart of Redis loses accepted messages (P1)"),
    "appendfsync": ("always", "anything less loses accepted messages on power loss or a slow disk (P1)"),
    "no-appendfsync-on-rewrite": ("no", "a rewrite of the log would suspend the fsync behind a 202 (P1)"),
    "maxmemory-policy": ("noeviction", "any other throws messages away without a word (P1)"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. ``fit``: whether the promise holds; ``seen``: what was found, without secrets."""

    check: str
    fit: bool
    seen: str


async def examine(services: Services) -> list[Finding]:
    """All checks; a server that does not answer is a finding, not an error."""
    findings = [_transfer_bases(services)]
    try:
        findings += [finding async for finding in _redis(services.uploads.client, services.skew)]
    except RedisError as error:
        findings.append(Finding("Redis answers", False, type(error).__name__))
    try:
        findings += [finding async for finding in _mongo(services)]
    except StoreUnavailable as error:
        findings.append(Finding("MongoDB answers", False, str(error)))
    return findings


def _transfer_bases(services: Services) -> Finding:
    today: date = datetime.now(PARIS).date()
    lapsed = [code for code, one in services.trust.register.subsidiaries.items() if not one.transfer.live(today)]
    seen = f"no data crosses to {', '.join(lapsed)}" if lapsed else "every subsidiary's is live"
    return Finding("transfer bases (P8)", not lapsed, seen)


async def _redis(redis: Redis, skew: timedelta) -> AsyncIterator[Finding]:
    for name, (due, why) in _REDIS_SETTINGS.items():
        found = str((await redis.config_get(name)).get(name))
        yield Finding(f"Redis {name}", found == due, found if found == due else f"{found}, must be {due}: {why}")
    limit = int((await redis.config_get("maxmemory")).get("maxmemory") or 0)
    seen = f"{limit >> 20} MiB" if limit else "none: Redis grows until the machine is full (P1)"
    yield Finding("Redis maxmemory", bool(limit), seen)
    asked = time.time()
    seconds, microseconds = await redis.time()
    yield _clock("Redis", seconds + microseconds / 1e6 - (asked + time.time()) / 2, skew)


async def _mongo(services: Services) -> AsyncIterator[Finding]:
    asked = time.time()
    hello = await services.databases.hello()
    answered = time.time()
    name = hello.get("setName")
    yield Finding("MongoDB replica set", bool(name), name or "standalone: majority writes promise nothing (P1, P5)")
    ahead = hello["localTime"].replace(tzinfo=UTC).timestamp() - (asked + answered) / 2
    yield _clock("MongoDB", ahead, services.skew)
    slowest = max([sequence.ahead_ms for sequence in await services.bookkeeping.sequences()], default=0)
    bound = services.skew // timedelta(milliseconds=1)
    ledger = await at_one_look(services.databases)
    wrong = ledger_alarms(services, ledger)
    yield Finding("ledger (P12)", not wrong, wrong[0] if wrong else f"{ledger.signed} of {ledger.size} entries signed")
    yield Finding("doors' clocks (P5)", slowest <= bound, f"at most {slowest} ms ahead of a worker; bound {bound} ms")


def _clock(server: str, ahead_s: float, skew: timedelta) -> Finding:
    """Tombstones bear the database's time and events a door's: half of the bound is each one's share."""
    fit = abs(ahead_s) <= skew.total_seconds() / 2
    return Finding(f"{server}'s clock (P5)", fit, f"{ahead_s * 1000:+.0f} ms from this machine's; bound {skew}")
