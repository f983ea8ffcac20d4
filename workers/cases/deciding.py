"""What only a person may decide about a case: extend, refuse, hold, ask who it is, settle a doubt.

Each is a compare-and-set on the case as it was read, noted as evidence before it is done, with the letter that tells of
it in the same transaction. Each may be repeated: what stands already is left as it is. The command line and the desk
call nothing else, so they can do the same things and no more.
Source: R11, R22, R23, R30; GDPR Arts 11, 12(3) to 12(6), 17(3); design § 5.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any, Final

from schemas.calendar import civil_day
from schemas.desk_accounts import NAME
from schemas.errors import GreffierError, InvalidBody, Problem
from schemas.orders import CONTROLLER, LIFT
from schemas.terms import Right
from workers.cases.dates import kept, reckoned
from workers.cases.desk import Docket
from workers.cases.errands import accept
from workers.cases.held import all_keys
from workers.cases.lifting import OF_AN_ANSWER, do_what_was_held, reopen_what_was_held
from workers.cases.mailing import written
from workers.correspondence.facts import (
    ExtensionNotice,
    ExtensionReason,
    IdentityRequest,
    Letter,
    LiftingNotice,
    RefusalLetter,
)
from workers.rules.cases import Answer, ProofState, TaskState
from workers.rules.deadlines import end_of_day
from workers.rules.decisions import Refusal
from workers.stores.cases import OPEN_ANSWERS
from workers.stores.keys import Hold
from workers.stores.mongo import Document

TRIES: Final = 10
_GROUND: Final = re.compile(r"[A-Za-z0-9 ().,:/-]{1,120}")

SENTENCES: Final[Mapping[str, str]] = {
    "unknown_case": "there is no such case",
    "not_open": "the answer is final: nothing is left to decide about it",
    "case_ended": "the case has ended and its identifiers are gone",
    "too_late": "the last day for telling the person was missed",
    "already_served": "the stores were asked already: it cannot be taken back",
    "served_without": "the stores were asked already, without these addresses: enter those as a request of their own",
    "not_asked": "no proof of identity was asked for",
    "nothing_held": "our own store holds nothing of this person that could be held back",
    "unknown_store": "the case has no such store",
    "not_doubtful": "nothing is in doubt about this store's answer",
    "not_held": "no hold was set in this case",
    "not_answered": "the person has no answer yet: a restriction is lifted after it",
    "in_the_past": "the day must be in the future",
    "changed_meanwhile": "the case keeps changing under our hands; try again",
}


class CannotDecide(GreffierError):
    """The case does not allow it. ``code``: one of :data:`SENTENCES`."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(SENTENCES[code])


@dataclass(frozen=True, slots=True)
class _Step:
    """One decision, ready to be made: what becomes of the case, what is noted, what the person is told."""

    changes: dict[str, Any]
    note: tuple[str, str, dict[str, Any]]
    unset: tuple[str, ...] = ()
    letter: Letter | None = field(default=None, repr=False)


_Weigh = Callable[[Document], Awaitable[_Step | None]]
"""What to do about a case as it stands; ``None``: it is so already. Raises :class:`CannotDecide`."""


# ---------------------------------------------------------------------- the answer's clock


async def extend(docket: Docket, reference: str, reason: ExtensionReason, text: str, by: str) -> Document:
    """Take two months more, told within the first month with the reason. Raises :class:`CannotDecide`."""

    async def weigh(case: Document) -> _Step | None:
        if case.get("extended"):
            return None
        _demand_open(case)
        now = docket.services.clock()
        dates = reckoned(case, now)
        if not dates.may_extend(now):
            raise CannotDecide("too_late")
        longer = reckoned({**case, "extended": True}, now)
        letter = ExtensionNotice(
            **await about(docket, case), reason=reason, text=text, due=dates.due, extended_due=longer.due
        )
        told = {"until": longer.due.isoformat(), "ground": reason.value, "by": by}
        note = ("extended", f"{longer.due}/{reason}/{by}", told)
        return _Step({"extended": True, "extension": reason.value, **kept(longer)}, note, letter=letter)

    return await _decide(docket, reference, by, weigh)


