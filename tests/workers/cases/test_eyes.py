"""Own eyes: an office that says what it did not do is found out, with rights to read and no others. P6; R25."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from schemas.errors import ConfigurationError, StoreUnavailable
from schemas.ledger_keys import LedgerKeys
from schemas.terms import StoreOutcome
from tests.factories import Someone, someone
from tests.guarded import guarded_mongo
from tests.workers.cases.court import Court, Entry, mails_leave, settled
from tests.workers.cases.test_evidence_of_cases import checked, ledger_keys, standings
from tests.workers.subsidiary.kits import COLLECTIONS, Kit, MongoKit, SqliteKit, mapping_of
from workers.cases.engine import advance
from workers.cases.eyes import AGAIN_AFTER, AWAY, Sight, read_eyes
from workers.cases.showing import whole
from workers.stores.subsidiaries.adapter import StoreRefuses, Subject

__all__ = ["ledger_keys"]

AT = datetime(2026, 10, 1, tzinfo=UTC)


class Seen:
    """An office's database, and the URL of a user who can only read it."""

    def __init__(self, kit: Kit, url: str, tamper: Callable[[], object]) -> None:
        self.kit = kit
        self.url = url
        self.tamper = tamper
        """Tries to write as that user."""

    async def holds(self, whom: Someone) -> None:
        await self.kit.insert("customers", {"id": 1, "email": whom.email, "name": whom.last_name, "registered_at": AT})


@pytest.fixture(params=["mongodb", "sqlite"])
async def seen(request: pytest.FixtureRequest, fast_path: Path) -> AsyncIterator[Seen]:
    if request.param == "mongodb":
        with guarded_mongo(fast_path) as server:
            found = MongoKit(server.url, "office")
            await found.create()
            url = server.make_user("eyes", {"role": "read", "db": "office"})

            def deletes() -> object:
                with MongoClient[dict[str, Any]](url) as client:
                    return client["office"]["customers"].delete_many({})

            yield Seen(found, url, deletes)
            await found.drop()
        return
    kit = SqliteKit(fast_path)
    await kit.create()
    yield Seen(
        kit,
        f"sqlite:///file:{kit.path}?mode=ro&uri=true",
        lambda: sqlite3.connect(f"file:{kit.path}?mode=ro", uri=True).execute("DELETE FROM customers"),
    )
    await kit.drop()


@pytest.fixture
async def watched(court: Court, seen: Seen) -> AsyncIterator[Court]:
    """The court, whose controller may read in the British office's store."""
    store = Sight(mapping_of(seen.kit), seen.url).open()
    court.desk = replace(court.desk, eyes={"gb": store})
    yield court
    await store.close()


def says_done(entry: Entry) -> Entry:
    """What a store answers that erased one customer; also the second time it is asked."""
    if entry["ask"] == "look":
        return {"outcome": StoreOutcome.NOTHING_HELD.value, "collections": []}
    return {"outcome": "done", "collections": [{"name": "customers", "matched": 1, "erased": 1}]}


async def asked_and_answered(court: Court, whom: Someone) -> str:
    court.stores["gb"].answer = says_done
    reference = await court.ask("erasure", whom.email)
    await court.confirm(reference)
    await court.run(reference)
    await mails_leave(court, reference)
    return reference


async def test_who_did_what_it_says_is_verified(watched: Court, seen: Seen, ledger_keys: LedgerKeys) -> None:
    ada = someone()
    await seen.holds(ada)
    reference = await asked_and_answered(watched, ada)
    await seen.kit.empty()
    case = await settled(watched, reference)
    assert case["proof"] == "closed"
    tasks = await watched.tasks(reference)
    assert {store: task["proof"] for store, task in tasks.items()} == {
        "controller": "verified",
        "gb": "verified",
        "de": "attested",
        "us": "attested",
    }
    receipts = await watched.desk.cases.receipts_of(reference)
    looked = {one["_id"]: one["store"] for one in receipts}
    assert looked[tasks["gb"]["looked"]] == "controller", "signed by who looked"
    assert sum(one["store"] == "gb" for one in receipts) == 1, "nobody asked it for a second statement"
    _, report = await checked(watched, ledger_keys, reference)
    assert report.faults == [], "a stranger finds the same in the file"
    assert standings(report) == {"controller": "verified", "gb": "verified", "de": "attested", "us": "attested"}


