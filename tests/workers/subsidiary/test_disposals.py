"""Orders to dispose of what is over: done once, counted whole whatever dies, refused where it cannot be. R13; P2."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from schemas.calendar import civil_day
from schemas.errors import StoreUnavailable
from tests.workers.subsidiary.bad_adapters import Wrapped
from tests.workers.subsidiary.conftest import OpenOffice, soon
from tests.workers.subsidiary.controller import CODE, ControllerSide, counts, entry
from tests.workers.subsidiary.kits import Kit, SqliteKit, mapping_of
from tests.workers.subsidiary.test_disposing import customer, ids, invoice, mapped, visit
from workers.actors.subsidiary import serve_order
from workers.stores.subsidiaries import disposing, open_store
from workers.stores.subsidiaries.disposing import Disposal

TODAY = civil_day(datetime.now(UTC))
OVER, LIVE = ((TODAY - timedelta(days=3 * 365 + days)).isoformat() for days in (30, -30))


def disposal(relation: str = "P3Y", days: int = 0) -> dict[str, Any]:
    """An entry as the controller makes it; ``days``: from today."""
    periods = [{"rule": "relation", "active": relation}, {"rule": "contract", "active": "P0D", "archive": "P5Y"}]
    return {
        "task": f"retention-{uuid.uuid4().hex[:8]}/{CODE}",
        "attempt": 1,
        "ask": "dispose",
        "on": (TODAY + timedelta(days=days)).isoformat(),
        "periods": [*periods, {"rule": "visit", "active": "P1Y"}],
    }


async def serve(
    open_office: OpenOffice, controller: ControllerSide, kit: Kit, *asked: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """What is answered to the last of these."""
    office = await open_office(kit, **{"mapping": mapped(kit), **more})
    await serve_order(office, controller.token(*asked))
    return controller.receipts().of(asked[-1]["task"])[-1]


async def filled(kit: Kit, number: int = 6) -> None:
    """One half over; one without a date."""
    people = (customer(one, OVER if one % 2 else LIVE) for one in range(1, number + 1))
    await kit.insert("customers", *people, customer(number + 1, None))
    await kit.insert("visits", *(visit(one, one) for one in range(1, number + 1)))


async def test_what_is_over_goes_and_the_receipt_counts_it(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await filled(kit)
    answer = await serve(open_office, controller, kit, disposal())
    assert answer["outcome"] == "partly-retained"
    assert counts(answer["collections"]) == {
        "customers": {"matched": 4, "erased": 3, "retained": 1, "ground": "no readable date"},
        "visits": {"matched": 3, "erased": 3},
    }
    assert (await ids(kit, "customers"), await ids(kit, "visits")) == ([2, 4, 6, 7], [2, 4, 6])


async def test_an_order_that_comes_again_changes_nothing(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    """Neither twice at once, nor once more; what has become over since waits for the next day's."""
    await filled(sqlite_kit)
    asked = disposal()
    office = await open_office(sqlite_kit, mapping=mapped(sqlite_kit))
    await soon(*(serve_order(office, controller.token(asked)) for _ in range(3)))
    await sqlite_kit.insert("customers", customer(9, OVER))
    await serve_order(office, controller.token(asked))
    first, *others = controller.receipts().of(asked["task"])
    assert others == [first] * 3
    assert await ids(sqlite_kit, "customers") == [2, 4, 6, 7, 9]