async def refuse(docket: Docket, reference: str, refusal: Refusal, text: str, by: str) -> Document:
    """Refuse the whole request, told within the first month with reasons and remedies. Raises :class:`CannotDecide`."""

    async def weigh(case: Document) -> _Step | None:
        if case["answer"] == Answer.REFUSED:
            return None
        _demand_unserved(case)
        now = docket.services.clock()
        if now >= end_of_day(reckoned(case, now).notice_by):
            raise CannotDecide("too_late")
        letter = RefusalLetter(**await about(docket, case), refusal=refusal, text=text)
        ground = f"GDPR Art. {refusal.article}: {refusal.value.replace('_', ' ')}"
        note = ("request_refused", f"{refusal}/{by}", {"ground": ground, "by": by})
        changes = {"answer": Answer.REFUSED.value, "refusal": refusal.value, "refused_at": now}
        return _Step(changes, note, ("joins", "link"), letter)

    return await _decide(docket, reference, by, weigh)


async def ask_identity(docket: Docket, reference: str, why: str, by: str) -> Document:
    """Ask for proof of identity, on a reasonable doubt; the clock stands still until it comes (Art. 12(6))."""

    async def weigh(case: Document) -> _Step | None:
        if case["answer"] == Answer.IDENTITY_PENDING:
            return None
        _demand_unserved(case)
        now = docket.services.clock()
        pauses = [*case.get("pauses", ()), {"asked_at": now}]
        letter = IdentityRequest(**await about(docket, case), why=why, part=len(pauses))
        note = ("identity_asked", f"{len(pauses)}/{by}", {"ground": "GDPR Art. 12(6): reasonable doubt", "by": by})
        return _Step({"answer": Answer.IDENTITY_PENDING.value, "pauses": pauses}, note, letter=letter)

    return await _decide(docket, reference, by, weigh)


async def identity_proved(docket: Docket, reference: str, by: str) -> Document:
    """Proof of identity came and was looked at. That it was is all that is kept of it. The clock goes on."""

    async def weigh(case: Document) -> _Step | None:
        pauses = case.get("pauses", ())
        if not pauses:
            raise CannotDecide("not_asked")
        if "answered_at" in pauses[-1]:
            return None
        if case["answer"] != Answer.IDENTITY_PENDING:
            raise CannotDecide("not_open")
        now = docket.services.clock()
        answered = [*pauses[:-1], {**pauses[-1], "answered_at": now}]
        dates = kept(reckoned({**case, "pauses": answered}, now))
        changes = {"answer": Answer.RECEIVED.value, "confirmed": True, "pauses": answered, **dates}
        return _Step(changes, ("identity_checked", f"{len(pauses)}/{by}", {"by": by}), ("link",))

    return await _decide(docket, reference, by, weigh)


# ---------------------------------------------------------------------- holds


async def hold(docket: Docket, reference: str, ground: str, until: date, by: str) -> Document:
    """Keep this person's data from erasure, on a legal ground, until the hold is lifted. Raises :class:`CannotDecide`.

    ``ground``: what a receipt may quote, so without a word about the person; ``until``: when it is looked at again.
    """
    check_name(by)
    _check_ground(ground)
    case = await get_case(docket, reference)
    if until <= civil_day(docket.services.clock()):
        raise CannotDecide("in_the_past")
    person = await docket.identifiers(case)
    if person is None:
        raise CannotDecide("case_ended")
    # The keys first: an erasure may be on its way at this moment.
    keys = await all_keys(docket.services, person["emails"])
    held = await docket.services.keys.hold(keys, Hold(reference, ground, until))
    if not held:
        raise CannotDecide("nothing_held")

    async def weigh(case: Document) -> _Step | None:
        if "hold" in case:
            return None
        entry = {"ground": ground, "until": until.isoformat(), "keys": held}
        told = {"ground": ground, "until": until.isoformat(), "by": by}
        return _Step({"hold": entry}, ("hold_set", f"{ground}/{until}/{by}", told))

    return await _decide(docket, reference, by, weigh)


