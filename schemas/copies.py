"""An access copy on its way: canonical bytes, whole beside its receipt, or in parts when it is too large for a message.

A copy is ``{"collections": [{"fields", "name", "records"}], "store"}``; the receipt's ``copy_sha256`` is over its
canonical bytes (RFC 8785). Up to :data:`INLINE_BYTES` it travels beside the receipt. A larger one is cut, and each part
is a message of its own, sent before the receipt::

    receipts(token = JWE({"part": {"task", "copy_sha256", "place", "of", "bytes": base64}}))

A part is not signed: it is worth nothing without the signed receipt whose ``copy_sha256`` the joined parts must have.
Source: R17; P7; design § 5.5.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from schemas.errors import InvalidMessage
from schemas.fields import SHA256_HEX, pattern
from schemas.shapes import Shape

INLINE_BYTES: Final = 1024 * 1024
"""Sealed, 1.4 MiB; a message may hold 2 MiB, and the receipt goes with it."""
PART_BYTES: Final = 768 * 1024
"""Base64 twice (part and seal) makes 1.4 MiB of it."""
MAX_COPY_BYTES: Final = 64 * 1024 * 1024
_NUMBER: Final = pattern(r"^(0|[1-9][0-9]{0,3})$", 4)

PART: Final = Shape(
    "part",
    required={
        "task": pattern(r"^[A-Za-z0-9-]{1,64}/[a-z]{2,16}$", 96),
        "copy_sha256": SHA256_HEX,
        "place": _NUMBER,
        "of": _NUMBER,
        "bytes": pattern(r"^[A-Za-z0-9+/=]*$", 2 * PART_BYTES),
    },
)
"""``place`` counts from 0; numbers are text, as everything an identifier may hold."""


def cut(task: str, copy: bytes) -> Iterator[dict[str, str]]:
    """The parts of a copy's canonical bytes."""
    digest = hashlib.sha256(copy).hexdigest()
    starts = range(0, len(copy), PART_BYTES)
    for place, start in enumerate(starts):
        yield {
            "task": task,
            "copy_sha256": digest,
            "place": str(place),
            "of": str(len(starts)),
            "bytes": base64.b64encode(copy[start : start + PART_BYTES]).decode("ascii"),
        }


def join(parts: Sequence[Mapping[str, Any]]) -> bytes | None:
    """The copy's bytes from parts that bear one ``copy_sha256``, in any order, repeated ones included.

    None while some are missing. Raises :class:`InvalidMessage` ``bad_copy`` when they are not what they say.
    """
    if not parts:
        return None
    by_place = {int(part["place"]): part for part in parts}
    wanted = {(part["of"], part["copy_sha256"]) for part in parts}
    if len(wanted) != 1:
        raise InvalidMessage("bad_copy")
    of, digest = next(iter(wanted))
    if set(by_place) != set(range(int(of))):
        return None
    try:
        copy = b"".join(base64.b64decode(by_place[place]["bytes"], validate=True) for place in range(int(of)))
    except binascii.Error:
        raise InvalidMessage("bad_copy") from None
    if hashlib.sha256(copy).hexdigest() != digest:
        raise InvalidMessage("bad_copy")
    return copy
