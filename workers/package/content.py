"""What goes into an access package, as plain data.

Records are iterated several times (JSON, CSV, HTML) and never held: a list will do, or anything that can begin again.
Source: R17; GDPR Art. 15(1)(a) to (h), 15(2), 15(3).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from schemas.copies import read_copy
from schemas.terms import LawfulBasis, Proof, Purpose, Right
from workers.correspondence.compose import Letterhead
from workers.correspondence.facts import StoreState
from workers.correspondence.words import Language

Record = Mapping[str, Any]
"""One record as plain JSON members; nested objects and lists are welcome."""


@dataclass(frozen=True, slots=True)
class Collected:
    """One collection of a store. ``fields``: what each member means, in words."""

    name: str
    fields: Mapping[str, str]
    records: Iterable[Record]


def collections_of(store: str, copy: bytes | None) -> tuple[Collected, ...]:
    """The collections of a store's access copy. Raises :class:`schemas.errors.InvalidMessage`."""
    return tuple(Collected(one.name, one.fields, one.records) for one in read_copy(store, copy)) if copy else ()


@dataclass(frozen=True, slots=True)
class StorePart:
    """One store in the package. ``state`` ``done``: it holds what follows; ``reason``: why it refused, a code.

    ``safeguard``: what the border crossing rests on (Art. 15(2)); None inside the EEA, where none is needed.
    """

    code: str
    company: str
    country: str
    state: StoreState
    collections: Sequence[Collected] = ()
    reason: str | None = None
    proof: Proof | None = None
    safeguard: str | None = None


@dataclass(frozen=True, slots=True)
class Processing:
    """One use of the controller's own records: why, on which basis, until when, and where the data came from.

    ``until``: as the register ends it, a date or the event it waits for. ``source``: None when the person gave it.
    """

    purpose: Purpose
    basis: LawfulBasis
    occasion: str
    until: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class RecipientNamed:
    """A company that was given data or may read it, by name (C-154/21). ``role``: in words."""

    name: str
    role: str
    country: str
    purposes: tuple[Purpose, ...]
    safeguard: str | None = None


@dataclass(frozen=True, slots=True)
class Attached:
    """A file the person once sent, or one that the external processor ``store`` holds about them.

    ``name``: as it was called then; never trusted as a path.
    """

    store: str
    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPackage:
    """Everything that is written. The same content gives the same bytes. ``prepared_at``: aware.

    ``right``: access, or portability, which is for other programs and has no page to read.
    """

    reference: str
    language: Language
    received_on: date
    prepared_at: datetime
    emails: tuple[str, ...]
    head: Letterhead
    stores: tuple[StorePart, ...]
    processings: tuple[Processing, ...] = ()
    recipients: tuple[RecipientNamed, ...] = ()
    files: tuple[Attached, ...] = ()
    right: Right = Right.ACCESS
