"""R11, R19: what a hold kept is served when it ends, gets its receipt, and is told."""

from __future__ import annotations

from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest

from schemas.calendar import civil_day
from schemas.errors import StoreUnavailable
from schemas.ledger_keys import new_ledger_keys
from schemas.terms import Case
from tests.factories import Someone, form, someone
from tests.workers.bench import Bench
from tests.workers.cases.court import Court, letters, mails_leave, settled
from tests.workers.cases.test_evidence_of_cases import checked, standings
from workers.cases import deciding, own_store
from workers.cases import held as held_module
from workers.cases.engine import advance
from workers.services import utc_now

DPO = "dpo.sample"
GROUND = "litigation, GDPR Art. 17(3)(e)"


async def held(court: Court, reference: str) -> None:
    until = civil_day(court.desk.services.clock()) + timedelta(days=365)
    await deciding.hold(court.desk, reference, GROUND, until, DPO)


async def kept(bench: Bench, court: Court, ada: Someone, held_in: str | None = None) -> str:
    """An erasure that was served while a hold kept everything; by default the hold is its own."""
    await bench.send(form(Case.CONTACT, ada))
    reference = await court.ask("erasure", ada.email, language="en")
    await held(court, held_in or reference)
    await court.confirm(reference)
    await court.run(reference)
    assert (await own(court, reference))["outcome"] == "partly-retained"
    return reference


async def own(court: Court, reference: str) -> dict[str, Any]:
    return (await court.tasks(reference))["controller"]


def totals(task: dict[str, Any]) -> tuple[int, int, int]:
    """Matched, erased, retained."""
    said = task["entry"]["collections"]
    return tuple(sum(one.get(name, 0) for one in said) for name in ("matched", "erased", "retained"))  # type: ignore[return-value]


async def test_what_was_kept_is_erased_receipted_looked_at_and_told(bench: Bench, court: Court) -> None:
    ada = someone()
    reference = await kept(bench, court, ada)
    first = totals(await own(court, reference))
    assert first[0] > 0
    assert first[2] == first[0]
    assert "kept" in (await letters(court, reference))["answer-1"]

    for _ in range(2):
        await deciding.lift(court.desk, reference, DPO)
    assert bench.collection("submissions") == []
    await court.run(reference)
    task = await own(court, reference)
    assert (task["outcome"], totals(task)) == ("done", (first[0], first[0], 0))
    told = await letters(court, reference)
    assert sorted(kind for kind in told if kind.startswith("answer")) == ["answer-1", "answer-2"]
    assert "erased what it held about you" in told["answer-2"]
    assert GROUND not in told["answer-2"]

    await mails_leave(court, reference)
    case = await settled(court, reference)
    assert case["proof"] == "closed"
    assert (await own(court, reference))["proof"] == "verified"


async def test_its_file_holds_and_counts_the_second_answer(bench: Bench, court: Court) -> None:
    """The end of the hold stands between the two answers: they do not contradict each other."""
    reference = await kept(bench, court, someone())
    await deciding.lift(court.desk, reference, DPO)
    await court.run(reference)
    await mails_leave(court, reference)
    await settled(court, reference)
    _, report = await checked(court, new_ledger_keys(utc_now()), reference)
    assert report.faults == []
    assert standings(report)["controller"] == "verified"
    (story,) = [one for one in report.stores if one.code == "controller"]
    assert story.entry is not None
    assert story.entry["outcome"] == "done"


async def test_before_the_answer_has_left_one_letter_tells_all(bench: Bench, court: Court) -> None:
    court.stores["us"].answer = None
    reference = await kept(bench, court, someone())
    assert (await court.case(reference))["answer"] == "accepted"
    await deciding.lift(court.desk, reference, DPO)
    await court.run(reference)
    await court.desk.cases.change(await court.case(reference), {"answer_by": utc_now()})
    await advance(court.desk, reference)
    case = await court.case(reference)
    assert (case["answer"], case["promised"]) == ("answered", ["us"])
    assert GROUND not in (await letters(court, reference))["answer-1"]


async def test_a_hold_of_another_case_keeps_and_frees_this_one(bench: Bench, court: Court) -> None:
    ada = someone()
    seeing = await court.ask("access", ada.email)
    reference = await kept(bench, court, ada, seeing)
    await deciding.lift(court.desk, seeing, DPO)
    await court.run(reference)
    assert (await own(court, reference))["outcome"] == "done"
    assert "answer-2" in await letters(court, reference)


