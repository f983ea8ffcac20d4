"""What an office sees of its worker, as numbers without personal data. Source: R29."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

ENTRIES: Final = Counter(
    "greffier_subsidiary_entries_total", "What was asked for a person, and the answer", ["right", "ask", "outcome"]
)
REFUSED: Final = Counter("greffier_subsidiary_refused_total", "Messages and entries refused unanswered", ["reason"])
ORDER_SECONDS: Final = Histogram(
    "greffier_subsidiary_order_seconds",
    "Seconds from opening an order to its receipt being sent",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120, 600),
)
STORE_AWAY: Final = Gauge("greffier_subsidiary_store_away", "1 while the store does not answer and fetching is paused")
WAITING: Final = Gauge("greffier_subsidiary_orders", "Orders waiting or in work")
