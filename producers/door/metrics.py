"""What the door counts: events by type and outcome, batches, enqueues, depths. Never a word of a person.

Source: R29.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from producers.door.problems import Handler, answer_for
from producers.gather import Gatherer
from schemas.errors import QueueUnavailable

_BATCH_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_SECONDS_BUCKETS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 3)


class DoorMetrics:
    """The door's own registry of metrics; told of each enqueue by the gatherer."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        kept: Any = {"registry": self.registry}
        self._events = Counter("greffier_door_events", "events by type and outcome", ("type", "outcome"), **kept)
        self._answers = Counter("greffier_door_answers", "answers by status", ("status",), **kept)
        self._batch = Histogram(
            "greffier_door_batch_events", "events per message", ("queue",), buckets=_BATCH_BUCKETS, **kept
        )
        self._enqueue = Histogram(
            "greffier_door_enqueue_seconds",
            "from leaving the waiting room to Redis's confirmation",
            ("queue",),
            buckets=_SECONDS_BUCKETS,
            **kept,
        )
        self._failed = Counter("greffier_door_failed_batches", "batches not confirmed", ("queue", "code"), **kept)
        self._depth = Gauge("greffier_queue_messages", "messages waiting and in work", ("queue",), **kept)

    def event(self, event_type: str, outcome: str) -> None:
        """One event was ``accepted``, ``repeated`` or ``refused``."""
        self._events.labels(event_type, outcome).inc()

    @property
    def middleware(self) -> object:
        """Turns failures into problems, and counts every answer by its status."""
        by_status = {status.value: self._answers.labels(str(status.value)) for status in HTTPStatus}

        @web.middleware
        async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
            answer = await answer_for(request, handler)
            by_status[answer.status].inc()
            return answer

        return count

    def enqueued(self, queue: str, events: int, seconds: float) -> None:
        self._batch.labels(queue).observe(events)
        self._enqueue.labels(queue).observe(seconds)

    def failed(self, queue: str, code: str) -> None:
        self._failed.labels(queue, code).inc()

    def application(self, gatherer: Gatherer) -> web.Application:
        """``/metrics``, for another port than the public one."""

        async def show(_: web.Request) -> web.Response:
            try:
                for queue, depth in (await gatherer.depths()).items():
                    self._depth.labels(queue).set(depth)
            except QueueUnavailable:
                self._depth.clear()
            return web.Response(body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

        application = web.Application()
        application.router.add_get("/metrics", show)
        return application
