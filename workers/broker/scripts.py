"""Has dramatiq's scripts loaded by a user that may, for those that may only run them.

The server forgets scripts when it ends. A controller loads them by itself at its next call; this is for the moment
before any controller has called, and for a Redis that no controller polls. Source: reliability § 8.4.
"""

from __future__ import annotations

import redis
from dramatiq.brokers.redis import RedisBroker


def load_scripts(client: redis.Redis) -> tuple[str, ...]:
    """Load every script; their digests. May be repeated. Raises `redis.RedisError`."""
    broker = RedisBroker(client=client, middleware=[])  # type: ignore[no-untyped-call]
    return tuple(str(client.script_load(script.script)) for script in broker.scripts.values())
