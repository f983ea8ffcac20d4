"""Adapters that serve a right in words, too much of it, or none: what the trials of every right must find out."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "docs" / "examples" / "adapter"))

from office import Found, JsonOffice, Row

from schemas.terms import Right
from workers.stores.subsidiaries.adapter import CopyPage, StoreRefuses, Subject, Tally, Terms


class DoesTooMuch(JsonOffice):
    """Overwrites what is in conflict, hides who is restricted, hands over everything, disposes of everybody."""

    async def rectify(self, subject: Subject) -> list[Tally]:
        store = self._read()
        rows = self.find(store, subject).rows["contacts"]
        for row in rows:
            row["name"] = subject.patches[0].to
        self._write(store)
        return [Tally("contacts", matched=len(rows), corrected=len(rows))]

    async def access(self, subject: Subject) -> AsyncGenerator[CopyPage, None]:
        async for page in super().access(subject):
            used = [row for row in self.find(self._read(), subject).rows["contacts"] if not row.get("restricted")]
            yield page if used else CopyPage(page.collection, page.fields, [])

    def port(self, subject: Subject) -> AsyncGenerator[CopyPage, None]:
        return self.access(subject)

    async def withdraw(self, subject: Subject) -> list[Tally]:
        return await self.erase(subject)

    async def accept(self, subject: Subject) -> list[Tally]:
        store = self._read()
        for row in store["contacts"]:
            row |= {"objected": False, "restricted": True}
        self._write(store)
        return [Tally("contacts", matched=1)]

    def _over(self, store: Mapping[str, list[Row]], terms: Terms) -> tuple[Found, list[str]]:
        return self._with(store, store["contacts"]), []

    async def plant(self, subject: Subject) -> list[Tally]:
        store = self._read()
        store["contacts"].append({"id": len(store["contacts"]), "email": subject.emails[0], "newsletter": False})
        self._write(store)
        return await self.look(Right.ACCESS, subject)


class SaysSo(JsonOffice):
    """Corrects half a record in conflict, and does the rest in words."""

    async def rectify(self, subject: Subject) -> list[Tally]:
        told = await super().rectify(subject)
        store = self._read()
        for row in self.find(store, subject).rows["contacts"]:
            row.update(("town", one.to) for one in subject.patches if one.name == "postal_address.city")
        self._write(store)
        return told

    async def restrict(self, subject: Subject) -> list[Tally]:
        return await self.plan(Right.RESTRICTION, subject)

    async def port(self, subject: Subject) -> AsyncGenerator[CopyPage, None]:
        async for page in super().port(subject):
            yield CopyPage(page.collection, page.fields, [])

    async def withdraw(self, subject: Subject) -> list[Tally]:
        return await self.plan(Right.WITHDRAWAL, subject)

    async def accept(self, subject: Subject) -> list[Tally]:
        return [Tally("contacts", matched=1)]

    async def dispose(self, terms: Terms) -> list[Tally]:
        return await self.plan_disposal(terms)

    async def plant(self, subject: Subject) -> list[Tally]:
        return [Tally("contacts", matched=1)]


class NeverLifts(JsonOffice):
    """Answers that it did."""

    async def lift(self, subject: Subject) -> list[Tally]:
        return [Tally("contacts", matched=1)]


class PlantsAnyway(JsonOffice):
    """Refuses a canary, which stands there all the same."""

    async def plant(self, subject: Subject) -> list[Tally]:
        await super().plant(subject)
        raise StoreRefuses("not-supported")


class Bare(JsonOffice):
    """The nine calls that no adapter may leave out."""

    withdraw = port = rectify = restrict = lift = accept = None  # type: ignore[assignment]
    plan_disposal = dispose = plant = None  # type: ignore[assignment]


def does_too_much(store: str) -> JsonOffice:
    return DoesTooMuch(Path(store))


def says_so(store: str) -> JsonOffice:
    return SaysSo(Path(store))


def never_lifts(store: str) -> JsonOffice:
    return NeverLifts(Path(store))


def plants_anyway(store: str) -> JsonOffice:
    return PlantsAnyway(Path(store))


def bare(store: str) -> JsonOffice:
    return Bare(Path(store))
