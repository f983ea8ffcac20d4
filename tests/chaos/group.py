"""A group for a run: a register of ten subsidiaries, each with a worker, keys and a store of its own, and its people.

Half of the offices keep a database of MongoDB, half an SQLite file; an independent client knows each. Whom an office
holds is drawn from the seed, so that everybody stands in several of them.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import yaml

from schemas.acl import CONTROLLER, DOOR, EVERYTHING, acl_file, redis_users, subsidiary_user
from schemas.party_keys import add_subsidiary
from schemas.register import SHIPPED, load_register
from schemas.register_reading import read_mapping
from schemas.terms import Right
from tests.chaos.moved import VARIABLE, MovedClock
from tests.installation import ROOT, Child, Installation
from tests.workers.subsidiary.kits import COLLECTIONS, URL_VARIABLE, Kit, MongoKit, Row, SqliteKit, write_mapping
from workers.processes import free_port

CODES: Final = ("de", "us", "gb", "jp", "es", "ch", "it", "au", "no", "nl")
SETTLE_S: Final = 1
"""Until the second look: nothing on one machine is in flight for longer."""

Command = Sequence[str]
MOVED: Final[Command] = ("-m", "tests.chaos.moved")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody whom some offices hold. ``right``: what is asked for; None for a bystander, who asks for nothing.

    ``rows``: office → table → rows as they are before.
    """

    number: int
    right: Right | None
    rows: Mapping[str, Mapping[str, Sequence[Row]]]

    @property
    def email(self) -> str:
        return f"specimen-{self.number}@example.org"


