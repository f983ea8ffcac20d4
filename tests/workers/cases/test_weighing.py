"""What the decision table says is what our own store does, and what letter and receipt tell. R11, R17 to R20."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from schemas.calendar import civil_day
from schemas.ledger_keys import LedgerKeys
from schemas.register import SHIPPED, Register, parse_register
from schemas.register_reading import read_mapping
from schemas.terms import Case, Department, LawfulBasis, Purpose
from tests.factories import NOON, Someone, contact, form, someone
from tests.workers.bench import Bench, Document
from tests.workers.cases.court import Court, letters, mails_leave, settled
from tests.workers.cases.test_deciding import DPO, GROUND, entered
from tests.workers.cases.test_evidence_of_cases import checked, ledger_keys, standings
from workers.cases import deciding, weighing
from workers.rules.decisions import Decision, Verdict

__all__ = ["ledger_keys"]

LAW = "legal obligation, GDPR Art. 17(3)(b)"
PLAIN, _ = read_mapping(SHIPPED)

Ruled = Callable[..., tuple[Bench, Court]]


def register_with(basis: LawfulBasis, retention: str) -> Register:
    """The shipped register, but what a client's contract needs rests on another basis."""
    raw = copy.deepcopy(PLAIN)
    raw["cases"]["client"]["purposes"]["services-and-contract"] = {"basis": basis.value, "retention": retention}
    return parse_register(raw)


@pytest.fixture
def ruled(bench: Bench, court: Court) -> Ruled:
    """Bench and court under another register."""

    def under(basis: LawfulBasis = LawfulBasis.LEGAL_OBLIGATION, retention: str = "contract") -> tuple[Bench, Court]:
        register = register_with(basis, retention)
        trust = replace(bench.services.trust, register=register)
        bench.services = replace(bench.services, trust=trust)
        few = register.model_copy(update={"subsidiaries": court.desk.services.trust.register.subsidiaries})
        services = replace(court.desk.services, trust=replace(trust, register=few))
        court.desk = replace(court.desk, services=services)
        return bench, court

    return under


async def held_in_two_ways(bench: Bench, whom: Someone, received: datetime = NOON) -> tuple[Document, Document]:
    """A form, and a contact at a client: two records of one person, and the messages that brought them."""
    asked = form(Case.CONTACT, whom, received=received)
    client = contact(Case.CLIENT, whom, received=received, collected_at=received.date().isoformat())
    return await bench.send(asked), await bench.send(client)


async def erased(court: Court, whom: Someone, **more: Any) -> str:
    reference = await entered(court, whom, confirmed="yes", **more)
    await court.run(reference)
    return reference


def by_name(task: Document) -> dict[str, Document]:
    return {one["name"]: one for one in task["entry"]["collections"]}


async def test_what_the_law_keeps_stays_and_everything_else_goes(ruled: Ruled) -> None:
    bench, court = ruled()
    ada, bo = someone(), someone()
    await held_in_two_ways(bench, ada)
    [adas] = [one["_id"] for one in bench.collection("persons")]
    await held_in_two_ways(bench, bo)
    reference = await erased(court, ada)

    task = (await court.tasks(reference))["controller"]
    assert task["outcome"] == "partly-retained"
    told = by_name(task)
    assert told["submissions"] == {"name": "submissions", "matched": 2, "erased": 1, "retained": 1, "ground": LAW}
    assert told["links"] == {"name": "links", "matched": 6, "erased": 5, "retained": 1, "ground": LAW}
    [left] = [one for one in bench.collection("submissions") if one["person"] == adas]
    assert left["case"] == "client"
    assert [one["purpose"] for one in bench.collection("links") if one["person"] == adas] == ["services-and-contract"]
    assert len(await bench.read(bo.email)) == 1, "nobody else is touched"
    assert await bench.read(ada.email, Purpose.SERVICES_AND_CONTRACT, Department.ADMINISTRATION) == [], "kept, not used"


async def test_the_letter_says_what_is_kept_on_which_ground_and_until_when(ruled: Ruled) -> None:
    bench, court = ruled(retention="relation")
    ada = someone()
    await held_in_two_ways(bench, ada)
    reference = await erased(court, ada)
    until = date(2029, 11, 20)  # three years from the day the contact was collected
    assert by_name((await court.tasks(reference))["controller"])["submissions"]["until"] == until.isoformat()
    answer = (await letters(court, reference))["answer-1"]
    for words in (
        f"1 kept (ground: {LAW}, until 20 November 2029)",
        "performing a contract and what belongs to it: the law obliges us to keep these data (Art. 17(3)(b) GDPR)",
        "CNIL",
        "court",
    ):
        assert words in answer
    assert "sales prospecting" not in answer, "what was done needs no excuse"


async def test_the_case_closes_on_what_may_stay_and_a_lift_ends_it(ruled: Ruled, ledger_keys: LedgerKeys) -> None:
    bench, court = ruled()
    ada = someone()
    await held_in_two_ways(bench, ada)
    reference = await erased(court, ada)
    await mails_leave(court, reference)
    assert (await settled(court, reference))["proof"] == "closed"
    assert (await court.case(reference))["hold"]["ground"] == LAW
    _, report = await checked(court, ledger_keys, reference)
    assert (report.faults, standings(report)["controller"]) == ([], "verified")
    await deciding.lift(court.desk, reference, DPO)
    for name in ("submissions", "links", "persons", "anchors"):
        assert bench.collection(name) == [], name


