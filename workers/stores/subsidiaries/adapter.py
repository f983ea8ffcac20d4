"""What the worker asks of a store, whatever it is. An office may write its own; this page is all it needs to know.

The worker has already opened, verified and checked the order. An adapter finds one person, acts, and counts.

| call | must |
| --- | --- |
| ``plan`` | count what ``erase`` or ``object`` would do, and change nothing |
| ``erase``, ``object`` | do it, durably when they return; repeating them after a crash completes what was begun |
| ``look`` | count what stands now: what an erasure still matches; ``restricted``, where an objection stands |
| ``access`` | give every record of the person, other people's data left out |
| ``identifiers`` | give every identifier in the store, for the replay after a restore |
| ``withdraw`` | do what the withdrawal of every consent asks for; may be left out |
| ``accept`` | take away what ``object`` set; may be left out |
| ``restrict``, ``lift`` | keep from any use, and end that; may be left out |
| ``rectify`` | correct what the person saw, and nothing else that stands; may be left out |
| ``port`` | give what the person gave, on consent or for a contract; may be left out |
| ``plan_disposal``, ``dispose`` | count, or do, what the end of the group's periods asks for; may be left out |
| ``plant`` | put a fictional person there, whom the group then asks about; may be left out |
| ``plan_all``, ``look_all``, ``erase_all``, ``object_all`` | the same for several people; a store may leave them out |

Errors an adapter may raise: :class:`schemas.errors.StoreUnavailable` (wait: the order goes back and costs no retry)
and :class:`StoreRefuses` (answered as ``refused`` with its reason). Anything else is a fault of the adapter, answered
as ``refused`` with the reason ``store-error``. No exception may quote a value of the store.
Source: R25, R28; design § 5.5.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final, Protocol, Self, runtime_checkable

from schemas.errors import Fault, GreffierError
from schemas.terms import Right
from workers.rules.corrections import Patch

MAX_GROUND_CHARS = 120


class StoreRefuses(GreffierError):
    """The store cannot do this, and waiting does not help; a person of the office must look.

    ``reason``: lower-case words joined by hyphens; it stands in the receipt.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom to look for. ``emails``: as :func:`schemas.subject.clean_email` gives them.

    ``received_at`` (aware): when the request reached the group; what the person did later is a fresh act and stays.
    """

    emails: tuple[str, ...] = field(repr=False)
    received_at: datetime
    patches: tuple[Patch, ...] = field(default=(), repr=False)
    """Of a rectification: what the person says is wrong, and what should stand."""

    @property
    def normal_forms(self) -> frozenset[str]:
        """The addresses with letter case folded: what two spellings of one box have in common."""
        return frozenset(email.lower() for email in self.emails)


@dataclass(slots=True)
class Tally:
    """What was found in one collection or table, and what became of it. Counts of rows.

    ``matched`` holds the others: a row is erased, anonymised or retained, or only matched. ``until``: the last day of
    the row that is kept longest; None while one of them has no last day. ``corrected``: rows that hold what the person
    says; ``conflicting``: rows in which something else stands than they saw.
    """

    name: str
    matched: int = 0
    erased: int = 0
    anonymised: int = 0
    restricted: int = 0
    retained: int = 0
    ground: str | None = None
    until: date | None = None
    corrected: int = 0
    conflicting: int = 0

    def retain(self, ground: str, until: date | None) -> None:
        """Count one more row that is kept."""
        first = self.retained == 0
        self.retained += 1
        self.until = until if first else _later(self.until, until)
        self._add_ground(ground)

    def _add_ground(self, ground: str) -> None:
        if self.ground is None:
            self.ground = ground
        elif ground not in self.ground and len(self.ground) + 2 + len(ground) <= MAX_GROUND_CHARS:
            self.ground += f", {ground}"

    def add(self, other: Tally) -> None:
        """Count in what was found elsewhere in the same collection."""
        self.matched += other.matched
        self.erased += other.erased
        self.anonymised += other.anonymised
        self.restricted += other.restricted
        self.corrected += other.corrected
        self.conflicting += other.conflicting
        if other.retained:
            self.until = other.until if not self.retained else _later(self.until, other.until)
            self.retained += other.retained
            self._add_ground(str(other.ground))

    def as_outcome(self) -> dict[str, Any]:
        """As :data:`schemas.orders.COLLECTION_OUTCOME`."""
        names = ("erased", "anonymised", "restricted", "corrected", "conflicting")
        counts = {name: getattr(self, name) for name in names}
        outcome: dict[str, Any] = {"name": self.name, "matched": self.matched}
        outcome |= {name: count for name, count in counts.items() if count}
        if self.retained:
            outcome |= {"retained": self.retained, "ground": self.ground}
            if self.until is not None:
                outcome["until"] = self.until.isoformat()
        return outcome

    @classmethod
    def of_outcome(cls, outcome: Mapping[str, Any]) -> Self:
        """Back from :meth:`as_outcome`."""
        until = outcome.get("until")
        return cls(**{**outcome, "until": None if until is None else date.fromisoformat(until)})


def _later(one: date | None, other: date | None) -> date | None:
    return None if one is None or other is None else max(one, other)


@dataclass(frozen=True, slots=True)
class CopyPage:
    """Some records of one collection for the access copy. ``fields``: what each field means, in words."""

    collection: str
    fields: Mapping[str, str]
    records: Sequence[Mapping[str, Any]] = field(repr=False)


class StoreAdapter(Protocol):
    """A store that serves. Made, used and closed in one event loop; calls for different people may overlap."""

    async def ping(self) -> None:
        """Return when the store answers. Raises StoreUnavailable."""

    async def check(self) -> list[Fault]:
        """What of the mapping does not fit the live store. Raises StoreUnavailable."""
        ...

    async def plan(self, right: Right, subject: Subject) -> list[Tally]:
        """What serving would do, counted; for access: what is held. One tally per collection, zeros included."""
        ...

    async def look(self, right: Right, subject: Subject) -> list[Tally]:
        """What stands now."""
        ...

    async def erase(self, subject: Subject, planned: Sequence[Tally] = ()) -> list[Tally]:
        """Erase, anonymise or keep each record, as the office's rules say.

        ``planned``: of a plan made a moment ago; where it found nothing, nobody needs to look again.
        """
        ...

    async def object(self, subject: Subject) -> list[Tally]:
        """Mark, or take off lists, so that the person is not written to any more."""
        ...

    def access(self, subject: Subject) -> AsyncGenerator[CopyPage, None]:
        """Every record of the person, pages of one collection in a row."""
        ...

    def identifiers(self) -> AsyncGenerator[Sequence[str], None]:
        """Every identifier as it stands in the store, in pages; the same may come more than once."""
        ...

    async def close(self) -> None:
        """Let go of the store."""


@dataclass(frozen=True, slots=True)
class Period:
    """How long a retention rule lets something be held, in ISO 8601: in use, and then in an archive."""

    active: str
    archive: str | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """The group's periods, by retention rule. ``on``: what ended before this day is over."""

    on: date
    periods: Mapping[str, Period]


