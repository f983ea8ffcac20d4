"""An adapter of one's own: an office whose people stand in one JSON file. All a store must do, in one small class.

    GREFFIER_STORE=store.json GREFFIER_KEYS=keys GREFFIER_JOURNAL=journal.jsonl python office.py CODE

works until SIGTERM. The worker around it opens and checks orders, keeps the journal, signs and sends: an adapter finds
one person, acts, and counts.

``{"contacts": [{"id", "email", "name", "newsletter", "asked_at"?}], "invoices": [{"id", "contact", "number",
"issued_on"}]}``: an erasure deletes both; an invoice stays ten years, and with it whom it was issued to; an objection
ends the newsletter; what was asked for after the request (``asked_at``) is a fresh act, and stays.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from dateutil.relativedelta import relativedelta

from schemas.calendar import civil_day
from schemas.errors import Fault, StoreUnavailable
from schemas.terms import Right
from workers.stores.subsidiaries.adapter import CopyPage, Subject, Tally

GROUND = "accounting, ten years"
FIELDS: Mapping[str, Mapping[str, str]] = {
    "contacts": {"email": "e-mail address", "name": "name", "newsletter": "whether the newsletter is sent"},
    "invoices": {"number": "number of the invoice", "issued_on": "day of issue"},
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
    """A store that serves: the nine calls of :class:`workers.stores.subsidiaries.adapter.StoreAdapter`."""

    def __init__(self, path: Path, today: date | None = None) -> None:
        self._path = path
        self._today = today

    async def ping(self) -> None:
        """Return when the store answers. A file that cannot be read is away: the order waits, and nothing is lost."""
        self._read()

    async def check(self) -> list[Fault]:
        """What does not fit the live store."""
        return [Fault(name, "is missing") for name in FIELDS if name not in self._read()]

    async def plan(self, right: Right, subject: Subject) -> list[Tally]:
        """Count what ``erase`` or ``object`` would do, and change nothing."""
        found = self.find(self._read(), subject)
        return self._objected(found) if right is Right.OBJECTION else self._erased(found)

    async def look(self, right: Right, subject: Subject) -> list[Tally]:
        """Count what stands now."""
        found = self.find(self._read(), subject)
        if right is Right.OBJECTION:
            marked = sum(row["newsletter"] is False for row in found.rows["contacts"])
            return [Tally("contacts", matched=len(found.rows["contacts"]), restricted=marked)]
        tallies = self._erased(found)
        for tally in tallies:
            tally.erased = 0  # it was not erased: it stands
        return tallies

    async def erase(self, subject: Subject, planned: Sequence[Tally] = ()) -> list[Tally]:
        """Do it, durably when it returns; repeating it after a crash completes what was begun."""
        store = self._read()
        found = self.find(store, subject)
        for name, rows in found.rows.items():
            gone = {row["id"] for row in rows if found.kept(name, row) is None}
            store[name] = [row for row in store[name] if row["id"] not in gone]
        self._write(store)
        return self._erased(found)

    async def object(self, subject: Subject) -> list[Tally]:
        """Mark, so that the person is not written to any more."""
        store = self._read()
        found = self.find(store, subject)
        for row in found.rows["contacts"]:  # the very rows of the store
            row["newsletter"] = False
        self._write(store)
        return self._objected(found)

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
        contacts = [row for row in store["contacts"] if self.is_theirs(row, subject) and not _is_fresh(row, subject)]
        ids = {row["id"] for row in contacts}
        invoices = [row for row in store["invoices"] if row["contact"] in ids]
        return Found({"contacts": contacts, "invoices": invoices}, dict(self._must_stay(invoices)))

    def is_theirs(self, row: Row, subject: Subject) -> bool:
        """Whole addresses are compared: a part of one is another person's."""
        return str(row["email"]).strip().lower() in subject.normal_forms

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

    def _objected(self, found: Found) -> list[Tally]:
        return [Tally("contacts", matched=len(found.rows["contacts"]), restricted=len(found.rows["contacts"]))]

    # ------------------------------------------------------------------ the file

    def _read(self) -> dict[str, list[Row]]:
        try:
            found: dict[str, list[Row]] = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            raise StoreUnavailable("the file cannot be read") from None
        return found

    def _write(self, store: Mapping[str, list[Row]]) -> None:
        """Whole or not at all: written beside, on disk, moved over."""
        beside = self._path.with_name(f"{self._path.name}.new")
        with beside.open("w", encoding="utf-8") as file:
            json.dump(store, file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)


def _is_fresh(row: Row, subject: Subject) -> bool:
    return "asked_at" in row and datetime.fromisoformat(row["asked_at"]) > subject.received_at


def _last_day(invoice: Row) -> date:
    try:
        issued = date.fromisoformat(invoice["issued_on"])
        return issued + relativedelta(years=10)
    except (ValueError, TypeError):
        return date.max  # no readable date: kept, for somebody to look at


def open_office(store: str) -> JsonOffice:
    """What `greffier conform` opens."""
    return JsonOffice(Path(store))


if __name__ == "__main__":
    from workers.subsidiary import serve_with
    from workers.subsidiary_settings import read_subsidiary_settings

    path = Path(os.environ["GREFFIER_STORE"])
    sys.exit(serve_with(sys.argv[1], read_subsidiary_settings(), lambda: JsonOffice(path)))
