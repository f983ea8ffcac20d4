"""The mapping file: the office's own words for where a person stands in its store, and what becomes of each row.

It holds no secret: the store's URL is named by an environment variable or a file. Every fault is reported with its
path, all at once; the YAML is the small one of :mod:`schemas.register_reading`. Reference: ``docs/subsidiary.md``.
Source: R19, R25, R28.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationError

from schemas.corrections import CORRECTABLE
from schemas.errors import ConfigurationError, Fault
from schemas.register_checks import reported
from schemas.register_entries import Entry
from schemas.register_reading import read_mapping
from schemas.register_values import Code, LastingDuration, Words, distinct
from schemas.terms import LawfulBasis
from workers.rules.corrections import Composition
from workers.rules.decisions import PORTABLE

_INTEGER: Final = re.compile(r"-?[0-9]{1,15}")


class StoreKind(StrEnum):
    """The database behind a mapping."""

    MONGODB = "mongodb"
    SQL = "sql"


class Letters(StrEnum):
    """How addresses are spelt in a field. ``folded``: always in lower case, so that a plain index serves."""

    AS_TYPED = "as-typed"
    FOLDED = "folded"


class Special(StrEnum):
    """A value that is made when it is written: the moment, or a fresh meaningless word for a column that is unique."""

    NOW = "now"
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Constant:
    """What a field is set to: null, true, false, a whole number, text, or a :class:`Special`."""

    value: bool | int | str | Special | None = field(repr=False)


def _constant(text: object) -> object:
    """``null``, ``true``, ``false``, ``now``, ``random``, whole numbers mean themselves; ``text:…`` is always text."""
    if not isinstance(text, str):
        raise ValueError("must be one value")
    plain: dict[str, Any] = {"null": None, "true": True, "false": False, **{special: special for special in Special}}
    if text in plain:
        return Constant(plain[text])
    if _INTEGER.fullmatch(text):
        return Constant(int(text))
    return Constant(text.removeprefix("text:"))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("not a time zone such as Europe/London") from None


def _correctable(name: str) -> str:
    if name not in CORRECTABLE:
        raise ValueError(f"is none of {', '.join(CORRECTABLE)}")
    return name


def _found_by(value: object) -> object:
    return {"field": value} if isinstance(value, str) else value


def _delete(value: object) -> object:
    return {} if value == "delete" else value


Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$")]
"""A collection's name in receipts."""
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_. -]{0,127}$")]
"""A table, a column, or in MongoDB a dotted path; checked against the live store, never put into a query as text."""
Ground = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9 ().,:/-]{1,120}$")]
Correctable = Annotated[str, AfterValidator(_correctable)]
SetTo = Annotated[Constant, BeforeValidator(_constant)]
Settings = Annotated[ReadOnly[Name, SetTo], Field(min_length=1)]
Meanings = Annotated[ReadOnly[Name, Words], Field(min_length=1)]


class Store(Entry):
    """Which database. Exactly one of ``url_env`` and ``url_file``."""

    kind: StoreKind
    url_env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")] | None = None
    url_file: Path | None = None
    database: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,63}$")] | None = None
    """MongoDB: the database's name."""
    schema_name: Annotated[Name | None, Field(alias="schema")] = None
    """SQL: the schema the tables stand in; the connection's default when absent."""
    time_zone: Annotated[str, AfterValidator(lambda name: _zone(name).key)] = "UTC"
    """What times without a zone are meant in."""

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)


class Identifier(Entry):
    """A field that holds an e-mail address. Rows whose address is one of the person's are the person's."""

    field: Name
    letters: Letters = Letters.AS_TYPED


FoundBy = Annotated[Identifier, BeforeValidator(_found_by)]


class OwnedBy(Entry):
    """Rows found through their parent: ``field`` holds what stands in the parent's ``parent_field``."""

    collection: Label
    field: Name
    parent_field: Name


class Keep(Entry):
    """Rows that must stay, and on which ground. Without ``for``: no last day is known."""

    ground: Ground
    counted_from: Name | None = None
    """The date the period runs from; a row without one has no last day yet."""
    period: Annotated[LastingDuration | None, Field(alias="for")] = None


