"""What the broker hands on: a message it holds, a message it refuses, a message it gives up.

The parker (`Hooks.on_poison`, `Hooks.on_dead`) receives the last two and keeps them sealed in MongoDB. Their raw bytes
never appear in a ``repr``, hence in no log.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, cast

from dramatiq import Message
from dramatiq.broker import MessageProxy


class HeldMessage(MessageProxy):
    """A message of this process, fetched and not yet acknowledged.

    ``put_back``: its acknowledgement returns it to its queue instead of dropping it.
    """

    def __init__(self, message: Message[Any], redis_id: str) -> None:
        super().__init__(message)
        self.redis_id = redis_id
        self.put_back = False
        self.reason = "unknown"

    def stuff_exception(self, exception: BaseException) -> None:
        """Keep the kind of the last error: its code if it has one, else its class name. Never its text."""
        super().stuff_exception(exception)
        code = getattr(exception, "code", None)
        self.reason = code if isinstance(code, str) else type(exception).__name__


def ours(message: MessageProxy) -> HeldMessage:
    """Say to the type checker what is always so: our consumer yields nothing else."""
    return cast(HeldMessage, message)


@dataclass(frozen=True, slots=True)
class Poison:
    """A queue entry that no actor may see.

    ``code``: a short reason, the same vocabulary for all (see `workers.broker.checks`); ``pointer``: a JSON Pointer to
    the place; ``digest``: SHA-256 of ``raw`` in hexadecimal, by which it can be named without being quoted.
    """

    queue: str
    redis_id: str
    code: str
    pointer: str
    digest: str
    raw: bytes = field(repr=False)

    @classmethod
    def of(cls, queue: str, redis_id: bytes, raw: bytes, *, code: str, pointer: str = "") -> Poison:
        """Describe `raw`, found in `queue` under `redis_id`."""
        name = redis_id.decode("ascii", "backslashreplace")
        return cls(queue, name, code, pointer, hashlib.sha256(raw).hexdigest(), raw)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was tried in vain and now lies in Redis' dead letters.

    It may be handed over more than once (by the hook and by a sweep, from several processes): keep it by
    ``redis_id``. ``reason``: the class name or code of its last error, ``unknown`` when a sweep found it.
    """

    queue: str
    redis_id: str
    reason: str
    raw: bytes = field(repr=False)
