"""R17, R23: the answer leaves by its date whoever is silent, and the word that it promises of them comes."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from schemas.errors import StoreUnavailable
from schemas.terms import Right
from tests.factories import someone
from tests.workers.cases.court import Court, erased, letters, mails_leave, nothing_held, settled
from workers.cases import engine
from workers.cases.engine import advance
from workers.rules.cases import Answer, Case, ProofState, Step, Task, TaskState, next_step
from workers.services import utc_now

ADA = someone("ada")


async def told_to(court: Court, reference: str) -> dict[str, str]:
    """What was written to the person as answer: its part → its text."""
    found = await letters(court, reference)
    return {kind.removeprefix("answer-"): text for kind, text in found.items() if kind.startswith("answer-")}


async def answered_on_time(court: Court, *silent: str, right: str = "erasure") -> str:
    """A case whose answer left on its date while these stores were silent."""
    for store in silent:
        court.stores[store].answer = None
    reference = await court.ask(right, ADA.email, language="en")
    await court.confirm(reference)
    await court.run(reference)
    await on_its_date(court, reference)
    await advance(court.desk, reference)
    return reference


async def on_its_date(court: Court, reference: str) -> None:
    assert await court.desk.cases.change(await court.case(reference), {"answer_by": utc_now() + timedelta(days=1)})


async def hears(court: Court, reference: str, store: str, answer: Any = nothing_held) -> None:
    """A silent store is asked again, and answers."""
    court.stores[store].answer = answer
    task = (await court.tasks(reference))[store]
    await court.desk.cases.change_task(task, {"send_at": utc_now()})
    await court.run(reference, 2)


async def test_word_comes_when_the_silent_store_has_answered(court: Court) -> None:
    reference = await answered_on_time(court, "us")
    assert (await court.case(reference))["promised"] == ["us"]
    (first,) = (await told_to(court, reference)).values()
    assert "HAS NOT ANSWERED YET" in first
    assert "we will write to you again" in first

    await hears(court, reference, "us", erased(2))
    told = await told_to(court, reference)
    assert set(told) == {"1", "2"}
    assert "This completes what we wrote to you before." in told["2"]
    assert "HAS NOT ANSWERED YET" not in told["2"]
    assert "we will write to you again" not in told["2"]
    assert "promised" not in await court.case(reference)


async def test_nothing_is_closed_before_the_word_has_left(court: Court) -> None:
    reference = await answered_on_time(court, "us")
    await mails_leave(court, reference)
    await hears(court, reference, "us")
    case = await settled(court, reference)
    assert (case["answer"], case["proof"]) == ("answered", "verified")
    await mails_leave(court, reference)
    await advance(court.desk, reference)
    assert (await court.case(reference))["proof"] == "closed"
    kinds = [mail["_id"].rpartition("/")[2] for mail in await court.desk.cases.mails_of(reference)]
    assert sorted(kind for kind in kinds if kind.startswith("answer")) == ["answer-1", "answer-2"]


async def test_who_promises_and_forgets_is_found(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deliberately broken variant: closed as soon as all is proved."""

    def forgetful(case: Case, tasks: Any, now: Any) -> Step:
        step = next_step(case, tasks, now)
        return Step.CLOSE if step is Step.TELL and case.proof is ProofState.VERIFIED else step

    monkeypatch.setattr(engine, "next_step", lambda *facts: _unless_told(forgetful(*facts)))
    reference = await answered_on_time(court, "us")
    await mails_leave(court, reference)
    await hears(court, reference, "us")
    case = await settled(court, reference)
    assert case["proof"] == "closed"
    assert "promised" in case, "the promise stands for ever"


def _unless_told(step: Step) -> Step:
    return Step.NOTHING if step is Step.TELL else step


async def test_one_letter_when_all_of_them_have_answered(court: Court) -> None:
    reference = await answered_on_time(court, "gb", "us")
    await hears(court, reference, "us")
    assert set(await told_to(court, reference)) == {"1"}
    await hears(court, reference, "gb")
    for _ in range(3):
        await advance(court.desk, reference)
    assert set(await told_to(court, reference)) == {"1", "2"}


async def test_no_word_of_what_is_in_doubt(court: Court) -> None:
    """Two answers that contradict each other: the person is told what a person has decided."""
    reference = await answered_on_time(court, "us")
    order = court.posted[-1][1] if court.posted else None
    assert order is None
    task = (await court.tasks(reference))["us"]
    await court.desk.cases.change_task(task, {"state": "doubtful", "outcome": "done", "reason": "look_disagrees"})
    await advance(court.desk, reference)
    assert set(await told_to(court, reference)) == {"1"}
    await court.desk.cases.change_task((await court.tasks(reference))["us"], {"state": "proved"}, "reason")
    await advance(court.desk, reference)
    assert set(await told_to(court, reference)) == {"1", "2"}


async def test_whoever_was_told_everything_gets_one_letter(court: Court) -> None:
    reference = await court.ask("erasure", ADA.email)
    await court.confirm(reference)
    await court.run(reference)
    await settled(court, reference)
    assert set(await told_to(court, reference)) == {"1"}
    assert "promised" not in await court.case(reference)


@pytest.mark.parametrize("right", ["erasure", "access"])
@pytest.mark.parametrize("died_at", ["change", "put_mail", "note"])
@pytest.mark.parametrize("when", range(4))
async def test_killed_anywhere_it_promises_what_it_says_and_tells_it_once(
    court: Court, monkeypatch: pytest.MonkeyPatch, right: str, died_at: str, when: int
) -> None:
    """Killed at the n-th write while the answer is made, and again while the word is; the store answers in between."""
    reference = await court.ask(right, ADA.email, language="en")
    court.stores["us"].answer = None
    await court.confirm(reference)
    await court.run(reference)
    await on_its_date(court, reference)

    async def killed() -> None:
        target: Any = court.desk.evidence if died_at == "note" else court.desk.cases
        real, calls = getattr(target, died_at), 0

        async def dies(*args: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > when:
                raise StoreUnavailable("killed")
            return await real(*args, **named)

        with monkeypatch.context() as patched, suppress(StoreUnavailable):
            patched.setattr(target, died_at, dies)
            await advance(court.desk, reference)

    await killed()
    court.stores["us"].answer = nothing_held
    task = (await court.tasks(reference))["us"]
    await court.desk.cases.change_task(task, {"send_at": utc_now()})
    await court.post()
    await killed()
    await court.run(reference)
    told = await told_to(court, reference)
    silent = "HAS NOT ANSWERED YET" in told["1"]
    assert set(told) == ({"1", "2"} if silent else {"1"}), "word comes if it was promised, once, and only then"
    assert "HAS NOT ANSWERED YET" not in told.get("2", "")


_AT = utc_now()
_ANSWERED = Case(
    right=Right.ERASURE,
    answer=Answer.ANSWERED,
    proof=ProofState.VERIFIED,
    opened_at=_AT,
    answer_by=_AT,
    confirmed=True,
    link_mailed=True,
    promised=frozenset({"us"}),
)


@pytest.mark.parametrize(
    ("state", "step"),
    [
        (TaskState.WAITING, Step.NOTHING),
        (TaskState.DOUBTFUL, Step.NOTHING),
        (TaskState.RECEIPTED, Step.TELL),
        (TaskState.PROVED, Step.TELL),
        (TaskState.BARRED, Step.TELL),
    ],
)
def test_the_rule_tells_before_it_closes(state: TaskState, step: Step) -> None:
    others = [Task("controller", TaskState.PROVED), Task("gb", TaskState.PROVED)]
    assert next_step(_ANSWERED, [*others, Task("us", state)], _AT) is step
