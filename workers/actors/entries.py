"""The entries of one order, planned and served: together where the store can do that, otherwise person by person.

What is asked for one person is done in its order. A store's refusal or fault is the answer to that one entry; only its
absence is everybody's. A group that fails as a whole is served person by person, so that each has its own true answer.
Source: R25; P2, P6; design § 5.5.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any, Final, Self, cast

import structlog

from schemas.errors import StoreUnavailable, Temporary
from schemas.fields import read_moment, wire_moment
from schemas.orders import LIFT
from schemas.terms import Right, StoreOutcome
from workers.actors.answers import Answer
from workers.office import Office
from workers.rules.corrections import Patch
from workers.stores.subsidiaries.adapter import (
    SUPPORT,
    CopyPage,
    Counted,
    GroupAdapter,
    PortingAdapter,
    RectifyingAdapter,
    RestrictingAdapter,
    StoreRefuses,
    Subject,
    Tally,
    WithdrawingAdapter,
)
from workers.stores.subsidiaries.copies import make_copy
from workers.stores.subsidiaries.outcomes import lost_with_a_crash, outcome_of, together

log = structlog.get_logger("greffier.subsidiary.orders")

AT_ONCE: Final = 8
"""People in the store at the same time, where it serves each by itself."""

PEOPLE: Final = 100
ROWS: Final = 4_000
"""People, and rows planned to be changed, in one group: what one transaction holds."""

_SHARED: Final = frozenset({Right.ERASURE, Right.OBJECTION})
"""Rights that a store may serve for several people at once."""

Entry = dict[str, Any]
"""See :data:`schemas.orders.ORDER_ENTRY`."""


@dataclass(slots=True)
class Serving:
    """One entry on its way. ``earlier``: what former attempts at its task did."""

    entry: Entry = field(repr=False)
    subject: Subject
    right: Right
    planned: list[Tally] = field(default_factory=list)
    earlier: list[Tally] = field(default_factory=list)
    answer: Answer | None = None

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """At its beginning."""
        patches = tuple(map(Patch.of, entry.get("patches", ())))
        subject = Subject(tuple(entry["person"]["emails"]), read_moment(entry["received_at"]), patches)
        return cls(entry, subject, Right(entry["right"]))

    @property
    def changes_the_store(self) -> bool:
        return self.entry["ask"] in ("serve", LIFT) and not self.right.gives_a_copy

    @property
    def rows(self) -> int:
        """Rows that are known to be there."""
        return sum(tally.matched for tally in self.planned)


def refuse_unsupported(office: Office, servings: Iterable[Serving]) -> None:
    """Answer each whose right the store cannot serve."""
    for one in servings:
        if not isinstance(office.store, SUPPORT.get(one.right, object)):
            _answer_with(office, one, StoreRefuses("not-supported"))


async def plan(office: Office, servings: Sequence[Serving]) -> None:
    """Count for each what serving would do; a refusal is its answer. Raises Temporary when the store is away."""
    await _each(office, servings, _Planning(office))


async def serve(office: Office, servings: Sequence[Serving]) -> None:
    """Answer each. Raises Temporary when the store is away; what was answered until then was done."""
    acting = _Acting(office)
    touching = []
    for one in servings:
        if one.changes_the_store and not one.rows:
            acting.take(one, one.planned)  # nothing stood there to be changed
        else:
            touching.append(one)
    await _each(office, touching, acting)


# ---------------------------------------------------------------------- what is done for one, and for several


class _Planning:
    def __init__(self, office: Office) -> None:
        self._office = office

    def can_share(self, _: Serving) -> bool:
        return True

    async def one(self, serving: Serving) -> None:
        self.take(serving, await self._office.store.plan(serving.right, serving.subject))

    def several(self, store: GroupAdapter, group: Sequence[Serving]) -> Awaitable[Sequence[Counted]]:
        return store.plan_all(group[0].right, [one.subject for one in group])

    def take(self, serving: Serving, tallies: list[Tally]) -> None:
        serving.planned = tallies
        serving.earlier = earlier(self._office, serving.entry["task"], tallies)


class _Acting:
    """``lifted``: the tasks of this order whose restriction has ended, which the journal does not know yet."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._lifted: set[str] = set()

    def can_share(self, serving: Serving) -> bool:
        return serving.entry["ask"] == "look" or serving.right in _SHARED

    async def one(self, serving: Serving) -> None:
        store = self._office.store
        if serving.entry["ask"] == "look":
            self.take(serving, await store.look(serving.right, serving.subject))
            return
        match serving.right:
            case Right.ACCESS:
                serving.answer = await _copied(self._office, serving, store.access(serving.subject))
            case Right.PORTABILITY:
                serving.answer = await _copied(self._office, serving, cast(PortingAdapter, store).port(serving.subject))
            case Right.ERASURE:
                self.take(serving, await store.erase(serving.subject, serving.planned))
            case Right.OBJECTION:
                self.take(serving, await store.object(serving.subject))
            case Right.RECTIFICATION:
                self.take(serving, await cast(RectifyingAdapter, store).rectify(serving.subject))
            case Right.RESTRICTION if self._is_anothers(serving):
                await self._lift_for_others(serving)
                self.take(serving, serving.planned)
            case Right.RESTRICTION:
                restricting = cast(RestrictingAdapter, store)
                act = restricting.lift if serving.entry["ask"] == LIFT else restricting.restrict
                self.take(serving, await act(serving.subject))
            case Right.WITHDRAWAL:
                self.take(serving, await cast(WithdrawingAdapter, store).withdraw(serving.subject))

    def several(self, store: GroupAdapter, group: Sequence[Serving]) -> Awaitable[Sequence[Counted]]:
        right, subjects = group[0].right, [one.subject for one in group]
        if group[0].entry["ask"] == "look":
            return store.look_all(right, subjects)
        if right is Right.ERASURE:
            return store.erase_all(subjects, [one.planned for one in group])
        return store.object_all(subjects)

    async def _lift_for_others(self, serving: Serving) -> None:
        """Lift for those addresses of one person that no other task restricts; for its sake the mark stays elsewhere.

        What is found by addresses of both kinds is marked again, before anything is answered.
        """
        store, subject = cast(RestrictingAdapter, self._office.store), serving.subject
        tasks = {serving.entry["task"], *self._lifted}
        alone = {email: replace(subject, emails=(email,)) for email in subject.emails}
        kept = tuple(one for one in alone if self._office.journal.is_restricted_by_another(tasks, alone[one]))
        if len(kept) < len(alone):
            await store.lift(replace(subject, emails=tuple(one for one in alone if one not in kept)))
            await store.restrict(replace(subject, emails=kept))

    def _is_anothers(self, serving: Serving) -> bool:
        """Whether what this task's restriction marked stays marked after it was lifted, by another's."""
        if serving.right is not Right.RESTRICTION:
            return False
        journal, task, ask = self._office.journal, serving.entry["task"], serving.entry["ask"]
        done = journal.done(task)
        lifts = ask == LIFT or (ask == "look" and done is not None and done.entry["ask"] == LIFT)
        return lifts and journal.is_restricted_by_another({task, *self._lifted}, serving.subject)

    def take(self, serving: Serving, tallies: list[Tally]) -> None:
        if serving.entry["ask"] == LIFT:
            self._lifted.add(serving.entry["task"])
        if self._is_anothers(serving):
            for tally in tallies:
                tally.restricted = 0
        adds = serving.changes_the_store and serving.entry["ask"] != LIFT  # what was marked is marked no more
        counted = together(serving.earlier, tallies) if adds else tallies
        serving.answer = Answer(receipt_entry(self._office, serving.entry, counted))


