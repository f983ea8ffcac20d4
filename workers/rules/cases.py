"""A case's two clocks, and the one next step that its facts ask for. No clock, no store: values in, a step out.

Answer (what the person gets):

================= =============================================== =========================================
state             admitted by                                     then
================= =============================================== =========================================
received          a request                                       the link is mailed; objection needs none
identity_pending  staff asked for proof, on reasonable doubt      the clock stands still; never by default
accepted          the link, or staff                              decided and served
answered          every store answered, or the date is near       final; word follows of whom it called silent
refused           staff, with a ground                            final: its identifiers go with the letter
withdrawn         the person, or a link not used in seven days    final: its identifiers go
================= =============================================== =========================================

Proof (what the group can show): none → served → receipted → verified → closed. It stays open until every store has
proved, whenever the answer left. Lateness is computed from the dates, never stored.
Source: design § 5; P6, P11.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from schemas.terms import Right


class Answer(StrEnum):
    """The answer's clock."""

    RECEIVED = "received"
    IDENTITY_PENDING = "identity_pending"
    ACCEPTED = "accepted"
    ANSWERED = "answered"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


class ProofState(StrEnum):
    """The proof's clock."""

    NONE = "none"
    SERVED = "served"
    RECEIPTED = "receipted"
    VERIFIED = "verified"
    CLOSED = "closed"


class Step(StrEnum):
    """What is to be done with a case now."""

    ACKNOWLEDGE = "acknowledge"
    MAIL_LINK = "mail_link"
    ACCEPT = "accept"
    SERVE = "serve"
    NOTE_RECEIPTS = "note_receipts"
    LOOK = "look"
    NOTE_VERIFIED = "note_verified"
    ANSWER = "answer"
    TELL = "tell"
    LIFT = "lift"
    CLOSE = "close"
    LAPSE = "lapse"
    END = "end"
    NOTHING = "nothing"


class TaskState(StrEnum):
    """One store's part. ``doubtful``: its answers contradict each other or the look: a person decides."""

    WAITING = "waiting"
    RECEIPTED = "receipted"
    PROVED = "proved"
    BARRED = "barred"
    DOUBTFUL = "doubtful"


LINK_LIFETIME: Final = timedelta(days=7)
ANSWER_MARGIN: Final = timedelta(days=2)
"""How long before the due date an answer leaves that stores still owe something to."""


PROOF_LOOK: Final = timedelta(hours=1)
"""How often a case that waits for its stores, or for the end of a restriction, is looked at, should word be lost."""

MAIL_LOOK: Final = timedelta(minutes=5)
"""How often a case that only waits for a letter to leave is looked at, should word of its leaving be lost."""


@dataclass(frozen=True, slots=True)
class Task:
    """One store's part of a case. ``look_asked``: the second look is under way."""

    store: str
    state: TaskState
    look_asked: bool = False

    @property
    def answered(self) -> bool:
        """Whether the store has said what it did, or nothing may be asked of it."""
        return self.state is not TaskState.WAITING


@dataclass(frozen=True, slots=True)
class Case:
    """What the next step depends on. Moments are aware; ``answer_by``: the last instant of the due date.

    ``opened_at``: when it was entered here, from which on its link may be used; a letter was received earlier.
    ``ended``: nobody needs its identifiers any more, and they are gone. ``mail_owed``: a letter has not left yet, or
    an external processor has not said that it is done. ``kept``: a restriction keeps something of what is asked.
    ``serve_from``: an objection that follows another one is not served before. ``promised``: the stores of which the
    person was told that word will follow. ``unacknowledged``: staff entered it, and the person has no word of that yet.
    ``restricts``: a restriction that was not lifted; ``lifting``: staff have decided to, and the person is told first.
    """

    right: Right
    answer: Answer
    proof: ProofState
    opened_at: datetime
    answer_by: datetime
    confirmed: bool
    link_mailed: bool
    held_back: bool = False
    ended: bool = False
    mail_owed: bool = False
    kept: bool = False
    settle_at: datetime | None = None
    serve_from: datetime | None = None
    promised: frozenset[str] = frozenset()
    unacknowledged: bool = False
    restricts: bool = False
    lifting: bool = False


_OPEN: Final = (Answer.RECEIVED, Answer.IDENTITY_PENDING, Answer.ACCEPTED)


def needs_confirmation(right: Right) -> bool:
    """Objection to prospecting is absolute and immediate: it asks for no proof beyond the address. Source: R20."""
    return right is not Right.OBJECTION


