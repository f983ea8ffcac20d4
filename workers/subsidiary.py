"""The one entrance of a subsidiary's worker: settings → keys → mapping → journal → broker → actor, in reading order.

It consumes ``to.<code>``, publishes to ``from.<code>`` and knows no other key of Redis: a user that may do no more is
enough (``docs/subsidiary.md``). What a person must mend fails here, by name, before the first order is taken.
Source: R25, R28; reliability § 8.4.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import dramatiq
import redis

from schemas.errors import ConfigurationError, StoreUnavailable
from schemas.logs import configure_logs
from schemas.orders import ORDER_QUEUE, order_namespace
from workers import subsidiary_metrics as metrics
from workers.actors.subsidiary import ORDER_S, serve_order
from workers.broker import DeadLetter, HardenedBroker, Hooks, Poison, Tuning, build_broker
from workers.consume import run_worker
from workers.health import serve_health
from workers.office import Office, ReceiptQueue, RefusedLog, Trust
from workers.stores.subsidiaries import open_store
from workers.stores.subsidiaries.adapter import StoreAdapter
from workers.stores.subsidiaries.journal import Journal
from workers.stores.subsidiaries.mapping import Mapping, load_mapping, read_url
from workers.subsidiary_settings import SubsidiarySettings, read_subsidiary_settings

log = logging.getLogger("greffier.subsidiary")

OpenStore = Callable[[], StoreAdapter]
"""Makes the adapter, inside the event loop that will use it."""

_OVERDUE_MS: Final = 15_000


def tuning_for(settings: SubsidiarySettings) -> Tuning:
    """No janitor and no sweep: they need keys of Redis that a subsidiary may not touch; the controller runs them."""
    return Tuning(
        heartbeat_ms=settings.heartbeat_ms,
        janitor_s=0,
        time_limit_ms=int(ORDER_S * 1000) + 60_000,
        overdue_ms=_OVERDUE_MS,
    )


class Subsidiary:
    """One worker process: its broker, its one actor, its office."""

    def __init__(
        self, code: str, settings: SubsidiarySettings, trust: Trust, open_adapter: OpenStore, tuning: Tuning
    ) -> None:
        """Opens the journal. Raises :class:`ConfigurationError`."""
        path = settings.journal_of(code)
        self._code = code
        self._settings = settings
        self._trust = trust
        self._open_adapter = open_adapter
        self._journal = Journal(path, trust.journal_key)
        self._refused = RefusedLog(path.with_name(path.name + ".refused"))
        self._outbox = ReceiptQueue(settings.redis_url.get_secret_value(), code, tuning)
        self._office: Office | None = None
        hooks = Hooks(
            on_poison=self._note_poison,
            on_dead=self._note_dead,
            probe=self._store_answers,
            on_boot=self._boot,
            on_shutdown=self._shut_down,
        )
        self.broker: HardenedBroker = build_broker(
            settings.redis_url.get_secret_value(), hooks, namespace=order_namespace(code), tuning=tuning
        )
        dramatiq.actor(broker=self.broker, queue_name=ORDER_QUEUE, actor_name=ORDER_QUEUE)(self._orders)

    @property
    def office(self) -> Office:
        """Raises RuntimeError before the event loop has opened it."""
        if self._office is None:
            raise RuntimeError("the worker has not booted")
        return self._office

    def ready(self) -> bool:
        """Booted, and the store answers."""
        return self._office is not None and not self.broker.store_pause.closed

    def refresh_metrics(self) -> None:
        """Gauges, for a scrape; left as they were when Redis is away or does not say."""
        metrics.STORE_AWAY.set(self.broker.store_pause.closed)
        with contextlib.suppress(redis.RedisError):
            metrics.WAITING.set(self.broker.client.hlen(self.broker.bodies_key(ORDER_QUEUE)))

    def close(self) -> None:
        """Let go of journal and Redis."""
        self._outbox.close()
        self._journal.close()

    async def _orders(self, token: str) -> None:
        await serve_order(self.office, token)

    async def _boot(self) -> None:
        self._office = Office(
            code=self._code,
            trust=self._trust,
            store=self._open_adapter(),
            journal=self._journal,
            outbox=self._outbox,
            refused=self._refused,
            clock=lambda: datetime.now(UTC),
            entry_timeout_s=self._settings.entry_timeout_s,
        )

    async def _shut_down(self) -> None:
        if self._office is not None:
            await self._office.store.close()

    def _store_answers(self) -> bool:
        self._run(self.office.store.ping())
        return True

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.broker.run(coroutine)

    def _note_poison(self, poison: Poison) -> None:
        self._refused.note(datetime.now(UTC), poison.code, poison.digest)

    def _note_dead(self, letter: DeadLetter) -> None:
        # It stays in Redis as well, where the controller's sweep finds it.
        digest = Poison.of(letter.queue, b"", letter.raw, code=letter.reason).digest
        self._refused.note(datetime.now(UTC), "given_up", digest)


@contextlib.asynccontextmanager
async def opened(mapping: Mapping) -> AsyncIterator[StoreAdapter]:
    """The adapter of a mapping, closed at the end. Raises :class:`ConfigurationError` for a bad URL or driver."""
    store = open_store(mapping, read_url(mapping.store))
    try:
        yield store
    finally:
        await store.close()


async def _check_store(mapping: Mapping, path: Path) -> None:
    async with opened(mapping) as store:
        try:
            faults = await store.check()
        except StoreUnavailable as error:
            log.warning("the store is away at the start: %s", error)
            return
    if faults:
        raise ConfigurationError(f"mapping {path}", *faults)


def run_subsidiary(code: str, mapping_path: Path) -> int:
    """Work until told to stop; the exit code.

    Raises :class:`schemas.errors.ConfigurationError` naming what must be mended: settings, keys, mapping, a mapping
    that does not fit the live store, a journal that another process holds. A store that is away is waited for.
    """
    settings = read_subsidiary_settings()
    configure_logs(settings.log_level)
    mapping = load_mapping(mapping_path)
    url = read_url(mapping.store)
    asyncio.run(_check_store(mapping, mapping_path))
    return serve_with(code, settings, lambda: open_store(mapping, url))


def serve_with(code: str, settings: SubsidiarySettings, open_adapter: OpenStore, tuning: Tuning | None = None) -> int:
    """Work with any adapter until told to stop; the exit code: what an office's own adapter is started with."""
    trust = Trust(settings.keys_of(code), code)
    subsidiary = Subsidiary(code, settings, trust, open_adapter, tuning or tuning_for(settings))
    try:
        serve_health(
            settings.metrics_port,
            host=settings.metrics_host,
            ready=subsidiary.ready,
            refresh=subsidiary.refresh_metrics,
        )
        return run_worker(subsidiary.broker, [ORDER_QUEUE], settings.threads)
    finally:
        subsidiary.close()
