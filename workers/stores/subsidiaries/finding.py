"""Which rows are a person's: by address, through their parent, or by mention.

Memory is bounded by a page of rows, plus one key per row where a row can be found in more than one way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from workers.stores.subsidiaries import decisions
from workers.stores.subsidiaries.adapter import StoreRefuses, Subject
from workers.stores.subsidiaries.mapping import Collection as Entry
from workers.stores.subsidiaries.mapping import Mapping, Mention, OwnedBy
from workers.stores.subsidiaries.rows import PAGE, ByAddress, ByOwner, Row, Session


@dataclass
class Finder:
    """One person's rows in one session. ``now``: the moment everything is judged for."""

    mapping: Mapping
    session: Session
    subject: Subject
    now: datetime
    _own: defaultdict[str, set[Any]] = field(default_factory=lambda: defaultdict(set), init=False, repr=False)
    _small: dict[tuple[str, bool], list[Row]] = field(default_factory=dict, init=False, repr=False)
    """Parents' rows that fit a page: each child, and then the parent itself, would ask for them again."""

    def __post_init__(self) -> None:
        self.zone = self.mapping.store.zone
        self._spellings = decisions.spellings(self.subject.emails)
        self.written = frozenset(self._spellings)

    async def own_rows(
        self, name: str, fields: Iterable[str] = (), *, under_fresh: bool = False
    ) -> AsyncIterator[list[Row]]:
        """Pages of the person's rows, each row once. ``under_fresh``: also those found through later acts only."""
        known = self._small.get((name, under_fresh))
        if known is not None and set(fields) <= self.named_by_children(name):
            if known:
                yield known
            return
        read: list[Row] = []
        async for rows in self._read_own(name, {*fields, *self.named_by_children(name)}, under_fresh=under_fresh):
            if len(read) <= PAGE:
                read += rows
            yield rows
        if self.mapping.children_of(name) and len(read) <= PAGE:
            self._small[name, under_fresh] = read

    def forget(self, name: str) -> None:
        """Read a collection anew when it is asked for again: its rows have been changed."""
        self._small.pop((name, True), None)
        self._small.pop((name, False), None)

    def named_by_children(self, name: str) -> set[str]:
        """The fields by which rows of other collections are tied to rows of this one."""
        owners = (self.mapping.collections[child].owned_by for child in self.mapping.children_of(name))
        return {owner.parent_field for owner in owners if owner is not None}

    async def _read_own(self, name: str, fields: set[str], *, under_fresh: bool) -> AsyncIterator[list[Row]]:
        entry = self.mapping.collections[name]
        wanted = fields | self.decisive(entry)
        seen = self._own[name] if (entry.found_by and entry.owned_by) or entry.mentions else None
        if seen is not None:
            seen.clear()
        for pages in self.ways(name, entry, wanted, under_fresh=under_fresh):
            async for page in pages:
                rows = page
                if seen is not None:
                    rows = [row for row in page if row.key not in seen]
                    seen.update(row.key for row in rows)
                if rows:
                    yield rows

    def decisive(self, entry: Entry) -> set[str]:
        """The fields a row's fate depends on."""
        names = {one.field for one in entry.found_by} | {entry.fresh_by, entry.one_person_by}
        if entry.erasure is not None and entry.erasure.keep is not None:
            names.add(entry.erasure.keep.counted_from)
        return {name for name in names if name is not None}

    def is_fresh(self, entry: Entry, row: Row) -> bool:
        """Whether a row is an act later than the request."""
        return decisions.is_fresh(entry, row.values, self.subject, self.zone)

    async def mentions(self, name: str, mention: Mention, fields: Iterable[str] = ()) -> AsyncIterator[list[Row]]:
        """Pages of other people's rows that name the person; to be asked after :meth:`own_rows`."""
        path = path_of(mention)
        counted_from = mention.keep.counted_from if mention.keep is not None else None
        wanted = {path, *fields, *([counted_from] if counted_from else [])}
        async for page in self.session.pages(name, self.where(mention), wanted):
            rows = [row for row in page if row.key not in self._own[name] and self.names_them(row.values.get(path))]
            if rows:
                yield rows

    def where(self, mention: Mention) -> ByAddress:
        """How the rows of a mention are found."""
        return ByAddress((mention.found_by,), self.written, within=mention.list)

    def names_them(self, stored: object) -> bool:
        """Whether a stored value is, or a list holds, one of the person's addresses."""
        return bool(decisions.belongs(stored, self._spellings))

    async def refuse_shared_address(self) -> None:
        """Raises StoreRefuses when an address leads to more than one person: nobody is served by guess."""
        for name, entry in self.mapping.collections.items():
            if entry.one_person_by is None:
                continue
            people: defaultdict[str, set[Any]] = defaultdict(set)
            async for page in self._by_address(name, entry, self.decisive(entry)):
                for row in page:
                    for address in self._addresses(entry, row):
                        people[address].add(row.values.get(entry.one_person_by))
            if any(len(several - {None}) > 1 for several in people.values()):
                raise StoreRefuses("shared-address")

    async def refuse_unstated(self, names: Iterable[str], reason: str) -> None:
        """Raises StoreRefuses where the person has rows of a collection of which nobody says what an order asks."""
        for name in names:
            async for _ in self.own_rows(name, under_fresh=True):
                raise StoreRefuses(reason)

    def ways(
        self, name: str, entry: Entry, wanted: Collection[str], *, under_fresh: bool
    ) -> Iterable[AsyncIterator[list[Row]]]:
        """How a person's rows of a collection are found."""
        if entry.found_by:
            yield self._by_address(name, entry, wanted)
        if entry.owned_by is not None:
            yield self.by_owner(name, entry.owned_by, wanted, under_fresh=under_fresh)

    async def _by_address(self, name: str, entry: Entry, wanted: Collection[str]) -> AsyncIterator[list[Row]]:
        async for page in self.session.pages(name, ByAddress(entry.found_by, self.written), wanted):
            # The database's own folding may join what is not the same address (ß and ss): compared again here.
            yield [row for row in page if self._addresses(entry, row)]

    async def by_owner(
        self, name: str, owner: OwnedBy, wanted: Collection[str], *, under_fresh: bool
    ) -> AsyncIterator[list[Row]]:
        """Rows found through their parent."""
        entry = self.mapping.collections[owner.collection]
        async for parents in self.own_rows(owner.collection, [owner.parent_field], under_fresh=under_fresh):
            rows = parents if under_fresh else [row for row in parents if not self.is_fresh(entry, row)]
            keys = {key for row in rows for key in keys_in(row.values.get(owner.parent_field))}
            for chunk in _chunks(sorted(keys, key=repr), PAGE // 2):
                async for page in self.session.pages(name, ByOwner(owner.field, chunk), wanted):
                    yield page

    def _addresses(self, entry: Entry, row: Row) -> set[str]:
        found: set[str] = set()
        for one in entry.found_by:
            found |= decisions.belongs(row.values.get(one.field), self._spellings)
        return found


def path_of(mention: Mention) -> str:
    """Where a mention's address stands in the row."""
    return mention.found_by.field if mention.list is None else f"{mention.list}.{mention.found_by.field}"


def keys_in(stored: object) -> list[Hashable]:
    """What a row may be tied by: a value, or each value of a list; nothing and documents tie nobody."""
    values = stored if isinstance(stored, list) else [stored]
    return [value for value in values if value is not None and isinstance(value, Hashable)]


def _chunks(values: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (values[start : start + size] for start in range(0, len(values), size))
