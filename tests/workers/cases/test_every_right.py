"""Each right from the sealed request to the closed case and its evidence, over an office on SQL and one on MongoDB.

What travels is what is shipped: the door's message, signed orders, the offices' own workers over their mappings, signed
receipts. Only Redis is left out in between.
"""

from __future__ import annotations

import pkgutil
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schemas.errors import StoreUnavailable
from schemas.ledger_keys import LedgerKeys
from schemas.rights import new_reference
from schemas.routes import RIGHTS, RIGHTS_REQUESTED, RIGHTS_SOURCE
from schemas.terms import Case, Right
from tests.factories import Someone, event, form, someone
from tests.workers.bench import Bench
from tests.workers.cases.court import Court, letters, mails_leave, settled
from tests.workers.cases.test_consent import HOUR, counted, subscribed
from tests.workers.cases.test_deciding import DPO
from tests.workers.cases.test_evidence_of_cases import checked, ledger_keys, standings
from tests.workers.subsidiary.kits import Kit, MongoKit, SqliteKit, mapping_of
from tests.workers.subsidiary.test_wishes import LIFTED
from workers.actors.rights import keep_rights
from workers.actors.subsidiary import serve_order
from workers.actors.work import work
from workers.cases import deciding
from workers.cases.engine import advance
from workers.office import Office, RefusedLog, Trust
from workers.services import utc_now
from workers.stores.subsidiaries import open_store
from workers.stores.subsidiaries.journal import Journal

__all__ = ["ledger_keys"]


@dataclass
class Tray:
    """Where an office leaves its answers."""

    tokens: list[str] = field(default_factory=list)

    def post(self, token: str) -> None:
        self.tokens.append(token)


@dataclass
class Group:
    """The controller, and offices that serve: code → the office, its tray, its database."""

    court: Court
    offices: dict[str, tuple[Office, Tray, Kit]]

    async def runs(self, reference: str) -> None:
        """Orders out, answers back, until nothing moves."""
        for _ in range(4):
            for code, token in await self.orders():
                await self.deliver(code, token)
            await advance(self.court.desk, reference)

    async def orders(self) -> list[tuple[str, str]]:
        """What every store is asked now, on its way."""
        await self.court.post()
        posted, self.court.posted[:] = list(self.court.posted), []
        return posted

    async def deliver(self, code: str, token: str) -> None:
        """An order reaches its store, and what that answers comes back."""
        if code in self.offices:
            office, tray, _ = self.offices[code]
            await serve_order(office, token)
            answers, tray.tokens[:] = list(tray.tokens), []
        else:
            answers = [str(self.court.receipt(code, token))]
        for answer in answers:
            await self.court.take(code, answer)

    async def holds(self, whom: Someone) -> None:
        """Both offices know somebody as a customer, who reads the newsletter."""
        for _, _, kit in self.offices.values():
            number = len(await kit.rows("customers")) + 1
            customer = {"id": number, "email": whom.email, "name": whom.last_name, "newsletter": True, "on_hold": False}
            await kit.insert("customers", customer)
            await kit.insert("subscribers", {"id": number, "address": whom.email})

    async def rows(self, code: str, name: str, whom: Someone) -> list[dict[str, Any]]:
        return [row for row in await self.offices[code][2].rows(name) if whom.email in row.values()]


@pytest_asyncio.fixture
async def group(court: Court, subsidiary_keys: Path, tmp_path: Path, mongo_url: str) -> AsyncIterator[Group]:
    async with AsyncExitStack() as stack:
        kits: dict[str, Kit] = {
            "de": MongoKit(mongo_url, f"office{uuid.uuid4().hex[:12]}"),
            "gb": SqliteKit(tmp_path),
        }
        offices = {}
        for code, kit in kits.items():
            await kit.create()
            stack.push_async_callback(kit.drop)
            trust, tray = Trust(subsidiary_keys / "subsidiaries" / code, code), Tray()
            journal = Journal(tmp_path / code / "journal.jsonl", trust.journal_key)
            stack.callback(journal.close)
            store = open_store(mapping_of(kit, LIFTED), kit.url)
            stack.push_async_callback(store.close)
            office = Office(code, trust, store, journal, tray, RefusedLog(tmp_path / code / "refused"), clock=utc_now)
            offices[code] = (office, tray, kit)
        yield Group(court, offices)


