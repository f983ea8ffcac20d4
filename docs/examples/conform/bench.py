"""What `greffier conform` asks of a scratch store: to be filled, counted, saved and loaded. Here for three of them.

    python bench.py json PATH | sqlite PATH | mongodb URL_VARIABLE

Reads one JSON object a line, answers with one. It must know the store by itself, not through the adapter that is tried.

| asked | answered |
| --- | --- |
| ``{"do": "begin"}`` | ``{"rows": n}``: makes the tables; how many rows stand there (conform goes on only if none) |
| ``{"do": "fill", "people": [{"email", "rows", "kept", "over"}]}`` | ``{"made": [standing]}``: about so many rows for |
| | each, some of which must stay on a ground (``kept``), of a time past all the group's periods (``over``) |
| ``{"do": "count", "emails"}`` | ``{"standing": [standing]}``: the same, as they stand now |
| ``{"do": "save"}``, ``{"do": "load"}`` | ``{}``: a backup of the store, and its restore |

| of a standing | what |
| --- | --- |
| ``goes``, ``stays`` | how many rows an erasure must remove, and keep on a ground |
| ``objected`` | whether an objection stands |
| ``restricted`` | whether everything is marked that a restriction keeps from use |
| ``consents`` | how much rests on consent and stands |
| ``given`` | how many records hold what the person gave, on consent or for a contract |
| ``fields`` | the group's field → what stands in it, of those that can be corrected; two of them show more |

All but ``goes`` and ``stays`` may be left out where the description says that the right is not served.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

Row = dict[str, Any]

THIS_YEAR = datetime.now(UTC).year
KEPT, OVER = f"{THIS_YEAR - 1}-03-01", f"{THIS_YEAR - 12}-03-01"
NUMBERS = count(1)
FIELDS = {"last_name": "name", "postal_address.city": "town"}


def rows_for(person: Row) -> tuple[Row, list[Row]]:
    """A contact, and invoices of it: old ones, and a new one where something must stay."""
    last = OVER if person["over"] else f"{THIS_YEAR}-01-01"
    contact = {"id": next(NUMBERS), "email": person["email"], "name": "Sample Person", "town": "Sampletown",
               "newsletter": True, "objected": False, "restricted": False, "last_contact": last}  # fmt: skip
    dates = [KEPT] * person["kept"] + [OVER] * (person["rows"] - 1)
    invoices = [{"id": (number := next(NUMBERS)), "contact": contact["id"], "number": f"I-{number}", "issued_on": day}
                for day in dates]  # fmt: skip
    return contact, invoices


class Store:
    """A scratch store: contacts and invoices."""

    def begin(self) -> int:
        raise NotImplementedError

    def insert(self, contacts: list[Row], invoices: list[Row]) -> None:
        raise NotImplementedError

    def of(self, email: str) -> tuple[list[Row], list[Row]]:
        """Contacts with this very address, and their invoices."""
        raise NotImplementedError

    def save(self) -> None:
        raise NotImplementedError

    def load(self) -> None:
        raise NotImplementedError

    # ------------------------------------------------------------------ what is asked

    def fill(self, people: list[Row]) -> list[Row]:
        made = [rows_for(person) for person in people]
        self.insert([contact for contact, _ in made], [invoice for _, invoices in made for invoice in invoices])
        return [self._counted([contact], invoices) for contact, invoices in made]

    def standing(self, email: str) -> Row:
        contacts, invoices = self.of(email)
        return self._counted(contacts, invoices)

    def _counted(self, contacts: list[Row], invoices: list[Row]) -> Row:
        kept = [one for one in invoices if one["issued_on"] == KEPT]
        parents = {one["contact"] for one in kept}
        stays = len(kept) + sum(one["id"] in parents for one in contacts)
        return {
            "goes": len(contacts) + len(invoices) - stays,
            "stays": stays,
            "objected": _all_say("objected", contacts),
            "restricted": _all_say("restricted", contacts),
            "consents": sum(one["newsletter"] in (True, 1) for one in contacts),
            "given": len(contacts),
            "fields": {name: contacts[0].get(column) for name, column in FIELDS.items()} if contacts else {},
        }


def _all_say(mark: str, contacts: list[Row]) -> bool:
    return bool(contacts) and all(one.get(mark) in (True, 1) for one in contacts)


class JsonStore(Store):
    """One file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _read(self) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = json.loads(self.path.read_text("utf-8"))
        return found

    def _write(self, store: dict[str, list[Row]]) -> None:
        beside = self.path.with_name(f"{self.path.name}.bench")
        beside.write_text(json.dumps(store), "utf-8")
        beside.replace(self.path)

    def begin(self) -> int:
        if not self.path.exists():
            self._write({"contacts": [], "invoices": []})
        return sum(map(len, self._read().values()))

    def insert(self, contacts: list[Row], invoices: list[Row]) -> None:
        store = self._read()
        self._write({"contacts": store["contacts"] + contacts, "invoices": store["invoices"] + invoices})

    def of(self, email: str) -> tuple[list[Row], list[Row]]:
        store = self._read()
        contacts = [one for one in store["contacts"] if one["email"] == email]
        ids = {one["id"] for one in contacts}
        return contacts, [one for one in store["invoices"] if one["contact"] in ids]

    def save(self) -> None:
        shutil.copy(self.path, f"{self.path}.saved")

    def load(self) -> None:
        shutil.copy(f"{self.path}.saved", self.path)


