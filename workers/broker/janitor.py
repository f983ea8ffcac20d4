"""Gives back what dead workers took, in every queue, and sweeps dead letters; one thread per process.

Dramatiq's script returns a dead worker's messages only by chance, only for the queue of the command that happens to
trigger it, and asks ``KEYS`` once per dead worker each time. The janitor looks for dead workers (one cheap command),
and only when there are any runs that same part of the script for each queue they left something in: delay queues and
queues that no longer exist included.

Source: `reliability.md` § 6.1, E1b, E18.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, cast

import redis
from dramatiq import Worker
from dramatiq.broker import Broker
from dramatiq.common import current_millis
from dramatiq.errors import BrokerConnectionError
from dramatiq.middleware import Middleware

if TYPE_CHECKING:
    from workers.broker.hardened import HardenedBroker

log = logging.getLogger(__name__)


class Janitor:
    """Stateless; any number of processes may run it at once: the script moves each ack set as one."""

    def work(self, broker: HardenedBroker) -> int:
        """Return what dead workers took; how many ack sets were emptied. Raises Redis' or dramatiq's errors."""
        longest_silence = current_millis() - broker.heartbeat_timeout
        dead = cast("list[bytes]", broker.client.zrangebyscore(broker.heartbeats_key, 0, longest_silence))
        if not dead:
            return 0
        emptied = 0
        queues = set()
        for worker in (name.decode() for name in dead):
            prefix = broker.ack_key(worker, "")
            for key in broker.client.scan_iter(match=f"{prefix}*", count=1000):
                queues.add(key.decode().removeprefix(prefix))
                emptied += 1
        # Even when nothing was left: the script then forgets the dead workers, and the next look is cheap again.
        for queue in sorted(queues) or sorted(broker.get_declared_queues())[:1]:
            broker.do_maintain(queue)
            broker.wake.announce(queue)
        log.warning("%d dead worker(s): messages in %d queue(s) given back", len(dead), len(queues))
        return emptied


class Housekeeping(Middleware):
    """Runs the janitor and the sweep of dead letters while the worker runs. ``janitor_s=0``: another process does."""

    def __init__(self, janitor_s: float, sweep_s: float) -> None:
        self._janitor_s = janitor_s
        self._sweep_s = sweep_s
        self._ended = threading.Event()

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        if not self._janitor_s:
            return
        hardened: HardenedBroker = broker  # type: ignore[assignment]
        thread = threading.Thread(target=self._run, args=(hardened,), name="housekeeping", daemon=True)
        thread.start()
        hardened.watched.append(thread)

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self._ended.set()

    def _run(self, broker: HardenedBroker) -> None:
        sweep_at = time.monotonic() + self._sweep_s
        while not self._ended.wait(self._janitor_s):
            try:
                broker.give_back_the_dead()
                if time.monotonic() >= sweep_at and not broker.store_pause.closed:
                    sweep_at = time.monotonic() + self._sweep_s
                    broker.sweep_dead_letters()
            except (redis.RedisError, BrokerConnectionError) as error:
                log.info("housekeeping put off: %s", type(error).__name__)