_Doing = _Planning | _Acting


def earlier(office: Office, task: str, planned: Sequence[Tally]) -> list[Tally]:
    """What former attempts at a task did. ``planned``: what there is to be done now."""
    done = office.journal.done(task)
    if done is not None:
        return [Tally.of_outcome(one) for one in done.entry["collections"]]
    begun = office.journal.begun(task)
    return [] if begun is None else lost_with_a_crash(begun.stood, planned)


async def _copied(office: Office, serving: Serving, copy_of: AsyncGenerator[CopyPage, None]) -> Answer:
    async with aclosing(copy_of) as pages:
        copy = await make_copy(office.code, pages)
    tallies = [Tally(name, matched=count) for name, count in copy.counts.items()]
    receipt = receipt_entry(office, serving.entry, tallies)
    if receipt["outcome"] == StoreOutcome.NOTHING_HELD:
        return Answer(receipt)
    return Answer({**receipt, "copy_sha256": copy.sha256}, copy.content)


# ---------------------------------------------------------------------- who is served with whom


async def _each(office: Office, servings: Sequence[Serving], doing: _Doing) -> None:
    for turn in zip_longest(*_by_person(servings)):
        alone: list[Serving] = []
        for group in _groups([one for one in turn if one is not None], doing):
            if len(group) == 1 or not await _several(office, group, doing):
                alone += group
        await _alone(office, alone, doing)


