"""What ops see of a controller worker, as numbers without personal data. Source: R29."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

EVENTS: Final = Counter("greffier_events_total", "Events by queue and what became of them", ["queue", "outcome"])
BATCH_SECONDS: Final = Histogram(
    "greffier_batch_seconds",
    "Seconds from opening a batch to its events being durable and looked at",
    ["queue"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
LINKS_BEHIND: Final = Gauge(
    "greffier_links_behind_seconds", "How long a link that confirms a rights request waits to be mailed", ["lane"]
)
STORE_AWAY: Final = Gauge("greffier_store_away", "1 while a store does not answer and fetching is paused")
QUEUE_MESSAGES: Final = Gauge(
    "greffier_queue_messages", "Messages waiting or in work, by queue and kind", ["queue", "kind"]
)
