"""The doubles do what they are named for, and the worker around them stays honest where it can."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.errors import InvalidMessage, StoreUnavailable
from schemas.jose import open_sealed, verify
from schemas.orders import CONTROLLER, RECEIPT
from schemas.party_keys import read_controller, read_party, read_subsidiaries
from tests.workers.subsidiary.bad_adapters import KINDS, receipt_for
from tests.workers.subsidiary.conftest import OpenOffice
from tests.workers.subsidiary.controller import CODE, ControllerSide, counts, entry
from tests.workers.subsidiary.kits import SqliteKit, mapping_of
from tests.workers.subsidiary.test_serving import fill
from workers.actors.subsidiary import serve_order
from workers.stores.subsidiaries import open_store

ANNA = "anna@example.com"


async def answers(
    kind: str, kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> list[dict[str, Any]]:
    inner = open_store(mapping_of(kit), kit.url)
    patience_s = 0.2 if kind == "silent" else 30.0  # only who never answers is waited for in vain
    office = await open_office(adapter=KINDS[kind](inner), entry_timeout_s=patience_s)
    asked = entry(ANNA)
    try:
        await serve_order(office, controller.token(asked))
        await serve_order(office, controller.token({**asked, "ask": "look"}))
        await serve_order(office, controller.token({**asked, "attempt": 2}))
    finally:
        await inner.close()
    return controller.receipts().of(asked["task"])


@pytest.mark.parametrize("kind", ["lying", "half"])
async def test_a_lie_is_found_by_the_second_statement(
    kind: str, sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(sqlite_kit)
    said, seen, _ = await answers(kind, sqlite_kit, open_office, controller)
    kept = {name: one.get("retained", 0) for name, one in counts(said["collections"]).items()}
    assert any(one["matched"] > kept[name] for name, one in counts(seen["collections"]).items())


async def test_a_lie_told_twice_is_found_by_own_eyes_only(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(sqlite_kit)
    said, seen, _ = await answers("boasting", sqlite_kit, open_office, controller)
    kept = {name: one.get("retained", 0) for name, one in counts(said["collections"]).items()}
    assert all(one["matched"] <= kept[name] for name, one in counts(seen["collections"]).items())
    assert len(await sqlite_kit.rows("visits")) == 3


@pytest.mark.parametrize("kind", ["silent", "dead"])
async def test_who_does_not_answer_gets_the_order_again(
    kind: str, sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    with pytest.raises(StoreUnavailable):
        await answers(kind, sqlite_kit, open_office, controller)
    assert not controller.receipts().entries


async def test_wavering_answers_contradict_each_other(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await fill(sqlite_kit)
    first, _, second = await answers("wavering", sqlite_kit, open_office, controller)
    assert first["collections"] != second["collections"]


async def test_a_receipt_for_another_bears_the_wrong_name(controller: ControllerSide) -> None:
    """What the controller must check: whose task it is, not only that the signature is good."""
    keys, to = read_party(controller.parties / CODE), read_controller(controller.parties / CODE)
    token = receipt_for(keys, to, "order-1", {"task": "R-1/us"})
    signed = json.loads(open_sealed(token, controller.keys))["receipt"]
    other = read_subsidiaries(controller.parties / "controller")["us"]
    with pytest.raises(InvalidMessage):
        verify(signed, other, RECEIPT, audience=CONTROLLER, now=None)
    assert verify(signed, controller.peer, RECEIPT, audience=CONTROLLER, now=None)["iss"] == CODE
