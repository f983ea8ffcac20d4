"""Several people's walks over one session: what they ask in the same moment is asked of the database once.

A walk awaits nothing but its session, so it can be led by hand: each is led to its next question, questions that are
alike are put to the database as one, and every walk gets the rows that are its own. What a row means is decided in the
walks, person by person; nothing of it is known here.

| what happens | what follows |
| --- | --- |
| more rows than :data:`MOST` for one question | from there the walks go one after another, in pages |
| a row two walks want to change | the first has it; to the other it was missed, and it reads again: one after another |
| the database holds keys equal that are not written alike | the same: one after another |
| a common change fails, or rows were missed | each row is looked at; each walk gets its own count or failure |
| something fails where a transaction undoes it | the error ends it all: whoever asked serves them one by one |
| the store goes away | the error ends it all |

Source: R25; design § 5.5.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Generator,
    Hashable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Generic, Self, TypeVar

from schemas.errors import Temporary
from workers.stores.subsidiaries import decisions
from workers.stores.subsidiaries.finding import keys_in
from workers.stores.subsidiaries.mapping import Constant
from workers.stores.subsidiaries.rows import PAGE, ByAddress, ByOwner, OpenSession, Row, Session, Where, known_by

T = TypeVar("T")

MOST: Final = 4 * PAGE
"""Rows read for one question of all walks together."""
_VALUES: Final = PAGE // 2
"""Addresses or keys in one question: some databases take no more parameters."""

Walk = Callable[[Session], Coroutine[Any, Any, T]]
Settings = Mapping[str, Constant]


class _Question:
    """Awaited in a walk, it comes out where the walk is led; the answer goes back the same way."""

    def __await__(self) -> Generator[Self, Any, Any]:
        return (yield self)


@dataclass(slots=True, eq=False)
class _Read(_Question):
    """Answered with all rows, or with an iterator over their pages."""

    name: str
    where: Where
    fields: frozenset[str]

    @property
    def values(self) -> Collection[Any]:
        return self.where.written if isinstance(self.where, ByAddress) else self.where.values

    @property
    def paths(self) -> list[str]:
        """Where in a row stands what it was found by."""
        if isinstance(self.where, ByOwner):
            return [self.where.path]
        within = "" if self.where.within is None else f"{self.where.within}."
        return [within + one.field for one in self.where.identifiers]

    @property
    def kind(self) -> Hashable:
        """Equal for questions that can be put as one."""
        where = self.where
        way = (where.identifiers, where.within) if isinstance(where, ByAddress) else where.path
        return (self.name, way, self.fields)


@dataclass(slots=True, eq=False)
class _NextPage(_Question):
    """Answered with a page; with none at the end."""

    pages: AsyncIterator[list[Row]]

    @property
    def kind(self) -> Hashable:
        return id(self)


@dataclass(slots=True, eq=False)
class _Change(_Question):
    """Answered with how many rows were changed. No ``settings``: they are deleted. ``read_in``: the round."""

    name: str
    rows: Sequence[Row]
    read_in: int
    settings: Settings | None = None
    where: Where | None = None

    @property
    def kind(self) -> Hashable:
        within = isinstance(self.where, ByAddress) and self.where.within is not None
        return id(self) if within else (self.name, id(self.settings))


@dataclass(slots=True)
class _Asking:
    """The session of one walk. ``round``: of the answer it got last."""

    round: int = 0
    _read_in: dict[str, int] = field(default_factory=dict)

    async def pages(self, name: str, where: Where, fields: Collection[str]) -> AsyncGenerator[list[Row], None]:
        found = await _Read(name, where, frozenset(fields))
        self._read_in[name] = self.round
        if isinstance(found, list):
            for start in range(0, len(found), PAGE):
                yield found[start : start + PAGE]
            return
        while page := await _NextPage(found):
            self._read_in[name] = self.round
            yield page

    async def delete(self, name: str, rows: Sequence[Row]) -> int:
        return int(await _Change(name, rows, self._read_in[name]))

    async def update(self, name: str, rows: Sequence[Row], settings: Settings, where: Where) -> int:
        return int(await _Change(name, rows, self._read_in[name], settings, where))


class _Ended(BaseException):
    """What a walk hears that is not led to its end."""


class _Led(Generic[T]):
    """One walk on its way. ``question``: what it waits for; None when it has ended, with ``outcome``."""

    def __init__(self, walk: Walk[T]) -> None:
        self.asking = _Asking()
        self.question: Any = None
        self.outcome: T | Exception
        self.changed = False
        self._walk = walk(self.asking)

    def lead(self, answer: Any = None) -> None:
        """On to the next question. Raises Temporary: a store that is away is away for all."""
        try:
            asks = self._walk.throw if isinstance(answer, Exception) else self._walk.send
            self.question = asks(answer)
        except StopIteration as end:
            self.question, self.outcome = None, end.value
        except Temporary:
            raise
        except Exception as error:
            self.question, self.outcome = None, error

    def close(self) -> None:
        """End it where it is; `Coroutine.close` alone would leave its generators running."""
        if self.question is not None:
            with suppress(_Ended):
                self._walk.throw(_Ended())
        self._walk.close()


class Together(Generic[T]):
    """One leading of several walks through a session.

    ``source``: a collection's name in the store. ``undoes``: if it ends with an error, nothing was changed.
    """

    def __init__(self, session: OpenSession, source: Callable[[str], str], *, undoes: bool) -> None:
        self._session = session
        self._source = source
        self._undoes = undoes
        self._round = 0
        self._apart = False
        """Whether the walks go one after another from here on."""
        self._changed_in: dict[tuple[str, Hashable], int] = {}
        """Row → round in which a walk had it changed."""

    async def lead(self, walks: Iterable[Walk[T]]) -> list[T | Exception]:
        """Each walk's end: what it gives, or its own refusal or fault. The walks are of people with nothing in common.

        Raises Temporary when the store is away. Where what was done is undone, raises also what ended it all.
        """
        every = [_Led(walk) for walk in walks]
        try:
            for one in every:
                one.lead()
            while waiting := [one for one in every if one.question is not None]:
                await self._answer(waiting[:1] if self._apart else waiting)
            return [one.outcome for one in every]
        finally:
            for one in every:
                one.close()

    async def _answer(self, waiting: Sequence[_Led[T]]) -> None:
        """One round: changes first, so that what is read in a round is not changed in it."""
        self._round += 1
        changing = [one for one in waiting if isinstance(one.question, _Change)]
        reading = [one for one in waiting if not isinstance(one.question, _Change)]
        for alike in _alike(changing):
            self._go_on(alike, await self._change(alike))
        for alike in _alike(reading):
            for few in _few(alike):
                self._go_on(few, await self._read(few))

    def _go_on(self, these: Sequence[_Led[T]], answers: Sequence[Any]) -> None:
        for one, answer in zip(these, answers, strict=True):
            one.asking.round = self._round
            one.lead(answer)
            if self._undoes and one.changed and one.question is None and isinstance(one.outcome, Exception):
                raise one.outcome

    # ------------------------------------------------------------------ reading

    async def _read(self, these: Sequence[_Led[T]]) -> Sequence[Any]:
        question = these[0].question
        if isinstance(question, _NextPage):
            return [await self._for_one(anext(question.pages, []))]
        if len(these) > 1 and not self._apart:
            found = await self._for_one(self._read_together([one.question for one in these]))
            if isinstance(found, list):
                return found
            self._apart = True
        return [self._session.pages(one.question.name, one.question.where, one.question.fields) for one in these]

    async def _for_one(self, asked: Awaitable[Any]) -> Any:
        """What comes of it, or what it failed with, unless that ends it all."""
        try:
            return await asked
        except Temporary:
            raise
        except Exception as error:
            if self._undoes:
                raise
            return error

    async def _read_together(self, questions: Sequence[_Read]) -> list[list[Row]] | None:
        """Rows for each; None where each must ask by itself."""
        first = questions[0]
        whose = _by_owner(questions) if isinstance(first.where, ByOwner) else _by_address(questions)
        if whose is None:
            return None
        found: list[list[Row]] = [[] for _ in questions]
        number = 0
        every = self._session.pages(first.name, _joined(questions), first.fields | set(first.paths))
        async with aclosing(every) as pages:
            async for page in pages:
                number += len(page)
                if number > MOST:
                    return None
                for row in page:
                    places = whose(row)
                    if places is None:
                        return None
                    for place in places:
                        found[place].append(row)
        return found

    # ------------------------------------------------------------------ changing

    async def _change(self, these: Sequence[_Led[T]]) -> Sequence[Any]:
        """How many rows of each were changed, or why it could not be."""
        since = datetime.now(UTC)
        rows = [self._still_as_read(one.question) for one in these]
        question, every = these[0].question, [row for own in rows for row in own]
        for one in these:
            one.changed = True
        changed = await self._for_one(self._apply(question, every))
        if len(these) == 1:
            return [changed]
        if changed == len(every):
            return [len(own) for own in rows]
        missed = await self._session.missed(question.name, every, question.settings, since)
        failed = isinstance(changed, Exception)
        return [await self._settled(question, own, missed, again=failed) for own in rows]

    async def _settled(
        self, question: _Change, own: Sequence[Row], missed: Collection[Hashable], *, again: bool
    ) -> int | Exception:
        left = [row for row in own if known_by(row.key) in missed]
        changed = len(own) - len(left)
        more = await self._for_one(self._apply(question, left)) if again else 0
        return more if isinstance(more, Exception) else changed + int(more)

    async def _apply(self, question: _Change, rows: Sequence[Row]) -> int:
        if not rows:
            return 0
        if question.settings is None or question.where is None:
            return await self._session.delete(question.name, rows)
        return await self._session.update(question.name, rows, question.settings, question.where)

    def _still_as_read(self, question: _Change) -> list[Row]:
        """Without rows that a companion had changed since; those are a walk's own from here on."""
        source = self._source(question.name)
        rows = []
        for row in question.rows:
            key = source, known_by(row.key)
            if self._changed_in.get(key, 0) <= question.read_in:
                self._changed_in[key] = self._round
                rows.append(row)
        self._apart = self._apart or len(rows) < len(question.rows)
        return rows


