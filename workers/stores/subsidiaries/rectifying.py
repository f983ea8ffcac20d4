"""A rectification in a mapped store: a field is set where what the person saw stands, and a conflict is counted.

The same walk counts, corrects and looks again, so a row is counted by what it holds: repeating it changes nothing. A
row in which one field conflicts is left whole, and so is one in which a column holds several fields and nobody can tell
which word is whose. A later act of the person says something of its own, and is no part.
Source: R18; GDPR Art. 16; design § 5.5.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Self

from schemas.errors import StoreUnavailable
from workers.rules.corrections import Composition, Judged, Patch, Verdict, weighed
from workers.stores.subsidiaries.adapter import Tally
from workers.stores.subsidiaries.erasing import PASSES
from workers.stores.subsidiaries.finding import Finder
from workers.stores.subsidiaries.mapping import Collection, Constant
from workers.stores.subsidiaries.rows import ByAddress, Row


@dataclass(frozen=True, slots=True)
class _Columns:
    """What the patches are about in one collection.

    ``alone``: field of the group's → column; ``composed``: column → the fields it holds.
    """

    alone: Mapping[str, str]
    composed: Mapping[str, Composition]

    @property
    def names(self) -> list[str]:
        return [*self.alone.values(), *self.composed]

    @classmethod
    def of(cls, entry: Collection, fields: Set[str]) -> Self:
        alone = {name: column for name, column in (entry.rectification or {}).items() if name in fields}
        composed = {column: one.composition for column, one in (entry.composed or {}).items() if fields & set(one.of)}
        return cls(alone, composed)


class RectificationWalk:
    """One rectification. ``act``: False only counts; ``looks``: what is still to be set counts as not corrected."""

    def __init__(self, finder: Finder, *, act: bool = False, looks: bool = False) -> None:
        self._finder = finder
        self._act = act
        self._looks = looks
        self._patches = {patch.name: patch for patch in finder.subject.patches}

    async def run(self) -> list[Tally]:
        """One tally for each collection that holds a field of these.

        Raises StoreRefuses ``shared-address`` or ``no-rectification`` before anything is done, and StoreUnavailable
        when rows change faster than they can be corrected.
        """
        finder = self._finder
        await finder.refuse_shared_address()
        await finder.refuse_unstated(finder.mapping.without_rectification(), "no-rectification")
        tallies = []
        for name, entry in finder.mapping.collections.items():
            columns = _Columns.of(entry, self._patches.keys())
            if columns.names:
                tallies.append(await self._settle(name, columns))
        return tallies

    async def _settle(self, name: str, columns: _Columns) -> Tally:
        for _ in range(PASSES):
            tally, missed = Tally(name), 0
            entry = self._finder.mapping.collections[name]
            async for page in self._finder.own_rows(name, columns.names):
                rows = [row for row in page if not self._finder.is_fresh(entry, row)]
                missed += await self._page(name, columns, rows, tally)
            if not missed:
                return tally
            self._finder.forget(name)
        raise StoreUnavailable("rows keep changing")

    async def _page(self, name: str, columns: _Columns, rows: Sequence[Row], tally: Tally) -> int:
        """Rows missed because somebody changed them after they were read."""
        alike: defaultdict[tuple[Patch, ...], list[Row]] = defaultdict(list)
        for row in rows:
            found = self._judge(columns, row)
            tally.matched += found.concerned
            tally.conflicting += found.conflicts
            tally.corrected += found.concerned and not found.conflicts and not (self._looks and found.sets)
            if found.sets:
                alike[found.sets].append(row)
        missed = 0
        if self._act:
            where = ByAddress(self._finder.mapping.collections[name].found_by, self._finder.written)
            for patches, some in alike.items():
                settings = {patch.name: Constant(patch.to) for patch in patches}
                missed += len(some) - await self._finder.session.update(name, some, settings, where)
        return missed

    def _judge(self, columns: _Columns, row: Row) -> Judged:
        """What is to be set bears the column's name."""
        return weighed(self._verdicts(columns, row))

    def _verdicts(self, columns: _Columns, row: Row) -> Iterator[tuple[Patch, Verdict]]:
        for name, column in columns.alone.items():
            patch = self._patches[name]
            yield replace(patch, name=column), patch.judge(row.values.get(column))
        for column, composition in columns.composed.items():
            value, verdict = composition.judge(self._patches, row.values.get(column))
            yield Patch(column, value), verdict
