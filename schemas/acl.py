"""Who may do what in Redis, generated from the register: the ACL file of the server.

===================== =====================================================================================
user                  may
===================== =====================================================================================
operator              everything: administration, and looking after what went wrong
controller            every namespace of ours, and load dramatiq's script
door                  put batches and files in, count what waits; read nothing that was put in
clock                 lead the other clocks, put ticks into ``retention``
desk                  see by their ids which messages wait that may bring a "no"; read none
counter               leave receipts in ``from.<code>`` of who is served over HTTP, hear that an order waits; read none
subsidiary-<code>     consume ``to.<code>`` and leave receipts in ``from.<code>``; no key of anybody else
default               ``PING``, for a health check without a password
===================== =====================================================================================

A subsidiary has ``EVALSHA`` without ``EVAL`` and ``SCRIPT``: it runs dramatiq's script once a controller, which loads
it by itself after a restart of the server, has had it loaded. Each command inside the script is checked again, so what
is not listed here cannot be done by it either. Nobody but the operator may ``FLUSHALL`` or ``CONFIG SET``.
Source: R25, R28; design § 3; reliability § 8.4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from schemas.orders import order_namespace, receipt_namespace
from schemas.register import Register
from schemas.routes import CLOCK_LEASE, CLOCK_PUBLISHED, NAMESPACE, NOT_YET_CHOSEN, NOT_YET_NO, RETENTION
from schemas.terms import SubsidiaryKind

OPERATOR: Final = "operator"
CONTROLLER: Final = "controller"
DOOR: Final = "door"
CLOCK: Final = "clock"
DESK: Final = "desk"
COUNTER: Final = "counter"

_HANDSHAKE: Final = "+ping +hello +auth +client|setinfo"
_ENQUEUE: Final = "+evalsha +zadd +hset +rpush +publish"
_CONSUME: Final = (
    "+evalsha +zadd +hset +hget +hdel +hmget +hexists +hlen +rpush +lpop +sadd +srem +smembers +smismember"
    " +publish +subscribe +unsubscribe"
)
_KEEP_HOUSE: Final = (
    "+scan +keys +del +lrange +lrem +scard +zrange +zrangebyscore +zrem +multi +exec"
    " +script|load +config|get +info +time"
)


@dataclass(frozen=True, slots=True)
class RedisUser:
    """One user. ``rules``: what it may do, as the ACL file writes it."""

    name: str
    rules: str

    def line(self, password: str | None) -> str:
        """Its line of the file; without a password the user is off."""
        if password is None:
            return f"user {self.name} off {self.rules}"
        return f"user {self.name} on #{hashlib.sha256(password.encode()).hexdigest()} {self.rules}"


def subsidiary_user(code: str) -> str:
    """The name of a subsidiary's user."""
    return f"subsidiary-{code}"


def redis_users(register: Register) -> tuple[RedisUser, ...]:
    """Every user of an installation; a subsidiary that is served over HTTP has none."""
    workers = register.served(SubsidiaryKind.WORKER)
    return (
        RedisUser(OPERATOR, EVERYTHING),
        RedisUser(CONTROLLER, _controller()),
        RedisUser(DOOR, _door()),
        RedisUser(CLOCK, _clock()),
        RedisUser(DESK, _desk()),
        RedisUser(COUNTER, _counter(register.served(SubsidiaryKind.HTTP))),
        *(RedisUser(subsidiary_user(code), _subsidiary(code)) for code in workers),
    )


ONLY_PING: Final = "resetkeys resetchannels -@all +ping"
EVERYTHING: Final = "~* &* +@all"


def acl_file(users: Iterable[RedisUser], passwords: Mapping[str, str], default_may: str = ONLY_PING) -> str:
    """The whole file. ``passwords``: by user; only their SHA-256 stand in it. Who has none is off.

    ``default_may``: what the user without a password may do.
    """
    default = f"user default on nopass {default_may}"
    return "\n".join([default, *(user.line(passwords.get(user.name)) for user in users)]) + "\n"


def _controller() -> str:
    keys = f"~{NAMESPACE} ~{NAMESPACE}:* ~to.* ~from.* ~greffier:*"
    channels = f"&{NAMESPACE}:wake &to.*:wake &from.*:wake"
    return f"resetkeys resetchannels -@all {keys} {channels} {_HANDSHAKE} {_CONSUME} {_KEEP_HOUSE} +get"


def _door() -> str:
    # It may load dramatiq's scripts: it must be able to take in again at once after a restart of the server.
    queues = f"(~{NAMESPACE} %W~{NAMESPACE}:* &{NAMESPACE}:wake {_ENQUEUE} +hlen +llen)"
    files = "(%W~greffier:file:* +set +persist)"
    claims = "(~greffier:claim:* +set +get)"
    own = f"resetkeys resetchannels -@all {_HANDSHAKE} +info +config|get +script|load"
    return f"{own} {queues} {files} {claims}"


def _clock() -> str:
    own = f"resetkeys resetchannels -@all {_HANDSHAKE} +info +config|get +script|load"
    place = f"%W~{NAMESPACE}:{RETENTION} %W~{NAMESPACE}:{RETENTION}.* %W~{NAMESPACE}:__*"
    queue = f"(~{NAMESPACE} {place} &{NAMESPACE}:wake {_ENQUEUE} +hlen +llen)"
    lead = f"(~{CLOCK_LEASE} ~{CLOCK_PUBLISHED} +evalsha +get +set +del +hset +hgetall)"
    return f"{own} {queue} {lead}"


def _desk() -> str:
    hashes = " ".join(f"%R~{name}" for queue in (*NOT_YET_NO, *NOT_YET_CHOSEN) for name in queue)
    return f"resetkeys resetchannels -@all {hashes} {_HANDSHAKE} +hkeys +multi +exec"


def _counter(codes: Iterable[str]) -> str:
    own = f"resetkeys resetchannels -@all {_HANDSHAKE} +subscribe +unsubscribe +publish"
    return " ".join([own, *(f"&{order_namespace(code)}:wake {_receipts(code, '+hlen')}" for code in codes)])


def _subsidiary(code: str) -> str:
    to = order_namespace(code)
    orders = f"(~{to} ~{to}:* &{to}:wake {_CONSUME})"
    return f"resetkeys resetchannels -@all {_HANDSHAKE} {orders} {_receipts(code)}"


def _receipts(code: str, *more: str) -> str:
    back = receipt_namespace(code)
    return f"({' '.join([f'~{back} %W~{back}:* &{back}:wake', _ENQUEUE, *more])})"
