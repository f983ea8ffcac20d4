"""Killed anywhere in a withdrawal, a correction, a restriction or its lifting: the account is whole."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.terms import Right
from tests.workers.subsidiary.conftest import OpenOffice
from tests.workers.subsidiary.controller import ControllerSide, counts, entry
from tests.workers.subsidiary.kits import SqliteKit
from tests.workers.subsidiary.test_crashes import STEPS, Killed, dying
from tests.workers.subsidiary.test_serving import ANNA, everything, fill
from workers.actors.subsidiary import serve_order

CORRECTION = {"field": "last_name", "was": "Anna Muster", "to": "Anna Master"}
ACTS: dict[str, tuple[Right, dict[str, dict[str, int]]]] = {
    "withdraw": (
        Right.WITHDRAWAL,
        {"subscribers": {"matched": 1, "erased": 1}, "customers": {"matched": 2, "restricted": 2}},
    ),
    "rectify": (
        Right.RECTIFICATION,
        {"customers": {"matched": 2, "corrected": 1, "conflicting": 1}, "leads": {"matched": 1, "conflicting": 1}},
    ),
    "restrict": (
        Right.RESTRICTION,
        {
            "customers": {"matched": 2, "restricted": 2},
            "leads": {"matched": 1, "restricted": 1},
            "subscribers": {"matched": 1, "restricted": 1},
        },
    ),
    "lift": (Right.RESTRICTION, {"customers": {"matched": 2}, "leads": {"matched": 1}, "subscribers": {"matched": 1}}),
}
"""Call of the adapter → its right, and what is told in the end."""


def asks(act: str, task: str = "", attempt: int = 1) -> dict[str, Any]:
    ask = "lift" if act == "lift" else "serve"
    one = entry(ANNA, right=ACTS[act][0], task=task, attempt=attempt, ask=ask)
    return one | ({"patches": [CORRECTION]} if act == "rectify" else {})


@pytest.mark.slow
@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize(("part", "call", "after"), STEPS)
async def test_killed_at_any_step_the_account_is_the_same(
    act: str,
    part: str,
    call: str,
    after: bool,
    sqlite_kit: SqliteKit,
    open_office: OpenOffice,
    controller: ControllerSide,
) -> None:
    await fill(sqlite_kit)
    asked = asks(act)
    if act == "lift":
        await serve_order(await open_office(sqlite_kit), controller.token(asks("restrict", asked["task"])))
        asked = asks(act, asked["task"], attempt=2)
        controller.forget()
    token, dies_at = controller.token(asked), act if call == "erase" else call
    with pytest.raises(Killed):
        await serve_order(dying(await open_office(sqlite_kit), part, dies_at, after=after), token)
    await serve_order(await open_office(sqlite_kit), token)
    done = await everything(sqlite_kit)
    await serve_order(await open_office(sqlite_kit), token)
    assert await everything(sqlite_kit) == done
    answers = [counts(one["collections"]) for one in controller.receipts().of(asked["task"])]
    assert answers == [ACTS[act][1]] * len(answers)


@pytest.mark.slow
async def test_many_in_one_order_are_served_each_by_itself(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    """Those who withdraw beside those who object: nobody's rows are another's."""
    people = [f"person{n}@example.com" for n in range(100)]
    await sqlite_kit.insert("subscribers", *({"id": n, "address": email} for n, email in enumerate(people, 1)))
    rights = [Right.WITHDRAWAL, Right.OBJECTION]
    asked = [entry(email, right=rights[n % 2]) for n, email in enumerate(people[:-2])]
    await serve_order(await open_office(sqlite_kit), controller.token(*asked))
    assert [row["address"] for row in await sqlite_kit.rows("subscribers")] == people[-2:]
    assert {one["outcome"] for one in controller.receipts().entries} == {"done"}