async def test_while_another_hold_stands_nothing_is_asked_again(bench: Bench, court: Court) -> None:
    ada = someone()
    seeing = await court.ask("access", ada.email)
    reference = await kept(bench, court, ada)
    await held(court, seeing)
    await deciding.lift(court.desk, reference, DPO)
    assert bench.collection("submissions")
    assert (await own(court, reference))["state"] == "receipted"
    await deciding.lift(court.desk, seeing, DPO)
    assert bench.collection("submissions") == []
    await court.run(reference)
    assert (await own(court, reference))["outcome"] == "done"


async def test_what_came_after_the_request_is_not_taken_with_it(bench: Bench, court: Court) -> None:
    """A fresh act begins anew: serving the whole erasure again would take it."""
    ada = someone()
    reference = await kept(bench, court, ada)
    await bench.send(form(Case.CONTACT, ada, received=utc_now() + timedelta(minutes=1)))
    assert len(bench.collection("submissions")) == 2
    await deciding.lift(court.desk, reference, DPO)
    await court.run(reference)
    assert len(bench.collection("submissions")) == 1
    assert (await own(court, reference))["outcome"] == "done"


async def test_a_case_that_was_closed_stays_closed(bench: Bench, court: Court) -> None:
    reference = await kept(bench, court, someone())
    await mails_leave(court, reference)
    before = await settled(court, reference)
    assert before["proof"] == "closed"
    await deciding.lift(court.desk, reference, DPO)
    await court.run(reference)
    assert bench.collection("submissions") == []
    assert (await court.case(reference))["proof"] == "closed"
    assert (await own(court, reference))["state"] == "proved"
    _, report = await checked(court, new_ledger_keys(utc_now()), reference)
    assert report.faults == []


@pytest.mark.parametrize("died_at", ["tasks_held", "change_with_task", "change_and_write"])
async def test_killed_anywhere_the_lift_may_be_repeated(
    bench: Bench, court: Court, monkeypatch: pytest.MonkeyPatch, died_at: str
) -> None:
    reference = await kept(bench, court, someone())

    async def dies(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("killed")

    monkeypatch.setattr(court.desk.cases, died_at, dies)
    with pytest.raises(StoreUnavailable):
        await deciding.lift(court.desk, reference, DPO)
    monkeypatch.undo()
    await court.run(reference)
    await deciding.lift(court.desk, reference, DPO)
    await court.run(reference)
    assert (await own(court, reference))["outcome"] == "done"
    assert sum(kind.startswith("answer") for kind in await letters(court, reference)) == 2


@pytest.mark.parametrize(("where", "at"), [(own_store, "hold_on"), (held_module, "note_held"), (own_store, "_file")])
async def test_a_lift_in_the_middle_of_serving_is_not_missed(
    bench: Bench, court: Court, monkeypatch: pytest.MonkeyPatch, where: ModuleType, at: str
) -> None:
    """Before and after the task says what is held, and before its receipt is filed."""
    ada = someone()
    await bench.send(form(Case.CONTACT, ada))
    reference = await court.ask("erasure", ada.email, language="en")
    await held(court, reference)
    await court.confirm(reference)
    case, real, lifted = await court.case(reference), getattr(where, at), []
    assert case["proof"] == "served"

    # Asked anew, with the lift in the middle.
    task = await own(court, reference)
    changes = {"state": "waiting", "attempt": task["attempt"] + 1}
    await court.desk.cases.change_task(task, changes, "entry", "outcome", "receipt", "held", "answered_at")
    await court.desk.cases.change(case, {"proof": "none"})

    async def meanwhile(*args: Any, **named: Any) -> Any:
        if not lifted:
            lifted.append(True)
            await deciding.lift(court.desk, reference, DPO)
        return await real(*args, **named)

    monkeypatch.setattr(where, at, meanwhile)
    await advance(court.desk, reference)
    await court.run(reference)
    assert lifted
    assert bench.collection("submissions") == []
    task = await own(court, reference)
    assert (task["state"], task["outcome"], totals(task)[2]) == ("receipted", "done", 0)