async def asked(bench: Bench, group: Group, right: Right, whom: Someone, **more: Any) -> str:
    """By the door's own message, then by the mailed link."""
    reference = new_reference()
    said = {"reference": reference, "right": right.value, "email": whom.email, "channel": "website", "language": "en"}
    request = event(RIGHTS_REQUESTED, RIGHTS_SOURCE, said | more, received=bench.clock(), event_id=reference)
    await work(group.court.desk.services, RIGHTS, bench.seal(request), keep_rights(group.court.desk))
    await advance(group.court.desk, reference)
    await group.court.confirm(reference)
    await group.runs(reference)
    return reference


async def proved(group: Group, reference: str) -> None:
    """Past the settling time every store is looked at again."""
    await mails_leave(group.court, reference)
    case = await group.court.case(reference)
    await group.court.desk.cases.change(case, {"settle_at": group.court.desk.services.clock()})
    await advance(group.court.desk, reference)
    await group.runs(reference)


async def closes(group: Group, keys: LedgerKeys, reference: str) -> None:
    """Everything is proved, the case closes, and its file holds."""
    await proved(group, reference)
    assert (await settled(group.court, reference))["proof"] == "closed"
    _, report = await checked(group.court, keys, reference)
    assert report.faults == []
    assert {"controller": "verified", "de": "attested", "gb": "attested"}.items() <= standings(report).items()


@pytest.fixture
def people() -> dict[Right, Someone]:
    return {right: someone(right.value[:4]) for right in Right}


async def test_each_right_in_every_store(
    bench: Bench, group: Group, people: dict[Right, Someone], ledger_keys: LedgerKeys
) -> None:
    for whom in people.values():
        await bench.send(form(Case.CONTACT, whom, received=bench.clock() - HOUR))
        await subscribed(bench, whom)
        await group.holds(whom)
    await _withdrawal(bench, group, people[Right.WITHDRAWAL], ledger_keys)
    await _portability(bench, group, people[Right.PORTABILITY], ledger_keys)
    await _rectification(bench, group, people[Right.RECTIFICATION], ledger_keys)
    await _restriction(bench, group, people[Right.RESTRICTION], ledger_keys)
    untouched = people[Right.ACCESS]
    assert len(await bench.read(untouched.email)) == 2
    for code in group.offices:
        [row] = await group.rows(code, "customers", untouched)
        assert (row["name"], row["newsletter"], row["on_hold"]) == (untouched.last_name, True, False)


