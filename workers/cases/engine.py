"""Takes a case's next step until there is none. Whatever calls, and however often: each step is done once.

What is to be done is decided by :func:`workers.rules.cases.next_step` alone; here it is carried out. An effect comes
before the change of state that says it was had, and bears repeating; the change is a compare-and-set, so a worker that
was paused and comes back finds its step taken.
Source: design § 5; P6, P11; reliability § 7 "Zombies".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final

import structlog

from schemas.errors import GreffierError
from schemas.orders import CONTROLLER
from schemas.terms import Right, SuppressionGround
from workers.cases import answering, errands, eyes, handed_over, own_store, packaging, restricting, serving
from workers.cases.consent import took_ms, withdrawn_at
from workers.cases.desk import CASE, Desk
from workers.cases.held import is_restricted
from workers.cases.pacing import objection_turn
from workers.rules.cases import Answer, Case, ProofState, Step, Task, TaskState, next_step, wake_at
from workers.stores.errands import Errands
from workers.stores.keys import key_id
from workers.stores.mongo import Document
from workers.suppressing import suppress, withdraw_consent

log = structlog.get_logger("greffier.cases")

_STEPS_AT_ONCE: Final = 20

Perform = Callable[[Desk, Document, list[Document]], Awaitable[None]]


async def advance(desk: Desk, reference: str) -> None:
    """Take every step that the case's facts ask for now, then note when it must be looked at again."""
    for _ in range(_STEPS_AT_ONCE):
        case = await desk.cases.get(reference)
        if case is None:
            return
        tasks = await _parts(desk, case) if case["answer"] != Answer.RECEIVED else []
        ends = _may_end(case)
        facts = case_of(case, owed=ends and await _owed(desk, case), kept=ends and await is_restricted(desk, tasks))
        step = next_step(facts, [task_of(task) for task in tasks], desk.services.clock())
        if step is Step.NOTHING:
            await _rest(desk, case, facts)
            return
        log.info("case takes a step", case=reference, step=step)
        await _PERFORM[step](desk, case, tasks)
    await desk.wake_case(reference)


async def with_a_step(desk: Desk, references: Collection[str]) -> list[str]:
    """Those of these cases that a receipt moves: no other is awaited beside it.

    One that is still being served is left to whoever serves it, who looks at what has come in when he has done.
    """
    tasks, now = await desk.cases.states_of(references), desk.services.clock()
    served = [case for case in await desk.cases.whole(list(references)) if case["proof"] != ProofState.NONE]
    facts = [(case["_id"], case_of(case), [task_of(task) for task in tasks.get(case["_id"], ())]) for case in served]
    return [reference for reference, case, told in facts if next_step(case, told, now) is not Step.NOTHING]


async def _parts(desk: Desk, case: Document) -> list[Document]:
    """Every store's task, and the part of each external processor that is to hand over a copy."""
    return [*await desk.cases.tasks_of(case["_id"]), *await handed_over.parts_of(desk, case)]


def _may_end(case: Document) -> bool:
    """Whether only a letter that has not left, or a processor outside, may still keep the case open."""
    told = case["answer"] == Answer.ANSWERED and case["proof"] == ProofState.VERIFIED
    final = case["answer"] in (Answer.REFUSED, Answer.WITHDRAWN) and not case.get("ended")
    return told or final or "lifting_at" in case


async def _owed(desk: Desk, case: Document) -> bool:
    """Whether a letter has not left yet, or a processor has not said that it is done."""
    if await desk.cases.mails_waiting(case["_id"]):
        return True
    return "errands" in case and await Errands(desk.services.databases).waiting(case["_id"])


def case_of(case: Document, *, owed: bool = False, kept: bool = False) -> Case:
    """The facts the next step depends on. ``owed``: whether a mail has not left yet, or a processor is not done;
    ``kept``: whether a restriction keeps something from being done.
    """
    return Case(
        right=Right(case["right"]),
        answer=Answer(case["answer"]),
        proof=ProofState(case["proof"]),
        opened_at=case["opened_at"],
        answer_by=case["answer_by"],
        confirmed=case["confirmed"],
        link_mailed=case["link_mailed"],
        held_back=case.get("held_back", False),
        ended=case.get("ended", False),
        settle_at=case.get("settle_at"),
        serve_from=case.get("serve_from"),
        unacknowledged="acknowledge" in case,
        promised=frozenset(case.get("promised", ())),
        mail_owed=owed,
        kept=kept,
        restricts=case["right"] == Right.RESTRICTION and "lifted_at" not in case,
        lifting="lifting_at" in case,
    )


