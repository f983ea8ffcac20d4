"""An unavailable store is no failure of the event: stop fetching, keep the heartbeat, probe, resume.

An actor that raises `schemas.errors.StoreUnavailable` closes the pause. Consumers of this process then fetch nothing;
a probe is tried with growing delays until it succeeds; reopening wakes the consumers. The delay grows over several
closings too, and only a message that succeeds resets it: a probe that says yes while every actor fails cannot make
the process spin.

Source: P1, design § 3.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class StorePause:
    """Closed while the store is away. Safe to use from any thread.

    ``probe`` runs in a thread of its own; False or an exception means not yet.
    """

    def __init__(
        self,
        probe: Callable[[], bool],
        reopened: Callable[[], None],
        *,
        first_delay_s: float = 0.1,
        longest_delay_s: float = 5.0,
    ) -> None:
        self._probe = probe
        self._reopened = reopened
        self._first_delay_s = first_delay_s
        self._longest_delay_s = longest_delay_s
        self._lock = threading.Lock()
        self._closed = False
        self._strikes = 0
        self._ended = threading.Event()

    @property
    def closed(self) -> bool:
        """Whether fetching is paused."""
        return self._closed

    def close(self) -> None:
        """Pause fetching until the probe succeeds. Does nothing while closed."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        log.warning("store away: fetching pauses")
        threading.Thread(target=self._probe_until_it_answers, name="store-probe", daemon=True).start()

    def note_success(self) -> None:
        """A message was processed: the store is well, so the next pause starts with the shortest delay again."""
        self._strikes = 0

    def end(self) -> None:
        """The process stops: probe no more."""
        self._ended.set()

    def _probe_until_it_answers(self) -> None:
        while not self._ended.wait(self._next_delay_s()):
            if self._answers():
                with self._lock:
                    self._closed = False
                log.warning("store back: fetching resumes")
                self._reopened()
                return

    def _next_delay_s(self) -> float:
        delay = min(self._longest_delay_s, self._first_delay_s * 2.0 ** min(self._strikes, 16))
        self._strikes += 1
        return delay * random.uniform(0.5, 1.0)  # workers that paused together do not come back together

    def _answers(self) -> bool:
        try:
            return bool(self._probe())
        except Exception as error:
            log.info("store probe failed: %s", type(error).__name__)
            return False
