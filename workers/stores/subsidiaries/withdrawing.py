"""A withdrawal of consent in a mapped store: what rested on it alone goes as an erasure would have it, a part is unset.

Which rows rest on consent is the office's to say, collection by collection. Of a person with rows in one of which it
says nothing, nothing can be claimed: a person of the office must look.
Source: R14; GDPR Art. 7(3), 17(1)(b); design § 5.5.
"""

from __future__ import annotations

from workers.stores.subsidiaries.adapter import Tally
from workers.stores.subsidiaries.erasing import ErasureWalk
from workers.stores.subsidiaries.finding import Finder
from workers.stores.subsidiaries.marking import Marks, MarkWalk


class WithdrawalWalk:
    """One withdrawal. ``act``: False only counts."""

    def __init__(self, finder: Finder, *, act: bool = False) -> None:
        self._finder = finder
        self._act = act
        self._mapping = finder.mapping

    async def run(self) -> list[Tally]:
        """One tally for each collection that rests on consent, whole or in part.

        Raises StoreRefuses ``shared-address`` or ``no-basis`` before anything is done, and StoreUnavailable.
        """
        await self._finder.refuse_unstated(self._mapping.without_basis(), "no-basis")
        gone = ErasureWalk(self._finder, act=self._act, only=self._mapping.resting_on_consent())
        return [*await gone.run(), *await MarkWalk(self._finder, self._marks, act=self._act).run()]

    async def standing(self) -> list[Tally]:
        """What stands now: rows that should be gone; ``restricted``, where what is to be set is."""
        going = ErasureWalk(self._finder, act=False, only=self._mapping.resting_on_consent())
        left = await going.run()
        for tally in left:
            tally.erased = tally.anonymised = 0
        return [*left, *await MarkWalk(self._finder, self._marks).standing()]

    @property
    def _marks(self) -> Marks:
        every = self._mapping.collections.items()
        return {name: one.withdrawal.set for name, one in every if one.withdrawal is not None}