async def test_a_repeat_of_the_message_does_not_remove_what_is_kept(ruled: Ruled) -> None:
    """A redelivery of what was erased is taken back wherever it stands; what is held is not its to take."""
    bench, court = ruled()
    ada = someone()
    wires = await held_in_two_ways(bench, ada)
    await erased(court, ada)
    before = bench.collection("submissions"), bench.collection("links"), bench.collection("persons")
    assert len(before[0]) == 1
    for wire in wires:
        await bench.deliver(wire)
    assert (bench.collection("submissions"), bench.collection("links"), bench.collection("persons")) == before


async def test_it_may_be_done_again_after_a_crash(ruled: Ruled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the hold and the deletion, the second attempt does not take its own hold for somebody's."""
    bench, court = ruled()
    ada = someone()
    await held_in_two_ways(bench, ada)
    with monkeypatch.context() as patch:
        patch.setattr("workers.stores.tombstones.Tombstones.name_persons", _killed)
        with pytest.raises(ConnectionAbortedError):
            await erased(court, ada)
    assert len(bench.collection("submissions")) == 2
    [reference] = [one["_id"] for one in bench.collection("cases", "evidence")]
    await court.run(reference)
    assert by_name((await court.tasks(reference))["controller"])["submissions"]["erased"] == 1
    assert len(bench.collection("submissions")) == 1


async def _killed(*_: Any) -> None:
    raise ConnectionAbortedError


async def test_an_obligation_whose_time_is_over_keeps_nothing(ruled: Ruled) -> None:
    bench, court = ruled(retention="relation")
    ada = someone()
    await held_in_two_ways(bench, ada, NOON.replace(year=NOON.year - 4))
    reference = await erased(court, ada)
    assert (await court.tasks(reference))["controller"]["outcome"] == "done"
    assert bench.collection("submissions") == []


async def test_a_child_s_data_under_an_obligation_waits_for_a_person(ruled: Ruled) -> None:
    bench, court = ruled()
    ada = someone()
    await held_in_two_ways(bench, ada)
    reference = await erased(court, ada, ground="child")
    submissions = by_name((await court.tasks(reference))["controller"])["submissions"]
    assert (submissions["erased"], submissions["retained"]) == (1, 1)
    assert submissions["ground"] == "lawfulness in doubt, GDPR Art. 17(1)(f)"
    assert "what the law says of these data is being examined" in (await letters(court, reference))["answer-1"]
    await deciding.lift(court.desk, reference, DPO)
    assert bench.collection("submissions") == []


async def test_a_hold_keeps_everything_and_the_letter_says_for_what(bench: Bench, court: Court) -> None:
    ada = someone()
    await held_in_two_ways(bench, ada)
    reference = await entered(court, ada)
    until = civil_day(court.desk.services.clock()) + timedelta(days=365)
    await deciding.hold(court.desk, reference, GROUND, until, DPO)
    await court.confirm(reference)
    await court.run(reference)
    submissions = by_name((await court.tasks(reference))["controller"])["submissions"]
    assert (submissions["retained"], submissions["ground"]) == (2, GROUND)
    answer = (await letters(court, reference))["answer-1"]
    assert "these data must be preserved for a dispute or an inquiry" in answer
    assert "Kept for legal claims (Art. 17(3)(e) GDPR), to be looked at again by" in answer


async def test_the_shipped_register_lets_everything_go(bench: Bench, court: Court) -> None:
    ada = someone()
    await held_in_two_ways(bench, ada)
    reference = await erased(court, ada)
    assert (await court.tasks(reference))["controller"]["outcome"] == "done"
    assert bench.collection("submissions") == []
    assert "could not be done" not in (await letters(court, reference))["answer-1"]


async def test_an_objection_ends_prospecting_and_counts_that_alone(
    bench: Bench, court: Court, ledger_keys: LedgerKeys
) -> None:
    ada = someone()
    await held_in_two_ways(bench, ada)
    reference = await court.ask("objection", ada.email)
    await court.run(reference)
    told = by_name((await court.tasks(reference))["controller"])
    assert told["links"] == {"name": "links", "matched": 6, "restricted": 4}
    assert "restricted" not in told["submissions"]
    await mails_leave(court, reference)
    assert (await settled(court, reference))["proof"] == "closed"
    _, report = await checked(court, ledger_keys, reference)
    assert (report.faults, standings(report)["controller"]) == ([], "verified")
    assert await bench.read(ada.email, Purpose.SERVICES_AND_CONTRACT, Department.ADMINISTRATION)


async def test_an_engine_that_grants_whatever_is_asked_is_caught(ruled: Ruled, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variant that does not consult the table erases what the law keeps."""
    bench, court = ruled()

    def granted(*asked: Any) -> Decision:
        decided = weighed(*asked)
        return replace(decided, purposes=tuple(replace(one, verdict=Verdict.GRANTED) for one in decided.purposes))

    weighed = weighing.weighed
    monkeypatch.setattr("workers.cases.own_store.weighed", granted)
    ada = someone()
    await held_in_two_ways(bench, ada)
    reference = await erased(court, ada)
    assert (await court.tasks(reference))["controller"]["outcome"] == "done"
    assert bench.collection("submissions") == []
