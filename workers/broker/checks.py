"""Every message is read and checked by itself, before any actor or middleware sees it.

Whoever can write to Redis can write a message, so nothing in one is trusted because of where it lay. Refused are:
what is no JSON object of exactly dramatiq's seven fields, what names another queue or an actor that is not of this
queue, options that would steer the broker (`throws`, `pipe_target`, `time_limit`, …), numbers without bounds, and
arguments the actor does not take. The contents of the arguments are the actor's business.

Source: P3, P7.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NoReturn

from dramatiq import Actor, Message
from dramatiq.common import q_name

from schemas.errors import InvalidMessage

MAX_BYTES = 2 << 20  # a batch is at most 256 KiB before sealing, and 500 lines of attributes
MAX_RETRIES = 1_000
MAX_DELAY_MS = 3_600_000  # nothing waits longer than minutes in the broker: dates live in MongoDB
MAX_MS = 1 << 53

FIELDS = frozenset({"queue_name", "actor_name", "args", "kwargs", "options", "message_id", "message_timestamp"})
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def read_message(raw: bytes, *, queue: str, actors: Mapping[str, Actor[Any, Any]], now_ms: int) -> Message[Any]:
    """The message in `raw`, fetched from `queue` (a delay queue bears its ``.DQ``).

    Raises `InvalidMessage` with a code and a JSON Pointer, never a value.
    """
    fields = _decode(raw)
    if fields.keys() != FIELDS:
        raise InvalidMessage("fields")
    if fields["queue_name"] != queue:
        raise InvalidMessage("queue_name", "/queue_name")
    if not _matches(_ID, fields["message_id"]):
        raise InvalidMessage("message_id", "/message_id")
    if not _is_count(fields["message_timestamp"], MAX_MS):
        raise InvalidMessage("message_timestamp", "/message_timestamp")
    _check_options(fields["options"], delayed=queue.endswith(".DQ"), now_ms=now_ms)
    _check_arguments(fields, q_name(queue), actors)
    fields["options"].pop("traceback", None)
    return Message(**fields)


def _decode(raw: bytes) -> dict[str, Any]:
    if len(raw) > MAX_BYTES:
        raise InvalidMessage("too_large")
    try:
        fields = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # bad UTF-8, bad JSON, endless digits; endless nesting
        raise InvalidMessage("not_json") from None
    if not isinstance(fields, dict):
        raise InvalidMessage("not_an_object")
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _check_options(options: object, *, delayed: bool, now_ms: int) -> None:
    if not isinstance(options, dict):
        raise InvalidMessage("options", "/options")
    if not options.keys() <= _OPTIONS.keys():
        raise InvalidMessage("foreign_option", "/options")
    if "redis_message_id" not in options:
        raise InvalidMessage("redis_message_id", "/options/redis_message_id")
    for name, value in options.items():
        if not _OPTIONS[name](value):
            raise InvalidMessage(name, f"/options/{name}")
    # A delay queue holds what waits for a moment, the others what does not.
    if delayed != ("eta" in options) or options.get("eta", 0) > now_ms + MAX_DELAY_MS:
        raise InvalidMessage("eta", "/options/eta")


def _check_arguments(fields: dict[str, Any], queue: str, actors: Mapping[str, Actor[Any, Any]]) -> None:
    name, args, kwargs = fields["actor_name"], fields["args"], fields["kwargs"]
    actor = actors.get(name) if isinstance(name, str) else None
    if actor is None or actor.queue_name != queue:
        raise InvalidMessage("actor_name", "/actor_name")
    if not isinstance(args, list):
        raise InvalidMessage("args", "/args")
    if not isinstance(kwargs, dict):
        raise InvalidMessage("kwargs", "/kwargs")
    try:
        _signature(actor.fn).bind(*args, **kwargs)
    except TypeError:
        raise InvalidMessage("arguments", "/kwargs") from None


@lru_cache(maxsize=256)
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_count(value: object, limit: int) -> bool:
    return type(value) is int and 0 <= value <= limit  # a bool is an int to isinstance


_OPTIONS: dict[str, Callable[[object], bool]] = {
    "redis_message_id": lambda value: _matches(_ID, value),
    "eta": lambda value: _is_count(value, MAX_MS),
    "retries": lambda value: _is_count(value, MAX_RETRIES),
    "requeue_timestamp": lambda value: _is_count(value, MAX_MS),
    "traceparent": lambda value: _matches(_TRACEPARENT, value),
    "traceback": lambda value: isinstance(value, str),  # dramatiq's own, dropped on reading
}
