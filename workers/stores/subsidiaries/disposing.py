"""Disposing of what is over in a mapped store: the group's retention periods, on the office's own dates.

| a row | is |
| --- | --- |
| past the last day of its collection's rule | deleted, anonymised or kept as in an erasure, by the very same walk |
| in a collection that states no retention | disposed of with the row it belongs to, and not before |
| past its last day, above one whose own period runs | left: it lives as long as what lives longest of it |
| under a legal hold, or without a readable date | kept, with what hangs on it, and counted with its ground |

First all of a collection is read, without a lock; then what is over is taken up again in small parts, each in a
transaction of its own where there are any, and decided anew from what stands then. So a part that was done stays done,
and whoever goes on after a crash finds the rest.
Source: R13, R28; P9; design § 5.5.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from workers.stores.subsidiaries import decisions
from workers.stores.subsidiaries.adapter import StoreRefuses, Subject, Tally, Terms
from workers.stores.subsidiaries.decisions import Decision, Fate
from workers.stores.subsidiaries.erasing import ErasureWalk
from workers.stores.subsidiaries.finding import Finder
from workers.stores.subsidiaries.mapping import Collection as Entry
from workers.stores.subsidiaries.mapping import Mapping, Mention
from workers.stores.subsidiaries.rows import AllRows, ByKey, OpenSession, Row, Rows

AT_ONCE: Final = 500
"""Rows that are over in one part, with whatever hangs on them."""

CONSTRAINT: Final = "constraint"


@dataclass
class Disposal:
    """One disposal, or what it would be. ``act``: False only counts."""

    mapping: Mapping
    rows: Rows
    terms: Terms
    now: datetime
    act: bool
    _found: dict[str, Tally] = field(init=False, repr=False)

    async def run(self) -> list[Tally]:
        """One tally per collection, in the mapping's order.

        Raises StoreRefuses ``no-retention`` where no collection states one, ``unknown-rule`` where one names a rule
        without a period, before anything is done.
        """
        rules = {entry.retention.rule for entry in self.mapping.collections.values() if entry.retention is not None}
        if not rules:
            raise StoreRefuses("no-retention")
        if rules - self.terms.periods.keys():
            raise StoreRefuses("unknown-rule")
        self._found = {name: Tally(name) for name in self.mapping.collections}
        for name in self.mapping.children_first():
            if self.mapping.collections[name].retention is not None:
                over = await self._over(name)
                for start in range(0, len(over), AT_ONCE):
                    await self._part(name, over[start : start + AT_ONCE])
        return list(self._found.values())

    async def _over(self, name: str) -> list[Any]:
        """The keys of what is over; what cannot be disposed of is counted."""
        keys, entry, zone = [], self.mapping.collections[name], self.mapping.store.zone
        async with self.rows.reading() as session:
            async for page in session.pages(name, AllRows(), decisive(entry)):
                for row in page:
                    left = decisions.not_over(entry, row.values, self.terms, zone)
                    if left is None:
                        keys.append(row.key)
                    elif left.fate is Fate.KEEP:
                        self._found[name].add(_kept(name, left.ground))
        return keys

    async def _part(self, name: str, keys: Sequence[Any]) -> None:
        """Dispose of these; what the store refuses to let go is looked for, and kept, by itself."""
        try:
            for tally in await self._walk(name, keys):
                self._found[tally.name].add(self._told(name, tally))
        except StoreRefuses as refused:
            if refused.reason != CONSTRAINT:
                raise
            if len(keys) == 1:
                self._found[name].add(_kept(name, f"the store refuses: {refused.reason}"))
                return
            middle = len(keys) // 2
            await self._part(name, keys[:middle])
            await self._part(name, keys[middle:])

    async def _walk(self, name: str, keys: Sequence[Any]) -> list[Tally]:
        async with self.rows.writing() if self.act else self.rows.reading() as session:
            finder = Over(self.mapping, session, Subject((), self.now), self.now, self.terms, name, keys)
            return await DisposalWalk(finder, act=self.act).run()

    def _told(self, root: str, tally: Tally) -> Tally:
        """What a part adds: what a collection with a retention of its own keeps was counted there."""
        if tally.name == root or self.mapping.collections[tally.name].retention is None:
            return tally
        gone = tally.erased + tally.anonymised
        return Tally(tally.name, matched=gone, erased=tally.erased, anonymised=tally.anonymised)


class DisposalWalk(ErasureWalk):
    """The walk of an erasure, over rows that are over and what hangs on them."""

    _finder: Over

    def _alone(self, entry: Entry, row: Row) -> Decision:
        finder = self._finder
        return decisions.disposal_of(entry, row.values, finder.terms, finder.now, finder.zone)


@dataclass
class Over(Finder):
    """Rows by key, of one collection, and what belongs to them: nobody's in particular.

    ``session``: one that is open.
    """

    session: OpenSession
    terms: Terms
    root: str
    keys: Sequence[Any]

    def ways(
        self, name: str, entry: Entry, wanted: Collection[str], *, under_fresh: bool
    ) -> Iterable[AsyncIterator[list[Row]]]:
        if name == self.root:
            yield self.session.pages(name, ByKey(self.keys), wanted)
        elif entry.owned_by is not None:
            yield self.by_owner(name, entry.owned_by, wanted, under_fresh=under_fresh)

    def decisive(self, entry: Entry) -> set[str]:
        return super().decisive(entry) | decisive(entry)

    def is_fresh(self, entry: Entry, row: Row) -> bool:
        """Whether a row is left, and with it what hangs on it: somebody may have touched it since it was found."""
        return decisions.not_over(entry, row.values, self.terms, self.zone) is not None

    async def mentions(self, name: str, mention: Mention, fields: Iterable[str] = ()) -> AsyncIterator[list[Row]]:
        """None: a mention is of a person, and whose row it stands in decides how long that stays."""
        nobody: list[list[Row]] = []
        for page in nobody:
            yield page

    async def refuse_shared_address(self) -> None:
        """Nobody is looked for."""


def decisive(entry: Entry) -> set[str]:
    """The fields that tell whether a row is over."""
    rule, anonymise = entry.retention, entry.erasure.anonymise if entry.erasure is not None else None
    if rule is None:
        return set()
    return {rule.counted_from, *(anonymise or ())} | ({rule.hold} if rule.hold is not None else set())


def _kept(name: str, ground: str) -> Tally:
    return Tally(name, matched=1, retained=1, ground=ground)
