"""`greffier doctor` finds what would make a promise empty."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import redis
from redis.asyncio import Redis

from schemas.keyring import generate_keys
from workers.doctor import examine
from workers.local import EmbeddedMongo, EmbeddedValkey
from workers.services import Services, Trust, services_over
from workers.settings import ControllerSettings
from workers.stores.mongo import connect
from workers.uploads import Uploads


def services(tmp_path: Path, redis_url: str, mongo_url: str, prefix: str, skew_ms: int = 5000) -> Services:
    if not (tmp_path / "keys").exists():
        generate_keys(tmp_path / "keys")
    settings = ControllerSettings(
        redis_url=redis_url, mongo_url=mongo_url, mongo_prefix=prefix, keys=tmp_path / "keys" / "controller"
    )
    trust = Trust.read(settings)
    uploads = Uploads(Redis.from_url(redis_url), trust.opener)
    return services_over(connect(settings), uploads, trust, skew=timedelta(milliseconds=skew_ms))


async def test_the_shipped_servers_are_fit(tmp_path: Path, redis_url: str, mongo_url: str, mongo_prefix: str) -> None:
    asked = services(tmp_path, redis_url, mongo_url, mongo_prefix)
    findings = await examine(asked)
    await asked.close()
    assert [finding for finding in findings if not finding.fit] == []
    assert len(findings) >= 10


async def test_a_redis_that_may_lose_is_found(
    tmp_path: Path, own_valkey: EmbeddedValkey, mongo_url: str, mongo_prefix: str
) -> None:
    with redis.Redis.from_url(own_valkey.url) as operator:
        for name, value in (("appendfsync", "everysec"), ("maxmemory-policy", "allkeys-lru"), ("maxmemory", "0")):
            operator.config_set(name, value)
    asked = services(tmp_path, own_valkey.url, mongo_url, mongo_prefix)
    unfit = {finding.check for finding in await examine(asked) if not finding.fit}
    await asked.close()
    assert unfit == {"Redis appendfsync", "Redis maxmemory-policy", "Redis maxmemory"}


async def test_servers_that_do_not_answer_are_found(
    tmp_path: Path, own_valkey: EmbeddedValkey, own_mongo: EmbeddedMongo, mongo_prefix: str
) -> None:
    asked = services(tmp_path, own_valkey.url, own_mongo.url, mongo_prefix)
    own_valkey.kill9()
    own_mongo.kill9()
    unfit = {finding.check for finding in await examine(asked) if not finding.fit}
    await asked.close()
    assert unfit == {"Redis answers", "MongoDB answers"}


async def test_a_bound_tighter_than_the_clocks_is_found(
    tmp_path: Path, redis_url: str, mongo_url: str, mongo_prefix: str
) -> None:
    asked = services(tmp_path, redis_url, mongo_url, mongo_prefix, skew_ms=0)
    unfit = {finding.check for finding in await examine(asked) if not finding.fit}
    await asked.close()
    assert {"Redis's clock (P5)", "MongoDB's clock (P5)"} & unfit