@runtime_checkable
class DisposingAdapter(StoreAdapter, Protocol):
    """One that disposes of what is over. Any other answers such an order as ``refused``, ``not-supported``.

    One tally per collection, zeros included; ``matched``: what is over, or cannot be dated. Nothing is disposed of that
    is under a legal hold, or whose date cannot be read.
    """

    async def plan_disposal(self, terms: Terms) -> list[Tally]:
        """What ``dispose`` would do; changes nothing."""
        ...

    async def dispose(self, terms: Terms) -> list[Tally]:
        """Do it, durably when it returns; repeating it after a crash completes what was begun."""
        ...


@runtime_checkable
class WithdrawingAdapter(StoreAdapter, Protocol):
    """One that knows what rests on consent; ``plan`` and ``look`` know the right too."""

    async def withdraw(self, subject: Subject) -> list[Tally]:
        """What rested on consent alone goes; what serves something else too stops serving what it was for.

        ``erased``, ``anonymised``, ``retained`` and ``restricted`` as for an erasure and an objection.
        """
        ...


@runtime_checkable
class PortingAdapter(StoreAdapter, Protocol):
    """One that knows what the person gave, and on which basis; ``plan`` and ``look`` know the right too."""

    def port(self, subject: Subject) -> AsyncGenerator[CopyPage, None]:
        """Of each record held on consent or a contract what the person gave; as ``access``. Source: GDPR Art. 20."""
        ...