async def lift(docket: Docket, reference: str, by: str) -> Document:
    """End the hold; an erasure that it kept from being done is done now, and told. Raises :class:`CannotDecide`.

    A restriction is ended when the person has been told: the letter leaves first (Art. 18(3)).
    """
    check_name(by)
    case = await get_case(docket, reference)
    if case["right"] == Right.RESTRICTION:
        return await _decide(docket, reference, by, partial(_announced, docket, by))
    held = case.get("hold") or case.get("lifted")
    if held is None:
        raise CannotDecide("not_held")
    await docket.services.keys.lift(held["keys"], reference)
    await do_what_was_held(docket, held["keys"])

    async def weigh(case: Document) -> _Step | None:
        if "hold" not in case:
            return None
        told = {"ground": case["hold"]["ground"], "by": by}
        return _Step({"lifted": case["hold"]}, ("hold_lifted", f"{case['hold']['until']}/{by}", told), ("hold",))

    await _decide(docket, reference, by, weigh)
    await reopen_what_was_held(docket, held["keys"], held["ground"], by)
    return await get_case(docket, reference)


async def _announced(docket: Docket, by: str, case: Document) -> _Step | None:
    """The end of a restriction, told before it comes."""
    if "lifting_at" in case:
        return None
    if case["answer"] != Answer.ANSWERED:
        raise CannotDecide("not_answered")
    letter = LiftingNotice(**await about(docket, case))
    changes = {"lifting_at": docket.services.clock(), "lifted_by": by}
    return _Step(changes, ("restriction_lifted", f"told/{by}", {"by": by}), letter=letter)


# ---------------------------------------------------------------------- doubt


async def settle(docket: Docket, reference: str, store: str, decision: str, reason: str, by: str) -> Document:
    """Decide on a store whose answers contradict each other: ask ``again``, or ``accept`` what it said, and why.

    Of an external processor, by its code, whatever is open may be accepted as done.

    Returns the task. ``reason``: stays as evidence, so without a word about the person. Raises :class:`CannotDecide`.
    """
    check_name(by)
    _check_ground(reason)
    if decision not in ("again", "accept"):
        raise InvalidBody(Problem("unknown_decision", "/decision", "must be again or accept"))
    for _ in range(TRIES):
        case = await get_case(docket, reference)
        task = next((one for one in await docket.cases.tasks_of(reference) if one["store"] == store), None)
        if task is None:
            accepted = await accept(docket, reference, store, reason, by) if decision == "accept" else None
            if accepted is None:
                raise CannotDecide("unknown_store")
            await _look_soon(docket, case, reopened=None)
            return accepted
        if task["state"] != TaskState.DOUBTFUL:
            if task.get("settled", {}).get("decision") == decision:
                await _look_soon(docket, case, reopened=store if decision == "again" else None)
                return task
            raise CannotDecide("not_doubtful")
        if decision == "again" and await docket.identifiers(case) is None:
            raise CannotDecide("case_ended")
        told = {"store": store, "decision": decision, "ground": reason, "by": by}
        await docket.evidence.note("doubt_settled", reference, f"{store}/{task['attempt']}/{decision}/{reason}", **told)
        changes, unset = _settled(docket, task, decision, reason)
        if await docket.cases.change_task(task, changes, *unset):
            await _look_soon(docket, case, reopened=store if decision == "again" else None)
            return (await docket.cases.tasks([task["_id"]]))[task["_id"]]
    raise CannotDecide("changed_meanwhile")


