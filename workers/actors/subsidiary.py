"""From an order to its receipt: open, verify, serve each entry by itself, write it down, sign, send.

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
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from schemas.errors import InvalidMessage, StoreUnavailable, Temporary
from schemas.fields import IDENTIFIER, read_moment, wire_moment
from schemas.jose import open_sealed, verify
from schemas.orders import MAX_ENTRIES, ORDER, ORDER_ENTRY, ORDER_LIFETIME, RECEIPT_ENTRY
from schemas.shapes import Shape
from schemas.terms import Right, StoreOutcome
from workers import subsidiary_metrics as metrics
from workers.actors.answers import Answer, send_answers
from workers.office import Office
from workers.stores.subsidiaries.adapter import StoreRefuses, Subject, Tally
from workers.stores.subsidiaries.copies import make_copy
from workers.stores.subsidiaries.outcomes import lost_with_a_crash, outcome_of, together

log = structlog.get_logger("greffier.subsidiary.orders")

ORDER_S: Final = 600.0
"""How long one order may take before it goes back; what was done of it stays done and is not done again."""

_AT_ONCE: Final = 8
"""People of one order in the store at the same time."""

_CLAIMS: Final = {"iss", "aud", "jti", "iat", "exp", "entries"}
_HEAD: Final = Shape("order_head", {"jti": IDENTIFIER})

Entry = dict[str, Any]
"""See :data:`schemas.orders.ORDER_ENTRY`."""


@dataclass(frozen=True, slots=True)
class Order:
    """An order that is ours and in time. ``entries``: those that can be read; ``answers``: to those that cannot."""

    jti: str
    entries: list[Entry] = field(repr=False)
    answers: list[Answer] = field(repr=False)


@dataclass(slots=True)
class Serving:
    """One entry on its way. ``earlier``: what former attempts at its task did."""

    entry: Entry = field(repr=False)
    subject: Subject
    right: Right
    planned: list[Tally] = field(default_factory=list)
    earlier: list[Tally] = field(default_factory=list)
    answer: Answer | None = None


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
        answers = [*order.answers, *await _serve(office, order.entries)]
        await send_answers(office, order.jti, answers)
    for answer in answers:
        right = next((one["right"] for one in order.entries if one["task"] == answer.entry["task"]), "unknown")
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
            entry = ORDER_ENTRY.check(found)
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


def _not_understood(office: Office, entry: Any) -> Answer | None:
    """An answer to what a newer controller may ask and we do not know; None where not even that can be told."""
    told = {name: entry.get(name) for name in ("task", "attempt", "ask")}
    try:
        return Answer(RECEIPT_ENTRY.check({**told, **_refusal(office, "not-understood")}))
    except InvalidMessage:
        return None


def _refuse(office: Office, reason: str, what: object) -> None:
    digest = hashlib.sha256(what.encode("utf-8", "replace") if isinstance(what, str) else b"").hexdigest()
    office.refused.note(office.clock(), reason, digest)


# ---------------------------------------------------------------------- serving


async def _serve(office: Office, entries: Sequence[Entry]) -> list[Answer]:
    servings = [_serving(entry) for entry in entries]
    names = {name for one in servings for name in (one.entry["task"], *office.journal.marks(one.subject))}
    try:
        async with asyncio.timeout(ORDER_S), office.busy.with_all(names):
            await _prepare(office, servings)
            return await _act(office, servings)
    except TimeoutError:
        raise StoreUnavailable("order takes too long") from None


def _serving(entry: Entry) -> Serving:
    subject = Subject(tuple(entry["person"]["emails"]), read_moment(entry["received_at"]))
    return Serving(entry, subject, Right(entry["right"]))


def _changes_the_store(serving: Serving) -> bool:
    return serving.entry["ask"] == "serve" and serving.right is not Right.ACCESS


async def _prepare(office: Office, servings: Sequence[Serving]) -> None:
    """Answer from the journal what was done; plan the rest and write it down, all with one wait for the disk."""
    await _each(filter(_changes_the_store, servings), lambda serving: _plan(office, serving))
    beginning = [
        (one.entry["task"], one.right, one.subject, [tally.as_outcome() for tally in one.planned])
        for one in servings
        if _changes_the_store(one) and one.answer is None
    ]
    await asyncio.to_thread(office.journal.begin, beginning, office.clock())


async def _plan(office: Office, serving: Serving) -> None:
    done = office.journal.done(serving.entry["task"])
    if done is not None and done.attempt >= serving.entry["attempt"]:
        serving.answer = Answer({**done.entry, "attempt": serving.entry["attempt"]})
        return
    async with _answered_for(office, serving):
        serving.planned = await office.store.plan(serving.right, serving.subject)
        serving.earlier = _earlier(office, serving)


def _earlier(office: Office, serving: Serving) -> list[Tally]:
    """What former attempts at this task did."""
    done = office.journal.done(serving.entry["task"])
    if done is not None:
        return [Tally.of_outcome(one) for one in done.entry["collections"]]
    begun = office.journal.begun(serving.entry["task"])
    return [] if begun is None else lost_with_a_crash(begun.stood, serving.planned)


async def _act(office: Office, servings: Sequence[Serving]) -> list[Answer]:
    changed: list[Entry] = []

    async def act(serving: Serving) -> None:
        if serving.answer is not None:
            return
        async with _answered_for(office, serving):
            serving.answer = await _answer(office, serving)
            if _changes_the_store(serving):
                changed.append(serving.answer.entry)

    try:
        await _each(servings, act)
    finally:
        # Also when the store goes away in the middle: what was done is known to the next delivery.
        await asyncio.to_thread(office.journal.finish, changed)
    return [serving.answer for serving in servings if serving.answer is not None]


async def _each(servings: Iterable[Serving], do: Callable[[Serving], Awaitable[None]]) -> None:
    """Several people at once; what is asked for one person in its order.

    When the store goes away for one, what was begun for the others ends first: it would be done and not known.
    """
    several = asyncio.Semaphore(_AT_ONCE)

    async def in_order(ones: Sequence[Serving]) -> None:
        async with several:
            for one in ones:
                await do(one)

    found = await asyncio.gather(*map(in_order, _by_person(servings)), return_exceptions=True)
    for failed in found:
        if isinstance(failed, BaseException):
            raise failed


def _by_person(servings: Iterable[Serving]) -> list[list[Serving]]:
    """Together what shares an address."""
    groups: list[tuple[set[str], list[Serving]]] = []
    for serving in servings:
        addresses = set(serving.subject.normal_forms)
        met = [group for group in groups if group[0] & addresses]
        groups = [group for group in groups if not group[0] & addresses]
        members = [one for group in met for one in group[1]]
        groups.append((addresses.union(*(group[0] for group in met)), [*members, serving]))
    return [group[1] for group in groups]


async def _answer(office: Office, serving: Serving) -> Answer:
    entry, store = serving.entry, office.store
    if entry["ask"] == "look":
        return Answer(_receipt_entry(office, entry, await store.look(serving.right, serving.subject)))
    match serving.right:
        case Right.ACCESS:
            return await _access(office, serving)
        case _ if not any(tally.matched for tally in serving.planned):
            tallies = serving.planned  # nothing stood there to be changed
        case Right.ERASURE:
            tallies = await store.erase(serving.subject, serving.planned)
        case Right.OBJECTION:
            tallies = await store.object(serving.subject)
    return Answer(_receipt_entry(office, entry, together(serving.earlier, tallies)))


async def _access(office: Office, serving: Serving) -> Answer:
    async with aclosing(office.store.access(serving.subject)) as pages:
        copy = await make_copy(office.code, pages)
    tallies = [Tally(name, matched=count) for name, count in copy.counts.items()]
    receipt = _receipt_entry(office, serving.entry, tallies)
    if receipt["outcome"] == StoreOutcome.NOTHING_HELD:
        return Answer(receipt)
    return Answer({**receipt, "copy_sha256": copy.sha256}, copy.content)


@asynccontextmanager
async def _answered_for(office: Office, serving: Serving) -> AsyncIterator[None]:
    """Let the store's refusal, or its fault, be the entry's answer; only its absence is everybody's."""
    try:
        async with asyncio.timeout(office.entry_timeout_s):
            yield
    except TimeoutError:
        raise StoreUnavailable("the store takes too long") from None
    except Temporary:
        raise
    except StoreRefuses as error:
        serving.answer = _refused(office, serving.entry, error.reason)
    except Exception as error:
        log.error("store failed", task=serving.entry["task"], exc_info=error)
        serving.answer = _refused(office, serving.entry, "store-error")


def _refused(office: Office, entry: Entry, reason: str) -> Answer:
    return Answer({**_head(entry), **_refusal(office, reason)})


def _refusal(office: Office, reason: str) -> dict[str, Any]:
    refused: dict[str, Any] = {"outcome": StoreOutcome.REFUSED.value, "collections": [], "reason": reason}
    return {**refused, "at": wire_moment(office.clock())}


def _receipt_entry(office: Office, entry: Entry, tallies: Sequence[Tally]) -> dict[str, Any]:
    return {
        **_head(entry),
        "outcome": outcome_of(tallies).value,
        "collections": [tally.as_outcome() for tally in tallies],
        "at": wire_moment(office.clock()),
    }


def _head(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in ("task", "attempt", "ask")}
