"""R18 in an office: a field is set where what the person saw stands; a conflict is counted and left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schemas.terms import Right
from tests.workers.subsidiary.conftest import OpenOffice
from tests.workers.subsidiary.controller import ControllerSide, counts, entry
from tests.workers.subsidiary.kits import COLLECTIONS, Kit, SqliteKit, mapping_of
from tests.workers.subsidiary.test_serving import ANNA, fill
from workers.actors.subsidiary import serve_order
from workers.journal_replay import replay
from workers.stores.subsidiaries.decisions import value_of
from workers.stores.subsidiaries.mapped import utc_now
from workers.stores.subsidiaries.mapping import Constant


def asks(was: str | None, to: str, **more: Any) -> dict[str, Any]:
    patch = {"field": "last_name", "to": to} | ({"was": was} if was else {})
    return entry(ANNA, right=Right.RECTIFICATION, **more) | {"patches": [patch]}


async def test_what_was_seen_is_corrected_and_anything_else_is_left(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(kit)  # Anna Muster, Anna M. and Anna
    asked = asks("anna muster", "now")
    again, look = asks("Anna Muster", "now"), asks(None, "now", task=asked["task"], attempt=2, ask="look")
    office = await open_office(kit)
    for one in (asked, look, again):
        await serve_order(office, controller.token(one))
    receipts = controller.receipts()
    told = {"customers": {"matched": 2, "corrected": 1, "conflicting": 1}, "leads": {"matched": 1, "conflicting": 1}}
    served, looked = receipts.of(asked["task"])
    assert (served["outcome"], counts(served["collections"])) == ("conflict", told)
    assert counts(looked["collections"]) == told
    assert [counts(one["collections"]) for one in receipts.of(again["task"])] == [told], "twice is once"
    assert [row["name"] for row in await kit.rows("customers")] == ["now", "Bob", "Anna M."]
    assert [row["name"] for row in await kit.rows("leads")] == ["Anna", "Bob"]


WHOLE_NAME = "    composed: {name: {of: [first_name, last_name]}}\n"


async def test_a_column_for_the_whole_name_is_put_together_anew(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(kit)  # Anna Muster, Anna M. and Anna
    composed = mapping_of(kit, COLLECTIONS.replace("    rectification: {last_name: name}\n", WHOLE_NAME))
    office = await open_office(kit, mapping=composed)
    asked = asks("muster", "von Muster")
    repeated = asks("muster", "von Muster")
    for one in (asked, repeated):
        await serve_order(office, controller.token(one))
    receipts = controller.receipts()
    told = {"customers": {"matched": 2, "corrected": 1, "conflicting": 1}, "leads": {"matched": 1, "conflicting": 1}}
    for one in (asked, repeated):
        assert [(r["outcome"], counts(r["collections"])) for r in receipts.of(one["task"])] == [("conflict", told)]
    assert [row["name"] for row in await kit.rows("customers")] == ["Anna von Muster", "Bob", "Anna M."]
    assert [row["name"] for row in await kit.rows("leads")] == ["Anna", "Bob"]

    both = asks("von Muster", "Master")
    both["patches"].insert(0, {"field": "first_name", "was": "Anna", "to": "Ida"})
    copy = entry(ANNA, right=Right.ACCESS)
    for one in (both, copy):
        await serve_order(office, controller.token(one))
    assert [row["name"] for row in await kit.rows("customers")] == ["Ida Master", "Bob", "Anna M."]
    shown = {one["name"]: one["records"] for one in controller.receipts().copies[copy["task"]]["collections"]}
    assert {record["name"] for record in shown["customers"]} == {"Ida Master", "Anna M."}, "as it stands"


async def test_two_in_one_order_come_one_after_the_other(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(sqlite_kit)
    first, second = asks("Anna Muster", "Anna One"), asks("Anna Muster", "Anna Two")
    office = await open_office(sqlite_kit)
    await serve_order(office, controller.token(first, second))
    receipts = controller.receipts()
    customers = [counts(receipts.of(one["task"])[0]["collections"])["customers"] for one in (first, second)]
    assert customers == [{"matched": 2, "corrected": 1, "conflicting": 1}, {"matched": 2, "conflicting": 2}]
    assert (await sqlite_kit.rows("customers"))[0]["name"] == "Anna One"


async def test_where_nobody_says_what_a_table_holds_nothing_is_claimed(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(sqlite_kit)
    silent = mapping_of(sqlite_kit, COLLECTIONS.replace("    rectification: {}\n", "", 1))
    office = await open_office(sqlite_kit, mapping=silent)
    asked = asks("Anna Muster", "Anna One")
    await serve_order(office, controller.token(asked))
    assert [one["reason"] for one in controller.receipts().of(asked["task"])] == ["no-rectification"]
    assert (await sqlite_kit.rows("customers"))[0]["name"] == "Anna Muster"


async def test_a_restore_leaves_corrections_to_a_person(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide, tmp_path: Path
) -> None:
    """What was corrected, and to what, the journal does not know: it holds no personal data."""
    await fill(sqlite_kit)
    office = await open_office(sqlite_kit)
    await serve_order(office, controller.token(asks("Anna Muster", "Anna Secret")))
    assert "Secret" not in (tmp_path / "journal" / "journal.jsonl").read_text()
    assert (await replay(office.store, office.journal)).refused == {"corrections": 1}


def test_a_name_that_reads_like_a_special_value_is_a_name() -> None:
    assert [value_of(Constant(word), utc_now()) for word in ("now", "random", "null")] == ["now", "random", "null"]
