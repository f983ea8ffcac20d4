"""Orders served on differently kept offices: what is erased, anonymised, kept, told and left alone."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from schemas.terms import Right
from tests.workers.subsidiary.conftest import OpenOffice
from tests.workers.subsidiary.controller import ControllerSide, counts, entry, old
from tests.workers.subsidiary.kits import Kit, everything, mapping_of
from workers.actors.subsidiary import serve_order

ANNA = "anna@example.com"
BOB = "bob@example.org"
LATER = datetime(2026, 11, 10, tzinfo=UTC)


async def fill(kit: Kit) -> None:
    """Anna in every table, in several spellings; Bob beside her everywhere."""
    await kit.insert(
        "customers",
        {"id": 1, "email": "Anna@Example.COM", "name": "Anna Muster", "registered_at": old(400), "newsletter": True},
        {"id": 2, "email": BOB, "other_email": None, "name": "Bob", "registered_at": old(400), "newsletter": True},
        {"id": 3, "email": "x@example.org", "other_email": ANNA, "name": "Anna M.", "registered_at": old(30)},
    )
    await kit.insert(
        "invoices",
        {"id": 1, "customer_id": 1, "number": "F-2020", "issued_on": date(2020, 3, 1)},
        {"id": 2, "customer_id": 3, "number": "F-2009", "issued_on": date(2009, 3, 1)},
        {"id": 3, "customer_id": 2, "number": "F-BOB", "issued_on": date(2009, 3, 1)},
    )
    await kit.insert(
        "visits",
        {"id": 1, "customer_id": 1, "at": old(20)},
        {"id": 2, "customer_id": 3, "at": old(20)},
        {"id": 3, "customer_id": 2, "at": old(20)},
    )
    await kit.insert("leads", {"id": 1, "email": ANNA, "name": "Anna"}, {"id": 2, "email": BOB, "name": "Bob"})
    await kit.insert("subscribers", {"id": 1, "address": ANNA}, {"id": 2, "address": BOB})
    await kit.insert(
        "meetings",
        {"id": 1, "guest": ANNA, "guest_name": "Anna Muster", "title": "Launch"},
        {"id": 2, "guest": BOB, "guest_name": "Bob", "title": "Launch"},
    )
    await kit.insert("contracts", {"id": 1, "signatory": ANNA, "title": "Lease"})


async def serve(open_office: OpenOffice, controller: ControllerSide, kit: Kit, *entries: dict[str, Any]) -> Any:
    office = await open_office(kit)
    await serve_order(office, controller.token(*entries))
    return controller.receipts()


async def test_an_erasure_erases_anonymises_keeps_with_a_ground_and_touches_nobody_else(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(kit)
    asked = entry(ANNA)
    (answer,) = (await serve(open_office, controller, kit, asked)).of(asked["task"])
    assert answer["outcome"] == "partly-retained"
    ground = {"ground": "Code de commerce L123-22", "until": "2030-03-01"}
    assert counts(answer["collections"]) == {
        "customers": {"matched": 2, "erased": 1, "retained": 1, **ground},
        "invoices": {"matched": 2, "erased": 1, "retained": 1, **ground},
        "visits": {"matched": 2, "erased": 2},
        "leads": {"matched": 1, "anonymised": 1},
        "subscribers": {"matched": 1, "erased": 1},
        "meetings": {"matched": 1, "anonymised": 1},
        "contracts": {"matched": 1, "retained": 1, "ground": "Art. 17(3)(e) GDPR"},
    }
    assert [row["id"] for row in await kit.rows("customers")] == [1, 2]  # 1 stays under the invoice it owes
    assert [row["number"] for row in await kit.rows("invoices")] == ["F-2020", "F-BOB"]
    assert [row["id"] for row in await kit.rows("visits")] == [3]
    lead, other = await kit.rows("leads")
    assert lead["email"].startswith("removed-")
    assert lead["name"] is None
    assert other["name"] == "Bob"
    meeting, _ = await kit.rows("meetings")
    assert (meeting["guest"], meeting["guest_name"], meeting["title"]) == (None, "somebody", "Launch")
    assert str(await kit.rows("customers")).count("Bob") == 1


async def test_a_look_after_an_erasure_finds_what_was_kept_and_nothing_else(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(kit)
    asked = entry(ANNA)
    look = entry(ANNA, ask="look", task=asked["task"], attempt=2)
    await serve(open_office, controller, kit, asked)
    _, seen = (await serve(open_office, controller, kit, look)).of(asked["task"])
    assert {name: (one["matched"], one["retained"]) for name, one in counts(seen["collections"]).items()} == {
        "customers": (1, 1),
        "invoices": (1, 1),
        "contracts": (1, 1),
    }


async def test_a_look_finds_what_a_lying_hand_put_back(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    look = entry(ANNA, ask="look")
    await kit.insert("subscribers", {"id": 1, "address": ANNA})
    (seen,) = (await serve(open_office, controller, kit, look)).of(look["task"])
    assert counts(seen["collections"]) == {"subscribers": {"matched": 1}}
    assert len(await kit.rows("subscribers")) == 1  # a look changes nothing


async def test_an_objection_marks_takes_off_the_list_and_stands(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(kit)
    asked = entry(ANNA, right=Right.OBJECTION)
    look = entry(ANNA, right=Right.OBJECTION, ask="look", task=asked["task"])
    receipts = await serve(open_office, controller, kit, asked)
    (answer,) = receipts.of(asked["task"])
    assert answer["outcome"] == "done"
    assert counts(answer["collections"]) == {
        "customers": {"matched": 2, "restricted": 2},
        "subscribers": {"matched": 1, "erased": 1},
    }
    anna, bob, other = await kit.rows("customers")
    assert not anna["newsletter"]
    assert not other["newsletter"]
    assert anna["opted_out_at"] is not None
    assert bob["newsletter"]
    _, seen = (await serve(open_office, controller, kit, look)).of(asked["task"])
    assert counts(seen["collections"]) == {"customers": {"matched": 2, "restricted": 2}}


async def test_an_access_copy_holds_every_record_with_its_meaning_and_nobody_elses(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(kit)
    before = await everything(kit)
    asked = entry(ANNA, right=Right.ACCESS)
    receipts = await serve(open_office, controller, kit, asked)
    (answer,) = receipts.of(asked["task"])
    copy = receipts.copies[asked["task"]]
    assert copy["store"] == "gb"
    held = {one["name"]: one for one in copy["collections"]}
    assert {name: len(one["records"]) for name, one in held.items()} == {
        name: one["matched"] for name, one in counts(answer["collections"]).items()
    }
    assert held["customers"]["fields"]["name"] == "Full name"
    assert sorted(one["name"] for one in held["customers"]["records"]) == ["Anna M.", "Anna Muster"]
    assert sorted(one["number"] for one in held["invoices"]["records"]) == ["F-2009", "F-2020"]
    assert held["meetings"]["records"] == [{"guest": ANNA}]
    assert "Bob" not in str(copy)
    assert "newsletter" not in str(copy)  # only what the mapping gives a meaning to
    assert await everything(kit) == before


async def test_nothing_held_is_an_answer(kit: Kit, open_office: OpenOffice, controller: ControllerSide) -> None:
    patches = {"patches": [{"field": "last_name", "to": "Nobody"}]}
    asked = [
        entry("nobody@example.com", right=right) | (patches if right is Right.RECTIFICATION else {}) for right in Right
    ]
    receipts = await serve(open_office, controller, kit, *asked)
    assert [one["outcome"] for one in receipts.entries] == ["nothing-held"] * len(Right)
    assert not receipts.copies
    erased = receipts.of(asked[list(Right).index(Right.ERASURE)]["task"])[0]
    assert {one["name"] for one in erased["collections"]} >= {"customers", "leads", "contracts"}  # where it looked


async def test_what_the_person_did_after_the_request_stays_with_what_it_hangs_on(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await kit.insert(
        "customers",
        {"id": 1, "email": ANNA, "name": "came back", "registered_at": LATER},
        {"id": 2, "email": ANNA, "name": "visited again", "registered_at": old(9)},
        {"id": 3, "email": ANNA, "name": "gone", "registered_at": old(9)},
    )
    await kit.insert(
        "visits",
        {"id": 1, "customer_id": 1, "at": LATER},
        {"id": 2, "customer_id": 2, "at": LATER},
        {"id": 3, "customer_id": 2, "at": old(8)},
        {"id": 4, "customer_id": 3, "at": old(8)},
    )
    asked = entry(ANNA)
    (answer,) = (await serve(open_office, controller, kit, asked)).of(asked["task"])
    assert counts(answer["collections"]) == {
        "customers": {"matched": 1, "erased": 1},
        "visits": {"matched": 2, "erased": 2},
    }
    assert [row["name"] for row in await kit.rows("customers")] == ["came back", "visited again"]
    look = entry(ANNA, ask="look")
    (seen,) = (await serve(open_office, controller, kit, look)).of(look["task"])
    assert counts(seen["collections"]) == {}


async def test_a_parent_stays_with_a_fresh_child_where_nothing_else_is_planned_beside_it(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await kit.insert(
        "customers",
        {"id": 1, "email": ANNA, "name": "visited again", "registered_at": old(9)},
        {"id": 2, "email": ANNA, "name": "gone", "registered_at": old(9)},
    )
    await kit.insert("visits", {"id": 1, "customer_id": 1, "at": LATER})
    asked = entry(ANNA)
    (answer,) = (await serve(open_office, controller, kit, asked)).of(asked["task"])
    assert counts(answer["collections"]) == {"customers": {"matched": 1, "erased": 1}}
    assert [row["name"] for row in await kit.rows("customers")] == ["visited again"]
    assert len(await kit.rows("visits")) == 1


async def test_five_addresses_of_one_person_are_one_erasure(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    addresses = [f"anna+{number}@example.com" for number in range(5)]
    await kit.insert("leads", *({"id": place, "email": one, "name": "A"} for place, one in enumerate(addresses)))
    await kit.insert("leads", {"id": 9, "email": "anna@example.com", "name": "another box"})
    asked = entry(*addresses)
    (answer,) = (await serve(open_office, controller, kit, asked)).of(asked["task"])
    assert counts(answer["collections"]) == {"leads": {"matched": 5, "anonymised": 5}}
    assert (await kit.rows("leads"))[-1]["name"] == "another box"  # a tag may be somebody else's box


SHARED = """
collections:
  customers:
    found_by: [email]
    one_person_by: customer_no
    fields: {email: E-mail address}
    erasure: delete
    objection: {set: {newsletter: false}}