def _settled(docket: Docket, task: Document, decision: str, reason: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What becomes of a doubtful task."""
    said = {"settled": {"decision": decision, "reason": reason, "doubt": task["reason"]}}
    if decision == "accept":
        return {**said, "state": TaskState.PROVED.value}, ()
    ask = LIFT if task["entry"]["ask"] == LIFT else "serve"  # what was lifted is not restricted anew
    changes = {**said, "state": TaskState.WAITING.value, "ask": ask, "void_attempts": task["attempt"]}
    if task["store"] != CONTROLLER:
        changes["send_at"] = docket.services.clock()
    return changes, OF_AN_ANSWER


async def _look_soon(docket: Docket, case: Document, reopened: str | None) -> None:
    """Have the case looked at; where a store is asked again, its proof goes back to when it was asked."""
    for _ in range(TRIES):
        changes: dict[str, Any] = {"wake_at": docket.services.clock()}
        if reopened is not None and case["proof"] not in (ProofState.NONE, ProofState.CLOSED):
            served_again = ProofState.NONE if reopened == CONTROLLER else ProofState.SERVED
            changes["proof"] = served_again.value
        if await docket.cases.change(case, changes):
            await docket.wake_case(case["_id"])
            return
        case = await get_case(docket, case["_id"])
    raise CannotDecide("changed_meanwhile")


# ---------------------------------------------------------------------- what all of it shares


async def _decide(docket: Docket, reference: str, by: str, weigh: _Weigh) -> Document:
    """Weigh the case as it stands and take the step, again if somebody else was quicker; the case afterwards."""
    check_name(by)
    for _ in range(TRIES):
        case = await get_case(docket, reference)
        step = await weigh(case)
        if step is None:
            return case
        key = await docket.case_key(reference)
        if step.letter is not None and key is None:
            raise CannotDecide("case_ended")
        kind, fact, details = step.note
        await docket.evidence.note(kind, reference, fact, **details)
        now = docket.services.clock()
        mail = written(case, key, step.letter, docket.letterhead, now) if key and step.letter else None
        if await docket.cases.change_and_write(case, {**step.changes, "wake_at": now}, mail, *step.unset):
            await docket.wake_case(reference)
            return await get_case(docket, reference)
    raise CannotDecide("changed_meanwhile")


async def get_case(docket: Docket, reference: str) -> Document:
    """Raises :class:`CannotDecide` ``unknown_case``."""
    case = await docket.cases.get(reference)
    if case is None:
        raise CannotDecide("unknown_case")
    return case


async def about(docket: Docket, case: Document) -> dict[str, Any]:
    """What every letter to somebody whose request stands begins with."""
    person = await docket.identifiers(case)
    if person is None:
        raise CannotDecide("case_ended")
    return {
        "to": person["emails"][0],
        "reference": case["_id"],
        "right": Right(case["right"]),
        "received_on": date.fromisoformat(case["received_on"]),
    }


def _demand_open(case: Document) -> None:
    if case["answer"] not in OPEN_ANSWERS:
        raise CannotDecide("not_open")


def _demand_unserved(case: Document) -> None:
    """An erasure that stores were asked for cannot be taken back; copies that were only gathered can stay here."""
    _demand_open(case)
    if case["proof"] != ProofState.NONE and not Right(case["right"]).gives_a_copy:
        raise CannotDecide("already_served")


def _check_ground(ground: str) -> None:
    if not _GROUND.fullmatch(ground):
        raise InvalidBody(Problem("not_a_ground", "/ground", "must be 1 to 120 plain letters, digits or ().,:/-"))


def check_name(by: str) -> None:
    """Who decided is evidence: an account's name. Raises :class:`InvalidBody`."""
    if not NAME.fullmatch(by):
        raise InvalidBody(Problem("not_a_name", "/by", "must be an account's name: letters, digits and ._:-"))