async def _told(group: Group, reference: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Store → what was counted of each collection in which something was found."""
    found = {code: counted(task) for code, task in (await group.court.tasks(reference)).items() if code != "us"}
    return {code: {name: one for name, one in told.items() if one["matched"]} for code, told in found.items()}


async def _withdrawal(bench: Bench, group: Group, whom: Someone, keys: LedgerKeys) -> None:
    reference = await asked(bench, group, Right.WITHDRAWAL, whom)
    told = await _told(group, reference)
    office = {"subscribers": {"matched": 1, "erased": 1}, "customers": {"matched": 1, "restricted": 1}}
    assert told["controller"]["submissions"] == {"matched": 1, "erased": 1}
    assert (told["de"], told["gb"]) == (office, office)
    for code in group.offices:
        assert await group.rows(code, "subscribers", whom) == []
        assert [bool(row["newsletter"]) for row in await group.rows(code, "customers", whom)] == [False]
    assert [one.case for one in await bench.read(whom.email)] == [Case.CONTACT]
    await closes(group, keys, reference)


async def _portability(bench: Bench, group: Group, whom: Someone, keys: LedgerKeys) -> None:
    reference = await asked(bench, group, Right.PORTABILITY, whom)
    told = await _told(group, reference)
    office = {"subscribers": {"matched": 1}, "customers": {"matched": 1}}
    assert told == {"controller": {"submissions": {"matched": 1}}, "de": office, "gb": office}
    assert await group.court.desk.packages.get(reference) is not None
    await closes(group, keys, reference)


async def _rectification(bench: Bench, group: Group, whom: Someone, keys: LedgerKeys) -> None:
    corrections = {"last_name": {"was": whom.last_name, "to": "Newname"}}
    reference = await asked(bench, group, Right.RECTIFICATION, whom, corrections=corrections)
    told = await _told(group, reference)
    office = {"customers": {"matched": 1, "corrected": 1}}
    assert told == {"controller": {"submissions": {"matched": 1, "corrected": 1}}, "de": office, "gb": office}
    for code in group.offices:
        assert [row["name"] for row in await group.rows(code, "customers", whom)] == ["Newname"]
    assert "Newname" in [one.data.get("last_name") for one in await bench.read(whom.email)]
    await closes(group, keys, reference)


async def _restriction(bench: Bench, group: Group, whom: Someone, keys: LedgerKeys) -> None:
    reference = await asked(bench, group, Right.RESTRICTION, whom)
    told = await _told(group, reference)
    office = {name: {"matched": 1, "restricted": 1} for name in ("customers", "subscribers")}
    assert (told["de"], told["gb"]) == (office, office)
    await proved(group, reference)
    assert await bench.read(whom.email) == []
    await deciding.lift(group.court.desk, reference, DPO)
    await group.runs(reference)
    for code in group.offices:
        assert [bool(row["on_hold"]) for row in await group.rows(code, "customers", whom)] == [True], "not told yet"
    assert "lifting-1" in await letters(group.court, reference)
    await mails_leave(group.court, reference)
    await group.runs(reference)
    for code in group.offices:
        assert [bool(row["on_hold"]) for row in await group.rows(code, "customers", whom)] == [False]
    assert len(await bench.read(whom.email)) == 2
    await closes(group, keys, reference)


async def test_a_mark_stays_while_another_restriction_needs_it(bench: Bench, group: Group) -> None:
    ada = someone()
    await group.holds(ada)
    first, second, third = [await _restricted(group, await asked(bench, group, Right.RESTRICTION, ada)) for _ in "123"]
    for lifted, marked in (([first], True), ([second, third], False)):  # the last two in one order
        for reference in lifted:
            await deciding.lift(group.court.desk, reference, DPO)
            await mails_leave(group.court, reference)
        for reference in lifted:
            await advance(group.court.desk, reference)
        for reference in lifted:
            await group.runs(reference)
            await proved(group, reference)
            assert (await settled(group.court, reference))["proof"] == "closed"
        for code in group.offices:
            assert [bool(row["on_hold"]) for row in await group.rows(code, "customers", ada)] == [marked]


async def _restricted(group: Group, reference: str) -> str:
    await proved(group, reference)
    return reference


BREAKS = {
    "before the list": ("workers.cases.consent.withdraw_consent", False),
    "after the list": ("workers.cases.consent.withdraw_consent", True),
    "after the records": ("workers.stores.forgetting.Forgetting.forget_events", True),
    "before a record": ("workers.cases.rectifying._correct", False),
    "after a record": ("workers.cases.rectifying._correct", True),
    "after the mark": ("workers.stores.suppression.Suppressions.restrict", True),
    "before the lift": ("workers.cases.restricting.ask_to_lift", False),
    "after the lift is asked": ("workers.cases.restricting.ask_to_lift", True),
    "after our own lift": ("workers.stores.suppression.Suppressions.lift", True),
    "before a receipt is filed": ("workers.cases.own_store.accept", False),
    "after a receipt is filed": ("workers.cases.own_store.accept", True),
}
"""Where a worker of the controller dies → before or after the call."""


@pytest.mark.slow
@pytest.mark.parametrize("where", BREAKS)
async def test_a_worker_that_dies_in_between_is_followed_by_one_that_ends_it(
    bench: Bench,
    group: Group,
    people: dict[Right, Someone],
    ledger_keys: LedgerKeys,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    """It dies at every other call, so every step is begun twice."""
    place, after = BREAKS[where]
    module, _, name = place.rpartition(".")
    owner: Any = pkgutil.resolve_name(module)
    real, calls = getattr(owner, name), count(1)

    async def dies(*args: Any, **named: Any) -> Any:
        dying = next(calls) % 2
        given = await real(*args, **named) if after or not dying else None
        if dying:
            raise StoreUnavailable("died")
        return given

    async def followed(desk: Any, reference: str, once: Any = advance) -> None:
        with suppress(StoreUnavailable):
            await once(desk, reference)
            return
        await once(desk, reference)

    monkeypatch.setattr(owner, name, dies)
    for user in ("tests.workers.cases.test_every_right", "tests.workers.cases.court"):
        monkeypatch.setattr(f"{user}.advance", followed)
    await test_each_right_in_every_store(bench, group, people, ledger_keys)
    assert next(calls) > 1