def task_of(task: Document) -> Task:
    """The facts of one store's part."""
    return Task(task["store"], TaskState(task["state"]), look_asked=task.get("look_asked", False))


async def _rest(desk: Desk, case: Document, facts: Case) -> None:
    now, current = desk.services.clock(), case.get("wake_at")
    moment = wake_at(facts, now)
    if moment and current and now + (moment - now) / 2 <= current <= moment:
        return  # it is looked at soon enough: not every receipt is worth a write
    if moment != current:
        changed = {"wake_at": moment} if moment else {}
        await desk.cases.step(case, changed, *([] if moment else ["wake_at"]))


async def _acknowledge(desk: Desk, case: Document, _: list[Document]) -> None:
    await answering.acknowledge(desk, case)
    await desk.cases.step(case, {}, "acknowledge")


async def _mail_link(desk: Desk, case: Document, _: list[Document]) -> None:
    await answering.mail_link(desk, case)
    await desk.cases.step(case, {"link_mailed": True})


async def _accept(desk: Desk, case: Document, _: list[Document]) -> None:
    changes: dict[str, Any] = {"answer": Answer.ACCEPTED.value}
    if case["right"] == Right.OBJECTION:
        person = await _person(desk, case)
        # At once, before anything else (R20); the address itself was when the case was opened.
        await suppress(desk.services, person["emails"], SuppressionGround.OBJECTION, case["received_at"])
        if not case["confirmed"]:
            changes["serve_from"] = await objection_turn(desk, case, person["emails"][0])
    if case["right"] == Right.WITHDRAWAL:
        await withdraw_consent(desk.services, (await _person(desk, case))["emails"], case["received_at"])
        changes["withdrawn_at"] = withdrawn_at(case, desk.services.clock())
    await desk.evidence.note("request_accepted", case["_id"], "accepted", right=case["right"])
    await desk.cases.step(case, changes)


async def _serve(desk: Desk, case: Document, _: list[Document]) -> None:
    await serving.open_tasks(desk, case)
    tasks = {task["store"]: task for task in await desk.cases.tasks_of(case["_id"])}
    waiting = [store for store, task in tasks.items() if "send_at" in task]
    for store in waiting:
        await desk.wake_store(store)
    person = await _person(desk, case)
    asked = {"errands": True} if await errands.open_errands(desk, case, person) else {}
    await own_store.serve(desk, case, tasks[CONTROLLER], person)
    await desk.cases.step(case, {"proof": ProofState.SERVED.value, **asked})


async def _note_receipts(desk: Desk, case: Document, tasks: list[Document]) -> None:
    await desk.evidence.note("all_receipts", case["_id"], "receipted")
    settled = desk.services.clock() + desk.settle
    again = "receipts_took_ms" in case and any("lifted" in task for task in tasks)  # a hold's time is nobody's delay
    took = {"receipts_took_ms": took_ms(case, tasks)} if "withdrawn_at" in case and not again else {}
    await desk.cases.step(case, {"proof": ProofState.RECEIPTED.value, "settle_at": settled, **took})


async def _look(desk: Desk, case: Document, tasks: list[Document]) -> None:
    now, person = desk.services.clock(), await _person(desk, case)
    looks: list[Awaitable[bool]] = []
    asked: list[tuple[Document, dict[str, Any]]] = []
    for task in tasks:
        if task["state"] != TaskState.RECEIPTED or task.get("look_asked"):
            continue
        if task["store"] == CONTROLLER:
            await own_store.look(desk, case, task, person)
        elif eyes.can_see(desk, task):
            looks.append(eyes.look(desk, case, task, person))
        else:
            asked.append((task, {"ask": "look", "look_asked": True, "send_at": now}))
    await desk.cases.step_tasks(asked)
    for task, _ in asked:
        await desk.wake_store(task["store"])
    if not all(await asyncio.gather(*looks)):
        await desk.cases.step(case, {"settle_at": now + eyes.AGAIN_AFTER})


