"""From an order to its receipt: open, verify, have its entries served, write it down, sign, send.

| step | when it fails |
| --- | --- |
| open, verify | refused, counted, noted beside the journal; never answered: whoever wrote it is nobody we know |
| an entry for another store, or one that cannot be read | the same, for that entry; its neighbours are served |
| plan, journal ``begun``, act, journal ``done`` | killed anywhere: the next delivery completes and counts the whole |
| send | the order stays in its queue, and the next delivery answers the same from the journal |

A task that was answered is not done again at the same attempt: a replayed order changes nothing. A later attempt is the
controller asking anew: what has come back meanwhile goes too, and the receipt counts all of it.
Source: R25; P2, P6, P7; design § 5.4, § 5.5; reliability § 8.3.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.errors import InvalidMessage, StoreUnavailable
from schemas.fields import IDENTIFIER
from schemas.jose import open_sealed, verify
from schemas.orders import (
    DISPOSAL_ENTRY,
    DISPOSE,
    LIFT,
    MAX_ENTRIES,
    ORDER,
    ORDER_ENTRY,
    ORDER_LIFETIME,
    PLANT,
    PLANT_ENTRY,
    RECEIPT_ENTRY,
    WISH,
    WISH_ENTRY,
)
from schemas.shapes import Shape
from schemas.terms import Right
from workers import subsidiary_metrics as metrics
from workers.actors.answers import Answer, send_answers
from workers.actors.disposals import dispose
from workers.actors.entries import Entry, Serving, plan, refusal, refuse_unsupported, serve
from workers.actors.planting import plant as plant_canary
from workers.actors.wishes import grant, lifted_meanwhile
from workers.office import Office

ORDER_S: Final = 600.0
"""How long one order may take before it goes back; what was done of it stays done and is not done again."""

_CLAIMS: Final = {"iss", "aud", "jti", "iat", "exp", "entries"}
_OF_NOBODY: Final = {DISPOSE: DISPOSAL_ENTRY, PLANT: PLANT_ENTRY}
_HEAD: Final = Shape("order_head", {"jti": IDENTIFIER})


@dataclass(frozen=True, slots=True)
class Order:
    """An order that is ours and in time. ``entries``: those that can be read; ``answers``: to those that cannot."""

    jti: str
    entries: list[Entry] = field(repr=False)
    answers: list[Answer] = field(repr=False)


async def serve_order(office: Office, token: object) -> None:
    """Serve one order and send its receipts.

    Raises :class:`schemas.errors.Temporary` when store, journal or Redis are away: the order goes back to its queue.
    """
    with metrics.ORDER_SECONDS.time():
        try:
            order = open_order(office, token)
        except InvalidMessage as error:
            _refuse(office, error.code, token)
            return
        people = [one for one in order.entries if one["ask"] not in _OF_NOBODY]
        answers = [*order.answers, *await _serve(office, [one for one in people if one["right"] != WISH])]
        answers += [await grant(office, one) for one in people if one["right"] == WISH]
        answers += [await plant_canary(office, one) for one in order.entries if one["ask"] == PLANT]
        await send_answers(office, order.jti, answers)
        for entry in order.entries:  # people first: a disposal may take long
            if entry["ask"] == DISPOSE:
                answers.append(await dispose(office, entry))
                await send_answers(office, order.jti, answers[-1:])
    rights = {one["task"]: one.get("right", "none") for one in order.entries}
    for answer in answers:
        right = rights.get(answer.entry["task"], "unknown")
        metrics.ENTRIES.labels(right, answer.entry["ask"], answer.entry["outcome"]).inc()


def open_order(office: Office, token: object) -> Order:
    """Open and verify. Raises :class:`InvalidMessage` for what is not an order of the controller to us, in time."""
    if not isinstance(token, str):
        raise InvalidMessage("malformed_token")
    inner = open_sealed(token, office.trust.keys)
    try:
        signed = inner.decode("ascii")
    except UnicodeDecodeError:
        raise InvalidMessage("malformed_token") from None
    claims = verify(signed, office.trust.controller, ORDER, audience=office.code, now=office.clock())
    entries = claims.get("entries")
    if set(claims) != _CLAIMS or not isinstance(entries, list) or not 1 <= len(entries) <= MAX_ENTRIES:
        raise InvalidMessage("malformed_order")
    if claims["exp"] - claims["iat"] > ORDER_LIFETIME.total_seconds():
        raise InvalidMessage("lives_too_long")
    jti = _HEAD.check({"jti": claims["jti"]})["jti"]
    return _sorted_out(office, jti, entries)


def _sorted_out(office: Office, jti: str, entries: Sequence[object]) -> Order:
    """Entries apart: to serve, to answer at once, to refuse. Of one task and ask the latest attempt counts."""
    latest: dict[tuple[str, str], Entry] = {}
    answers = []
    for found in entries:
        task = found.get("task") if isinstance(found, dict) else None
        if not isinstance(task, str) or not task.endswith(f"/{office.code}"):
            _refuse(office, "not_ours", jti)
            continue
        try:
            ask = str(found.get("ask")) if isinstance(found, dict) else ""
            wishes = ask not in _OF_NOBODY and isinstance(found, dict) and found.get("right") == WISH
            entry = (WISH_ENTRY if wishes else _OF_NOBODY.get(ask, ORDER_ENTRY)).check(found)
            _check_together(entry)
        except InvalidMessage:
            answer = _not_understood(office, found)
            if answer is None:
                _refuse(office, "malformed_entry", jti)
            else:
                answers.append(answer)
            continue
        key = entry["task"], entry["ask"]
        if key not in latest or entry["attempt"] > latest[key]["attempt"]:
            latest[key] = entry
    return Order(jti, list(latest.values()), answers)


def _check_together(entry: Entry) -> None:
    """A correction says of what, and nothing else corrects; only a restriction is lifted. Raises InvalidMessage."""
    right = entry.get("right")
    if (right == Right.RECTIFICATION) is not ("patches" in entry):
        raise InvalidMessage("not_in_normal_form", "/patches")
    if entry["ask"] == LIFT and right != Right.RESTRICTION:
        raise InvalidMessage("not_in_normal_form", "/ask")


def _not_understood(office: Office, entry: Any) -> Answer | None:
    """An answer to what a newer controller may ask and we do not know; None where not even that can be told."""
    told = {name: entry.get(name) for name in ("task", "attempt", "ask")}
    try:
        return Answer(RECEIPT_ENTRY.check({**told, **refusal(office, "not-understood")}))
    except InvalidMessage:
        return None


def _refuse(office: Office, reason: str, what: object) -> None:
    digest = hashlib.sha256(what.encode("utf-8", "replace") if isinstance(what, str) else b"").hexdigest()
    office.refused.note(office.clock(), reason, digest)


# ---------------------------------------------------------------------- serving


async def _serve(office: Office, entries: Sequence[Entry]) -> list[Answer]:
    servings = [Serving.of(entry) for entry in entries]
    refuse_unsupported(office, servings)
    names = {name for one in servings for name in (one.entry["task"], *office.journal.marks(one.subject))}
    try:
        async with asyncio.timeout(ORDER_S), office.busy.with_all(names):
            await _prepare(office, servings)
            return await _act(office, servings)
    except TimeoutError:
        raise StoreUnavailable("order takes too long") from None


async def _prepare(office: Office, servings: Sequence[Serving]) -> None:
    """Answer from the journal what was done; plan the rest and write it down, all with one wait for the disk."""
    changing = [one for one in servings if one.changes_the_store and one.answer is None]
    for one in changing:
        done = office.journal.done(one.entry["task"])
        if done is not None and done.attempt >= one.entry["attempt"]:
            one.answer = Answer({**done.entry, "attempt": one.entry["attempt"]})
    await plan(office, [one for one in changing if one.answer is None])
    beginning = [one for one in changing if one.answer is None]
    lines = [
        (one.entry["task"], one.right, one.subject, [tally.as_outcome() for tally in one.planned]) for one in beginning
    ]
    await asyncio.to_thread(office.journal.begin, lines, office.clock())
    for one in beginning:
        if one.right is Right.OBJECTION:
            one.answer = lifted_meanwhile(office, one)
    # Written down like any other: a newer "no" may stand when the same order comes again.
    lifted = [one.answer.entry for one in beginning if one.answer is not None]
    if lifted:
        await asyncio.to_thread(office.journal.finish, lifted)


async def _act(office: Office, servings: Sequence[Serving]) -> list[Answer]:
    waiting = [one for one in servings if one.answer is None]
    try:
        await serve(office, waiting)
    finally:
        # Also when the store goes away in the middle: what was done is known to the next delivery.
        answered = [one.answer.entry for one in waiting if one.changes_the_store and one.answer is not None]
        await asyncio.to_thread(office.journal.finish, answered)
    return [serving.answer for serving in servings if serving.answer is not None]
