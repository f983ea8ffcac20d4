"""What the person gets: word that a request came, the link that proves an address, the answer that names every store.

The answer leaves by its date whatever is still open, and says which stores have not answered; what they answer later is
proved later, and told in a further letter once all of them have. It says what is still held, and for what.
Source: R17, R22, R23; design § 5, § 5.7; GDPR Art. 12(3), 12(4).
"""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from schemas.orders import CONTROLLER
from schemas.terms import Channel, Proof, Right, StoreOutcome
from schemas.tokens import TokenKind
from workers.cases.desk import Desk
from workers.cases.mailing import post_letter
from workers.cases.pacing import link_turn
from workers.cases.weighing import recalled
from workers.correspondence.facts import (
    Acknowledgement,
    AnswerLetter,
    CollectionReport,
    ConfirmationLink,
    Package,
    Remainder,
    StillHeld,
    StoreReport,
    StoreState,
)
from workers.rules.cases import TaskState
from workers.rules.decisions import Decision
from workers.rules.tokens import expires_at, make_token
from workers.stores.mongo import Document

_STILL_HELD: Final = {
    Right.ACCESS: (StillHeld.CASE_EVIDENCE,),
    Right.ERASURE: (StillHeld.TOMBSTONE, StillHeld.CASE_EVIDENCE),
    Right.OBJECTION: (StillHeld.SUPPRESSION, StillHeld.CASE_EVIDENCE),
    Right.WITHDRAWAL: (StillHeld.WITHDRAWN, StillHeld.CASE_EVIDENCE),
    Right.PORTABILITY: (StillHeld.CASE_EVIDENCE,),
    Right.RECTIFICATION: (StillHeld.CASE_EVIDENCE,),
    Right.RESTRICTION: (StillHeld.RESTRICTION, StillHeld.CASE_EVIDENCE),
}

_BY_BASIS: Final = frozenset({Right.WITHDRAWAL, Right.PORTABILITY})
"""Rights that only some bases give: the letter always says which purposes rest on others."""


async def mail_link(desk: Desk, case: Document) -> None:
    """Mail the link that confirms the address: the same words whether anybody is known there or not."""
    key, person = await desk.case_key(case["_id"]), await desk.identifiers(case)
    if key is None or person is None:
        return
    now = desk.services.clock()
    token = make_token(desk.token_key, TokenKind.CONFIRM, case["_id"], token_id=case["link"], now=now)
    letter = ConfirmationLink(
        to=person["emails"][0],
        reference=case["_id"],
        right=Right(case["right"]),
        link=f"{desk.public_url}/rights/{case['_id']}/confirm?token={token}",
        expires_at=expires_at(TokenKind.CONFIRM, now),
        status=_status_link(desk, case),
        channel=Channel(case["channel"]),
    )
    await post_letter(desk, case, key, letter, desk.letterhead, at=await link_turn(desk, case))


async def acknowledge(desk: Desk, case: Document) -> None:
    """Say that a request which staff entered was received, and by when it is answered."""
    key, person = await desk.case_key(case["_id"]), await desk.identifiers(case)
    if key is None or person is None:
        return
    letter = Acknowledgement(
        to=person["emails"][0],
        reference=case["_id"],
        right=Right(case["right"]),
        received_on=date.fromisoformat(case["received_on"]),
        channel=Channel(case["acknowledge"]),
        due=date.fromisoformat(case["due_on"]),
        status=_status_link(desk, case),
    )
    await post_letter(desk, case, key, letter, desk.letterhead)


def _status_link(desk: Desk, case: Document) -> str:
    """Where the counter shows how the case stands."""
    now = desk.services.clock()
    token = make_token(desk.token_key, TokenKind.STATUS, case["_id"], token_id=case["status"], now=now)
    return f"{desk.counter_url or desk.public_url}/status/{token}"


async def answer(desk: Desk, case: Document, tasks: list[Document], package: Package | None, part: int) -> None:
    """Put one of the answer's letters into the outbox. ``package``: where the copies wait, for an access request.

    ``part``: 1 for the answer, 2 and more for the word that it promised.
    """
    key, person = await desk.case_key(case["_id"]), await desk.identifiers(case)
    if key is None or person is None:
        return
    letter = AnswerLetter(
        to=person["emails"][0],
        reference=case["_id"],
        right=Right(case["right"]),
        part=part,
        received_on=date.fromisoformat(case["received_on"]),
        stores=tuple(report(desk, task) for task in tasks),
        decision=_denied(desk, case, tasks),
        package=package,
        still_held=tuple(Remainder(what) for what in _STILL_HELD[Right(case["right"])]),
    )
    await post_letter(desk, case, key, letter, desk.letterhead)


def _denied(desk: Desk, case: Document, tasks: list[Document]) -> Decision | None:
    """What our own store was not allowed or able to do, purpose by purpose; ``None`` where nothing was denied."""
    own = next((task for task in tasks if task["store"] == CONTROLLER), {})
    told = own.get("outcome") == StoreOutcome.PARTLY_RETAINED or case["right"] in _BY_BASIS
    if not told or "decided" not in own:
        return None
    return recalled(desk.services.trust.register, case, own["decided"])


def as_promised(case: Document, tasks: list[Document]) -> list[Document]:
    """The tasks as the first letter tells them: who was silent when it was begun stays so in it."""
    promised = case.get("promised", ())
    return [_silent(task) if task["store"] in promised and not in_conflict(task) else task for task in tasks]


def in_conflict(task: Document) -> bool:
    """Whether a store left what it holds, and somebody is to look: the person is told again when they have."""
    return task["state"] == TaskState.DOUBTFUL and task.get("outcome") == StoreOutcome.CONFLICT


def _silent(task: Document) -> Document:
    return {name: task[name] for name in ("_id", "case", "store", "right")} | {"state": TaskState.WAITING.value}


def report(desk: Desk, task: Document) -> StoreReport:
    """One store's part, as its receipt says it."""
    company, country = _where(desk, task["store"])
    entry = task.get("entry")
    return StoreReport(
        company=company,
        country=country,
        state=_state(task),
        collections=tuple(_collection(one) for one in entry["collections"]) if entry else (),
        proof=Proof(task["proof"]) if "proof" in task else None,
        reason=task.get("reason"),
    )


def _where(desk: Desk, store: str) -> tuple[str, str]:
    register = desk.services.trust.register
    if store == CONTROLLER:
        return register.controller.name, register.controller.store_region
    if store in register.processors:
        return register.processors[store].name, register.processors[store].country
    found = register.subsidiary(store)
    return found.name, found.store_region


def _state(task: Document) -> StoreState:
    if task["state"] == TaskState.BARRED:
        return StoreState.BARRED
    if "outcome" not in task:
        return StoreState.SILENT
    left = task["outcome"] == StoreOutcome.CONFLICT and task["state"] == TaskState.PROVED
    return StoreState.REFUSED if left else StoreState(task["outcome"])  # somebody has looked, and left it so


def _collection(one: dict[str, Any]) -> CollectionReport:
    names = ("erased", "anonymised", "restricted", "corrected", "conflicting", "retained")
    counts = {name: one[name] for name in names if name in one}
    until = date.fromisoformat(one["until"]) if "until" in one else None
    return CollectionReport(one["name"], one["matched"], **counts, ground=one.get("ground"), until=until)
