"""Retries that lose nothing: what cannot be scheduled again goes back to its queue.

Stock dramatiq swallows the error of a retry that could not be enqueued and then acknowledges the message: gone without
a trace. Here every failure ends in one of four ways:

| failure | end |
| --- | --- |
| something is away (`schemas.errors.Temporary`) | put back, no retry counted; no fetching until the probe succeeds |
| cancelled because the worker stops | put back, no retry counted |
| anything else | a retry 1 s to 5 min later; put back when the retry cannot be enqueued |
| after 12 retries, 22 minutes or so | a dead letter |

Source: P1; `reliability.md` § 6.3.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING, Any

from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware, Retries, SkipMessage

from schemas.errors import Temporary
from workers.broker.letters import ours
from workers.broker.store_pause import StorePause

if TYPE_CHECKING:
    from workers.broker.hardened import HardenedBroker

_CANCELLED = (asyncio.CancelledError, concurrent.futures.CancelledError)


class PatientRetries(Retries):
    """Dramatiq's retries, minus their way to lose a message."""

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        hardened: HardenedBroker = broker  # type: ignore[assignment]
        if exception is None:
            hardened.store_pause.note_success()
        elif isinstance(exception, Temporary):
            hardened.store_pause.close()
            put_back(message)
        elif hardened.stopping and isinstance(exception, _CANCELLED):
            put_back(message)
        else:
            self._retry(broker, message, exception)

    def _retry(self, broker: Broker, message: MessageProxy, exception: BaseException) -> None:
        try:
            super().after_process_message(broker, message, exception=exception)  # type: ignore[no-untyped-call]
        except Exception as error:
            # Whatever it was, letting it pass would count the message as done.
            self.logger.warning("A retry could not be scheduled (%s): put back.", type(error).__name__)
            put_back(message)


class StoreGate(Middleware):
    """While the store is away, what was fetched before goes back untouched instead of failing one by one."""

    def __init__(self, pause: StorePause) -> None:
        self._pause = pause

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        if self._pause.closed:
            put_back(message)
            raise SkipMessage("store away")


def put_back(message: MessageProxy) -> None:
    """Let the acknowledgement of `message` return it to its queue."""
    ours(message).put_back = True
