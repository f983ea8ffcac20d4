"""Who asks for rights more often than a person would, by network and day, counted in this process alone.

A crowded network loses nothing: its requests are taken and their dates run as everybody's do. They are marked, and
workers mail their links more slowly, so that whoever types ten thousand addresses cannot have ten thousand strangers
written to. Networks are remembered under a salt that lasts a day, and nowhere else.
Source: reliability § 8.7; P4; design § 9 "count in process under a daily salted hash".
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from datetime import date, datetime
from typing import Final

A_DAY: Final = 5
"""Requests of one network and day that are nothing unusual."""
_NETWORKS: Final = 100_000
_OTHERS: Final = b""
_THIS_MACHINE: Final = (None, "127.0.0.0/24", "::/48")
"""Whoever this is stands for everybody behind it: a proxy that the settings do not name, or a socket."""


class Crowds:
    """Counts requests. Networks beyond ``most`` in one day share one count: memory is bounded, caution is not."""

    def __init__(self, *, most: int = _NETWORKS) -> None:
        self._most = most
        self._day = date.min
        self._salt = b""
        self._asked: Counter[bytes] = Counter()

    def crowded(self, network: str | None, now: datetime) -> bool:
        """Count a request of ``network``; whether that network had more of them today than a person would make."""
        if network in _THIS_MACHINE:
            return False
        if now.date() != self._day:
            self._day, self._salt = now.date(), secrets.token_bytes(16)
            self._asked.clear()
        name = hashlib.blake2b(str(network).encode(), key=self._salt, digest_size=16).digest()
        if name not in self._asked and len(self._asked) >= self._most:
            name = _OTHERS
        self._asked[name] += 1
        return self._asked[name] > A_DAY