async def test_who_says_done_and_still_holds_the_row_is_found_out(
    watched: Court, seen: Seen, ledger_keys: LedgerKeys
) -> None:
    ada = someone()
    await seen.holds(ada)
    reference = await asked_and_answered(watched, ada)
    case = await settled(watched, reference)
    _, report = await checked(watched, ledger_keys, reference)
    assert (report.faults, standings(report)["gb"]) == ([], "contradicting")
    assert (case["answer"], case["proof"]) == ("answered", "receipted")
    shown = {one["store"]: one for one in (await whole(watched.desk, reference))["stores"]}
    assert (shown["gb"]["state"], shown["gb"]["reason"]) == ("doubtful", "look_disagrees")


async def test_without_eyes_the_same_lie_is_believed(court: Court, seen: Seen) -> None:
    """The variant that asks the liar itself: told twice, the lie stands as ``attested``."""
    ada = someone()
    await seen.holds(ada)
    reference = await asked_and_answered(court, ada)
    assert (await settled(court, reference))["proof"] == "closed"
    assert (await court.tasks(reference))["gb"]["proof"] == "attested"
    assert len(await seen.kit.rows("customers")) == 1


async def test_the_eyes_can_read_and_nothing_else(watched: Court, seen: Seen) -> None:
    ada = someone()
    await seen.holds(ada)
    with pytest.raises((OperationFailure, sqlite3.OperationalError)):
        seen.tamper()
    with pytest.raises((StoreRefuses, StoreUnavailable)):
        await watched.desk.eyes["gb"].erase(Subject((ada.email,), datetime.now(UTC)))
    assert len(await seen.kit.rows("customers")) == 1


async def test_eyes_that_cannot_see_keep_the_case_open_and_look_again(court: Court, fast_path: Path) -> None:
    kit = SqliteKit(fast_path)
    await kit.create()
    elsewhere = fast_path / "elsewhere"
    store = Sight(mapping_of(kit), f"sqlite:///file:{elsewhere}?mode=ro&uri=true").open()
    court.desk = replace(court.desk, eyes={"gb": store})
    reference = await asked_and_answered(court, someone())
    case = await settled(court, reference)
    assert case["proof"] == "receipted"
    shown = {one["store"]: one for one in (await whole(court.desk, reference))["stores"]}
    assert (shown["gb"]["state"], shown["gb"]["unseen"]) == ("receipted", AWAY)
    assert court.desk.services.clock() < case["wake_at"] <= court.desk.services.clock() + AGAIN_AFTER

    kit.path.rename(elsewhere)
    await court.desk.cases.change(case, {"settle_at": court.desk.services.clock() - timedelta(seconds=1)})
    await advance(court.desk, reference)
    task = (await court.tasks(reference))["gb"]
    assert (task["state"], task["proof"], "unseen" in task) == ("proved", "verified", False)
    await store.close()
    await kit.drop()


STORE = "store: {kind: sql, url_file: %s}\n"


def test_each_office_that_is_seen_has_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "gb.url").write_text("sqlite:///nowhere.sqlite")
    (tmp_path / "gb.yaml").write_text(STORE % (tmp_path / "gb.url") + COLLECTIONS)
    sights = read_eyes(tmp_path, ["gb", "de"])
    assert set(sights) == {"gb"}
    assert "nowhere" not in repr(sights)
    assert read_eyes(None, ["gb"]) == {}


@pytest.mark.parametrize(
    ("name", "store", "fault"),
    [
        ("xx.yaml", STORE, "connected"),
        ("gb.yaml", "store: {kind: sql, url_env: HOME}\n", "url_file"),
        ("gb.yaml", "store: {kind: sql, url_file: /nowhere/gb.url}\n", "no readable URL"),
    ],
)
def test_a_file_that_must_be_mended_stops_the_start(tmp_path: Path, name: str, store: str, fault: str) -> None:
    (tmp_path / "gb.url").write_text("sqlite:///nowhere.sqlite")
    (tmp_path / name).write_text(store.replace("%s", str(tmp_path / "gb.url")) + COLLECTIONS)
    with pytest.raises(ConfigurationError, match=fault):
        read_eyes(tmp_path, ["gb"])
    with pytest.raises(ConfigurationError, match="GREFFIER_EYES"):
        read_eyes(tmp_path / "missing", ["gb"])