def people(count: int, offices: Sequence[str], seed: int) -> list[Person]:
    """So many who ask, their rights in turn, and one bystander to four of them."""
    chance = random.Random(seed)
    rights = [Right.ACCESS, Right.ERASURE, Right.OBJECTION]
    asking: list[Right | None] = [rights[n % len(rights)] for n in range(count)]
    asking += [None] * (count // 4 + 1)
    return [_person(number, right, offices, chance) for number, right in enumerate(asking, 1)]


def _person(number: int, right: Right | None, offices: Sequence[str], chance: random.Random) -> Person:
    held = [code for code in offices if chance.random() < 0.5] or [offices[number % len(offices)]]
    return Person(number, right, {code: dict(_rows(number, chance)) for code in held})


def _rows(number: int, chance: random.Random) -> Iterator[tuple[str, list[Row]]]:
    """What an office knows of somebody: most often a customer with visits; one in ten owes an invoice's keeping."""
    email = f"specimen-{number}@example.org"
    long_ago = datetime(2025, 3, 1, 12, tzinfo=UTC)
    spelt = chance.choice([email, email.upper(), email.capitalize()])
    customer = {"id": number, "email": spelt, "name": "Specimen", "registered_at": long_ago, "newsletter": True}
    visits = [
        {"id": number * 10 + n, "customer_id": number, "at": long_ago + timedelta(days=n)}
        for n in range(chance.randrange(3))
    ]
    yield "customers", [customer]
    yield "visits", visits
    if chance.random() < 0.1:
        issued = date(2024, 6, 1)  # to be kept until 2034
        yield "invoices", [{"id": number, "customer_id": number, "number": f"F-{number}", "issued_on": issued}]
    if chance.random() < 0.5:
        yield "leads", [{"id": number, "email": email, "name": "Specimen"}]
    if chance.random() < 0.5:
        yield "subscribers", [{"id": number, "address": email}]


class Group(Installation):
    """An installation with offices, at virtual time. ``office``: what is run in an office's place."""

    def __init__(self, data: Path, *, offices: int, smtp_port: int, office: Command = MOVED, **options: Any) -> None:
        ours = {"door": (*MOVED, "door"), "controller": (*MOVED, "controller")}
        super().__init__(data, **{**ours, **options})
        self.clock = MovedClock(data / "clock")
        self.clock.set(0)
        self.codes = CODES[:offices]
        self.register = data / "register.yaml"
        self.kits: dict[str, Kit] = {}
        self.offices: list[Child] = []
        self._office = office
        self._passwords: dict[str, str] = {}
        self._env |= {
            VARIABLE: str(data / "clock"),
            "GREFFIER_REGISTER": str(self.register),
            "GREFFIER_SMTP_PORT": str(smtp_port),
        }

    @property
    def collections(self) -> str:
        """What the offices' mappings say."""
        return COLLECTIONS

    def found(self) -> None:
        raw, _ = read_mapping(SHIPPED)
        raw["subsidiaries"] = {code: {**raw["subsidiaries"][code], "kind": "worker"} for code in self.codes}
        raw["second_look_after"]["value"] = str(SETTLE_S)
        self.register.write_text(yaml.safe_dump(raw, allow_unicode=True, sort_keys=False), "utf-8")
        for code in self.codes:
            add_subsidiary(self.data / "keys" / "controller", self.keys_of(code), code)
        users = [CONTROLLER, DOOR, *map(subsidiary_user, self.codes)]
        self._passwords = {user: secrets.token_urlsafe(16) for user in users}
        self.valkey.users.parent.mkdir(parents=True, exist_ok=True)
        self.valkey.users.write_text(acl_file(redis_users(load_register(self.register)), self._passwords, EVERYTHING))

    async def staff(self, doors: int, controllers: int) -> None:
        await super().staff(doors, controllers)
        self.offices = [self._worker(place, code) for place, code in enumerate(self.codes)]
        for kit in self.kits.values():
            await kit.create()

    def redis_url_for(self, user: str) -> str:
        return self.valkey.url.replace("://", f"://{user}:{self._passwords[user]}@", 1)

    @property
    def children(self) -> list[Child]:
        return [*super().children, *self.offices]

    def of_kind(self, kind: str) -> list[Child]:
        return self.offices if kind == "office" else super().of_kind(kind)

    def keys_of(self, code: str) -> Path:
        """The folder of an office's keys."""
        return self.data / "offices" / code / "keys"

    def _worker(self, place: int, code: str) -> Child:
        folder, port = self.data / "offices" / code, free_port()
        self.kits[code] = SqliteKit(folder) if place % 2 else MongoKit(self.mongod.url, f"office_{code}")
        mapping = write_mapping(self.kits[code], folder, self.collections)
        env = {
            **self._env,
            "GREFFIER_REDIS_URL": self.redis_url_for(subsidiary_user(code)),
            "GREFFIER_KEYS": str(self.keys_of(code)),
            "GREFFIER_JOURNAL": str(folder / "journal.jsonl"),
            "GREFFIER_METRICS_PORT": str(port),
            URL_VARIABLE: self.kits[code].url,
        }
        name, words = f"office-{code}", ("subsidiary", code, "--mapping", str(mapping))
        return Child(name, (*self._office, *words), self.data / "logs" / f"{name}.log", env, port, port)

    # ------------------------------------------------------------------ the offices' stores

    async def fill(self, everybody: Sequence[Person]) -> None:
        """Write down whom the offices hold."""
        for code, kit in self.kits.items():
            tables: dict[str, list[Row]] = {}
            for person in everybody:
                for table, rows in person.rows.get(code, {}).items():
                    tables.setdefault(table, []).extend(rows)
            for table, rows in tables.items():
                if rows:
                    await kit.insert(table, *rows)

    async def empty(self) -> None:
        """Let go of the stores."""
        for kit in self.kits.values():
            await kit.drop()

    def environment(self) -> dict[str, str]:
        """Of a command that staff type."""
        return {
            **self._env,
            "PYTHONPATH": str(ROOT),
            "GREFFIER_REDIS_URL": self.valkey.url,
            "GREFFIER_MONGO_URL": self.mongod.url,
            "GREFFIER_KEYS": str(self.data / "keys" / "controller"),
        }
