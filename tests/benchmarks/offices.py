"""Ten subsidiaries at work beside the system: each a process with keys, journal and a store of its own.

Those that the register serves over HTTP run the client in Node of ``docs/examples`` on a JSON file, or, on a machine
without Node 20, the worker as the others do. Of those every second one keeps its people in a MongoDB database (of one
server that is none of the controller's), the rest in an SQLite file; each has the index that
``docs/subsidiary.md`` asks for.
"""

from __future__ import annotations

import sqlite3
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

import yaml
from pymongo import MongoClient

from schemas.party_keys import add_subsidiary
from schemas.register import SHIPPED, load_register
from schemas.register_reading import read_mapping
from schemas.terms import SubsidiaryKind
from tests.benchmarks.stage import Stage
from workers import sample_group
from workers.local import EmbeddedMongo
from workers.processes import Process, free_port
from workers.sample_keys import make_keys
from workers.stores import samples

CODES: Final = tuple(load_register().subsidiaries)[:10]
OVER_HTTP: Final = tuple(
    code for code in load_register().served(SubsidiaryKind.HTTP) if code in CODES and sample_group.has_node()
)
_STORE_URL: Final = "GREFFIER_STORE_URL"
_ORDER_DAY: Final = datetime(2026, 4, 9, tzinfo=UTC)

RULES: Final = """
collections:
  customers:
    found_by: [{{field: email, letters: folded}}]
    fields: {{name: name, email: e-mail address}}
    erasure: delete
    objection: {{set: {{mailings: false}}}}
  orders:
    owned_by: {{collection: customers, field: customer, parent_field: {key}}}
    fields: {{number: number of the order}}
    erasure: delete
"""


class Store(Protocol):
    """An office's store, by a client that shares nothing with the adapter. ``mapping``: for the worker."""

    mapping: str
    url: str

    def fill(self, emails: Sequence[str]) -> None:
        """A customer with one order for each."""

    def held(self, emails: Sequence[str]) -> int:
        """How many of these are customers."""

    def written_to(self) -> set[str]:
        """The customers who did not say no."""

    def close(self) -> None: ...


class MongoStore:
    """A database of the offices' server."""

    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self.mapping = f"store: {{kind: mongodb, url_env: {_STORE_URL}, database: {name}}}" + RULES.format(key="_id")
        self._client: MongoClient[dict[str, Any]] = MongoClient(url)
        self._customers, self._orders = self._client[name]["customers"], self._client[name]["orders"]
        self._customers.create_index("email")
        self._orders.create_index("customer")

    def fill(self, emails: Sequence[str]) -> None:
        people = [{"name": "Ada Sample", "email": email, "mailings": True} for email in emails]
        made = self._customers.insert_many(people).inserted_ids
        self._orders.insert_many([{"customer": one, "number": 1, "day": _ORDER_DAY} for one in made])

    def held(self, emails: Sequence[str]) -> int:
        return self._customers.count_documents({"email": {"$in": list(emails)}})

    def written_to(self) -> set[str]:
        return {one["email"] for one in self._customers.find({"mailings": True}, {"_id": 0, "email": 1})}

    def close(self) -> None:
        self._client.close()


class SqliteStore:
    """A file."""

    def __init__(self, file: Path) -> None:
        self.url = f"sqlite:///{file}"
        self.mapping = f"store: {{kind: sql, url_env: {_STORE_URL}}}" + RULES.format(key="id")
        self._file = file
        with closing(sqlite3.connect(file)) as store, store:
            store.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, email TEXT, mailings BOOLEAN)")
            store.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, number INTEGER)")
            store.execute("CREATE INDEX by_email ON customers (email)")
            store.execute("CREATE INDEX by_customer ON orders (customer)")

    def fill(self, emails: Sequence[str]) -> None:
        with closing(sqlite3.connect(self._file, timeout=30)) as store, store:
            first = store.execute("SELECT coalesce(max(id), 0) + 1 FROM customers").fetchone()[0]
            rows = [(first + place, email) for place, email in enumerate(emails)]
            store.executemany("INSERT INTO customers VALUES (?, 'Ada Sample', ?, TRUE)", rows)
            store.executemany("INSERT INTO orders (customer, number) VALUES (?, 1)", [(one,) for one, _ in rows])

    def held(self, emails: Sequence[str]) -> int:
        marks = ", ".join("?" for _ in emails)
        with closing(sqlite3.connect(self._file, timeout=30)) as store:
            found = store.execute(f"SELECT count(*) FROM customers WHERE email IN ({marks})", list(emails))
            return int(found.fetchone()[0])

    def written_to(self) -> set[str]:
        with closing(sqlite3.connect(self._file, timeout=30)) as store:
            return {email for (email,) in store.execute("SELECT email FROM customers WHERE mailings")}

    def close(self) -> None:
        pass


