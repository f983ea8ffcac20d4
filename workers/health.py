"""``/livez``, ``/readyz`` and ``/metrics`` of a worker process, on a port of their own.

Ready means: started, and the stores answer. A worker that waits for MongoDB is alive and not ready.
Source: R29.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


def serve_health(
    port: int, *, host: str, ready: Callable[[], bool], refresh: Callable[[], None]
) -> ThreadingHTTPServer:
    """Answer in a daemon thread. ``refresh``: brings gauges up to date before each scrape. Port 0 takes a free one."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/livez":
                self._answer(200, b"alive\n", "text/plain")
            elif self.path == "/readyz":
                self._answer(*((200, b"ready\n") if ready() else (503, b"not ready\n")), "text/plain")
            elif self.path == "/metrics":
                refresh()
                self._answer(200, generate_latest(), CONTENT_TYPE_LATEST)
            else:
                self._answer(404, b"", "text/plain")

        def _answer(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Probes are no news."""

    server = ThreadingHTTPServer((host, port), Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
