"""What no single line of a mapping shows: entries that contradict each other. Pure.

Each of these would otherwise be seen only at the first erasure, in somebody's data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from schemas.errors import Fault
from schemas.terms import LawfulBasis
from workers.rules.decisions import PORTABLE
from workers.stores.subsidiaries.mapping import Collection, Keep, Mapping, Mention, Store, StoreKind

_OWNED: Final = (
    *("fields", "erasure", "retention", "objection", "one_person_by", "fresh_by", "canary"),
    *("basis", "provided", "rectification", "composed", "restriction", "withdrawal"),
)
"""What is said of rows that belong to a person."""


def contradictions(mapping: Mapping) -> list[Fault]:
    """Every contradiction, with the path of the entry to mend."""
    faults = list(_of_store(mapping.store))
    looped = [name for name in mapping.collections if _loops(mapping, name)]
    faults += [Fault(f"collections.{name}.owned_by", "leads back to itself") for name in looped]
    for name, entry in mapping.collections.items():
        faults += [Fault(f"collections.{name}{place}", problem) for place, problem in _of_collection(mapping, entry)]
    return faults or list(_of_portability(mapping))


def _of_store(store: Store) -> Iterator[Fault]:
    if (store.url_env is None) == (store.url_file is None):
        yield Fault("store", "needs exactly one of url_env and url_file")
    if store.kind is StoreKind.MONGODB:
        if store.database is None:
            yield Fault("store.database", "missing")
        if store.schema_name is not None:
            yield Fault("store.schema", "is for sql only")
    elif store.database is not None:
        yield Fault("store.database", "is for mongodb only: the URL names the database")


def _loops(mapping: Mapping, name: str) -> bool:
    seen: set[str] = set()
    while name in mapping.collections and name not in seen:
        seen.add(name)
        owner = mapping.collections[name].owned_by
        if owner is None:
            return False
        name = owner.collection
    return name in seen


def _of_collection(mapping: Mapping, entry: Collection) -> Iterator[tuple[str, str]]:
    if not entry.is_owned and not entry.mentions:
        yield "", "needs found_by, owned_by or mentions: nobody could be found in it"
    if entry.is_owned:
        yield from _of_owned(mapping, entry)
    else:
        yield from ((f".{name}", "needs found_by or owned_by") for name in _OWNED if getattr(entry, name) is not None)
    for place, mention in enumerate(entry.mentions):
        yield from ((f".mentions.{place}{at}", problem) for at, problem in _of_mention(mapping.store, mention))


def _of_owned(mapping: Mapping, entry: Collection) -> Iterator[tuple[str, str]]:
    if entry.fields is None:
        yield ".fields", "missing: the person has a right to a copy"
    if entry.erasure is None:
        yield ".erasure", "missing: delete, anonymise or keep"
    elif entry.erasure.anonymise is not None:
        left = [one.field for one in entry.found_by if one.field not in entry.erasure.anonymise]
        if left:
            yield ".erasure.anonymise", f"leaves the person findable by {', '.join(left)}"
    if entry.erasure is not None and entry.erasure.keep is not None:
        yield from ((f".erasure.keep{at}", problem) for at, problem in _of_keep(entry.erasure.keep))
    owner = entry.owned_by
    if owner is not None and owner.collection not in mapping.collections:
        yield ".owned_by.collection", f"{owner.collection} is not declared under collections"
    elif owner is not None and not mapping.collections[owner.collection].is_owned:
        yield ".owned_by.collection", f"{owner.collection} belongs to nobody itself"
    yield from _of_consent(mapping, entry)
    yield from _of_corrections(entry)
    if entry.objection is not None and set(entry.objection.lift or ()) - set(entry.objection.set or ()):
        yield ".objection.lift", "names what the objection does not set"
    if entry.restriction is not None and set(entry.restriction.set) - set(entry.restriction.lift):
        yield ".restriction.lift", "leaves set what the restriction sets"
    unknown = [name for name in entry.provided or () if name not in (entry.fields or {})]
    if unknown:
        yield ".provided", f"names what is not among fields: {', '.join(unknown)}"
    for name in ("one_person_by", "canary"):
        if getattr(entry, name) is not None and not entry.found_by:
            yield f".{name}", "needs found_by"


def _of_corrections(entry: Collection) -> Iterator[tuple[str, str]]:
    """One field here is written by one correction, or none knows what the others left of it."""
    alone = entry.rectification or {}
    for name, column in alone.items():
        if list(alone.values()).count(column) > 1:
            yield f".rectification.{name}", f"{column} holds another field too: say so under composed"
    for column, one in (entry.composed or {}).items():
        if len(one.of) < 2:
            yield f".composed.{column}.of", "needs two fields or more: one alone stands under rectification"
        if column in alone.values():
            yield f".composed.{column}", "stands under rectification too"


def _of_portability(mapping: Mapping) -> Iterator[Fault]:
    for name, entry in mapping.collections.items():
        if entry.is_owned and entry.provided is None and mapping.basis_of(name) in PORTABLE:
            yield Fault(f"collections.{name}.provided", "missing: which fields the person gave; [] where none")


def _of_consent(mapping: Mapping, entry: Collection) -> Iterator[tuple[str, str]]:
    """What rests on nothing but consent goes whole, so nothing that rests on more may hang on it."""
    if entry.withdrawal is not None and entry.basis is LawfulBasis.CONSENT:
        yield ".withdrawal", "is for rows that rest on something else too: on consent alone they go as erasure says"
    owner = mapping.collections.get(entry.owned_by.collection) if entry.owned_by is not None else None
    if owner is not None and owner.basis is LawfulBasis.CONSENT and entry.basis not in (None, LawfulBasis.CONSENT):
        yield ".basis", "its parent rests on consent, and a withdrawal would take the parent away"


def _of_mention(store: Store, mention: Mention) -> Iterator[tuple[str, str]]:
    if (mention.anonymise is None) == (mention.keep is None):
        yield "", "needs exactly one of anonymise and keep"
    if mention.anonymise is not None and mention.found_by.field not in mention.anonymise:
        yield ".anonymise", f"leaves the person findable by {mention.found_by.field}"
    if mention.keep is not None:
        yield from ((f".keep{at}", problem) for at, problem in _of_keep(mention.keep))
    if mention.list is not None and store.kind is not StoreKind.MONGODB:
        yield ".list", "is for mongodb only"


def _of_keep(keep: Keep) -> Iterator[tuple[str, str]]:
    if (keep.counted_from is None) != (keep.period is None):
        yield "", "needs both counted_from and for, or neither"