class Erasure(Entry):
    """Kept first if ``keep`` says so; then anonymised if ``anonymise`` says how; else deleted."""

    keep: Keep | None = None
    anonymise: Settings | None = None


class Retention(Entry):
    """Rows that are disposed of as ``erasure`` says once the group's period for them is over. Source: R13."""

    rule: Code
    """A retention rule of the group's register; its periods come with each order."""
    counted_from: Name
    """The date the period runs from; a row without one, or with one nobody can read, stays."""
    hold: Name | None = None
    """The field that marks a legal hold: a row in which it says anything but no stays."""
    archive: bool = False
    """Whether this is an archive: its rows stay until the end of the rule's ``archive``, others of ``active``."""


class Mark(Entry):
    """What an objection or a withdrawal sets; ``delete`` (no ``set``) takes the row off its list."""

    set: Settings | None = None


class Objection(Mark):
    """What an objection sets, and what takes it away once the person has accepted again. Source: R20, R21."""

    lift: Settings | None = None


class Restriction(Entry):
    """What marks a row whose use is restricted, and what takes the mark away. Source: GDPR Art. 18."""

    set: Settings
    lift: Settings


class Composed(Entry):
    """Fields of the group's that stand in one field here, in this order. Source: R18; GDPR Art. 16."""

    of: Annotated[tuple[Correctable, ...], Field(max_length=4), AfterValidator(distinct)]
    join: Annotated[str, StringConstraints(min_length=1, max_length=8)] = " "

    @property
    def composition(self) -> Composition:
        return Composition(self.of, self.join)


class Mention(Entry):
    """A row of somebody else's that names the person: the mention goes or is kept with a ground, never the row."""

    found_by: FoundBy
    list: Name | None = None
    """MongoDB: the array of sub-documents that ``found_by`` and ``anonymise`` stand in."""
    fields: Meanings
    """What of the row the person is shown: the mention, not the row."""
    anonymise: Settings | None = None
    keep: Keep | None = None


class Collection(Entry):
    """One collection or table."""

    source: Name | None = None
    """Its name in the store; the entry's own when absent."""
    found_by: tuple[FoundBy, ...] = ()
    owned_by: OwnedBy | None = None
    one_person_by: Name | None = None
    """The field that tells people apart who share an address; where it differs under one address, nobody is erased."""
    fresh_by: Name | None = None
    """The moment of the person's own act. Not a column that every change touches: such a row would never be erased."""
    fields: Meanings | None = None
    provided: tuple[Name, ...] | None = None
    """Of ``fields`` those that the person gave. Source: GDPR Art. 20(1)."""
    erasure: Annotated[Erasure | None, BeforeValidator(_delete)] = None
    retention: Retention | None = None
    objection: Annotated[Objection | None, BeforeValidator(_delete)] = None
    basis: LawfulBasis | None = None
    """What its rows rest on; those of a child on what their parent's do, where it says nothing. Source: Art. 6(1)."""
    rectification: ReadOnly[Correctable, Name] | None = None
    """Field of the group's → the field in which it stands here; empty where none does. Source: R18; GDPR Art. 16."""
    composed: Annotated[ReadOnly[Name, Composed], Field(min_length=1)] | None = None
    """Field here → the fields of the group's that it holds together."""
    restriction: Restriction | None = None
    """Rows of a child are reached through their parent, unless they have a mark of their own."""
    withdrawal: Annotated[Mark | None, BeforeValidator(_delete)] = None
    """Rows that rest on consent for a part of what they serve: what a withdrawal of it sets."""
    canary: ReadOnly[Name, SetTo] | None = None
    """What the row of a fictional person says beside the address, in a collection that such a person may stand in."""
    mentions: tuple[Mention, ...] = ()

    @property
    def is_owned(self) -> bool:
        """Whether rows of it belong to a person."""
        return bool(self.found_by or self.owned_by)

    @property
    def says_what_it_holds(self) -> bool:
        """Whether it says which of its fields can be corrected, none included."""
        return self.rectification is not None or self.composed is not None


class Mapping(Entry):
    """A sound mapping."""

    store: Store
    collections: Annotated[ReadOnly[Label, Collection], Field(min_length=1, max_length=200)]

    def source(self, name: str) -> str:
        """A collection's name in the store."""
        return self.collections[name].source or name

    def children_first(self) -> list[str]:
        """Every collection after those that are owned by it."""
        return sorted(self.collections, key=lambda name: (-self._depth(name), name))

    def children_of(self, name: str) -> list[str]:
        """The collections that are owned by this one."""
        return [
            child
            for child, entry in self.collections.items()
            if entry.owned_by is not None and entry.owned_by.collection == name
        ]

    def basis_of(self, name: str) -> LawfulBasis | None:
        """What the rows of a collection rest on; None where neither it nor what it belongs to says so."""
        entry = self.collections[name]
        if entry.basis is not None or entry.owned_by is None:
            return entry.basis
        return self.basis_of(entry.owned_by.collection)

    def without_rectification(self) -> list[str]:
        """The collections of which nobody says in which fields they hold what can be corrected."""
        return [name for name, entry in self.collections.items() if entry.is_owned and not entry.says_what_it_holds]

    def without_restriction(self) -> list[str]:
        """The collections of which no mark keeps their rows, or those above them, from use."""
        return [name for name, entry in self.collections.items() if entry.is_owned and not self._is_restricted(name)]

    def _is_restricted(self, name: str) -> bool:
        entry = self.collections[name]
        return entry.restriction is not None or (
            entry.owned_by is not None and self._is_restricted(entry.owned_by.collection)
        )

    def without_basis(self) -> list[str]:
        """The collections of which nobody says whether their rows rest on a consent."""
        owned = [name for name, entry in self.collections.items() if entry.is_owned and entry.withdrawal is None]
        return [name for name in owned if self.basis_of(name) is None]

    def resting_on_consent(self) -> frozenset[str]:
        """The collections whose rows rest on nothing but consent."""
        return frozenset(
            name
            for name, entry in self.collections.items()
            if entry.is_owned and entry.withdrawal is None and self.basis_of(name) is LawfulBasis.CONSENT
        )

    def portable(self) -> Iterator[tuple[str, dict[str, str]]]:
        """The collections held on consent or for a contract, each with what the person gave of them, in words."""
        for name, entry in self.collections.items():
            if entry.is_owned and entry.provided and self.basis_of(name) in PORTABLE:
                yield name, {field: (entry.fields or {})[field] for field in entry.provided}

    def without_retention(self) -> list[str]:
        """The collections of which nothing goes because its time is over: neither by a rule, nor with a parent."""
        return [name for name, entry in self.collections.items() if entry.is_owned and not self._has_retention(name)]

    def _has_retention(self, name: str) -> bool:
        entry = self.collections[name]
        return entry.retention is not None or (
            entry.owned_by is not None and self._has_retention(entry.owned_by.collection)
        )

    def _depth(self, name: str) -> int:
        depth = 0
        while (owner := self.collections[name].owned_by) is not None:
            name, depth = owner.collection, depth + 1
        return depth


def load_mapping(path: Path) -> Mapping:
    """The mapping at ``path``. Raises :class:`ConfigurationError` with every fault and its path."""
    raw, faults = read_mapping(path)
    subject = f"mapping {path}"
    if faults and not raw:
        raise ConfigurationError(subject, *faults)
    return parse_mapping(raw, faults, subject=subject)


def parse_mapping(raw: dict[str, Any], faults: tuple[Fault, ...] = (), *, subject: str = "mapping") -> Mapping:
    """A mapping from data as `read_mapping` gives it. Raises as load_mapping."""
    from workers.stores.subsidiaries.mapping_checks import contradictions  # noqa: PLC0415  # it reads the models above

    found = list(faults)
    try:
        mapping = Mapping.model_validate(raw)
        found += contradictions(mapping)
    except ValidationError as error:
        found += reported(error)
    if found:
        raise ConfigurationError(subject, *found)
    return mapping


def read_url(store: Store) -> str:
    """The store's URL from where the mapping says. Raises :class:`ConfigurationError`, which does not quote it."""
    if store.url_env is not None:
        url, place = os.environ.get(store.url_env, ""), "store.url_env"
    else:
        place = "store.url_file"
        try:
            url = Path(store.url_file or "").read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            url = ""
    if not url:
        raise ConfigurationError("mapping", Fault(place, "names no readable URL"))
    return url
