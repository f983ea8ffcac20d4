"""Issue 3, bad input: a person with 100,000 records gets their package, from an office's SQL to what is downloaded."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest_asyncio

from tests.factories import someone
from tests.waiting import until
from tests.workers.cases.court import Court
from tests.workers.subsidiary.kits import SqliteKit, mapping_of
from workers.actors.subsidiary import serve_order
from workers.broker import Tuning
from workers.cases.inbox import Inbox
from workers.office import Office, ReceiptQueue, RefusedLog, Trust
from workers.services import utc_now
from workers.stores.subsidiaries import open_store
from workers.stores.subsidiaries.journal import Journal

ADA = someone("ada")
MANY = 100_000


@pytest_asyncio.fixture
async def office(subsidiary_keys: Path, fast_path: Path, redis_url: str) -> AsyncIterator[tuple[SqliteKit, Office]]:
    """The British office over its own database; what it answers goes to a real Redis."""
    kit = SqliteKit(fast_path)
    await kit.create()
    trust = Trust(subsidiary_keys / "subsidiaries" / "gb", "gb")
    journal = Journal(fast_path / "journal.jsonl", trust.journal_key)
    store, outbox = open_store(mapping_of(kit), kit.url), ReceiptQueue(redis_url, "gb", Tuning())
    yield kit, Office("gb", trust, store, journal, outbox, RefusedLog(fast_path / "refused"), clock=utc_now)
    outbox.close()
    await store.close()
    journal.close()
    await kit.drop()


@pytest_asyncio.fixture
async def inbox(court: Court, redis_url: str) -> AsyncIterator[list[str]]:
    """The controller's inbox at work; what it would park, by reason."""
    loop, parked = asyncio.get_running_loop(), list[str]()

    def take(store: str, token: str) -> None:
        asyncio.run_coroutine_threadsafe(court.take(store, token), loop).result()

    opened = Inbox(redis_url, ["gb"], take, lambda _store, reason, _raw: parked.append(reason), Tuning())
    opened.start()
    yield parked
    await asyncio.to_thread(opened.stop)


async def test_a_person_with_a_hundred_thousand_records_gets_their_package(
    court: Court, office: tuple[SqliteKit, Office], inbox: list[str]
) -> None:
    kit, at_work = office
    at = datetime(2026, 10, 1, tzinfo=UTC)
    await kit.insert("customers", {"id": 1, "email": ADA.email, "name": ADA.last_name, "registered_at": at})
    await kit.insert("visits", *({"id": n, "customer_id": 1, "at": at} for n in range(MANY)))

    reference = await court.ask("access", ADA.email)
    await court.confirm(reference)
    await court.post()
    order = dict(court.posted).pop("gb")
    court.posted[:] = [(store, token) for store, token in court.posted if store != "gb"]
    await serve_order(at_work, order)
    await until(lambda: _answered(court, reference), 60, what="every part and the receipt were taken")
    assert (await court.run(reference))["answer"] == "answered"
    assert inbox == []

    package = await court.desk.packages.get(reference)
    assert package is not None
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        assert archive.testzip() is None
        data = json.loads(archive.read("data.json"))
        (sheet,) = [one for one in archive.namelist() if one.endswith("-gb-visits.csv")]
        assert archive.read(sheet).count(b"\r\n") == MANY + 1
    (gb,) = [store for store in data["stores"] if store["code"] == "gb"]
    assert {one["name"]: len(one["records"]) for one in gb["collections"]} == {"customers": 1, "visits": MANY}


async def _answered(court: Court, reference: str) -> bool:
    return (await court.tasks(reference))["gb"]["state"] == "receipted"
