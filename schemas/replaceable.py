"""Key files that are replaced while a process runs.

Apart from :mod:`schemas.keyfiles`, which whoever checks an evidence bundle loads: that needs no log and no network.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from schemas.errors import ConfigurationError

T = TypeVar("T")

log = structlog.get_logger("greffier.keys")


class Replaceable(Generic[T]):
    """What a file says, read again whenever the file was replaced: keys are rotated while a process runs."""

    def __init__(self, path: Path, read: Callable[[], T]) -> None:
        """``read``: raises :class:`ConfigurationError`, and so does this."""
        self._path = path
        self._read = read
        self._version = self._look()
        self._found = read()

    @property
    def now(self) -> T:
        """As it stands now; as it stood while the file cannot be read."""
        version = self._look()
        if version != self._version:
            try:
                self._found, self._version = self._read(), version
            except ConfigurationError as error:
                log.error("keys unreadable", faults=[str(fault) for fault in error.faults])
        return self._found

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino
