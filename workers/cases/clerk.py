"""What a controller process runs for cases: the desk, the inbox of receipts, the reconciler, the keeping of the ledger.

Opened inside the process' event loop, closed in it. Several processes may each run one.
Source: design § 5; house-style § 4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import dramatiq
import structlog
from dramatiq.errors import ConnectionClosed
from joserfc.jwk import OKPKey

from schemas.envelope import Sealer
from schemas.errors import QueueUnavailable
from schemas.jose import Keys, Peer
from schemas.keyring import PACKAGES, read_wrapping_keys
from schemas.ledger_keys import LedgerKeys, read_ledger_keys
from schemas.party_keys import read_party, read_subsidiaries, read_token_key
from schemas.register import Register
from schemas.routes import RIGHTS
from schemas.terms import SubsidiaryKind
from workers.actors.work import TIME_LIMIT_S
from workers.broker import HardenedBroker, Tuning
from workers.cases.canaries import go_on
from workers.cases.desk import Desk
from workers.cases.dispatching import Dispatcher
from workers.cases.engine import advance, with_a_step
from workers.cases.errands import read_errand_sealer
from workers.cases.eyes import Sight, read_eyes
from workers.cases.housekeeping import keep_house_for_ever
from workers.cases.inbox import Inbox
from workers.cases.mailing import send
from workers.cases.posting import Posting
from workers.cases.receiving import receive
from workers.cases.reconciler import reconcile_for_ever
from workers.cases.rounds import make_rounds
from workers.cases.serving import dispatch
from workers.cases.waking import InHand
from workers.correspondence.compose import Letterhead, letterhead
from workers.correspondence.mailer import Mailer, MailSettings, SmtpMailer, read_mail_settings
from workers.evidence.keeping import Keeper
from workers.evidence.notes import Notes
from workers.services import Services
from workers.settings import ControllerSettings
from workers.stores.cases import Cases
from workers.stores.heads import Heads
from workers.stores.keys import KeyWrapper, LocalKeyWrapper
from workers.stores.ledger import Ledger
from workers.stores.packages import Packages
from workers.stores.parked import Letter

log = structlog.get_logger("greffier.cases")

MAIL_LEASE: Final = timedelta(minutes=2)
"""How long one worker has for one mail: longer than any SMTP timeout."""

ADVANCE: Final = "advance"
MAIL: Final = "mail"
"""Actors of the queue ``rights`` whose messages carry an id and nothing else."""

ROUNDS: Final = "rounds"
"""The one name that the making of rounds is woken by."""


@dataclass(frozen=True, slots=True)
class CaseTrust:
    """Keys and settings that cases need; reading them is what fails at start."""

    party: Keys
    peers: dict[str, Peer]
    token_key: OKPKey
    ledger: LedgerKeys
    mail: MailSettings
    packages: KeyWrapper
    eyes: Mapping[str, Sight]
    errand_sealer: Sealer | None

    @classmethod
    def read(cls, settings: ControllerSettings, register: Register) -> CaseTrust:
        """Raises :class:`schemas.errors.ConfigurationError` naming every fault."""
        peers = read_subsidiaries(settings.keys)
        return cls(
            party=read_party(settings.keys),
            peers=peers,
            token_key=read_token_key(settings.keys),
            ledger=read_ledger_keys(settings.keys),
            mail=read_mail_settings(),
            packages=LocalKeyWrapper(read_wrapping_keys(settings.keys, PACKAGES)),
            eyes=read_eyes(settings.eyes, peers),
            errand_sealer=read_errand_sealer(settings.keys, register),
        )


@dataclass(slots=True)
class Clerk:
    """One per controller process that serves the queue ``rights``."""

    settings: ControllerSettings
    trust: CaseTrust
    broker: HardenedBroker
    tuning: Tuning
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _inbox: Inbox | None = None
    _posting: Posting | None = None
    _dispatcher: Dispatcher | None = None
    _rounds: Dispatcher | None = None
    _in_hand: InHand | None = None
    _desk: Desk | None = None
    _ledger: Ledger | None = None
    _mailer: Mailer | None = None

    @property
    def desk(self) -> Desk:
        """Raises RuntimeError before :meth:`open`."""
        if self._desk is None:
            raise RuntimeError("the clerk is not at his desk")
        return self._desk

    @property
    def sound(self) -> bool:
        """Whether what it does can be noted: not once the ledger was found to be other than what was signed."""
        return self._ledger is None or self._ledger.sound

    async def open(self, services: Services) -> None:
        """Open in the running event loop; receipts, due cases and the ledger are looked after from now on."""
        redis_url = self.settings.redis_url.get_secret_value()
        fetched = services.trust.register.served(SubsidiaryKind.HTTP)
        self._posting = Posting(redis_url, self.tuning, fetched)
        self._dispatcher = Dispatcher(lambda store: dispatch(self.desk, store))
        self._rounds = Dispatcher(lambda _: make_rounds(self.desk))
        self._in_hand = InHand(self.advance, self._wake(ADVANCE))
        self._mailer = SmtpMailer(self.trust.mail)
        ledger = self._ledger = Ledger(services.databases)
        notes = Notes(ledger, services.clock)
        head = letterhead(services.trust.register.controller, self.trust.mail.mail_from)
        self._desk = self._new_desk(services, notes, head, self._dispatcher, self._in_hand)
        await notes.note_keys(self.trust.peers)
        keeper = Keeper(ledger, Heads(services.databases, ledger, self.trust.ledger, services.clock), services.clock)
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(keeper.keep(), name="ledger"),
            loop.create_task(reconcile_for_ever(self.desk), name="reconciler"),
        ]
        stores = list(services.trust.register.subsidiaries)
        self._inbox = Inbox(redis_url, stores, self._take, self._park, self.tuning)
        self.broker.watched.append(self._inbox.start())
        house = keep_house_for_ever(self._posting, self._inbox, self.desk.cases, stores)
        self._tasks.append(loop.create_task(house, name="housekeeping"))

    def _new_desk(
        self, services: Services, notes: Notes, head: Letterhead, dispatcher: Dispatcher, in_hand: InHand
    ) -> Desk:
        return Desk(
            services=services,
            cases=Cases(services.databases),
            packages=Packages(services.databases, self.trust.packages),
            evidence=notes,
            party=self.trust.party,
            peers=self.trust.peers,
            token_key=self.trust.token_key,
            send=self._send,
            wake_case=in_hand.wake,
            wake_store=dispatcher.wake,
            wake_mail=self._wake(MAIL),
            wake_rounds=self.wake_rounds,
            settle=timedelta(seconds=services.trust.register.second_look_after.value),
            public_url=self.trust.mail.public_url,
            counter_url=self.trust.mail.counter_url,
            letterhead=head,
            eyes={code: sight.open() for code, sight in self.trust.eyes.items()},
            errand_sealer=self.trust.errand_sealer,
        )

    async def close(self) -> None:
        """Stop looking after anything; what is under way comes round again."""
        if self._inbox is not None:
            await asyncio.to_thread(self._inbox.stop)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._in_hand is not None:
            await self._in_hand.close()
        for dispatcher in (self._rounds, self._dispatcher):
            if dispatcher is not None:
                await dispatcher.close()
        if self._desk is not None:
            await asyncio.gather(*(store.close() for store in self._desk.eyes.values()))
        if self._posting is not None:
            self._posting.close()

    async def advance(self, reference: str) -> None:
        """The actor of one case."""
        async with asyncio.timeout(TIME_LIMIT_S):
            await advance(self.desk, reference)

    async def mail(self, mail: str) -> None:
        """The actor of one mail."""
        now = self.desk.services.clock()
        found = await self.desk.cases.take_mail(mail, now, now + MAIL_LEASE)
        if found is not None and self._mailer is not None:
            await send(self.desk, self._mailer, found)

    async def wake_rounds(self) -> None:
        """Have who said no just now put into a round; the reconciler looks too."""
        if self._rounds is not None:
            await self._rounds.wake(ROUNDS)

    def _wake(self, actor: str) -> Callable[[str], Awaitable[None]]:
        async def wake(what: str) -> None:
            message: dramatiq.Message[Any] = dramatiq.Message(
                queue_name=RIGHTS, actor_name=actor, args=(), kwargs={_ARGUMENT[actor]: what}, options={}
            )
            try:
                await asyncio.to_thread(self.broker.enqueue, message)
            except ConnectionClosed:
                log.info("wake-up not sent", what=actor)  # the reconciler looks too

        return wake

    async def _send(self, store: str, token: str) -> None:
        posting = self._posting
        if posting is None:
            raise RuntimeError("the clerk is not at his desk")
        try:
            await asyncio.to_thread(posting.post, store, token)
        except ConnectionClosed:
            raise QueueUnavailable("redis_unreachable") from None

    def _take(self, store: str, token: str) -> None:
        """Called by the inbox' thread."""
        self.broker.run(self._taken(store, token))

    async def _taken(self, store: str, token: str) -> None:
        accepted = await receive(self.desk, store, token)
        if self._dispatcher is not None:
            self._dispatcher.answered(store)
        if self._rounds is not None and accepted.rounds:
            self._rounds.answered(ROUNDS)
        for drill in accepted.drills:
            await go_on(self.desk, drill)
        for reference in await with_a_step(self.desk, accepted.cases):
            await self.desk.wake_case(reference)

    def _park(self, store: str, reason: str, raw: bytes) -> None:
        services = self.desk.services
        letter = Letter(reason, f"from.{store}", raw, services.clock())
        until = services.clock() + services.trust.register.parked.length

        async def park() -> None:
            await services.parked.put([letter], now=services.clock(), until=until)

        self.broker.run(park())


_ARGUMENT: Final = {ADVANCE: "reference", MAIL: "mail"}
