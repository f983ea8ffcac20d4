"""An erasure in a mapped store, or what it would be: children before parents, each row decided and counted once.

| a row | is |
| --- | --- |
| the person's | deleted, anonymised or kept by its collection's rule |
| newer than the request | a fresh act: no part of it, and its parent stays with it |
| a parent to be deleted under a child that is kept | kept on the child's ground: the child proves nothing without it |
| somebody else's that mentions the person | changed in the mention only, or kept with a ground |

Source: R19; design § 5.5.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Final

import structlog

from schemas.errors import StoreUnavailable
from workers.stores.subsidiaries import decisions
from workers.stores.subsidiaries.adapter import Tally
from workers.stores.subsidiaries.decisions import Decision, Fate
from workers.stores.subsidiaries.finding import Finder, keys_in
from workers.stores.subsidiaries.mapping import Collection, Mention
from workers.stores.subsidiaries.rows import PAGE, ByAddress, Row

log = structlog.get_logger("greffier.subsidiary.store")

PASSES: Final = 5
"""How often a collection is gone through again because somebody changed its rows meanwhile."""


class ErasureWalk:
    """One erasure. ``act``: False only counts. ``empty``: collections known to hold nothing that is to be changed.

    ``only``: those that it is about; all of them where none is named.
    """

    def __init__(
        self, finder: Finder, *, act: bool, empty: frozenset[str] = frozenset(), only: frozenset[str] | None = None
    ) -> None:
        self._empty = empty
        self._only = frozenset(finder.mapping.collections) if only is None else only
        self._finder = finder
        self._mapping = finder.mapping
        self._session = finder.session
        self._act = act
        self._held: defaultdict[str, dict[Hashable, Decision]] = defaultdict(dict)
        """Collection → what stands in the field its children name it by → why a row with it must stay."""

    async def run(self) -> list[Tally]:
        """One tally per collection, in the mapping's order.

        Raises StoreRefuses ``shared-address`` before anything is done; StoreUnavailable when rows change faster than
        they can be decided.
        """
        await self._finder.refuse_shared_address()
        names = [name for name in self._mapping.children_first() if name in self._only]
        tallies = {name: await self._settle(name) for name in names}
        return [tallies[name] for name in self._mapping.collections if name in tallies]

    async def _settle(self, name: str) -> Tally:
        if self._can_be_skipped(name):
            return Tally(name)
        erased = anonymised = 0
        for _ in range(PASSES):
            tally = Tally(name, matched=erased + anonymised, erased=erased, anonymised=anonymised)
            missed = await self._own(name, tally) + await self._mentions(name, tally)
            if not missed:
                return tally
            erased, anonymised = tally.erased, tally.anonymised
        raise StoreUnavailable("rows keep changing")

    def _can_be_skipped(self, name: str) -> bool:
        """Not below a parent that is gone through: a fresh row counts nowhere, and its parent must stay with it."""
        owner = self._mapping.collections[name].owned_by
        return name in self._empty and (owner is None or self._can_be_skipped(owner.collection))

    async def _own(self, name: str, tally: Tally) -> int:
        """Rows missed because somebody changed them after they were read."""
        entry = self._mapping.collections[name]
        if not entry.is_owned:
            return 0
        missed = 0
        if self._act:
            self._finder.forget(name)  # what is to be changed is read, and locked, in this very moment
        ties = [] if entry.owned_by is None else [entry.owned_by.field]
        async for page in self._finder.own_rows(name, ties):
            fates: defaultdict[Fate, list[Row]] = defaultdict(list)
            for row in page:
                decision = self._decide(name, entry, row)
                fates[decision.fate].append(row)
                if decision.fate is Fate.KEEP:
                    tally.matched += 1
                    tally.retain(decision.ground, decision.until)
            missed += await self._apply(name, entry, fates, tally)
            if tally.matched >= PAGE:
                log.info("a person with many rows", collection=name, matched=tally.matched)
        return missed

    def _decide(self, name: str, entry: Collection, row: Row) -> Decision:
        decision = self._alone(entry, row)
        if decision.fate is Fate.DELETE:
            keys = (key for one in self._finder.named_by_children(name) for key in keys_in(row.values.get(one)))
            reasons = [self._held[name][key] for key in keys if key in self._held[name]]
            decision = min(reasons, key=lambda reason: reason.fate is not Fate.KEEP, default=decision)
        if entry.owned_by is not None and decision.fate in (Fate.KEEP, Fate.FRESH):
            parents = self._held[entry.owned_by.collection]
            for key in keys_in(row.values.get(entry.owned_by.field)):
                parents[key] = decision if decision.fate is Fate.KEEP else parents.get(key, decision)
        return decision

    def _alone(self, entry: Collection, row: Row) -> Decision:
        """What becomes of a row if nothing hangs on it."""
        finder = self._finder
        return decisions.erasure_of(entry, row.values, finder.subject, finder.now, finder.zone)

    async def _apply(self, name: str, entry: Collection, fates: Mapping[Fate, Sequence[Row]], tally: Tally) -> int:
        gone, changed = fates.get(Fate.DELETE, ()), fates.get(Fate.ANONYMISE, ())
        erased, anonymised = len(gone), len(changed)
        if self._act and gone:
            erased = await self._session.delete(name, gone)
        if self._act and changed:
            settings = entry.erasure.anonymise if entry.erasure is not None else None
            where = ByAddress(entry.found_by, self._finder.written)
            anonymised = await self._session.update(name, changed, settings or {}, where)
        tally.matched += erased + anonymised
        tally.erased += erased
        tally.anonymised += anonymised
        return len(gone) + len(changed) - erased - anonymised

    async def _mentions(self, name: str, tally: Tally) -> int:
        missed = 0
        for mention in self._mapping.collections[name].mentions:
            async for page in self._finder.mentions(name, mention):
                if mention.anonymise is None:
                    self._keep(mention, page, tally)
                    continue
                changed = len(page)
                if self._act:
                    where = self._finder.where(mention)
                    changed = await self._session.update(name, page, mention.anonymise, where)
                tally.matched += changed
                tally.anonymised += changed
                missed += len(page) - changed
        return missed

    def _keep(self, mention: Mention, page: Sequence[Row], tally: Tally) -> None:
        for row in page:
            tally.matched += 1
            if mention.keep is None:
                continue
            kept = decisions.kept_until(mention.keep, row.values, self._finder.now, self._finder.zone)
            if kept is not None:  # past its last day it is only matched: the look finds it and says so
                tally.retain(kept.ground, kept.until)
