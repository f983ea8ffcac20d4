"""A controller with three subsidiaries, over real MongoDB."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from schemas.keyring import PACKAGES, read_wrapping_keys
from schemas.party_keys import (
    add_subsidiary,
    read_controller,
    read_party,
    read_subsidiaries,
    read_token_key,
)
from tests.workers.bench import Bench
from tests.workers.cases.court import Court, Store
from workers.cases.desk import Desk
from workers.correspondence.compose import letterhead
from workers.evidence.notes import Notes
from workers.stores.cases import Cases
from workers.stores.keys import LocalKeyWrapper
from workers.stores.ledger import Ledger
from workers.stores.packages import Packages

CODES = ("de", "gb", "us")


@pytest.fixture(scope="session")
def subsidiary_keys(keys: Path) -> Path:
    for code in CODES:
        folder = keys / "subsidiaries" / code
        if not folder.exists():  # the fixture serves several folders of tests, each with an instance of its own
            add_subsidiary(keys / "controller", folder, code)
    return keys


@pytest.fixture
def court(bench: Bench, subsidiary_keys: Path) -> Court:
    controller = subsidiary_keys / "controller"
    register = bench.services.trust.register
    few = register.model_copy(update={"subsidiaries": {code: register.subsidiaries[code] for code in CODES}})
    services = replace(bench.services, trust=replace(bench.services.trust, register=few))
    ledger = Ledger(services.databases)
    stores = {}
    for code in CODES:
        own = subsidiary_keys / "subsidiaries" / code
        stores[code] = Store(read_party(own), read_controller(own))
    found = Court(None, stores)  # type: ignore[arg-type]

    async def send(store: str, token: str) -> None:
        found.posted.append((store, token))

    async def wake(what: str) -> None:
        found.woken.append(what)

    async def wake_rounds() -> None:
        found.woken.append("rounds")

    found.desk = Desk(
        services=services,
        cases=Cases(services.databases),
        packages=Packages(services.databases, LocalKeyWrapper(read_wrapping_keys(controller, PACKAGES))),
        evidence=Notes(ledger, services.clock),
        party=read_party(controller),
        peers=read_subsidiaries(controller),
        token_key=read_token_key(controller),
        send=send,
        wake_case=wake,
        wake_store=wake,
        wake_mail=wake,
        wake_rounds=wake_rounds,
        settle=timedelta(seconds=5),
        public_url="https://rights.example.com",
        letterhead=letterhead(few.controller, "rights@example.com"),
    )
    return found
