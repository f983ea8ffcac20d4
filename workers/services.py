"""What an actor may reach. Built once per process, inside the event loop that uses it.

Source: house-style § 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from schemas.envelope import Opener
from schemas.keyring import read_opener, read_references, read_wrapping_keys
from schemas.register import Register, load_register
from schemas.routes import Route, routes
from schemas.subject import References
from workers.evidence.notes import Notes
from workers.settings import ControllerSettings
from workers.stores.aggregates import Aggregates
from workers.stores.archive import Archive
from workers.stores.bookkeeping import Bookkeeping
from workers.stores.canaries import Canaries
from workers.stores.confirmations import Confirmations
from workers.stores.consents import Consents
from workers.stores.disposals import Disposals
from workers.stores.due import Due
from workers.stores.events import kept_events
from workers.stores.files import Files
from workers.stores.forgetting import Forgetting
from workers.stores.keys import Keys, KeyWrapper, LocalKeyWrapper
from workers.stores.ledger import Ledger
from workers.stores.mongo import Databases, connect
from workers.stores.notice_dates import NoticeDates
from workers.stores.office_disposals import OfficeDisposals
from workers.stores.parked import Parked
from workers.stores.people import People
from workers.stores.policies import Policies
from workers.stores.preferences import Preferences
from workers.stores.reads import Reads
from workers.stores.rounds import Rounds
from workers.stores.standing import Standing
from workers.stores.submissions import Submissions
from workers.stores.suppression import Suppressions
from workers.stores.ticks import Ticks
from workers.stores.tombstones import Tombstones
from workers.stores.turns import Turns
from workers.uploads import Uploads

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Now, aware, to the millisecond that MongoDB keeps."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


@dataclass(frozen=True, slots=True)
class Trust:
    """What a process knows before it opens any connection: register and keys. Reading it is what fails at start."""

    register: Register
    routes: Mapping[str, Route]
    opener: Opener
    references: References
    wrapper: KeyWrapper

    @classmethod
    def read(cls, settings: ControllerSettings) -> Trust:
        """Raises :class:`schemas.errors.ConfigurationError` naming every fault of the register or the keys."""
        register = load_register(settings.register_file)
        return cls(
            register=register,
            routes=routes(register),
            opener=read_opener(settings.keys),
            references=read_references(settings.keys),
            wrapper=LocalKeyWrapper(read_wrapping_keys(settings.keys)),
        )


@dataclass(frozen=True, slots=True)
class Services:
    """Register, keys, clock and stores. ``skew``: how far a door's clock may be off."""

    trust: Trust
    clock: Clock
    skew: timedelta
    databases: Databases
    uploads: Uploads
    people: People
    keys: Keys
    submissions: Submissions
    confirmations: Confirmations
    consents: Consents
    files: Files
    parked: Parked
    tombstones: Tombstones
    suppressions: Suppressions
    archive: Archive
    standing: Standing
    reads: Reads
    bookkeeping: Bookkeeping
    notes: Notes

    @property
    def turns(self) -> Turns:
        return Turns(self.databases)

    @property
    def rounds(self) -> Rounds:
        return Rounds(self.databases)

    @property
    def notice_dates(self) -> NoticeDates:
        return NoticeDates(self.databases)

    @property
    def policies(self) -> Policies:
        return Policies(self.databases)

    @property
    def canaries(self) -> Canaries:
        return Canaries(self.databases)

    @property
    def preferences(self) -> Preferences:
        return Preferences(self.databases)

    @property
    def ticks(self) -> Ticks:
        return Ticks(self.databases)

    @property
    def aggregates(self) -> Aggregates:
        return Aggregates(self.databases)

    @property
    def disposals(self) -> Disposals:
        return Disposals(self.databases)

    @property
    def due(self) -> Due:
        return Due(self.databases)

    @property
    def office_disposals(self) -> OfficeDisposals:
        return OfficeDisposals(self.databases)

    @property
    def forgetting(self) -> Forgetting:
        return Forgetting(
            references=self.trust.references,
            people=self.people,
            submissions=self.submissions,
            confirmations=self.confirmations,
            consents=self.consents,
            files=self.files,
            parked=self.parked,
            keys=self.keys,
            tombstones=self.tombstones,
            archive=self.archive,
        )

    async def kept(self, events: Iterable[str]) -> set[str]:
        """Which of these events stand in one of the stores, by key."""
        return await kept_events(self.databases, events)

    async def close(self) -> None:
        await self.uploads.close()
        self.databases.close()


def open_services(settings: ControllerSettings, trust: Trust, clock: Clock = utc_now) -> Services:
    """Services over the databases and the Redis of ``settings``; connects on first use."""
    redis: Redis = Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=3,
        socket_connect_timeout=2,
        health_check_interval=15,
        retry=Retry(NoBackoff(), 0),
    )
    return services_over(
        connect(settings), Uploads(redis, trust.opener), trust, clock, timedelta(milliseconds=settings.skew_ms)
    )


def services_over(
    databases: Databases, uploads: Uploads, trust: Trust, clock: Clock = utc_now, skew: timedelta = timedelta(seconds=5)
) -> Services:
    """Services over databases that are already there."""
    keys = Keys(databases, trust.wrapper)
    people, submissions, tombstones = People(databases), Submissions(databases), Tombstones(databases)
    archive = Archive(databases)
    return Services(
        trust=trust,
        clock=clock,
        skew=skew,
        databases=databases,
        uploads=uploads,
        people=people,
        keys=keys,
        submissions=submissions,
        confirmations=Confirmations(databases),
        consents=Consents(databases),
        files=Files(databases.active),
        archive=archive,
        parked=Parked(databases, keys, trust.references.digest, uploads.clear),
        tombstones=tombstones,
        suppressions=Suppressions(databases, trust.references),
        standing=Standing(databases, trust.references, people, submissions, tombstones, archive),
        reads=Reads(databases),
        bookkeeping=Bookkeeping(databases),
        notes=Notes(Ledger(databases), clock),
    )
