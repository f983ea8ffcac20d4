"""The controller's stores and actors over real servers, driven one message at a time.

A bench runs what a worker runs (`workers.actors.work.work` with the keep of each queue), without a broker in between:
what the broker does has tests of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import uuid_utils
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.write_concern import WriteConcern
from redis.asyncio import Redis

from schemas.envelope import Event, Sealer
from schemas.keyring import read_sealer
from schemas.routes import CONSENT, NEWSLETTER, SUBMISSIONS, file_key
from schemas.terms import Case, Department, Purpose
from tests.factories import ROUTES, File
from workers.actors.consent import keep_consents
from workers.actors.newsletter import keep_newsletter
from workers.actors.submissions import keep_submissions
from workers.actors.work import Keep, work
from workers.gate import Gate, Reader, Record
from workers.services import Services, Trust, services_over, utc_now
from workers.settings import ControllerSettings
from workers.stores.mongo import Databases, connect, create_indexes
from workers.uploads import Uploads

Document = dict[str, Any]
Dump = dict[str, list[Document]]

_SWIFT = WriteConcern(w=1)

DATABASES = ("active", "archive", "evidence", "keys")

_numbers = count(1)


class SettableClock:
    """The time of a test: real until it is set."""

    def __init__(self) -> None:
        self.at: datetime | None = None

    def __call__(self) -> datetime:
        return self.at or utc_now()


@dataclass
class Bench:
    """One controller. ``later``: positions that the consent actor put back, with their message."""

    services: Services
    sealer: Sealer
    clock: SettableClock
    redis: Redis
    reader: MongoClient[Document]
    prefix: str
    later: list[tuple[Document, list[int]]] = field(default_factory=list)

    def seal(self, *events: Event) -> Document:
        """One message of these events."""
        return self.sealer.seal(str(uuid_utils.uuid7()), "door-test", next(_numbers), events)

    async def send(self, *events: Event) -> Document:
        """Seal and work on one message; what it was, to deliver it again."""
        wire = self.seal(*events)
        await self.deliver(wire, ROUTES[events[0].type].queue)
        return wire

    async def deliver(self, wire: Document, queue: str = SUBMISSIONS) -> None:
        """Work on a message as its actor does."""
        await work(self.services, queue, wire, self._keep(queue, wire))

    async def second_try(self) -> None:
        """What comes back after the delay: the visits that nothing covered."""
        later, self.later = self.later, []
        for wire, positions in later:
            await work(self.services, CONSENT, wire, keep_consents(None), positions)

    def _keep(self, queue: str, wire: Document) -> Keep:
        async def try_again(positions: list[int]) -> None:
            self.later.append((wire, positions))

        keeps: dict[str, Keep] = {
            SUBMISSIONS: keep_submissions,
            NEWSLETTER: keep_newsletter,
            CONSENT: keep_consents(try_again),
        }
        return keeps[queue]

    async def upload(self, file: File, event: Event) -> None:
        """Put a file where the door puts it."""
        await self.redis.set(file_key(file.id), self.sealer.seal_file(file.id, event.key, file.content), ex=3600)

    async def read(
        self,
        email: str,
        purpose: Purpose = Purpose.PROVIDE_SERVICES,
        department: Department = Department.MARKETING_SALES,
    ) -> list[Record]:
        """Read through the gate."""
        return await Gate(self.services).read(Reader("reader-test", department), purpose, email)

    def collection(self, name: str, database: str = "active") -> list[Document]:
        """Every document of a collection, as an independent client sees it."""
        return list(self.reader[f"{self.prefix}_{database}"][name].find())

    def dump(self) -> Dump:
        """``database.collection`` → every document, as an independent client sees them."""
        found: Dump = defaultdict(list)
        for database in DATABASES:
            for name, documents in _all_of(self.reader[f"{self.prefix}_{database}"]).items():
                found[f"{database}.{name}"] = documents
        return found

    def wipe(self) -> None:
        """Empty every collection; indexes stay, which is what makes this quicker than databases of one's own."""
        full = [name for name, documents in self.dump().items() if documents]
        for name in full:
            database, _, collection = name.partition(".")
            handle = self.reader[f"{self.prefix}_{database}"][collection]
            # A majority has what was written before once it has the last.
            (handle if name == full[-1] else handle.with_options(write_concern=_SWIFT)).delete_many({})

    def reasons(self) -> list[str]:
        """Why letters are parked, sorted."""
        return sorted(letter["reason"] for letter in self.collection("parked"))


def _all_of(database: Database[Document]) -> dict[str, list[Document]]:
    """Collection → its documents, in one question: there are many collections, and most are empty."""
    found: dict[str, list[Document]] = {name: [] for name in database.list_collection_names()}
    if found:
        first, *others = found
        unions = [{"$unionWith": {"coll": name, "pipeline": [_marked(name)]}} for name in others]
        for one in database[first].aggregate([_marked(first), *unions]):
            found[one["in"]].append(one["document"])
    return found


def _marked(name: str) -> Document:
    return {"$project": {"_id": 0, "in": {"$literal": name}, "document": "$$ROOT"}}


def settings_for(mongo_url: str, prefix: str, keys: Path) -> ControllerSettings:
    """What a worker would be told."""
    return ControllerSettings(mongo_url=SecretStr(mongo_url), mongo_prefix=prefix, keys=keys / "controller")


@asynccontextmanager
async def open_bench(
    settings: ControllerSettings,
    trust: Trust,
    keys: Path,
    redis_url: str,
    reader: MongoClient[Document],
    *,
    skew: timedelta = timedelta(seconds=5),
    databases: Databases | None = None,
) -> AsyncIterator[Bench]:
    """A bench on databases of its own, indexes made. ``databases``: use these instead of connecting."""
    clock, redis = SettableClock(), Redis.from_url(redis_url)
    databases = databases or connect(settings)
    services = services_over(databases, Uploads(redis, trust.opener), trust, clock, skew)
    await create_indexes(databases)
    try:
        yield Bench(services, read_sealer(keys / "door"), clock, redis, reader, settings.mongo_prefix)
    finally:
        await services.close()


def purposes_of(case: Case) -> Sequence[Purpose]:
    """The purposes of a case, as R3 lists them."""
    services, prospecting = Purpose.PROVIDE_SERVICES, Purpose.SALES_PROSPECTING
    relation = (Purpose.SALES_INFORMATION, Purpose.EVENT_INVITATIONS, prospecting)
    return {
        Case.CONTACT: (services, prospecting),
        Case.NEWSLETTER: (services, prospecting),
        Case.WHITE_PAPER: (services, prospecting),
        Case.JOB_APPLICATION: (Purpose.RECRUITMENT,),
        Case.CLIENT: (Purpose.SERVICES_AND_CONTRACT, *relation),
        Case.SERVICE_PROVIDER: (Purpose.SERVICES_AND_CONTRACT, *relation),
        Case.SUPPLIER: (Purpose.SERVICES_AND_CONTRACT,),
        Case.PARTNER: relation,
        Case.PROSPECT: relation,
    }[case]
