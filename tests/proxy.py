"""A TCP proxy that loses replies: the server did what it was asked, the client never hears of it."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class Proxy:
    """Between clients and ``127.0.0.1:port``.

    Once `lose` was called, every nth reply to a request that contains the given bytes, and that carries anything, is
    swallowed and its connection cut. Requests and replies are taken as they come in one piece, which holds on
    loopback for what these tests send.
    """

    def __init__(self, port: int) -> None:
        self._upstream = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._request = b""
        self._every = 0
        self._seen = 0
        self.lost = 0
        self._open: set[socket.socket] = set()

    def lose(self, *, request: bytes, every: int) -> None:
        """From now on lose every nth reply to requests that contain `request`."""
        with self._lock:
            self._request, self._every, self._seen = request, every, 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _cut(self._listener)
        for connection in list(self._open):
            _cut(connection)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed: over
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(self._upstream) as server:
            self._open |= {client, server}
            asked = threading.Event()
            back = threading.Thread(target=self._replies, args=(server, client, asked), daemon=True)
            back.start()
            while chunk := client.recv(1 << 20):
                if self._every and self._request in chunk:
                    asked.set()
                server.sendall(chunk)
            _cut(server)
            back.join()
            self._open -= {client, server}

    def _replies(self, server: socket.socket, client: socket.socket, asked: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while chunk := server.recv(1 << 20):
                if asked.is_set():
                    asked.clear()
                    if self._loses(chunk):
                        break
                client.sendall(chunk)
        _cut(client)

    def _loses(self, reply: bytes) -> bool:
        if reply.startswith((b"*0", b"-", b"$-1")):
            return False
        with self._lock:
            self._seen += 1
            loses = self._seen % self._every == 0
            self.lost += loses
            return loses


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
