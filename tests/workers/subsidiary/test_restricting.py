"""Art. 18 in an office: rows are marked and the mark is taken away again; a restored backup is marked anew."""

from __future__ import annotations

import pytest

from schemas.errors import ConfigurationError
from schemas.terms import Right
from tests.workers.subsidiary.conftest import OpenOffice
from tests.workers.subsidiary.controller import ControllerSide, counts, entry, old
from tests.workers.subsidiary.kits import COLLECTIONS, Kit, SqliteKit, mapping_of
from tests.workers.subsidiary.test_serving import ANNA, BOB, fill
from workers.actors.subsidiary import serve_order
from workers.journal_replay import replay

RESTRICTION = Right.RESTRICTION


async def test_marked_and_lifted_again(kit: Kit, open_office: OpenOffice, controller: ControllerSide) -> None:
    await fill(kit)
    asked = entry(ANNA, right=RESTRICTION)
    task = asked["task"]
    looks = [entry(ANNA, right=RESTRICTION, task=task, attempt=attempt, ask="look") for attempt in (2, 4)]
    lift = entry(ANNA, right=RESTRICTION, task=task, attempt=3, ask="lift")
    office = await open_office(kit)
    marked = []
    for one in (asked, looks[0], lift, lift, looks[1]):
        await serve_order(office, controller.token(one))
        marked.append([bool(row.get("on_hold")) for row in await kit.rows("customers")])
    assert marked == [[True, False, True]] * 2 + [[False] * 3] * 3
    served, first, *_, last = [counts(one["collections"]) for one in controller.receipts().of(task)]
    there = {"customers": {"matched": 2}, "leads": {"matched": 1}, "subscribers": {"matched": 1}}
    assert served == first == {name: one | {"restricted": one["matched"]} for name, one in there.items()}
    assert [counts(one["collections"]) for one in controller.receipts().of(task)][2] == there
    assert last == there


async def test_of_several_addresses_those_are_lifted_that_no_other_task_restricts(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    """One row is found by both: it stays for the other's sake. Then nothing keeps anything."""
    await fill(sqlite_kit)
    await sqlite_kit.insert("customers", {"id": 4, "email": ANNA, "other_email": BOB, "registered_at": old(400)})
    office = await open_office(sqlite_kit)
    both, other = entry(ANNA, BOB, right=RESTRICTION), entry(BOB, right=RESTRICTION)
    await serve_order(office, controller.token(both, other))
    marked = []
    for one in (both, other):
        await serve_order(office, controller.token(one | {"attempt": 2, "ask": "lift"}))
        marked.append([row["id"] for row in await sqlite_kit.rows("customers") if row["on_hold"]])
    assert marked == [[2, 4], []]
    told = controller.receipts().of(both["task"])[-1]
    assert (told["outcome"], counts(told["collections"])["customers"]) == ("done", {"matched": 4})


async def test_a_restored_backup_is_marked_again_unless_it_was_lifted(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(sqlite_kit)
    office = await open_office(sqlite_kit)
    asked = entry(ANNA, right=RESTRICTION)
    await serve_order(office, controller.token(asked))
    await sqlite_kit.empty()
    await fill(sqlite_kit)
    assert (await replay(office.store, office.journal)).restricted == 4
    assert [bool(row["on_hold"]) for row in await sqlite_kit.rows("customers")] == [True, False, True]
    await serve_order(
        office, controller.token(entry(ANNA, right=RESTRICTION, task=asked["task"], attempt=2, ask="lift"))
    )
    await sqlite_kit.empty()
    await fill(sqlite_kit)
    assert (await replay(office.store, office.journal)).restricted == 0


async def test_where_nothing_keeps_rows_from_use_nothing_is_claimed(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(sqlite_kit)
    restriction = "    restriction: {set: {restricted: true}, lift: {restricted: null}}\n"
    silent = mapping_of(sqlite_kit, COLLECTIONS.replace(restriction, "", 1))
    assert silent.without_restriction() == ["leads"], "what belongs to a customer is reached through them"
    office = await open_office(sqlite_kit, mapping=silent)
    asked = entry(ANNA, right=RESTRICTION)
    await serve_order(office, controller.token(asked))
    assert [one["reason"] for one in controller.receipts().of(asked["task"])] == ["no-restriction"]
    assert not any(row["on_hold"] for row in await sqlite_kit.rows("customers")), "refused before anything is done"


def test_what_is_set_must_be_taken_away(sqlite_kit: SqliteKit) -> None:
    with pytest.raises(ConfigurationError) as refused:
        mapping_of(sqlite_kit, COLLECTIONS.replace("lift: {on_hold: false}", "lift: {opted_out_at: null}"))
    assert "collections.customers.restriction.lift" in str(refused.value)
