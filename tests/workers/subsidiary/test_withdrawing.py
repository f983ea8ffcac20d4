"""A withdrawal of consent in an office: what rests on it alone goes, a part is unset, everything else stays. R14."""

from __future__ import annotations

import pytest

from schemas.errors import ConfigurationError
from schemas.terms import Right
from tests.workers.subsidiary.bad_adapters import Wrapped
from tests.workers.subsidiary.conftest import OpenOffice
from tests.workers.subsidiary.controller import ControllerSide, counts, entry
from tests.workers.subsidiary.kits import COLLECTIONS, Kit, SqliteKit, mapping_of
from tests.workers.subsidiary.test_serving import ANNA, fill
from workers.actors.subsidiary import serve_order
from workers.journal_replay import replay
from workers.stores.subsidiaries import open_store

WITHDRAWAL = Right.WITHDRAWAL


async def test_what_rests_on_consent_goes_and_nothing_else(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(kit)
    asked, again = entry(ANNA, right=WITHDRAWAL), entry(ANNA, right=WITHDRAWAL)
    look = entry(ANNA, right=WITHDRAWAL, task=asked["task"], attempt=2, ask="look")
    office = await open_office(kit)
    for one in (asked, look, again):
        await serve_order(office, controller.token(one))
    receipts = controller.receipts()
    served, looked = receipts.of(asked["task"])
    assert served["outcome"] == "done"
    customers = {"matched": 2, "restricted": 2}
    assert counts(served["collections"]) == {"subscribers": {"matched": 1, "erased": 1}, "customers": customers}
    assert counts(looked["collections"]) == {"customers": customers}
    (second,) = receipts.of(again["task"])
    assert counts(second["collections"]) == {"customers": customers}, "withdrawn twice: nothing more goes"
    assert [row["id"] for row in await kit.rows("subscribers")] == [2]
    assert [bool(row["newsletter"]) for row in await kit.rows("customers")] == [False, True, False]
    assert [len(await kit.rows(name)) for name in ("invoices", "visits", "leads")] == [3, 3, 2]


async def test_a_restored_backup_is_withdrawn_from_again(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(sqlite_kit)
    office = await open_office(sqlite_kit)
    await serve_order(office, controller.token(entry(ANNA, right=WITHDRAWAL)))
    await sqlite_kit.insert("subscribers", {"id": 7, "address": ANNA})
    replayed = await replay(office.store, office.journal)
    assert (replayed.people, replayed.erased, replayed.refused) == (1, 1, {})
    assert [row["id"] for row in await sqlite_kit.rows("subscribers")] == [2]


async def test_where_nobody_says_what_rows_rest_on_nothing_is_claimed(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(sqlite_kit)
    silent = mapping_of(
        sqlite_kit, COLLECTIONS.replace("    basis: legitimate-interests\n  subscribers", "  subscribers")
    )
    assert silent.without_basis() == ["leads"]
    office = await open_office(sqlite_kit, mapping=silent)
    asked, stranger = entry(ANNA, right=WITHDRAWAL), entry("nobody@example.com", right=WITHDRAWAL)
    await serve_order(office, controller.token(asked, stranger))
    receipts = controller.receipts()
    assert [(one["outcome"], one.get("reason")) for one in receipts.of(asked["task"])] == [("refused", "no-basis")]
    assert [one["outcome"] for one in receipts.of(stranger["task"])] == ["nothing-held"]
    assert len(await sqlite_kit.rows("subscribers")) == 2, "refused before anything is done"


async def test_an_adapter_that_does_not_know_the_right_says_so(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(sqlite_kit)
    store = open_store(mapping_of(sqlite_kit), sqlite_kit.url)
    office = await open_office(adapter=Wrapped(store))
    asked, erased = entry(ANNA, right=WITHDRAWAL), entry(ANNA)
    await serve_order(office, controller.token(asked, erased))
    receipts = controller.receipts()
    assert [one.get("reason") for one in receipts.of(asked["task"])] == ["not-supported"]
    assert [one["outcome"] for one in receipts.of(erased["task"])] == ["partly-retained"], "its neighbour is served"
    await store.close()


@pytest.mark.parametrize(
    ("was", "now", "problem"),
    [
        ("    basis: contract\n", "    basis: consent\n", "collections.customers.withdrawal"),
        ("  subscribers:\n", "  subscribers:\n    withdrawal: delete\n", "collections.subscribers.withdrawal"),
    ],
)
async def test_a_mapping_that_says_two_things_is_refused(
    sqlite_kit: SqliteKit, was: str, now: str, problem: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        mapping_of(sqlite_kit, COLLECTIONS.replace(was, now, 1))
    assert problem in str(refused.value)
