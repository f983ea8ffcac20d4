"""Art. 20 in an office: of what is held on consent or a contract, the fields that the person gave."""

from __future__ import annotations

import pytest

from schemas.errors import ConfigurationError
from schemas.terms import Right
from tests.workers.subsidiary.conftest import OpenOffice
from tests.workers.subsidiary.controller import ControllerSide, counts, entry
from tests.workers.subsidiary.kits import COLLECTIONS, Kit, SqliteKit, mapping_of
from tests.workers.subsidiary.test_serving import ANNA, everything, fill
from workers.actors.subsidiary import serve_order

PORTABILITY = Right.PORTABILITY


async def test_only_what_was_given_on_consent_or_contract(
    kit: Kit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(kit)
    before = await everything(kit)
    asked, stranger = entry(ANNA, right=PORTABILITY), entry("nobody@example.com", right=PORTABILITY)
    office = await open_office(kit)
    await serve_order(office, controller.token(asked, stranger))
    receipts = controller.receipts()
    (answer,) = receipts.of(asked["task"])
    assert (answer["outcome"], counts(answer["collections"])) == (
        "done",
        {"customers": {"matched": 2}, "subscribers": {"matched": 1}},
    )
    given = {one["name"]: one["records"] for one in receipts.copies[asked["task"]]["collections"]}
    assert given == {
        "customers": [
            {"email": "Anna@Example.COM", "name": "Anna Muster"},
            {"email": "x@example.org", "name": "Anna M."},
        ],
        "subscribers": [{"address": ANNA}],
    }, "neither when they registered, nor leads on legitimate interests, nor invoices the law asks for"
    assert [one["outcome"] for one in receipts.of(stranger["task"])] == ["nothing-held"]
    assert await everything(kit) == before


@pytest.mark.parametrize(
    ("was", "now", "problem"),
    [
        ("    provided: [address]\n", "", "collections.subscribers.provided: missing"),
        ("    provided: [address]\n", "    provided: [shoe_size]\n", "names what is not among fields: shoe_size"),
    ],
)
def test_what_the_person_gave_must_be_said(sqlite_kit: SqliteKit, was: str, now: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        mapping_of(sqlite_kit, COLLECTIONS.replace(was, now))
    assert problem in str(refused.value)
