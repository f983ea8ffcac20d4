"""The one entrance of a controller worker: settings → trust → broker → actors → work, in reading order.

What must be mended by a person (register, keys, settings) fails here, by name, before any connection is opened.
Source: house-style § 3; R29.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import dramatiq
import redis

from schemas.logs import configure_logs
from schemas.routes import CONSENT, NEWSLETTER, RETENTION, RIGHTS, SUBMISSIONS
from workers import metrics
from workers.actors.consent import keep_consents
from workers.actors.dead import park_dead, park_poison
from workers.actors.newsletter import keep_newsletter
from workers.actors.retention import keep_ticks
from workers.actors.rights import keep_rights
from workers.actors.submissions import keep_submissions
from workers.actors.work import work
from workers.broker import HardenedBroker, Hooks, Tuning, build_broker
from workers.cases.clerk import ADVANCE, MAIL, CaseTrust, Clerk
from workers.consume import run_worker
from workers.health import serve_health
from workers.services import Services, Trust, open_services
from workers.settings import ControllerSettings, read_controller_settings
from workers.stores.mongo import create_indexes

SECOND_TRY_MS = 90_000
"""A visit that no consent covers is tried once more after this long: its consent may be on its way, in the hands of a
worker that died, whose messages are back after 70 s at most."""


class Controller:
    """One worker process: its broker, its actors, and the services they share."""

    def __init__(
        self,
        settings: ControllerSettings,
        trust: Trust,
        tuning: Tuning | None = None,
        *,
        case_trust: CaseTrust | None = None,
    ) -> None:
        self._settings = settings
        self._trust = trust
        self._services: Services | None = None
        tuning = tuning or Tuning(heartbeat_ms=settings.heartbeat_ms)
        hooks = Hooks(
            on_poison=lambda poison: self._run(park_poison(self.services, poison)),
            on_dead=lambda letter: self._run(park_dead(self.services, letter)),
            probe=self._store_answers,
            on_boot=self._boot,
            on_shutdown=self._shut_down,
        )
        self.broker: HardenedBroker = build_broker(
            settings.redis_url.get_secret_value(),
            hooks,
            tuning=tuning,
        )
        declare_actors(self.broker, self)
        self._clerk = Clerk(settings, case_trust, self.broker, tuning) if case_trust else None
        if self._clerk is not None:
            declare_case_actors(self.broker, self, self._clerk)

    @property
    def services(self) -> Services:
        """Raises RuntimeError before the event loop has opened them."""
        if self._services is None:
            raise RuntimeError("the worker has not booted")
        return self._services

    def ready(self) -> bool:
        """Booted, the stores answer, and what cases do can be noted."""
        sound = self._clerk is None or self._clerk.sound
        return self._services is not None and not self.broker.store_pause.closed and sound

    async def wake_rounds(self) -> None:
        """Whoever said no just now shall not wait for the reconciler of whichever process keeps cases."""
        if self._clerk is not None:
            await self._clerk.wake_rounds()

    def refresh_metrics(self) -> None:
        """Queue depths from Redis, for a scrape; left as they were when Redis is away."""
        metrics.STORE_AWAY.set(self.broker.store_pause.closed)
        try:
            for queue in self.broker.get_declared_queues():
                for kind, key in (("work", queue), ("delayed", f"{queue}.DQ"), ("dead", f"{queue}.XQ")):
                    metrics.QUEUE_MESSAGES.labels(queue, kind).set(self.broker.client.hlen(self.broker.bodies_key(key)))
        except redis.RedisError:
            pass

    async def _boot(self) -> None:
        services = open_services(self._settings, self._trust)
        await create_indexes(services.databases)
        if self._clerk is not None:
            await self._clerk.open(services)
        self._services = services

    async def _shut_down(self) -> None:
        if self._clerk is not None:
            await self._clerk.close()
        if self._services is not None:
            await self._services.close()

    def _store_answers(self) -> bool:
        self._run(self.services.databases.ping())
        return True

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.broker.run(coroutine)


def declare_actors(broker: dramatiq.Broker, controller: Controller) -> None:
    """One actor per queue, of the same name."""

    async def submissions(batch: dict[str, Any]) -> None:
        await work(controller.services, SUBMISSIONS, batch, keep_submissions)

    async def newsletter(batch: dict[str, Any]) -> None:
        await work(controller.services, NEWSLETTER, batch, keep_newsletter)
        await controller.wake_rounds()

    async def consent(batch: dict[str, Any], only: list[int] | None = None) -> None:
        try_again = _again(broker, CONSENT, batch, SECOND_TRY_MS) if only is None else None
        await work(controller.services, CONSENT, batch, keep_consents(try_again), only)

    async def retention(batch: dict[str, Any], only: list[int] | None = None) -> None:
        await work(controller.services, RETENTION, batch, keep_ticks(_again(broker, RETENTION, batch)), only)

    actors = ((SUBMISSIONS, submissions), (NEWSLETTER, newsletter), (CONSENT, consent), (RETENTION, retention))
    for name, function in actors:
        dramatiq.actor(broker=broker, queue_name=name, actor_name=name)(function)


def _again(
    broker: dramatiq.Broker, queue: str, batch: dict[str, Any], delay_ms: int | None = None
) -> Callable[[list[int]], Awaitable[None]]:
    """Puts a batch back, for some of its positions only."""

    async def again(positions: list[int]) -> None:
        message: dramatiq.Message[Any] = dramatiq.Message(
            queue_name=queue, actor_name=queue, args=(), kwargs={"batch": batch, "only": positions}, options={}
        )
        await asyncio.to_thread(broker.enqueue, message, delay=delay_ms)

    return again


def declare_case_actors(broker: dramatiq.Broker, controller: Controller, clerk: Clerk) -> None:
    """The queue of cases: events from the door, and cases and mails that want looking at, by id."""

    async def rights(batch: dict[str, Any]) -> None:
        await work(controller.services, RIGHTS, batch, keep_rights(clerk.desk))

    async def advance(reference: str) -> None:
        await clerk.advance(reference)

    async def mail(mail: str) -> None:
        await clerk.mail(mail)

    for name, function in ((RIGHTS, rights), (ADVANCE, advance), (MAIL, mail)):
        dramatiq.actor(broker=broker, queue_name=RIGHTS, actor_name=name)(function)


def run_controller(queues: str | None = None) -> int:
    """Work until told to stop; the exit code. ``queues``: comma list that overrides the setting.

    Raises :class:`schemas.errors.ConfigurationError` naming what must be mended.
    """
    settings = read_controller_settings()
    if queues:
        settings = settings.model_copy(update={"queues": queues})
    configure_logs(settings.log_level)
    names = settings.queue_names()
    trust = Trust.read(settings)
    case_trust = CaseTrust.read(settings, trust.register) if RIGHTS in names else None
    controller = Controller(settings, trust, case_trust=case_trust)
    serve_health(
        settings.metrics_port,
        host=settings.metrics_host,
        ready=controller.ready,
        refresh=controller.refresh_metrics,
    )
    return run_worker(controller.broker, names, settings.threads)
