"""How MongoDB is asked: durably, in bounded time, by index; and what is said when it does not answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient, ReadPreference

from schemas.errors import StoreUnavailable
from schemas.routes import SUBMISSIONS
from schemas.terms import Case, Department, Purpose, SuppressionGround
from tests import factories
from tests.factories import NOON
from tests.waiting import until
from tests.workers.bench import Bench, open_bench, settings_for
from tests.workers.retention.people import (
    APPLICATION_OVER,
    ARCHIVE_OVER,
    applicant,
    correspondent,
    purge_all,
    sweep_all,
)
from tests.workers.stores.recording import Asked, recorded
from workers.audience import Audience
from workers.gate import Reader
from workers.local import EmbeddedMongo
from workers.retention.purge import purge_expired, purge_remarks
from workers.retention.sweep import look_at_due
from workers.services import Trust
from workers.stores import mongo
from workers.stores.mongo import INDEXES, connect, create_indexes
from workers.stores.suppression import No
from workers.who_read import reads_about

Document = dict[str, Any]


async def test_writes_are_durable_and_reads_are_the_primarys(bench: Bench) -> None:
    """`w:1` loses on failover, and breaks the order of erasure and intake. Source: reliability E3, E34, § 7."""
    databases = bench.services.databases
    for database in (databases.active, databases.archive, databases.evidence, databases.keys):
        assert database["any"].write_concern.document == {"w": "majority", "j": True}
        assert database["any"].read_preference == ReadPreference.PRIMARY
        assert database.client.options.timeout == 10  # type: ignore[attr-defined]


async def test_indexes_are_made_once_however_often_a_worker_starts(bench: Bench) -> None:
    def stand() -> dict[str, list[str]]:
        return {
            f"{database}.{collection}": sorted(
                bench.reader[f"{bench.prefix}_{database}"][collection].index_information()
            )
            for database, collections in INDEXES.items()
            for collection in collections
        }

    first = stand()
    await create_indexes(bench.services.databases)
    assert stand() == first
    for name, indexes in first.items():
        database, _, collection = name.partition(".")
        assert len(indexes) == len(INDEXES[database][collection]) + 1


# --- every query of the hot path and of erasure goes by an index ----------------------------------------------------


@pytest.fixture
async def asked(
    keys: Path,
    trust: Trust,
    mongo_url: str,
    mongo_prefix: str,
    redis_url: str,
    mongo_reader: MongoClient[Document],
) -> AsyncIterator[tuple[Bench, list[Asked]]]:
    settings = settings_for(mongo_url, mongo_prefix, keys)
    queries: list[Asked] = []
    databases = recorded(connect(settings), queries)
    async with open_bench(
        settings, trust, keys, redis_url, mongo_reader, databases=databases, skew=timedelta()
    ) as opened:
        yield opened, queries


async def test_every_query_goes_by_an_index(asked: tuple[Bench, list[Asked]]) -> None:
    """All that the shipped actors, gate, audience and erasure ask while people come, return, visit, and are erased."""
    bench, queries = asked
    await _everything(bench)
    shapes = {query.shape: query for query in queries}
    assert len(shapes) > 30
    assert {name for query in shapes.values() if (name := query.scans(bench.reader))} == set()


async def test_a_query_without_an_index_would_be_seen(asked: tuple[Bench, list[Asked]]) -> None:
    bench, queries = asked
    await bench.send(factories.form(Case.CONTACT, factories.someone()))
    await bench.services.submissions.find({"country": "FR"})
    assert queries[-1].scans(bench.reader) is not None


async def _everything(bench: Bench) -> None:
    whom, device = factories.someone(), "device-1"
    await bench.send(factories.choice(device), factories.visit(device), factories.visit("device-2"))
    await bench.second_try()
    application = factories.file()
    applied = factories.form(Case.JOB_APPLICATION, whom, cv=application.field, device_id=device)
    await bench.upload(application, applied)
    contact = factories.contact(Case.CLIENT, whom)
    wire = await bench.send(applied, contact)
    await bench.deliver(wire)
    news = factories.form(Case.NEWSLETTER, whom)
    await bench.send(news)
    await bench.send(factories.confirmed(news, NOON))
    await bench.send(factories.interacted(NOON, email=whom.email), factories.ended(NOON, about=contact.id))
    await bench.send(factories.form(Case.JOB_APPLICATION, whom, event_id=applied.id))
    await bench.send(factories.choice(device, NOON + timedelta(minutes=1), analytics=False))
    await bench.read(whom.email)
    await bench.send(factories.form(Case.WHITE_PAPER, whom, device_id=device))
    for purpose in (Purpose.SALES_PROSPECTING, Purpose.DOWNLOAD_FOLLOW_UP):
        await bench.read(whom.email, purpose)
        await Audience(bench.services, Reader("mailer", Department.MARKETING_SALES), purpose).page()
    assert len(await reads_about(bench.services, whom.email)) == 4
    no = No(frozenset([Purpose.SALES_PROSPECTING]), SuppressionGround.OBJECTION, NOON)
    await bench.services.suppressions.add("nobody@example.org", no)
    await bench.services.forgetting.forget(whom.email)
    await bench.deliver(wire)
    await bench.send(factories.form(Case.CONTACT, whom, received=bench.services.clock() + timedelta(seconds=1)))
    await bench.services.kept([applied.key])
    await correspondent(bench, await applicant(bench))
    bench.clock.at = APPLICATION_OVER
    await sweep_all(bench.services)
    await look_at_due(bench.services)
    bench.clock.at = ARCHIVE_OVER
    await purge_all(bench.services)
    await purge_expired(bench.services)
    await purge_remarks(bench.services)


# --- a store that is away -------------------------------------------------------------------------------------------


@asynccontextmanager
async def _impatient(
    monkeypatch: pytest.MonkeyPatch, server: EmbeddedMongo, keys: Path, trust: Trust, redis_url: str
) -> AsyncIterator[Bench]:
    monkeypatch.setattr(mongo, "_CALL_TIMEOUT_MS", 500)
    monkeypatch.setattr(mongo, "_SELECTION_TIMEOUT_MS", 500)
    with MongoClient[Document](server.url, tz_aware=True) as reader:
        async with open_bench(settings_for(server.url, "away", keys), trust, keys, redis_url, reader) as bench:
            yield bench


@pytest.mark.parametrize("fault", ["killed", "paused"])
async def test_a_store_that_is_away_decides_nothing(
    fault: str,
    own_mongo: EmbeddedMongo,
    keys: Path,
    trust: Trust,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with _impatient(monkeypatch, own_mongo, keys, trust, redis_url) as bench:
        whom = factories.someone()
        wire = bench.seal(factories.form(Case.CONTACT, whom))
        _stop(own_mongo, fault)
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await bench.deliver(wire, SUBMISSIONS)
        with pytest.raises(StoreUnavailable):
            await bench.read(whom.email)
        with pytest.raises(StoreUnavailable):
            await bench.services.forgetting.forget(whom.email)
        with pytest.raises(StoreUnavailable):
            await bench.services.databases.ping()
        _start(own_mongo, fault)
        await until(lambda: _delivered(bench, wire), timeout=30)  # as the broker does, until the driver finds it again
        assert len(bench.collection("submissions")) == len(bench.collection("persons")) == 1
        assert bench.collection("parked") == bench.collection("outcomes", "evidence") == []


async def _delivered(bench: Bench, wire: dict[str, Any]) -> bool:
    try:
        await bench.deliver(wire, SUBMISSIONS)
    except StoreUnavailable:
        return False
    return True


def _stop(server: EmbeddedMongo, fault: str) -> None:
    server.kill9() if fault == "killed" else server.pause()


def _start(server: EmbeddedMongo, fault: str) -> None:
    server.restart() if fault == "killed" else server.resume()
