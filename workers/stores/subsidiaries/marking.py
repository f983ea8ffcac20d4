"""What an objection, a restriction or a withdrawal sets in a mapped store; what it would, or whether it stands.

Only collections that have a rule for it: nobody is written to from the others. A later act of the person, such as a new
subscription, is no part of it.
Source: R14, R20; design § 5.5.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from schemas.errors import StoreUnavailable
from workers.stores.subsidiaries import decisions
from workers.stores.subsidiaries.adapter import Tally
from workers.stores.subsidiaries.erasing import PASSES
from workers.stores.subsidiaries.finding import Finder
from workers.stores.subsidiaries.mapping import Constant
from workers.stores.subsidiaries.mapping import Mapping as OfficeMapping
from workers.stores.subsidiaries.rows import ByAddress, Row

Settings = Mapping[str, Constant]
Marks = Mapping[str, Settings | None]
"""Collection → what is set in the person's rows of it; None takes them off."""


def of_objection(mapping: OfficeMapping) -> Marks:
    """What an objection sets."""
    return {name: one.objection.set for name, one in mapping.collections.items() if one.objection is not None}


def of_acceptance(mapping: OfficeMapping) -> Marks:
    """What takes away what an objection set, where somebody says so."""
    objections = {name: one.objection for name, one in mapping.collections.items()}
    return {name: one.lift for name, one in objections.items() if one is not None and one.lift is not None}


def of_restriction(mapping: OfficeMapping) -> Marks:
    """What a restriction sets."""
    return {name: one.restriction.set for name, one in mapping.collections.items() if one.restriction is not None}


def of_lifting(mapping: OfficeMapping) -> Marks:
    """What the end of a restriction sets."""
    return {name: one.restriction.lift for name, one in mapping.collections.items() if one.restriction is not None}


class MarkWalk:
    """One person's rows, marked by rules. ``act``: False only counts; ``over``: only what stands so now is changed."""

    def __init__(self, finder: Finder, rules: Marks, *, act: bool = False, over: Marks | None = None) -> None:
        self._finder = finder
        self._act = act
        self._rules = rules
        self._over = over or {}

    async def run(self) -> list[Tally]:
        """One tally for each collection with a rule. Raises StoreUnavailable when rows change faster than it marks."""
        return [await self._settle(name, rule) for name, rule in self._rules.items()]

    async def standing(self) -> list[Tally]:
        """What stands now: ``restricted``, where the mark does."""
        tallies = []
        for name, rule in self._rules.items():
            tally = Tally(name)
            async for rows in self._rows(name, rule):
                tally.matched += len(rows)
                if rule is not None:
                    tally.restricted += sum(decisions.stands(rule, row.values) for row in rows)
            tallies.append(tally)
        return tallies

    async def _settle(self, name: str, rule: Settings | None) -> Tally:
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

    async def _page(self, name: str, rule: Settings | None, rows: Sequence[Row], tally: Tally) -> int:
        """Rows missed because somebody changed them after they were read."""
        session = self._finder.session
        if rule is None:
            done = await session.delete(name, rows) if self._act and rows else len(rows)
            tally.matched += done
            tally.erased += done
            return len(rows) - done
        over = self._over.get(name) or {}
        stand = [row for row in rows if decisions.stands(over, row.values)]
        changing = [row for row in stand if not decisions.stands(rule, row.values)]
        missed = 0
        if self._act and changing:
            where = ByAddress(self._finder.mapping.collections[name].found_by, self._finder.written)
            missed = len(changing) - await session.update(name, changing, rule, where)
        tally.matched += len(rows)
        tally.restricted += len(rows) - missed
        return missed

    async def _rows(self, name: str, rule: Settings | None) -> AsyncIterator[list[Row]]:
        entry = self._finder.mapping.collections[name]
        async for page in self._finder.own_rows(name, {**(rule or {}), **(self._over.get(name) or {})}):
            yield [row for row in page if not self._finder.is_fresh(entry, row)]
