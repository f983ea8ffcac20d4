"""A store under a mapping: each right as one walk over its rows.

The same walk plans, looks and acts, for one person or beside others, so that what is counted and what is done cannot
drift apart.
Source: R14, R17 to R20, R25; design § 5.5.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Any

from schemas.errors import Fault
from schemas.terms import Right
from workers.stores.subsidiaries.adapter import CopyPage, Counted, StoreRefuses, Subject, Tally, Terms
from workers.stores.subsidiaries.disposing import Disposal
from workers.stores.subsidiaries.erasing import ErasureWalk
from workers.stores.subsidiaries.finding import Finder, path_of
from workers.stores.subsidiaries.mapping import Constant, Mapping, Mention
from workers.stores.subsidiaries.marking import Marks, MarkWalk, of_acceptance, of_lifting, of_objection, of_restriction
from workers.stores.subsidiaries.rectifying import RectificationWalk
from workers.stores.subsidiaries.rows import Row, Rows, Session
from workers.stores.subsidiaries.together import Together, Walk
from workers.stores.subsidiaries.withdrawing import WithdrawalWalk


def utc_now() -> datetime:
    """Now, aware."""
    return datetime.now(UTC)


class MappedStore:
    """A :class:`workers.stores.subsidiaries.adapter.StoreAdapter` over a mapping and a database's rows."""

    def __init__(self, mapping: Mapping, rows: Rows, clock: Callable[[], datetime] = utc_now) -> None:
        self._mapping = mapping
        self._rows = rows
        self._clock = clock

    async def ping(self) -> None:
        await self._rows.ping()

    async def check(self) -> list[Fault]:
        return await self._rows.check()

    async def close(self) -> None:
        await self._rows.close()

    async def plan(self, right: Right, subject: Subject) -> list[Tally]:
        async with self._rows.reading() as session:
            return await self._plan(session, right, subject)

    async def look(self, right: Right, subject: Subject) -> list[Tally]:
        async with self._rows.reading() as session:
            return await self._look(session, right, subject)

    async def erase(self, subject: Subject, planned: Sequence[Tally] = ()) -> list[Tally]:
        async with self._rows.writing() as session:
            return await self._erase(session, subject, planned)

    async def object(self, subject: Subject) -> list[Tally]:
        async with self._rows.writing() as session:
            return await self._object(session, subject)

    async def withdraw(self, subject: Subject) -> list[Tally]:
        async with self._rows.writing() as session:
            return await WithdrawalWalk(self._finder(session, subject), act=True).run()

    async def rectify(self, subject: Subject) -> list[Tally]:
        async with self._rows.writing() as session:
            return await RectificationWalk(self._finder(session, subject), act=True).run()

    async def accept(self, subject: Subject) -> list[Tally]:
        async with self._rows.writing() as session:
            finder = self._finder(session, subject)
            objected, lifting = of_objection(self._mapping), of_acceptance(self._mapping)
            stuck = {name: rule for name, rule in objected.items() if rule is not None and name not in lifting}
            if any(tally.restricted for tally in await MarkWalk(finder, stuck).standing()):
                raise StoreRefuses("no-acceptance")
            await MarkWalk(finder, lifting, act=True, over=objected).run()
            for name in lifting:
                finder.forget(name)
            return await MarkWalk(finder, objected).standing()

    async def restrict(self, subject: Subject) -> list[Tally]:
        async with self._rows.writing() as session:
            return await self._marked(session, subject, of_restriction(self._mapping), act=True)

    async def lift(self, subject: Subject) -> list[Tally]:
        async with self._rows.writing() as session:
            tallies = await self._marked(session, subject, of_lifting(self._mapping), act=True)
        for tally in tallies:
            tally.restricted = 0  # the mark was taken away
        return tallies

    async def _marked(self, session: Session, subject: Subject, rules: Marks, *, act: bool) -> list[Tally]:
        finder = self._finder(session, subject)
        await finder.refuse_unstated(self._mapping.without_restriction(), "no-restriction")
        return await MarkWalk(finder, rules, act=act).run()

    async def plan_disposal(self, terms: Terms) -> list[Tally]:
        return await Disposal(self._mapping, self._rows, terms, self._clock(), act=False).run()

    async def dispose(self, terms: Terms) -> list[Tally]:
        return await Disposal(self._mapping, self._rows, terms, self._clock(), act=True).run()

    async def plant(self, subject: Subject) -> list[Tally]:
        """Rows as ``canary`` says, one in each collection that has it. What is planted already is left as it is."""
        recipes = {name: entry for name, entry in self._mapping.collections.items() if entry.canary is not None}
        if not recipes:
            raise StoreRefuses("no-canary")
        async with self._rows.writing(at_once=True) as session:
            standing = {tally.name for tally in await self._plan(session, Right.ACCESS, subject) if tally.matched}
            for name, entry in recipes.items():
                if name not in standing:
                    address = {entry.found_by[0].field: Constant(subject.emails[0])}
                    await session.insert(name, {**(entry.canary or {}), **address})
            return await self._plan(session, Right.ACCESS, subject)

    # ------------------------------------------------------------------ several people at once

    async def plan_all(self, right: Right, subjects: Sequence[Subject]) -> Sequence[Counted]:
        return await self._read_all([partial(self._plan, right=right, subject=subject) for subject in subjects])

    async def look_all(self, right: Right, subjects: Sequence[Subject]) -> Sequence[Counted]:
        return await self._read_all([partial(self._look, right=right, subject=subject) for subject in subjects])

    async def erase_all(self, subjects: Sequence[Subject], planned: Sequence[Sequence[Tally]]) -> Sequence[Counted]:
        return await self._change_all(
            [partial(self._erase, subject=subject, planned=one) for subject, one in zip(subjects, planned, strict=True)]
        )

    async def object_all(self, subjects: Sequence[Subject]) -> Sequence[Counted]:
        return await self._change_all([partial(self._object, subject=subject) for subject in subjects])

    async def _read_all(self, walks: Sequence[Walk[list[Tally]]]) -> Sequence[Counted]:
        async with self._rows.reading() as session:
            together: Together[list[Tally]] = Together(session, self._mapping.source, undoes=True)
            return await together.lead(walks)

    async def _change_all(self, walks: Sequence[Walk[list[Tally]]]) -> Sequence[Counted]:
        async with self._rows.writing(at_once=True) as session:
            together: Together[list[Tally]] = Together(session, self._mapping.source, undoes=self._rows.undoes)
            return await together.lead(walks)

    # ------------------------------------------------------------------ one person's walks

    async def _plan(self, session: Session, right: Right, subject: Subject) -> list[Tally]:
        finder = self._finder(session, subject)
        match right:
            case Right.ERASURE:
                return await ErasureWalk(finder, act=False).run()
            case Right.OBJECTION:
                return await MarkWalk(finder, of_objection(self._mapping)).run()
            case Right.WITHDRAWAL:
                return await WithdrawalWalk(finder).run()
            case Right.ACCESS:
                return await self._count(self._copy(finder))
            case Right.RECTIFICATION:
                return await RectificationWalk(finder).run()
            case Right.RESTRICTION:
                return await self._marked(session, subject, of_restriction(self._mapping), act=False)
            case Right.PORTABILITY:
                return await self._count(self._portable(finder))

    async def _look(self, session: Session, right: Right, subject: Subject) -> list[Tally]:
        if right is Right.OBJECTION:
            return await MarkWalk(self._finder(session, subject), of_objection(self._mapping)).standing()
        if right is Right.WITHDRAWAL:
            return await WithdrawalWalk(self._finder(session, subject)).standing()
        if right is Right.RESTRICTION:
            return await MarkWalk(self._finder(session, subject), of_restriction(self._mapping)).standing()
        if right is Right.RECTIFICATION:
            return await RectificationWalk(self._finder(session, subject), looks=True).run()
        tallies = await self._plan(session, right, subject)
        for tally in tallies:
            tally.erased = tally.anonymised = 0  # what would be done is no statement about what stands
        return tallies

    async def _erase(self, session: Session, subject: Subject, planned: Sequence[Tally]) -> list[Tally]:
        empty = frozenset(tally.name for tally in planned if not tally.matched)
        return await ErasureWalk(self._finder(session, subject), act=True, empty=empty).run()

    async def access(self, subject: Subject) -> AsyncGenerator[CopyPage, None]:
        async with self._rows.reading() as session, aclosing(self._copy(self._finder(session, subject))) as pages:
            async for page in pages:
                yield page

    async def port(self, subject: Subject) -> AsyncGenerator[CopyPage, None]:
        async with self._rows.reading() as session, aclosing(self._portable(self._finder(session, subject))) as pages:
            async for page in pages:
                yield page

    async def identifiers(self) -> AsyncGenerator[Sequence[str], None]:
        async with self._rows.reading() as session:
            for name, entry in self._mapping.collections.items():
                paths = [one.field for one in entry.found_by] + [path_of(mention) for mention in entry.mentions]
                for path in dict.fromkeys(paths):
                    async for page in session.values(name, path):
                        yield page

    def _finder(self, session: Session, subject: Subject) -> Finder:
        return Finder(self._mapping, session, subject, self._clock())

    async def _object(self, session: Session, subject: Subject) -> list[Tally]:
        return await MarkWalk(self._finder(session, subject), of_objection(self._mapping), act=True).run()

    # ------------------------------------------------------------------ access

    async def _count(self, copy: AsyncIterable[CopyPage]) -> list[Tally]:
        tallies = {name: Tally(name) for name in self._mapping.collections}
        async for page in copy:
            tallies[page.collection].matched += len(page.records)
        return list(tallies.values())

    async def _copy(self, finder: Finder) -> AsyncGenerator[CopyPage, None]:
        """Every record, with the fields the mapping gives a meaning to; later acts included."""
        await finder.refuse_shared_address()
        for name, entry in self._mapping.collections.items():
            own = dict(entry.fields or {})
            meanings = own | {shown: words for mention in entry.mentions for shown, words in _meanings(mention)}
            if entry.is_owned:
                async for page in finder.own_rows(name, own, under_fresh=True):
                    yield CopyPage(name, meanings, [{one: row.values.get(one) for one in own} for row in page])
            for mention in entry.mentions:
                wanted = [mention.list] if mention.list is not None else list(mention.fields)
                async for page in finder.mentions(name, mention, wanted):
                    yield CopyPage(name, meanings, [_mentioned(finder, mention, row) for row in page])

    async def _portable(self, finder: Finder) -> AsyncGenerator[CopyPage, None]:
        """What the person gave, of what is held on consent or for a contract; later acts included."""
        await finder.refuse_shared_address()
        await finder.refuse_unstated(self._mapping.without_basis(), "no-basis")
        for name, given in self._mapping.portable():
            async for page in finder.own_rows(name, given, under_fresh=True):
                yield CopyPage(name, given, [{one: row.values.get(one) for one in given} for row in page])


def _meanings(mention: Mention) -> list[tuple[str, str]]:
    prefix = "" if mention.list is None else f"{mention.list}."
    return [(prefix + name, words) for name, words in mention.fields.items()]


def _mentioned(finder: Finder, mention: Mention, row: Row) -> dict[str, Any]:
    """What of somebody else's row is about the person: the mention, not the row."""
    if mention.list is None:
        return {name: row.values.get(name) for name in mention.fields}
    stored = row.values.get(mention.list)
    elements = [element for element in stored if isinstance(element, dict)] if isinstance(stored, list) else []
    ours = [element for element in elements if finder.names_them(element.get(mention.found_by.field))]
    return {f"{mention.list}.{name}": [element.get(name) for element in ours] for name in mention.fields}