def _alike(waiting: Iterable[_Led[T]]) -> list[list[_Led[T]]]:
    kinds: defaultdict[Hashable, list[_Led[T]]] = defaultdict(list)
    for one in waiting:
        kinds[one.question.kind].append(one)
    return list(kinds.values())


def _few(alike: Sequence[_Led[T]]) -> Iterable[list[_Led[T]]]:
    """As many as one question may name; nobody's values in two questions."""
    few: list[_Led[T]] = []
    values = 0
    for one in alike:
        own = len(one.question.values) if isinstance(one.question, _Read) else 0
        if few and values + own > _VALUES:
            yield few
            few, values = [], 0
        few.append(one)
        values += own
    if few:
        yield few


def _joined(questions: Sequence[_Read]) -> Where:
    first = questions[0].where
    if isinstance(first, ByOwner):
        return ByOwner(first.path, [value for one in questions for value in one.values])
    return ByAddress(first.identifiers, frozenset().union(*(one.values for one in questions)), first.within)


Whose = Callable[[Row], Collection[int] | None]
"""The places of those whose row it is; None: nobody can tell."""


def _by_address(questions: Sequence[_Read]) -> Whose:
    """By the comparison every walk makes again."""
    paths = questions[0].paths
    places: defaultdict[str, tuple[int, ...]] = defaultdict(tuple)
    for place, question in enumerate(questions):
        for one in question.values:
            places[one] += (place,)

    def whose(row: Row) -> Collection[int]:
        found: set[int] = set()
        for path in paths:
            for some in decisions.belongs(row.values.get(path), places):
                found.update(some)
        return found

    return whose


def _by_owner(questions: Sequence[_Read]) -> Whose | None:
    """By keys as they are written. A database may hold more of them equal than we do, and no walk compares again."""
    path = questions[0].paths[0]
    places: dict[str, int] = {}
    for place, question in enumerate(questions):
        for key in question.values:
            if places.setdefault(_written(key), place) != place:
                return None

    def whose(row: Row) -> Collection[int] | None:
        keys = map(_written, keys_in(row.values.get(path)))
        return {places[key] for key in keys if key in places} or None

    return whose


def _written(key: object) -> str:
    return str(key).strip().casefold()