@runtime_checkable
class RectifyingAdapter(StoreAdapter, Protocol):
    """One that corrects what ``subject.patches`` say; ``plan`` and ``look`` know the right too."""

    async def rectify(self, subject: Subject) -> list[Tally]:
        """Set each field where what the person saw stands, and count; never overwrite anything else.

        ``corrected``: rows that hold it when this returns; ``conflicting``: rows left as they are.
        """
        ...


@runtime_checkable
class RestrictingAdapter(StoreAdapter, Protocol):
    """One that keeps a person's data from any use but storage; ``plan`` and ``look`` know the right too."""

    async def restrict(self, subject: Subject) -> list[Tally]:
        """Mark what is held, so that nobody reads it. ``restricted``: rows that are marked when this returns."""
        ...

    async def lift(self, subject: Subject) -> list[Tally]:
        """Take the mark away. ``restricted``: rows that are marked all the same."""
        ...


@runtime_checkable
class AcceptingAdapter(StoreAdapter, Protocol):
    """One that writes to somebody again who refused it and accepted it since. Any other says it cannot."""

    async def accept(self, subject: Subject) -> list[Tally]:
        """Take away the mark that ``object`` set, and set nothing else; whom it took off a list is not put back.

        What stands after is counted: ``matched``, on a list too; ``restricted``, the rows that are marked all the same.
        Raises StoreRefuses ``no-acceptance`` where nobody says how: then nothing was touched.
        """
        ...


SUPPORT: Final[Mapping[Right, type]] = {
    Right.WITHDRAWAL: WithdrawingAdapter,
    Right.PORTABILITY: PortingAdapter,
    Right.RECTIFICATION: RectifyingAdapter,
    Right.RESTRICTION: RestrictingAdapter,
}
"""What a store must be to serve a right; one that is not answers ``refused``, ``not-supported``."""


@runtime_checkable
class PlantingAdapter(StoreAdapter, Protocol):
    """One that puts a fictional person into its store when asked. Any other answers ``refused``, ``not-supported``."""

    async def plant(self, subject: Subject) -> list[Tally]:
        """Make the canary's rows unless they stand; what stands of it. Raises StoreRefuses ``no-canary``."""
        ...


Counted = list[Tally] | Exception
"""What was counted of one person, or that person's own refusal or fault."""


@runtime_checkable
class GroupAdapter(StoreAdapter, Protocol):
    """One that serves several people with fewer calls of its database; any other is asked person by person.

    The people are none twice and share no address. One answer each, in their order. An error that is raised is
    everybody's: the store is away, or it is none of one person's, and then each is served by itself: what a call that
    raises had changed must not stand.
    """

    async def plan_all(self, right: Right, subjects: Sequence[Subject]) -> Sequence[Counted]: ...

    async def look_all(self, right: Right, subjects: Sequence[Subject]) -> Sequence[Counted]: ...

    async def erase_all(self, subjects: Sequence[Subject], planned: Sequence[Sequence[Tally]]) -> Sequence[Counted]:
        """``planned``: for each, of a plan made a moment ago."""
        ...

    async def object_all(self, subjects: Sequence[Subject]) -> Sequence[Counted]: ...