def next_step(case: Case, tasks: Sequence[Task], now: datetime) -> Step:
    """The one step a case's facts ask for at ``now``; :attr:`Step.NOTHING` until one of them changes."""
    if case.unacknowledged and case.answer in _OPEN:
        return Step.ACKNOWLEDGE
    if case.answer is Answer.RECEIVED:
        return _opening(case, now)
    if case.answer in (Answer.REFUSED, Answer.WITHDRAWN):
        return Step.NOTHING if case.ended or case.mail_owed else Step.END
    if case.answer is Answer.IDENTITY_PENDING:
        return Step.NOTHING
    if case.lifting and case.restricts:
        return Step.NOTHING if case.mail_owed else Step.LIFT
    proving = _proving(case, tasks, now)
    if proving is not Step.NOTHING:
        return proving
    if case.answer is Answer.ACCEPTED and _may_answer(case, tasks, now):
        return Step.ANSWER
    return _after_the_answer(case, tasks) if case.answer is Answer.ANSWERED else Step.NOTHING


def _after_the_answer(case: Case, tasks: Sequence[Task]) -> Step:
    """What was promised is told before anything is closed."""
    if case.promised:
        return Step.TELL if all(_can_be_told(task) for task in tasks if task.store in case.promised) else Step.NOTHING
    return Step.CLOSE if _may_close(case, tasks) else Step.NOTHING


def _can_be_told(task: Task) -> bool:
    """Whether what a store did is known: of one in doubt it will be when somebody has decided."""
    return task.state not in (TaskState.WAITING, TaskState.DOUBTFUL)


def _opening(case: Case, now: datetime) -> Step:
    if case.confirmed or not needs_confirmation(case.right):
        return Step.ACCEPT
    if now >= case.opened_at + LINK_LIFETIME:
        return Step.LAPSE
    return Step.NOTHING if case.link_mailed else Step.MAIL_LINK


def _proving(case: Case, tasks: Sequence[Task], now: datetime) -> Step:
    if case.held_back or _too_early(case, now):
        return Step.NOTHING
    match case.proof:
        case ProofState.NONE:
            return Step.SERVE
        case ProofState.SERVED if all(task.answered for task in tasks):
            return Step.NOTE_RECEIPTS
        case ProofState.RECEIPTED if all(_is_proved(task) for task in tasks):
            return Step.NOTE_VERIFIED
        case ProofState.RECEIPTED if _settled(case, now) and any(_to_be_looked_at(task) for task in tasks):
            return Step.LOOK
    return Step.NOTHING


def _too_early(case: Case, now: datetime) -> bool:
    return case.serve_from is not None and now < case.serve_from


def _settled(case: Case, now: datetime) -> bool:
    return case.settle_at is not None and now >= case.settle_at


def _to_be_looked_at(task: Task) -> bool:
    return task.state is TaskState.RECEIPTED and not task.look_asked


def _is_proved(task: Task) -> bool:
    return task.state in (TaskState.PROVED, TaskState.BARRED)


def _may_close(case: Case, tasks: Sequence[Task]) -> bool:
    """Whether nothing is owed or restricted any more. A store may have contradicted itself since all were proved."""
    over = case.proof is ProofState.VERIFIED and not (case.mail_owed or case.kept or case.restricts)
    return over and all(_is_proved(task) for task in tasks)


def _may_answer(case: Case, tasks: Sequence[Task], now: datetime) -> bool:
    """The answer waits for every store, but never past its date."""
    served = case.proof is not ProofState.NONE
    return (served and all(task.answered for task in tasks)) or now >= case.answer_by - ANSWER_MARGIN


def wake_at(case: Case, now: datetime) -> datetime | None:
    """When a case that waits must be looked at again though nothing happens; ``None``: never."""
    if case.ended or case.proof is ProofState.CLOSED:
        return None
    if case.mail_owed:
        return now + MAIL_LOOK
    if case.kept:
        return now + PROOF_LOOK
    moments = [case.opened_at + LINK_LIFETIME] if case.answer is Answer.RECEIVED else []
    if case.answer is Answer.ACCEPTED:
        moments.append(case.answer_by - ANSWER_MARGIN)
        moments += [case.serve_from] if case.serve_from else []
    if case.proof is ProofState.RECEIPTED and case.settle_at is not None:
        moments.append(case.settle_at)
    if case.proof in (ProofState.SERVED, ProofState.RECEIPTED):
        moments.append(now + PROOF_LOOK)
    return min((moment for moment in moments if moment > now), default=None)
