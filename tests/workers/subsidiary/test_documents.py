"""What only documents have: lists of addresses, mentions inside arrays, fields that come and go, racing writers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from schemas.terms import Right
from tests.workers.subsidiary.conftest import OpenOffice
from tests.workers.subsidiary.controller import RECEIVED_AT, ControllerSide, counts, entry, old
from tests.workers.subsidiary.kits import MongoKit, mapping_of
from workers.actors.subsidiary import serve_order
from workers.stores.subsidiaries import open_store
from workers.stores.subsidiaries.adapter import Subject

ANNA, BOB = "anna@example.com", "bob@example.org"

NESTED = """
collections:
  people:
    found_by: [emails, contact.work.email]
    fields: {emails: E-mail addresses, contact.work.email: At work, profile: What we know}
    erasure: delete
  orders:
    owned_by: {collection: people, field: person_id, parent_field: _id}
    fields: {total: Amount}
    erasure: {anonymise: {person_id: null, ship_to.name: null}}
  projects:
    mentions:
      - list: members
        found_by: email
        fields: {email: Your address, role: Your role}
        anonymise: {email: null, name: "text:former member"}
"""


@pytest.fixture
def people(mongo_kit: MongoKit) -> MongoKit:
    mongo_kit.database["people"].insert_many(
        [
            {"_id": "p1", "emails": ["old@example.com", "Anna@Example.com"], "profile": {"since": old(9), "n": 2**60}},
            {"_id": "p2", "contact": {"work": {"email": ANNA}}},
            {"_id": "p3", "emails": [BOB]},
            {"_id": "p4", "emails": BOB},
        ]
    )
    mongo_kit.database["orders"].insert_many(
        [
            {"_id": 1, "person_id": "p1", "total": 12.5, "ship_to": {"name": "Anna", "city": "Lyon"}},
            {"_id": 2, "person_id": "p3", "total": 7, "ship_to": {"name": "Bob", "city": "Nice"}},
        ]
    )
    mongo_kit.database["projects"].insert_one(
        {
            "_id": 1,
            "title": "Launch",
            "members": [
                {"email": ANNA, "name": "Anna", "role": "lead"},
                {"email": BOB, "name": "Bob", "role": "helper"},
                {"email": "ANNA@example.com", "name": "A.", "role": "host"},
            ],
        }
    )
    return mongo_kit


async def test_lists_nested_fields_and_mentions_in_arrays(
    people: MongoKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    office = await open_office(people, mapping=mapping_of(people, NESTED))
    asked = entry(ANNA)
    await serve_order(office, controller.token(asked))
    (answer,) = controller.receipts().of(asked["task"])
    assert counts(answer["collections"]) == {
        "people": {"matched": 2, "erased": 2},
        "orders": {"matched": 1, "anonymised": 1},
        "projects": {"matched": 1, "anonymised": 1},
    }
    database = people.database
    assert sorted(one["_id"] for one in database["people"].find()) == ["p3", "p4"]
    first, second = database["orders"].find().sort("_id", 1)
    assert (first["person_id"], first["ship_to"], first["total"]) == (None, {"name": None, "city": "Lyon"}, 12.5)
    assert second["ship_to"]["name"] == "Bob"
    project = database["projects"].find_one()
    assert project is not None
    former = {"email": None, "name": "former member"}
    assert project["members"] == [
        {**former, "role": "lead"},
        {"email": BOB, "name": "Bob", "role": "helper"},
        {**former, "role": "host"},
    ]
    look = entry(ANNA, ask="look")
    await serve_order(office, controller.token(look))
    assert controller.receipts().of(look["task"])[0]["outcome"] == "nothing-held"


async def test_a_copy_of_documents_shows_the_mention_and_not_its_neighbours(
    people: MongoKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    office = await open_office(people, mapping=mapping_of(people, NESTED))
    asked = entry(ANNA, right=Right.ACCESS)
    await serve_order(office, controller.token(asked))
    copy = controller.receipts().copies[asked["task"]]
    held = {one["name"]: one["records"] for one in copy["collections"]}
    assert held["projects"] == [{"members.email": [ANNA, "ANNA@example.com"], "members.role": ["lead", "host"]}]
    assert {"emails": None, "contact.work.email": ANNA, "profile": None} in held["people"]
    profile = next(one["profile"] for one in held["people"] if one["profile"])
    assert profile["n"] == str(2**60)  # beyond what every JSON reader keeps
    assert "bob" not in str(copy).lower()


async def test_addresses_that_a_database_folds_together_stay_two_people(
    mongo_kit: MongoKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    """To the database's case-insensitive order ß is ss; to a mail server they are two boxes."""
    mongo_kit.database["people"].insert_many([{"emails": ["weiss@example.com"]}, {"emails": ["weiß@example.com"]}])
    office = await open_office(mongo_kit, mapping=mapping_of(mongo_kit, NESTED))
    await serve_order(office, controller.token(entry("weiss@example.com")))
    assert [one["emails"] for one in mongo_kit.database["people"].find()] == [["weiß@example.com"]]


async def test_a_domain_in_letters_is_found_by_its_encoded_form(
    mongo_kit: MongoKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    mongo_kit.database["people"].insert_one({"emails": ["Anna@bücher.example"]})
    office = await open_office(mongo_kit, mapping=mapping_of(mongo_kit, NESTED))
    await serve_order(office, controller.token(entry("Anna@xn--bcher-kva.example")))
    assert mongo_kit.database["people"].count_documents({}) == 0


async def test_a_row_that_changes_hands_between_reading_and_deleting_is_read_again(
    people: MongoKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    """The office gives the record to Bob in the very moment: it is Bob's, and stays."""
    office = await open_office(people, mapping=mapping_of(people, NESTED))
    rows: Any = office.store._rows  # type: ignore[attr-defined]
    whole = rows.delete

    async def meanwhile(name: str, given: Sequence[Any]) -> int:
        people.database["people"].update_one({"_id": "p2"}, {"$set": {"contact.work.email": BOB}})
        return int(await whole(name, given))

    rows.delete = meanwhile
    asked = entry(ANNA)
    await serve_order(office, controller.token(asked))
    (answer,) = controller.receipts().of(asked["task"])
    assert counts(answer["collections"])["people"] == {"matched": 1, "erased": 1}
    assert sorted(str(one["_id"]) for one in people.database["people"].find()) == ["p2", "p3", "p4"]


async def test_an_address_in_a_query_is_never_an_operator(
    people: MongoKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    office = await open_office(people, mapping=mapping_of(people, NESTED))
    hostile = {**entry(ANNA), "person": {"emails": [{"$ne": None}]}}
    pattern = entry(".*@example.com")
    await serve_order(office, controller.token(hostile, pattern))
    assert people.database["people"].count_documents({}) == 4
    assert controller.receipts().of(pattern["task"])[0]["outcome"] == "nothing-held"


async def test_deleting_by_key_alone_would_take_bobs_record(people: MongoKit) -> None:
    """The broken variant: what was read is not compared again when it is written."""
    store: Any = open_store(mapping_of(people, NESTED), people.url)

    async def by_key_alone(name: str, given: Sequence[Any]) -> int:
        people.database["people"].update_one({"_id": "p2"}, {"$set": {"contact.work.email": BOB}})
        keys = [row.key for row in given]
        return int(people.database[name].delete_many({"_id": {"$in": keys}}).deleted_count)

    store._rows.delete = by_key_alone
    try:
        await store.erase(Subject((ANNA,), RECEIVED_AT))
    finally:
        await store.close()
    assert people.database["people"].find_one({"_id": "p2"}) is None
