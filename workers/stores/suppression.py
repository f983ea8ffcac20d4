"""The suppression list: whom not to use for what, and since when, as keyed hashes. It outlives the data it protects.

An entry holds, for each purpose, and for what rests on consent, the latest "no" by the person's own clock and its
ground. Entries only ever move forward, so that neither order nor repetition matters; nothing here is taken away, for
what lifts a "no" is a record of its own (:mod:`workers.rules.objections`). An address has an entry under each key that
the list had. Beside it stands by which cases the use of all data is restricted: that alone ends, by being lifted.
Source: R20, R24; P10; retention-defaults § 4; design § 4 "Suppression entries do not expire".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pymongo import UpdateOne

from schemas.subject import References
from schemas.terms import LawfulBasis, Purpose, Right, SuppressionGround
from workers.rules.objections import Noes
from workers.stores.gathering import Gathered
from workers.stores.mongo import Databases, Document

_BASES: Final = frozenset(LawfulBasis)


@dataclass(frozen=True, slots=True)
class No:
    """Somebody's "no". ``at``: when they said it, aware; ``bases``: it is to all that rests on these."""

    purposes: frozenset[Purpose]
    ground: SuppressionGround
    at: datetime
    bases: frozenset[LawfulBasis] = frozenset()

    @property
    def to(self) -> frozenset[Purpose | LawfulBasis]:
        return self.purposes | self.bases


class Suppressions:
    """Entries by keyed reference, in **evidence**."""

    def __init__(self, databases: Databases, references: References) -> None:
        self._references = references
        self._gathered = Gathered(databases.evidence["suppressions"])

    async def add(self, email: str, no: No) -> None:
        """Enter the "no" of whoever has this address; returns when a majority has it."""
        await self.enter((ref, no) for ref in self._references.suppression(email))

    async def enter(self, entries: Iterable[tuple[bytes, No]]) -> None:
        """Enter each "no" under a reference as :meth:`References.suppression` makes them, all in one round trip."""
        await self._gathered.write(
            *(
                # A document is greater than another by its first field that differs: the later "no" stays.
                UpdateOne(
                    {"_id": ref},
                    {"$max": {f"no.{what}": {"at": no.at, "ground": no.ground.value} for what in no.to}},
                    upsert=True,
                )
                for ref, no in entries
            )
        )

    async def restrict(self, email: str, case: str, at: datetime) -> None:
        """Let nothing of whoever has this address be used, by this case, until :meth:`lift`. Repeatable."""
        refs = self._references.suppression(email)
        restricted = {"$set": {f"restricted.{case}": at}}
        await self._gathered.write(*(UpdateOne({"_id": ref}, restricted, upsert=True) for ref in refs))

    async def lift(self, email: str, case: str) -> None:
        """End the restriction of this case; another's stands."""
        ended = {"$unset": {f"restricted.{case}": ""}}
        await self._gathered.write(*(UpdateOne({"_id": ref}, ended) for ref in self._references.suppression(email)))

    async def restricting(self, emails: Iterable[str]) -> dict[str, frozenset[str]]:
        """Address → the cases by which the use of whatever is held of it is restricted now."""
        refs = {email: self._references.suppression(email) for email in emails}
        found = await self._gathered.having("_id", [ref for theirs in refs.values() for ref in theirs])
        by = {bytes(one["_id"]): frozenset(one.get("restricted", ())) for one in found}
        return {email: frozenset().union(*(by.get(ref, ()) for ref in theirs)) for email, theirs in refs.items()}

    async def of(self, email: str) -> Noes:
        """What whoever has this address said no to → the latest "no" to it; empty where they never said one."""
        return (await self.of_all([email])).get(email, {})

    async def of_all(self, emails: Iterable[str]) -> dict[str, Noes]:
        """Address → the same, of each of these that ever said one."""
        asked = [(ref, email) for email in emails for ref in self._references.suppression(email)]
        found = await self._gathered.having("_id", [ref for ref, _ in asked])
        entries = {bytes(one["_id"]): one for one in found}
        under: dict[str, list[Document]] = {}
        for ref, email in asked if entries else ():
            if ref in entries:
                under.setdefault(email, []).append(entries[ref])
        return {email: _latest(theirs) for email, theirs in under.items()}


def _latest(entries: Iterable[Document]) -> Noes:
    latest: dict[Purpose | LawfulBasis | Right, datetime] = {}
    for entry in entries:
        if entry.get("restricted"):
            latest[Right.RESTRICTION] = min(entry["restricted"].values())
        for name, said in entry.get("no", {}).items():
            what = LawfulBasis(name) if name in _BASES else Purpose(name)
            latest[what] = max(said["at"], latest.get(what, said["at"]))
    return latest