class JsonStore:
    """The file of the client in Node."""

    mapping = ""

    def __init__(self, file: Path) -> None:
        self.url = str(file)
        self._file = file
        samples.make_contacts(file)

    def fill(self, emails: Sequence[str]) -> None:
        samples.fill_contacts(self._file, "Ada Sample", *emails)

    def held(self, emails: Sequence[str]) -> int:
        return samples.contacts_in(self._file, *emails)

    def written_to(self) -> set[str]:
        return samples.written_to_by(self._file)

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Group:
    """The offices of a benchmark, before they work."""

    folder: Path

    def found(self, data: Path) -> Path:
        """Make the offices' keys under a data folder, and the group's register: its file."""
        make_keys(data / "keys")
        for code in CODES:
            add_subsidiary(data / "keys" / "controller", self.folder / code / "keys", code)
        raw, _ = read_mapping(SHIPPED)
        kinds = {code: "http" if code in OVER_HTTP else "worker" for code in CODES}
        raw["subsidiaries"] = {code: {**raw["subsidiaries"][code], "kind": kinds[code]} for code in CODES}
        register = data / "register.yaml"
        register.write_text(yaml.safe_dump(raw, allow_unicode=True, sort_keys=False), "utf-8")
        return register

    @contextmanager
    def at_work(self, stage: Stage) -> Iterator[dict[str, Store]]:
        """Every office's worker or client, at work until the end; the stores by code."""
        with ExitStack() as kept:
            server = EmbeddedMongo(self.folder / "mongo").start()
            kept.callback(server.stop)
            stores: dict[str, Store] = {}
            ports: dict[int, Process] = {}
            for place, code in enumerate(CODES):
                folder = self.folder / code
                if code in OVER_HTTP:
                    stores[code], client = self._client(code, stage)
                    client.spawn()
                    kept.callback(client.stop)
                    continue
                stores[code] = MongoStore(server.url, code) if place % 2 else SqliteStore(folder / "store.sqlite")
                kept.callback(stores[code].close)
                port = free_port()
                ports[port] = worker = self._worker(code, folder, stores[code], stage.redis_url, port)
                worker.spawn()
                kept.callback(worker.stop)
                kept.callback(worker.terminate)
            stage.wait_for(lambda: all(map(_ready, ports)), 120, "offices ready")
            yield stores

    def _client(self, code: str, stage: Stage) -> tuple[Store, Process]:
        office = sample_group.Office(code, self.folder / code, self.folder / code / "keys", over_http=True)
        store = JsonStore(office.database)
        env = {
            "GREFFIER_COUNTER_URL": stage.counter_url,
            "GREFFIER_KEYS": str(office.keys),
            "GREFFIER_JOURNAL": str(office.journal),
        }
        return store, Process(f"subsidiary-{code}", office.client, env=env, log=office.folder / "client.log")

    def _worker(self, code: str, folder: Path, store: Store, redis_url: str, port: int) -> Process:
        mapping = folder / "mapping.yaml"
        mapping.write_text(store.mapping, "utf-8")
        env: Mapping[str, str] = {
            "GREFFIER_REDIS_URL": redis_url,
            "GREFFIER_KEYS": str(folder / "keys"),
            "GREFFIER_JOURNAL": str(folder / "journal.jsonl"),
            "GREFFIER_METRICS_PORT": str(port),
            _STORE_URL: store.url,
        }
        argv = [sys.executable, "-m", "schemas", "subsidiary", code, "--mapping", str(mapping)]
        return Process(f"subsidiary-{code}", argv, env=env, log=folder / "worker.log")


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
