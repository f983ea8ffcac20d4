"""Every Redis error becomes the one kind that dramatiq is patient with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from dramatiq.errors import ConnectionClosed


@contextmanager
def redis_errors_as_closed() -> Iterator[None]:
    """Raise `ConnectionClosed` for any Redis error, with its kind and without its text.

    Dramatiq repeats an acknowledgement only after a "connection error"; a timeout, OOM, MISCONF or READONLY deserves
    the same patience. The text may quote what was sent, or where to.
    """
    try:
        yield
    except redis.RedisError as error:
        raise ConnectionClosed(type(error).__name__) from None  # type: ignore[no-untyped-call]
