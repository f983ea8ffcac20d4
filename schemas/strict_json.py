"""The one way in for JSON from outside: strict UTF-8, no duplicate keys, no NaN, bounded depth and size.

Python's own parser is lenient where two readers of one message could disagree (duplicate keys, ``NaN``, UTF-16
bodies), and fails in surprising ways on hostile input (``RecursionError``). This reader refuses all of that alike.
Source: ASVS 5.0 1.5.2, 1.5.3; RFC 8259; RFC 7493 (I-JSON).
"""

from __future__ import annotations

import json
from typing import Any

from schemas.errors import InvalidMessage

MAX_DEPTH = 32
MAX_NODES = 10_000
MAX_KEY_CHARS = 256
_MAX_INTEGER = 2**53 - 1


def parse(raw: bytes, *, max_nodes: int = MAX_NODES) -> Any:
    """Read one JSON document from ``raw`` bytes.

    Raises :class:`~schemas.errors.InvalidMessage` with one of the codes ``not_utf8``, ``not_json``, ``duplicate_key``,
    ``number_out_of_range``, ``too_deep``, ``too_many_values``, ``unpaired_surrogate``.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidMessage("not_utf8") from None
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise InvalidMessage("too_deep") from None
    except ValueError:  # JSONDecodeError, and the plain ValueError of an integer with thousands of digits
        raise InvalidMessage("not_json") from None
    _check(value, max_nodes)
    return value


def parse_next(text: str, start: int, *, max_nodes: int = MAX_NODES) -> tuple[Any, int]:
    """The value that begins at ``start``, and where it ends. Raises as :func:`parse`; ``not_json`` if it is cut short.

    For objects, lists and texts: where a number ends cannot be told from a piece.
    """
    try:
        value, end = _DECODER.raw_decode(text, start)
    except RecursionError:
        raise InvalidMessage("too_deep") from None
    except ValueError:
        raise InvalidMessage("not_json") from None
    _check(value, max_nodes)
    return value, end


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidMessage("duplicate_key")
    return members


def _refuse_constant(_: str) -> Any:
    raise InvalidMessage("number_out_of_range")


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise InvalidMessage("number_out_of_range")
    return value


def _integer(text: str) -> int:
    if len(text) > 17 or not -_MAX_INTEGER <= (value := int(text)) <= _MAX_INTEGER:
        raise InvalidMessage("number_out_of_range")
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_float, parse_int=_integer
)


def _check(root: Any, max_nodes: int) -> None:
    """Walk without recursion: depth, number of values, and strings that cannot be encoded again."""
    level, nodes = [root], 0
    for _ in range(MAX_DEPTH + 1):
        nodes += len(level)
        if nodes > max_nodes:
            raise InvalidMessage("too_many_values")
        below: list[Any] = []
        for value in level:
            if isinstance(value, str):
                _check_text(value)
            elif isinstance(value, dict):
                for key in value:
                    if len(key) > MAX_KEY_CHARS:
                        raise InvalidMessage("key_too_long")
                    _check_text(key)
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        if not below:
            return
        level = below
    raise InvalidMessage("too_deep")


def _check_text(text: str) -> None:
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise InvalidMessage("unpaired_surrogate")
