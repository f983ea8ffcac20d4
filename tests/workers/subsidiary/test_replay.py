"""After a restore of yesterday's backup the replay leaves nothing of what had been erased, and touches nobody else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.terms import Right
from tests.workers.subsidiary.conftest import OpenOffice
from tests.workers.subsidiary.controller import RECEIVED_AT, ControllerSide, counts, entry
from tests.workers.subsidiary.kits import COLUMNS, Kit, SqliteKit, mapping_of
from tests.workers.subsidiary.test_serving import ANNA, BOB, LATER, SHARED, fill
from workers.actors.subsidiary import serve_order
from workers.journal_replay import replay
from workers.stores.subsidiaries.adapter import Subject

Backup = Mapping[str, list[dict[str, Any]]]


async def backup(kit: Kit) -> Backup:
    return {name: await kit.rows(name) for name in COLUMNS}


async def restore(kit: Kit, saved: Backup) -> None:
    """As a backup tool does it: emptied, then filled."""
    await kit.empty()
    for name in COLUMNS:
        if saved[name]:
            await kit.insert(name, *saved[name])


async def test_a_restored_backup_is_cleared_of_everyone_who_was_served(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(kit)
    saved = await backup(kit)
    look = entry(ANNA, ask="look")
    await serve_order(await open_office(kit), controller.token(entry(ANNA), entry(BOB, right=Right.OBJECTION)))
    served = {name: len(rows) for name, rows in (await backup(kit)).items()}
    await restore(kit, saved)
    office = await open_office(kit)
    first = await replay(office.store, office.journal)
    assert (first.people, first.refused) == (2, {})
    assert first.erased > 0
    assert first.restricted == 1
    await serve_order(office, controller.token(look))
    left = counts(controller.receipts().of(look["task"])[0]["collections"])
    assert all(one["matched"] == one.get("retained", 0) for one in left.values())
    names = [row["name"] for row in await kit.rows("customers")]
    assert names == ["Anna Muster", "Bob"]  # Anna under her invoice, Bob with his objection
    again = await replay(office.store, office.journal)
    assert (again.erased, again.anonymised) == (0, 0)
    assert {name: len(rows) for name, rows in (await backup(kit)).items()} == served


async def test_what_was_done_after_the_request_survives_the_replay(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await serve_order(await open_office(kit), controller.token(entry(ANNA)))
    await kit.insert("customers", {"id": 7, "email": ANNA, "name": "came back", "registered_at": LATER})
    office = await open_office(kit)
    assert (await replay(office.store, office.journal)).erased == 0
    assert [row["name"] for row in await kit.rows("customers")] == ["came back"]


async def test_a_shared_address_is_left_to_a_person(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    mapping = mapping_of(sqlite_kit, SHARED)
    await serve_order(await open_office(sqlite_kit, mapping=mapping), controller.token(entry(ANNA)))
    await sqlite_kit.insert(
        "customers", {"id": 1, "email": ANNA, "customer_no": "C1"}, {"id": 2, "email": ANNA, "customer_no": "C2"}
    )
    office = await open_office(sqlite_kit, mapping=mapping)
    assert (await replay(office.store, office.journal)).refused == {"shared-address": 1}
    assert len(await sqlite_kit.rows("customers")) == 2


async def test_an_erasure_that_was_begun_and_never_ended_is_replayed_too(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await sqlite_kit.insert("subscribers", {"id": 1, "address": ANNA})
    office = await open_office(sqlite_kit)
    office.journal.begin([("R-1/gb", Right.ERASURE, Subject((ANNA,), RECEIVED_AT), ())], RECEIVED_AT)
    assert (await replay(office.store, office.journal)).erased == 1
