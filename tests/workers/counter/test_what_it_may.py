"""What somebody has who has the counter: its key folder and its MongoDB user open packages, and nobody's data.

The user is the one that docs/operate.md says to make.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from schemas import keyring
from schemas.errors import ConfigurationError
from schemas.keyring import PACKAGES, WRAPPING, add_package_key, generate_keys, read_wrapping_keys
from tests.guarded import GuardedMongo, guarded_mongo
from tests.workers.bench import DATABASES, Bench
from tests.workers.counter.conftest import Window
from tests.workers.outside.conftest import Caller, authority, outside_keys, signed
from workers.counter.app import open_counter
from workers.counter.settings import CounterSettings
from workers.services import utc_now
from workers.stores.keys import LocalKeyWrapper, Unreadable
from workers.stores.leases import Leases
from workers.stores.mongo import connect

__all__ = ["authority", "outside_keys"]

DOCS = Path(__file__).parents[3] / "docs" / "operate.md"


@pytest.fixture
def guarded(fast_path: Path) -> Iterator[GuardedMongo]:
    with guarded_mongo(fast_path) as server:
        yield server


def role_of_the_counter(prefix: str) -> list[dict[str, Any]]:
    """The privileges that the page says to grant, for databases of another prefix."""
    found = re.search(r"createRole\((\{.*?\n\})\)", DOCS.read_text(), re.DOTALL)
    assert found
    privileges: list[dict[str, Any]] = json.loads(found[1].replace('"greffier_', f'"{prefix}_'))["privileges"]
    return privileges


def moved(bench: Bench, guarded: GuardedMongo) -> None:
    """Everything that stands, on the server that asks for names."""
    with MongoClient[dict[str, Any]](guarded.url) as admin:
        for name, documents in bench.dump().items():
            database, _, collection = name.partition(".")
            if documents:
                admin[f"{bench.prefix}_{database}"][collection].insert_many(documents)


def user_of_the_counter(guarded: GuardedMongo, prefix: str) -> str:
    with MongoClient[dict[str, Any]](guarded.url) as admin:
        admin.admin.command("createRole", "counter", privileges=role_of_the_counter(prefix), roles=[])
    return guarded.make_user("counter", "counter")


async def lends_an_order(settings: CounterSettings, guarded: GuardedMongo) -> None:
    """An order that waits is sealed: it may be read and lent, and not be changed."""
    order = {"_id": "order-1", "store": "us"}
    with MongoClient[dict[str, Any]](guarded.url) as admin:
        evidence = admin[f"{settings.mongo_prefix}_evidence"]
        evidence["attempts"].insert_one({**order, "token": "sealed"})
        evidence["tasks"].insert_one({**order, "order": "order-1", "send_at": utc_now()})
    databases = connect(settings)
    now, leases = utc_now(), Leases(databases)
    lent = [await leases.take("us", now, now + timedelta(minutes=1)) for _ in range(2)]
    databases.close()
    assert lent == ["sealed", None]


async def serves_an_agent(settings: CounterSettings, bench: Bench) -> None:
    """All that another organisation's system may ask."""
    async with open_counter(settings, bench.clock) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        caller = Caller(http, bench.clock)
        for _ in range(2):
            asked = await caller.ask(**{"agent-request-id": "asked-1"})
        path = f"/v1/data-rights-request/{asked['request_id']}"
        assert (await caller.call("DELETE", path, signed({})))[1]["status"] == "revoked"


async def test_its_user_hands_out_packages_and_reads_nobody(
    window: Window, bench: Bench, guarded: GuardedMongo, keys: Path, outside_keys: Path
) -> None:
    reference = await window.answered()
    token = await window.download_token(reference)
    moved(bench, guarded)
    url = user_of_the_counter(guarded, bench.prefix)
    settings = CounterSettings(
        mongo_url=SecretStr(url), mongo_prefix=bench.prefix, keys=keys / "counter", counter_port=0
    )
    async with open_counter(settings, bench.clock) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        async with http.get("/readyz") as ready, http.post(f"/download/{token}") as fetched:
            assert (ready.status, fetched.status) == (200, 200)
            assert (await fetched.read()).startswith(b"PK")
        async with http.post(f"/download/{token}") as again:
            assert again.status == 410

    await lends_an_order(settings, guarded)
    await serves_an_agent(settings.model_copy(update={"outside": outside_keys}), bench)
    may = {"cases", "packages.files", "packages.chunks", "ledger_pending", "package_keys", "leases"}
    may |= {"outside", "outside_tokens", "outside_seen", "errands", "preferences"}
    with MongoClient[dict[str, Any]](url) as user:
        for database in DATABASES:
            for collection in {
                name.partition(".")[2] for name in bench.dump() if name.startswith(f"{database}.")
            } - may:
                if collection not in ("tasks", "attempts"):
                    with pytest.raises(OperationFailure):
                        user[f"{bench.prefix}_{database}"][collection].find_one()
                with pytest.raises(OperationFailure):
                    user[f"{bench.prefix}_{database}"][collection].update_many({}, {"$set": {"mine": True}})
                with pytest.raises(OperationFailure):
                    user[f"{bench.prefix}_{database}"][collection].delete_many({})


async def test_its_keys_open_packages_alone(window: Window, bench: Bench, keys: Path) -> None:
    """Even with every document of every database."""
    await window.answered()
    assert {file.name for file in (keys / "counter").iterdir()} == {
        *("tokens.public.json", "subsidiaries.public.json"),
        PACKAGES,
    }
    counters = LocalKeyWrapper(read_wrapping_keys(keys / "counter", PACKAGES))
    [package] = bench.collection("package_keys", "keys")
    assert len(counters.unwrap(package["_id"], package)) == 32
    others = bench.collection("keys", "keys")
    assert {one["_id"].rpartition("/")[2] for one in others} >= {"active", "case"}
    for stored in others:
        with pytest.raises(Unreadable):
            counters.unwrap(stored["_id"], stored)


async def test_the_folder_as_it_was_opened_everybody(window: Window, bench: Bench, keys: Path) -> None:
    """The broken variant: with the controller's ``wrapping.json`` every key there is opens."""
    await window.answered()
    as_it_was = LocalKeyWrapper(read_wrapping_keys(keys / "controller", WRAPPING))
    assert all(as_it_was.unwrap(stored["_id"], stored) for stored in bench.collection("keys", "keys"))


def test_an_older_installation_gets_the_key_once_and_loses_what_opened_more(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    generate_keys(folder)
    for place in ("controller", "counter"):
        (folder / place / PACKAGES).unlink()
    (folder / "counter" / WRAPPING).write_text((folder / "controller" / WRAPPING).read_text())
    with pytest.raises(ConfigurationError, match=r"packages\.json"):
        read_wrapping_keys(folder / "counter", PACKAGES)
    add_package_key(folder)
    assert not (folder / "counter" / WRAPPING).exists()
    made = [read_wrapping_keys(folder / place, PACKAGES) for place in ("controller", "counter")]
    assert made[0] == made[1] != keyring.read_wrapping_keys(folder / "controller")
    with pytest.raises(FileExistsError):
        add_package_key(folder)