class SqliteStore(Store):
    """Two tables."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.row_factory = sqlite3.Row

    def begin(self) -> int:
        self.connection.execute(
            "CREATE TABLE IF NOT EXISTS contacts"
            " (id INTEGER PRIMARY KEY, email TEXT, name TEXT, town TEXT, newsletter BOOLEAN, objected BOOLEAN,"
            " restricted BOOLEAN, last_contact DATE, asked_at TIMESTAMP)"
        )
        self.connection.execute(
            "CREATE TABLE IF NOT EXISTS invoices"
            " (id INTEGER PRIMARY KEY, contact INTEGER REFERENCES contacts (id), number TEXT, issued_on DATE)"
        )
        both = "SELECT (SELECT count(*) FROM contacts) + (SELECT count(*) FROM invoices)"
        return int(self.connection.execute(both).fetchone()[0])

    def insert(self, contacts: list[Row], invoices: list[Row]) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.executemany(
            "INSERT INTO contacts (id, email, name, town, newsletter, objected, restricted, last_contact)"
            " VALUES (:id, :email, :name, :town, :newsletter, :objected, :restricted, :last_contact)",
            contacts,
        )
        self.connection.executemany("INSERT INTO invoices VALUES (:id, :contact, :number, :issued_on)", invoices)
        self.connection.execute("COMMIT")

    def of(self, email: str) -> tuple[list[Row], list[Row]]:
        contacts = [dict(row) for row in self.connection.execute("SELECT * FROM contacts WHERE email = ?", (email,))]
        asked = "SELECT * FROM invoices WHERE contact = ?"
        invoices = [dict(row) for one in contacts for row in self.connection.execute(asked, (one["id"],))]
        return contacts, invoices

    def save(self) -> None:
        with sqlite3.connect(f"{self.path}.saved") as saved:
            self.connection.backup(saved)
        saved.close()

    def load(self) -> None:
        with sqlite3.connect(f"{self.path}.saved") as saved:
            saved.backup(self.connection)
        saved.close()


class MongoStore(Store):
    """Everything in the database ``conform_scratch``."""

    tables = ("contacts", "invoices")

    def __init__(self, url: str) -> None:
        from pymongo import MongoClient  # noqa: PLC0415 - the others need no driver

        self.database = MongoClient[Row](url)["conform_scratch"]
        self.saved: dict[str, list[Row]] = {}

    def begin(self) -> int:
        for name in self.tables:
            if name not in self.database.list_collection_names():
                self.database.create_collection(name)
        return sum(self.database[name].count_documents({}) for name in self.tables)

    def insert(self, contacts: list[Row], invoices: list[Row]) -> None:
        for name, rows in zip(self.tables, (contacts, invoices), strict=True):
            if rows:
                self.database[name].insert_many(rows)

    def of(self, email: str) -> tuple[list[Row], list[Row]]:
        found = self.database["contacts"].find({"email": {"$eq": email}})
        contacts = [{"id": one["_id"], **one} for one in found]  # a canary has no number of ours
        return contacts, list(self.database["invoices"].find({"contact": {"$in": [one["id"] for one in contacts]}}))

    def save(self) -> None:
        self.saved = {name: list(self.database[name].find()) for name in self.tables}

    def load(self) -> None:
        for name, rows in self.saved.items():
            self.database[name].delete_many({})
            self.database[name].insert_many(rows)


def answer(store: Store, asked: Row) -> Row:
    """One line's answer."""
    match asked["do"]:
        case "begin":
            return {"rows": store.begin()}
        case "fill":
            return {"made": store.fill(asked["people"])}
        case "count":
            return {"standing": [store.standing(email) for email in asked["emails"]]}
        case "save":
            store.save()
        case "load":
            store.load()
    return {}


if __name__ == "__main__":
    kind, where = sys.argv[1:]
    store: Store = {"json": lambda: JsonStore(Path(where)), "sqlite": lambda: SqliteStore(Path(where)),
                    "mongodb": lambda: MongoStore(os.environ[where])}[kind]()  # fmt: skip
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(store, json.loads(line))) + "\n")
        sys.stdout.flush()
