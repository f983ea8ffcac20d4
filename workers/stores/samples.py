"""The sample group's stores: made empty, filled with one fictional person, and looked into, by plain clients.

Shares no code with the adapters, so that the demo can contradict them.
"""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pymongo import MongoClient

SALES: Final = "vertrieb"
_ORDER_DAY: Final = datetime(2026, 4, 9, tzinfo=UTC)


def make_sales(url: str) -> None:
    """The MongoDB office's collections, where they are missing."""
    with MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=5000) as client:
        known = client[SALES].list_collection_names()
        for name in {"kontakte", "bestellungen"} - set(known):
            client[SALES].create_collection(name)


def fill_sales(url: str, first: str, last: str, email: str) -> None:
    """One customer with two orders."""
    with MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=5000) as client:
        person = {"vorname": first, "nachname": last, "mail": email, "stadt": "Köln", "werbung": True}
        contact = client[SALES]["kontakte"].insert_one(person).inserted_id
        orders = [{"kontakt": contact, "nummer": n, "datum": _ORDER_DAY, "betrag": 1900 * n} for n in (1, 2)]
        client[SALES]["bestellungen"].insert_many(orders)


def fill_people(database: Path, name: str, email: str) -> None:
    """One person of the SQL office, on one mailing list."""
    with sqlite3.connect(database) as store:
        store.execute(
            "INSERT INTO people (full_name, email_address, company) VALUES (?, ?, 'Example Inc')", (name, email)
        )
        store.execute("INSERT INTO mailing_list (email, topic) VALUES (?, 'harvest')", (email,))
    store.close()


def make_contacts(file: Path) -> None:
    """The JSON office's store, where it is missing."""
    if not file.exists():
        _write_contacts(file, [])


def fill_contacts(file: Path, name: str, *emails: str) -> None:
    """Contacts of the JSON office, who get its newsletter."""
    contacts = _contacts(file)
    first = max((one["id"] for one in contacts), default=0) + 1
    contacts += [
        {"id": number, "email": email, "name": name, "newsletter": True} for number, email in enumerate(emails, first)
    ]
    _write_contacts(file, contacts)


def contacts_in(file: Path, *emails: str) -> int:
    """How many contacts of the JSON office bear one of these addresses."""
    wanted = set(emails)
    return sum(one["email"] in wanted for one in _contacts(file))


def written_to_by(file: Path) -> set[str]:
    """Who gets the newsletter of the JSON office."""
    used = [one for one in _contacts(file) if not one.get("restricted")]
    return {one["email"] for one in used if one["newsletter"] and not one.get("objected")}


def _contacts(file: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))["contacts"]
    return found


def _write_contacts(file: Path, contacts: list[dict[str, Any]]) -> None:
    """Moved over: the client may read at this moment."""
    beside = file.with_name(f"{file.name}.sample")
    beside.write_text(json.dumps({"contacts": contacts, "invoices": []}), "utf-8")
    beside.replace(file)


def contacts_of(url: str, email: str) -> int:
    """How many contacts of the MongoDB office bear this address."""
    with MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=5000) as client:
        return client[SALES]["kontakte"].count_documents({"mail": email})


def written_to(url: str, database: Path, email: str) -> int:
    """At how many of the two offices this address may be written to for prospecting."""
    with MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=5000) as client:
        sales = client[SALES]["kontakte"].count_documents({"mail": email, "werbung": True})
    store = sqlite3.connect(database)
    try:
        listed = store.execute("SELECT count(*) FROM mailing_list WHERE email = ?", (email,)).fetchone()[0]
    finally:
        store.close()
    return bool(sales) + bool(listed)


def orders_held(url: str) -> int:
    """How many orders stand there, whoever's they were."""
    with MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=5000) as client:
        return client[SALES]["bestellungen"].count_documents({})


def people_of(database: Path, email: str) -> int:
    """How many rows of the SQL office bear this address."""
    store = sqlite3.connect(database)
    try:
        counts = [
            store.execute("SELECT count(*) FROM people WHERE email_address = ?", (email,)).fetchone()[0],
            store.execute("SELECT count(*) FROM mailing_list WHERE email = ?", (email,)).fetchone()[0],
        ]
    finally:
        store.close()
    return int(sum(counts))