"""


@pytest.mark.parametrize("right", [Right.ERASURE, Right.ACCESS])
async def test_an_address_that_two_people_share_is_left_to_a_person(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide, right: Right
) -> None:
    await kit.insert(
        "customers",
        {"id": 1, "email": "family@example.com", "customer_no": "C1", "newsletter": True},
        {"id": 2, "email": "Family@example.com", "customer_no": "C2", "newsletter": True},
        {"id": 3, "email": ANNA, "customer_no": "C3", "newsletter": True},
        {"id": 4, "email": ANNA, "customer_no": "C3", "newsletter": True},
    )
    office = await open_office(kit, mapping=mapping_of(kit, SHARED))
    shared, own = entry("family@example.com", right=right), entry(ANNA, right=right)
    await serve_order(office, controller.token(shared, own))
    receipts = controller.receipts()
    (refused,), (served,) = receipts.of(shared["task"]), receipts.of(own["task"])
    assert (refused["outcome"], refused["reason"], refused["collections"]) == ("refused", "shared-address", [])
    assert served["outcome"] == "done"
    assert shared["task"] not in receipts.copies
    assert {row["id"] for row in await kit.rows("customers")} >= {1, 2}


async def test_an_objection_from_a_shared_address_holds_for_the_address(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await kit.insert(
        "customers",
        {"id": 1, "email": "family@example.com", "customer_no": "C1", "newsletter": True},
        {"id": 2, "email": "family@example.com", "customer_no": "C2", "newsletter": True},
    )
    office = await open_office(kit, mapping=mapping_of(kit, SHARED))
    await serve_order(office, controller.token(entry("family@example.com", right=Right.OBJECTION)))
    assert not any(row["newsletter"] for row in await kit.rows("customers"))


async def test_a_constraint_of_the_store_is_told_and_leaves_the_neighbour_served(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    """The mapping forgets a table that points at the customer: the database refuses, and says so to the controller."""
    if type(kit).__name__ == "MongoKit":
        return  # documents have no foreign keys
    await fill(kit)
    forgetful = mapping_of(kit, SHARED)
    office = await open_office(kit, mapping=forgetful)
    asked, other = entry(ANNA), entry("nobody@example.com")
    await serve_order(office, controller.token(asked, other))
    receipts = controller.receipts()
    assert receipts.of(asked["task"])[0]["reason"] == "constraint"
    assert receipts.of(other["task"])[0]["outcome"] == "nothing-held"
    assert len(await kit.rows("customers")) == 3