async def _note_verified(desk: Desk, case: Document, _: list[Document]) -> None:
    await desk.evidence.note("verified", case["_id"], "verified")
    await desk.cases.step(case, {"proof": ProofState.VERIFIED.value})


async def _answer(desk: Desk, case: Document, tasks: list[Document]) -> None:
    owed = [task["store"] for task in tasks if not task_of(task).answered or answering.in_conflict(task)]
    if owed and "promised" not in case:
        # Before the letter that promises them word, so that what is promised is what it says, whatever happens next.
        await desk.cases.step(case, {"promised": owed})
        return
    if await _letter(desk, case, answering.as_promised(case, tasks), 1):
        await desk.evidence.note("answered", case["_id"], "answered")
        now = desk.services.clock()
        await desk.cases.step(case, {"answer": Answer.ANSWERED.value, "answered_at": now}, "joins")


async def _tell(desk: Desk, case: Document, tasks: list[Document]) -> None:
    part = case.get("letters", 1) + 1
    if await _letter(desk, case, tasks, part):
        await desk.evidence.note("answered", case["_id"], f"answered/{part}")
        await desk.cases.step(case, {"letters": part}, "promised")


async def _letter(desk: Desk, case: Document, tasks: list[Document], part: int) -> bool:
    """Put one of the answer's letters into the outbox; ``False``: its package has a link now, look at the case anew."""
    package = None
    if packaging.is_made_of(case, tasks):
        if not await packaging.has_link(desk, case, part):
            return False
        async with desk.copying:
            package = await packaging.put_together(desk, case, tasks)
    await answering.answer(desk, case, tasks, package, part)
    return True


async def _lift(desk: Desk, case: Document, tasks: list[Document]) -> None:
    await restricting.ask_to_lift(desk, case, tasks)
    now, asked = desk.services.clock(), await desk.cases.tasks_of(case["_id"])
    if not all(map(restricting.is_asked, asked)):
        return  # somebody changed one meanwhile: once more
    for task in asked:
        if "send_at" in task:
            await desk.wake_store(task["store"])
        elif task["store"] == CONTROLLER:
            await own_store.serve(desk, case, task, await _person(desk, case))
    await desk.cases.step(case, {"proof": ProofState.SERVED.value, "lifted_at": now}, "hold")


async def _close(desk: Desk, case: Document, _: list[Document]) -> None:
    await desk.evidence.note("closed", case["_id"], "closed")
    await _let_go(desk, case)
    await desk.cases.step(case, {"proof": ProofState.CLOSED.value, "closed_at": desk.services.clock()}, "wake_at")


async def _lapse(desk: Desk, case: Document, _: list[Document]) -> None:
    await desk.evidence.note("request_lapsed", case["_id"], "lapsed")
    await desk.cases.step(case, {"answer": Answer.WITHDRAWN.value, "reason": "link_not_used"}, "joins")


async def _end(desk: Desk, case: Document, _: list[Document]) -> None:
    await _let_go(desk, case)
    await desk.cases.step(case, {"ended": True}, "wake_at")


async def _let_go(desk: Desk, case: Document) -> None:
    """Nobody needs the identifiers any more. The key goes first: no part of a copy that comes now is kept after it."""
    await desk.services.keys.destroy([key_id(case["_id"], CASE)])
    await desk.cases.drop_copies(case["_id"])


class KeyGone(GreffierError):
    """A case's key was destroyed while it still has steps to take: somebody must look at it."""


async def _person(desk: Desk, case: Document) -> Mapping[str, Any]:
    found = await desk.identifiers(case)
    if found is None:
        raise KeyGone(case["_id"])
    return found


_PERFORM: Final[Mapping[Step, Perform]] = {
    Step.ACKNOWLEDGE: _acknowledge,
    Step.MAIL_LINK: _mail_link,
    Step.ACCEPT: _accept,
    Step.SERVE: _serve,
    Step.NOTE_RECEIPTS: _note_receipts,
    Step.LOOK: _look,
    Step.NOTE_VERIFIED: _note_verified,
    Step.ANSWER: _answer,
    Step.TELL: _tell,
    Step.LIFT: _lift,
    Step.CLOSE: _close,
    Step.LAPSE: _lapse,
    Step.END: _end,
}
