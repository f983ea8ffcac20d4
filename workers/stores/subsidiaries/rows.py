"""What the engine asks of a database: pages of rows, and changes to rows it has just read.

Two promises make the engine safe on both: a page never skips or repeats a row because rows before it were changed, and
a change does not touch a row that is no longer as it was read (locked meanwhile, or compared again when it is written).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from schemas.errors import Fault
from workers.stores.subsidiaries.mapping import Constant, Identifier

PAGE: Final = 1_000
"""Rows in memory at once."""


@dataclass(frozen=True, slots=True)
class Row:
    """``values``: the fields asked for, by name; ``as_read``: whatever the database compares before it writes."""

    key: Any
    values: Mapping[str, Any] = field(repr=False)
    as_read: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ByAddress:
    """Rows with one of these addresses, in any letter case, in one of these fields.

    ``written``: the addresses as they may be spelt, in lower case. ``within``: the array of sub-documents that the
    fields stand in. A database may give rows too many (it folds letters by its own rules); never too few.
    """

    identifiers: tuple[Identifier, ...]
    written: frozenset[str] = field(repr=False)
    within: str | None = None


@dataclass(frozen=True, slots=True)
class ByOwner:
    """Rows where ``path`` holds one of ``values``: at most a page of them."""

    path: str
    values: Sequence[Any] = field(repr=False)


Where = ByAddress | ByOwner


@dataclass(frozen=True, slots=True)
class ByKey:
    """The rows with these keys: at most a page of them."""

    keys: Sequence[Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class AllRows:
    """Every row there is."""


AnyWhere = Where | ByKey | AllRows


class Session(Protocol):
    """What a walk asks: pages of rows, and changes to rows it has just read."""

    def pages(self, name: str, where: Where, fields: Collection[str]) -> AsyncGenerator[list[Row], None]:
        """Pages of at most :data:`PAGE` rows."""
        ...

    async def delete(self, name: str, rows: Sequence[Row]) -> int:
        """How many were deleted."""
        ...

    async def update(self, name: str, rows: Sequence[Row], settings: Mapping[str, Constant], where: Where) -> int:
        """How many were changed. Where ``where`` looks within an array, only the sub-documents it matches change."""
        ...


class OpenSession(Session, Protocol):
    """Reading, or reading and writing; what was written is durable once the session has ended without an error."""

    def pages(self, name: str, where: AnyWhere, fields: Collection[str]) -> AsyncGenerator[list[Row], None]: ...

    async def missed(
        self, name: str, rows: Sequence[Row], settings: Mapping[str, Constant] | None, since: datetime
    ) -> AbstractSet[Hashable]:
        """Rows that a delete (no ``settings``) or an update left: neither gone nor as they were to be.

        By :func:`known_by`. ``since``: when the change was begun.
        """
        ...

    async def insert(self, name: str, settings: Mapping[str, Constant]) -> None:
        """One new row, of these fields."""
        ...

    def values(self, name: str, path: str) -> AsyncIterator[list[str]]:
        """Every text that stands in a field, in pages."""
        ...


class Rows(Protocol):
    """One database under a mapping. ``undoes``: what a session wrote before an error is undone."""

    undoes: bool

    def reading(self) -> AbstractAsyncContextManager[OpenSession]: ...

    def writing(self, *, at_once: bool = False) -> AbstractAsyncContextManager[OpenSession]:
        """``at_once``: nothing is durable before all is."""
        ...

    async def ping(self) -> None: ...

    async def check(self) -> list[Fault]: ...

    async def close(self) -> None: ...


def known_by(key: Any) -> Hashable:
    """A row's key as what sets can hold; a document may be a key."""
    return key if isinstance(key, Hashable) else repr(key)