async def test_asked_anew_it_goes_on_and_counts_the_whole(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await filled(sqlite_kit)
    asked = disposal()
    await serve(open_office, controller, sqlite_kit, asked)
    await sqlite_kit.insert("customers", customer(9, OVER))
    answer = await serve(open_office, controller, sqlite_kit, {**asked, "attempt": 2})
    assert (answer["attempt"], counts(answer["collections"])["customers"]["erased"]) == (2, 4)


@pytest.mark.parametrize("dies_at", range(4))
async def test_killed_half_way_the_next_delivery_finishes_and_counts_the_whole(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    monkeypatch.setattr(disposing, "AT_ONCE", 1)
    await filled(kit, 8)
    asked, real, parts = disposal(), Disposal._part, []

    async def part(self: Disposal, name: str, keys: Sequence[Any]) -> None:
        if self.act:
            parts.append(name)
            if len(parts) == dies_at + 1:
                raise StoreUnavailable("the power went")
        await real(self, name, keys)

    with monkeypatch.context() as broken:
        broken.setattr(Disposal, "_part", part)
        with pytest.raises(StoreUnavailable):
            await serve(open_office, controller, kit, asked)
    assert controller.receipts().of(asked["task"]) == []
    answer = await serve(open_office, controller, kit, asked)
    assert counts(answer["collections"])["customers"]["erased"] == 4
    assert counts(answer["collections"])["visits"] == {"matched": 4, "erased": 4}
    assert await ids(kit, "customers") == [2, 4, 6, 8, 9]


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("unknown-rule", {"periods": [{"rule": "visit", "active": "P1Y"}]}),
    ("store-error", {"periods": [{"rule": one, "active": "P1Y9D9M"} for one in ("relation", "contract", "visit")]}),
    ("day-to-come", {"on": (TODAY + timedelta(days=3)).isoformat()}),
]


@pytest.mark.parametrize(("reason", "change"), REFUSED)
async def test_what_cannot_be_done_is_refused_and_nothing_is_touched(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide, reason: str, change: dict[str, Any]
) -> None:
    await filled(sqlite_kit)
    answer = await serve(open_office, controller, sqlite_kit, {**disposal(), **change})
    assert (answer["outcome"], answer["reason"], answer["collections"]) == ("refused", reason, [])
    assert len(await ids(sqlite_kit, "customers")) == 7


async def test_an_office_that_states_no_retention_says_so(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await filled(kit)
    answer = await serve(open_office, controller, kit, disposal(), mapping=mapping_of(kit))
    assert (answer["outcome"], answer["reason"]) == ("refused", "no-retention")
    assert len(await ids(kit, "customers")) == 7


async def test_an_adapter_that_cannot_says_so(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    store = open_store(mapped(sqlite_kit), sqlite_kit.url)
    office, asked = await open_office(adapter=Wrapped(store)), disposal()
    await serve_order(office, controller.token(asked))
    await store.close()
    (answer,) = controller.receipts().of(asked["task"])
    assert (answer["outcome"], answer["reason"]) == ("refused", "not-supported")


async def test_a_clock_that_ran_a_day_ahead_ends_nothing_early(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await sqlite_kit.insert("customers", customer(1, (TODAY - timedelta(days=30)).isoformat()))
    answer = await serve(open_office, controller, sqlite_kit, disposal(relation="P30D", days=1))
    assert (answer["outcome"], await ids(sqlite_kit, "customers")) == ("nothing-held", [1])


async def test_people_are_served_before_and_beside_it(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await filled(sqlite_kit)
    person = entry("c2@example.com")
    answer = await serve(open_office, controller, sqlite_kit, disposal(), person)
    assert answer["outcome"] == "done"
    assert [one["ask"] for one in controller.receipts().entries] == ["serve", "dispose"]
    assert await ids(sqlite_kit, "customers") == [4, 6, 7]


async def test_neither_order_nor_journal_nor_receipt_names_anybody(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await filled(sqlite_kit)
    office = await open_office(sqlite_kit, mapping=mapped(sqlite_kit))
    await serve_order(office, controller.token(disposal()))
    journal = office.journal
    assert journal.tombstones() == {}
    assert "example.com" not in journal._path.read_text() + str(controller.receipts().claims)


async def test_what_a_backup_brings_back_goes_with_the_next_order(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await sqlite_kit.insert("customers", customer(1, OVER))
    await sqlite_kit.insert("invoices", invoice(1, 1, date(2019, 1, 1)))
    await serve(open_office, controller, sqlite_kit, disposal())
    await sqlite_kit.insert("customers", customer(1, OVER))
    answer = await serve(open_office, controller, sqlite_kit, disposal())
    assert counts(answer["collections"]) == {"customers": {"matched": 1, "erased": 1}}