def _by_person(servings: Sequence[Serving]) -> list[list[Serving]]:
    """Together what shares an address, in the order it was asked."""
    people: dict[str, list[int]] = {}
    for place, serving in enumerate(servings):
        met = {member for address in serving.subject.normal_forms for member in people.get(address, ())}
        members = sorted({*met, place})
        for member in members:
            people.update(dict.fromkeys(servings[member].subject.normal_forms, members))
    found = {members[0]: members for members in people.values()}
    return [[servings[place] for place in found[first]] for first in sorted(found)]


def _groups(servings: Iterable[Serving], doing: _Doing) -> Iterator[list[Serving]]:
    """Of the same right and ask, so many as one transaction holds; whoever has many rows alone."""
    alike: defaultdict[tuple[str, Right], list[Serving]] = defaultdict(list)
    for one in servings:
        if doing.can_share(one):
            alike[one.entry["ask"], one.right].append(one)
        else:
            yield [one]
    for group in alike.values():
        few: list[Serving] = []
        rows = 0
        for one in group:
            if few and (len(few) == PEOPLE or rows + one.rows > ROWS):
                yield few
                few, rows = [], 0
            few.append(one)
            rows += one.rows
        yield few


async def _several(office: Office, group: Sequence[Serving], doing: _Doing) -> bool:
    """Do it for all of a group; False if each must be served by itself. Raises Temporary when the store is away."""
    store = office.store
    if not isinstance(store, GroupAdapter):
        return False
    try:
        async with asyncio.timeout(office.entry_timeout_s * len(group)):
            results = await doing.several(store, group)
    except TimeoutError:
        raise StoreUnavailable("the store takes too long") from None
    except Temporary:
        raise
    except Exception as error:
        log.warning("a group is served one by one", entries=len(group), why=type(error).__name__)
        return False
    for one, result in zip(group, results, strict=True):
        if isinstance(result, Exception):
            _answer_with(office, one, result)
        else:
            doing.take(one, result)
    return True


async def _alone(office: Office, servings: Sequence[Serving], doing: _Doing) -> None:
    """Several people at once, each by itself.

    When the store goes away for one, what was begun for the others ends first: it would be done and not known.
    """
    at_once = asyncio.Semaphore(AT_ONCE)

    async def one(serving: Serving) -> None:
        async with at_once, _answered_for(office, serving):
            await doing.one(serving)

    found = await asyncio.gather(*map(one, servings), return_exceptions=True)
    for failed in found:
        if isinstance(failed, BaseException):
            raise failed


# ---------------------------------------------------------------------- answers


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
    except Exception as error:
        _answer_with(office, serving, error)


def _answer_with(office: Office, serving: Serving, error: Exception) -> None:
    serving.answer = _failed(office, serving.entry, error)


async def by_itself(
    office: Office, entry: Entry, names: Iterable[str], within_s: float, serve: Callable[[], Awaitable[Entry]]
) -> Answer:
    """Serve one entry while nobody else is at what it ``names``; a refusal of the store, or its fault, is its answer.

    Raises :class:`schemas.errors.Temporary` when store or journal are away, or it takes longer than ``within_s``.
    """
    try:
        async with asyncio.timeout(within_s), office.busy.with_all(names):
            return Answer(await serve())
    except TimeoutError:
        raise StoreUnavailable("the store takes too long") from None
    except Temporary:
        raise
    except Exception as error:
        return _failed(office, entry, error)


def _failed(office: Office, entry: Entry, error: Exception) -> Answer:
    reason = "store-error"
    if isinstance(error, StoreRefuses):
        reason = error.reason
    else:
        log.error("store failed", task=entry["task"], exc_info=error)
    return Answer({**head(entry), **refusal(office, reason)})


def refusal(office: Office, reason: str) -> dict[str, Any]:
    """What a receipt's entry says of an entry that was not served."""
    refused: dict[str, Any] = {"outcome": StoreOutcome.REFUSED.value, "collections": [], "reason": reason}
    return {**refused, "at": wire_moment(office.clock())}


def receipt_entry(office: Office, entry: Entry, tallies: Sequence[Tally]) -> dict[str, Any]:
    """What a receipt says of an entry that was served."""
    return {
        **head(entry),
        "outcome": outcome_of(tallies).value,
        "collections": [tally.as_outcome() for tally in tallies],
        "at": wire_moment(office.clock()),
    }


def head(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a receipt repeats of an entry."""
    return {name: entry[name] for name in ("task", "attempt", "ask")}
