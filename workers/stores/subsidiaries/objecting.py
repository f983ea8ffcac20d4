"""An objection in a mapped store, what it would be, or whether it stands: only collections that have a rule for it.

Nobody is written to from the others. A later act of the person, such as a new subscription, is no part of it.
Source: R20; design § 5.5.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from schemas.errors import StoreUnavailable
from workers.stores.subsidiaries import decisions
from workers.stores.subsidiaries.adapter import Tally
from workers.stores.subsidiaries.erasing import PASSES
from workers.stores.subsidiaries.finding import Finder
from workers.stores.subsidiaries.mapping import Objection
from workers.stores.subsidiaries.rows import ByAddress, Row


class ObjectionWalk:
    """One objection. ``act``: False only counts."""

    def __init__(self, finder: Finder, *, act: bool = False) -> None:
        self._finder = finder
        self._act = act
        entries = finder.mapping.collections.items()
        self._rules = [(name, entry.objection) for name, entry in entries if entry.objection is not None]

    async def run(self) -> list[Tally]:
        """One tally for each collection with a rule. Raises StoreUnavailable when rows change faster than it marks."""
        return [await self._settle(name, rule) for name, rule in self._rules]

    async def standing(self) -> list[Tally]:
        """What stands now: ``restricted``, where the objection does."""
        tallies = []
        for name, rule in self._rules:
            tally = Tally(name)
            async for rows in self._rows(name, rule):
                tally.matched += len(rows)
                if rule.set is not None:
                    tally.restricted += sum(decisions.stands(rule.set, row.values) for row in rows)
            tallies.append(tally)
        return tallies

    async def _settle(self, name: str, rule: Objection) -> Tally:
        erased = 0
        for _ in range(PASSES):
            tally = Tally(name, matched=erased, erased=erased)
            missed = 0
            async for rows in self._rows(name, rule):
                missed += await self._page(name, rule, rows, tally)
            if not missed:
                return tally
            erased = tally.erased
            self._finder.forget(name)
        raise StoreUnavailable("rows keep changing")

    async def _page(self, name: str, rule: Objection, rows: Sequence[Row], tally: Tally) -> int:
        """Rows missed because somebody changed them after they were read."""
        session = self._finder.session
        if rule.set is None:
            done = await session.delete(name, rows) if self._act and rows else len(rows)
            tally.matched += done
            tally.erased += done
            return len(rows) - done
        changing = [row for row in rows if not decisions.stands(rule.set, row.values)]
        missed = 0
        if self._act and changing:
            where = ByAddress(self._finder.mapping.collections[name].found_by, self._finder.written)
            missed = len(changing) - await session.update(name, changing, rule.set, where)
        tally.matched += len(rows)
        tally.restricted += len(rows) - missed
        return missed

    async def _rows(self, name: str, rule: Objection) -> AsyncIterator[list[Row]]:
        entry = self._finder.mapping.collections[name]
        async for page in self._finder.own_rows(name, rule.set or ()):
            yield [row for row in page if not self._finder.is_fresh(entry, row)]
