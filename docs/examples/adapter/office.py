"""An adapter of one's own: an office whose people stand in one JSON file. All a store must do, in one small class.

    GREFFIER_STORE=store.json GREFFIER_KEYS=keys GREFFIER_JOURNAL=journal.jsonl python office.py CODE

works until SIGTERM. The worker around it opens and checks orders, keeps the journal, signs and sends: an adapter finds
one person, acts, and counts.

``{"contacts": [{"id", "email", "name", "town"?, "newsletter", "objected"?, "restricted"?, "last_contact"?,
"asked_at"?}], "invoices": [{"id", "contact", "number", "issued_on"}]}``

============= ===================================================================================
right         what it means here
============= ===================================================================================
erasure       contacts and invoices go; an invoice stays ten years, and with it whom it was issued to
objection     ``objected``: written to no more, until they accept again; the newsletter's box stays as it is
withdrawal    ends the newsletter: it is all that rests on consent
rectification of ``name`` and ``town``, where what the person saw still stands
restriction   ``restricted``: stored, shown to the person, and used by nobody until it is lifted
portability   what the person gave for the contract; not the invoices, which the law asks for
disposal      by the group's rule ``relation``, counted from ``last_contact``; what is restricted stays
============= ===================================================================================

What was asked for after the request (``asked_at``) is a fresh act, and stays.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from dateutil.relativedelta import relativedelta

from schemas.calendar import civil_day
from schemas.durations import parse_duration
from schemas.errors import Fault, StoreUnavailable
from schemas.terms import Right
from workers.rules.corrections import Judged, judged
from workers.stores.subsidiaries.adapter import CopyPage, StoreRefuses, Subject, Tally, Terms
from workers.stores.subsidiaries.decisions import as_moment, normal_form

GROUND = "accounting, ten years"
RULE = "relation"
GIVEN = {"email": "e-mail address", "name": "name", "town": "town"}
FIELDS: Mapping[str, Mapping[str, str]] = {
    "contacts": {**GIVEN, "newsletter": "whether the newsletter is sent"},
    "invoices": {"number": "number of the invoice", "issued_on": "day of issue"},
}
CORRECTED = {"last_name": "name", "postal_address.city": "town"}
MARKS: Mapping[Right, tuple[str, bool]] = {
    Right.OBJECTION: ("objected", True),
    Right.WITHDRAWAL: ("newsletter", False),
    Right.RESTRICTION: ("restricted", True),
}

Row = dict[str, Any]


@dataclass
class Found:
    """What is held of one person. ``until``: by collection and id, the last day of what must be kept."""

    rows: dict[str, list[Row]]
    until: dict[tuple[str, Any], date]

    def kept(self, name: str, row: Row) -> date | None:
        return self.until.get((name, row["id"]))


class JsonOffice:
    """A store that serves: the nine calls of :class:`workers.stores.subsidiaries.adapter.StoreAdapter`, and all that
    may be left out but those for several people at once.
    """

    def __init__(self, path: Path, today: date | None = None) -> None:
        self._path = path
        self._today = today
        self._beside.unlink(missing_ok=True)  # what a death in the middle of a write left: people's data

    async def ping(self) -> None:
        """Return when the store answers. A file that cannot be read is away: the order waits, and nothing is lost."""
        self._read()

    async def check(self) -> list[Fault]:
        """What does not fit the live store."""
        return [Fault(name, "is missing") for name in FIELDS if name not in self._read()]

    async def plan(self, right: Right, subject: Subject) -> list[Tally]:
        """Count what serving would do, and change nothing."""
        found = self.find(self._read(), subject)
        if right is Right.RECTIFICATION:
            return [_corrected(found, subject)]
        if right is Right.PORTABILITY:
            return [Tally("contacts", matched=len(found.rows["contacts"]))]
        return [_marked(found)] if right in MARKS else self._erased(found)

    async def look(self, right: Right, subject: Subject) -> list[Tally]:
        """Count what stands now."""
        found = self.find(self._read(), subject)
        if right in MARKS:
            field, value = MARKS[right]
            marked = sum(row.get(field, False) is value for row in found.rows["contacts"])
            return [Tally("contacts", matched=len(found.rows["contacts"]), restricted=marked)]
        if right is Right.RECTIFICATION:
            return [_corrected(found, subject, looks=True)]
        tallies = await self.plan(right, subject)
        for tally in tallies:
            tally.erased = 0  # it was not erased: it stands
        return tallies

    async def erase(self, subject: Subject, planned: Sequence[Tally] = ()) -> list[Tally]:
        """Do it, durably when it returns; repeating it after a crash completes what was begun."""
        store = self._read()
        return self._let_go(store, self.find(store, subject))

    async def object(self, subject: Subject) -> list[Tally]:
        """Mark, so that the person is not written to any more."""
        return self._mark(subject, *MARKS[Right.OBJECTION])

    async def accept(self, subject: Subject) -> list[Tally]:
        """They accepted again what they had refused: take the mark away, and set nothing else."""
        return self._unmark(subject, "objected")

    async def withdraw(self, subject: Subject) -> list[Tally]:
        """Everything that rests on consent: the newsletter."""
        return self._mark(subject, *MARKS[Right.WITHDRAWAL])

    async def restrict(self, subject: Subject) -> list[Tally]:
        """Mark, so that nobody uses it."""
        return self._mark(subject, *MARKS[Right.RESTRICTION])

    async def lift(self, subject: Subject) -> list[Tally]:
        """Take the mark away."""
        return self._unmark(subject, "restricted")

    async def rectify(self, subject: Subject) -> list[Tally]:
        """Set what the person saw to what they say; whatever else stands is left, and counted."""
        store = self._read()
        found = self.find(store, subject)
        told = _corrected(found, subject)
        for row in found.rows["contacts"]:  # the very rows of the store
            row.update((CORRECTED[patch.name], patch.to) for patch in _judged(row, subject).sets)
        self._write(store)
        return [told]

    async def port(self, subject: Subject) -> AsyncGenerator[CopyPage, None]:
        """What the person gave; the invoices the law asks for."""
        rows = self.find(self._read(), subject).rows["contacts"]
        yield CopyPage("contacts", GIVEN, [{field: row.get(field) for field in GIVEN} for row in rows])

    async def plan_disposal(self, terms: Terms) -> list[Tally]:
        """What ``dispose`` would do."""
        over, left = self._over(self._read(), terms)
        return self._disposed(over, left)

    async def dispose(self, terms: Terms) -> list[Tally]:
        """Let go of what is over, in one write."""
        store = self._read()
        over, left = self._over(store, terms)
        told = self._disposed(over, left)
        self._let_go(store, over)
        return told

    async def plant(self, subject: Subject) -> list[Tally]:
        """A fictional person, unless it stands already."""
        [email], store = subject.emails, self._read()
        if not self.find(store, subject).rows["contacts"]:
            today = civil_day(subject.received_at).isoformat()
            canary = {"id": email, "email": email, "name": "Canary", "newsletter": False, "last_contact": today}
            store["contacts"].append(canary)
            self._write(store)
        return await self.look(Right.ACCESS, subject)

    def recipients(self) -> list[str]:
        """To whom the newsletter goes: whatever reads for the office's own use leaves out who is restricted, and what
        writes to them also who objected.
        """
        used = [row for row in self._read()["contacts"] if not row.get("restricted")]
        return [row["email"] for row in used if row["newsletter"] and not row.get("objected")]

    async def access(self, subject: Subject) -> AsyncGenerator[CopyPage, None]:
        """Every record of the person, other people's data left out."""
        found = self.find(self._read(), subject)
        for name, rows in found.rows.items():
            yield CopyPage(name, FIELDS[name], [{field: row.get(field) for field in FIELDS[name]} for row in rows])

    async def identifiers(self) -> AsyncGenerator[Sequence[str], None]:
        """Every identifier as it stands in the store, for the replay after a restore."""
        yield [str(row["email"]) for row in self._read()["contacts"]]

    async def close(self) -> None:
        """Let go of the store: there is nothing to let go of."""

    # ------------------------------------------------------------------ finding and counting

    def find(self, store: Mapping[str, list[Row]], subject: Subject) -> Found:
        """Everything of the person, in any letter case, but not what they did after the request."""
        theirs = [row for row in store["contacts"] if self.is_theirs(row, subject)]
        return self._with(store, [row for row in theirs if not _is_fresh(row, subject)])

    def _with(self, store: Mapping[str, list[Row]], contacts: list[Row]) -> Found:
        """Contacts and what hangs on them. Refuses where records cannot be told apart: others would go along."""
        for rows in store.values():
            known = {row.get("id") for row in rows}
            if None in known or len(known) < len(rows):
                raise StoreRefuses("schema-mismatch")
        ids = {row["id"] for row in contacts}
        invoices = [row for row in store["invoices"] if row["contact"] in ids]
        return Found({"contacts": contacts, "invoices": invoices}, dict(self._must_stay(invoices)))

    def is_theirs(self, row: Row, subject: Subject) -> bool:
        """Whole addresses are compared: a part of one is another person's."""
        email = str(row.get("email")).strip().lower()
        return email in subject.normal_forms or (not email.isascii() and normal_form(email) in subject.normal_forms)

    def _must_stay(self, invoices: Sequence[Row]) -> Iterator[tuple[tuple[str, Any], date]]:
        """Invoices for ten years, and whom they were issued to for as long as the last of them."""
        today = self._today or civil_day(datetime.now().astimezone())
        for row in sorted(invoices, key=_last_day):
            if _last_day(row) >= today:
                yield ("invoices", row["id"]), _last_day(row)
                yield ("contacts", row["contact"]), _last_day(row)

    def _erased(self, found: Found) -> list[Tally]:
        tallies = []
        for name, rows in found.rows.items():
            tally = Tally(name, matched=len(rows))
            for row in rows:
                until = found.kept(name, row)
                if until is None:
                    tally.erased += 1
                else:
                    tally.retain(GROUND, until)
            tallies.append(tally)
        return tallies

    def _let_go(self, store: dict[str, list[Row]], found: Found) -> list[Tally]:
        for name, rows in found.rows.items():
            gone = {row["id"] for row in rows if found.kept(name, row) is None}
            store[name] = [row for row in store[name] if row["id"] not in gone]
        self._write(store)
        return self._erased(found)

    def _mark(self, subject: Subject, field: str, value: bool) -> list[Tally]:
        store = self._read()
        found = self.find(store, subject)
        for row in found.rows["contacts"]:  # the very rows of the store
            row[field] = value
        self._write(store)
        return [_marked(found)]

    def _unmark(self, subject: Subject, field: str) -> list[Tally]:
        [tally] = self._mark(subject, field, False)
        return [Tally("contacts", matched=tally.matched)]

    # ------------------------------------------------------------------ at the end of the group's periods

    def _over(self, store: Mapping[str, list[Row]], terms: Terms) -> tuple[Found, list[str]]:
        """What is over; and on which grounds some of it stays all the same."""
        if RULE not in terms.periods:
            raise StoreRefuses("unknown-rule")
        period, over, left = parse_duration(terms.periods[RULE].active), [], []
        for row in store["contacts"]:
            since = _day(row.get("last_contact"))
            if since is None:
                left.append("no readable date")
            elif since + period < terms.on and row.get("restricted"):
                left.append("restriction")
            elif since + period < terms.on:
                over.append(row)
        return self._with(store, over), left

    def _disposed(self, over: Found, left: Sequence[str]) -> list[Tally]:
        contacts, invoices = self._erased(over)
        for ground in left:
            contacts.matched += 1
            contacts.retain(ground, None)
        return [contacts, invoices]

    # ------------------------------------------------------------------ the file

    @property
    def _beside(self) -> Path:
        return self._path.with_name(f"{self._path.name}.new")

    def _read(self) -> dict[str, list[Row]]:
        try:
            found: dict[str, list[Row]] = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            raise StoreUnavailable("the file cannot be read") from None
        return found

    def _write(self, store: Mapping[str, list[Row]]) -> None:
        """Whole or not at all, and for whom it was: written beside, on disk, moved over."""
        with self._beside.open("w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), self._path.stat().st_mode)
            json.dump(store, file)
            file.flush()
            os.fsync(file.fileno())
        self._beside.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _is_fresh(row: Row, subject: Subject) -> bool:
    at = as_moment(row.get("asked_at"), UTC)  # what nobody can read is as old as can be
    return at is not None and at > subject.received_at


def _last_day(invoice: Row) -> date:
    issued = _day(invoice["issued_on"])
    return date.max if issued is None else issued + relativedelta(years=10)  # no readable date: for somebody to look at


def _day(stored: object) -> date | None:
    """A day of this age or the last; None for what nobody can read, or means."""
    try:
        day = date.fromisoformat(str(stored))
    except ValueError:
        return None
    return day if 1900 <= day.year < 3000 else None


def _marked(found: Found) -> Tally:
    return Tally("contacts", matched=len(found.rows["contacts"]), restricted=len(found.rows["contacts"]))


def _judged(row: Row, subject: Subject) -> Judged:
    return judged((one, row.get(CORRECTED[one.name])) for one in subject.patches if one.name in CORRECTED)


def _corrected(found: Found, subject: Subject, *, looks: bool = False) -> Tally:
    """Counted by what each row holds, so that a repeat counts the same; ``looks``: what is yet to be set is not."""
    told = Tally("contacts")
    for row in found.rows["contacts"]:
        one = _judged(row, subject)
        told.matched += one.concerned
        told.conflicting += one.conflicts
        told.corrected += one.concerned and not one.conflicts and not (looks and one.sets)
    return told


def open_office(store: str) -> JsonOffice:
    """What `greffier conform` opens."""
    return JsonOffice(Path(store))


if __name__ == "__main__":
    from workers.subsidiary import serve_with
    from workers.subsidiary_settings import read_subsidiary_settings

    path = Path(os.environ["GREFFIER_STORE"])
    sys.exit(serve_with(sys.argv[1], read_subsidiary_settings(), lambda: JsonOffice(path)))
