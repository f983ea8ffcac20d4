"""Orders to a subsidiary and its receipts: what is asked of a store, and what it signs for.

======== ============================== ======================================================
token    travels as                     holds
======== ============================== ======================================================
order    JWE( JWS(claims) )             entries: task, right, identifiers; the least that finds a person; or the
                                        periods by which a store disposes of what is over, and nobody
receipt  JWE( {receipt: JWS, copies} )  the JWS: entries with counts per collection, no personal data, kept for
                                        years; beside it, for access only, the copies themselves
======== ============================== ======================================================

An entry's task id is the same at every attempt: whoever acts on it twice has acted once.
Source: R25; P6, P7; design § 3 "Orders and receipts", § 5.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import Field

from schemas.corrections import PATCHES
from schemas.fields import DAY, EMAIL, IDENTIFIER, MOMENT, SHA256_HEX, FieldType, listed, pattern
from schemas.shapes import Shape
from schemas.terms import Right, StoreOutcome

ORDER: Final = "greffier-order+jwt"
RECEIPT: Final = "greffier-receipt+jwt"
CALL: Final = "greffier-call+jwt"
"""What a subsidiary served over HTTP shows with each call: a JWS of these claims and no others, ``jti`` among them."""
COUNTER: Final = "counter"
"""Whom a call is for."""
CALL_LIFETIME: Final = timedelta(minutes=5)
"""How long one may serve at most."""
CONTROLLER: Final = "controller"
"""The controller's name as a party and as a store of its own."""

ORDER_LIFETIME: Final = timedelta(days=7)
RECEIPT_LIFETIME: Final = timedelta(days=7)
MAX_ENTRIES: Final = 500
MAX_ADDRESSES: Final = 20
_MAX_COUNT: Final = 2**40


def order_namespace(code: str) -> str:
    """The dramatiq namespace in which a subsidiary finds its orders."""
    return f"to.{code}"


def receipt_namespace(code: str) -> str:
    """The dramatiq namespace in which a subsidiary leaves its receipts."""
    return f"from.{code}"


ORDER_QUEUE: Final = "orders"
RECEIPT_QUEUE: Final = "receipts"
"""Queue and actor within those namespaces; the message's only argument is ``token``, a string."""


def _one_of(*words: str) -> FieldType:
    return pattern(f"^({'|'.join(words)})$", 40)


_COUNT = FieldType(*[Annotated[int, Field(strict=True, ge=0, le=_MAX_COUNT)]] * 2)
_ATTEMPT = FieldType(*[Annotated[int, Field(strict=True, ge=1, le=1_000_000)]] * 2)
_TASK = pattern(r"^[A-Za-z0-9-]{1,64}/[a-z]{2,16}$", 96)

PERSON: Final = Shape("person", required={"emails": listed(EMAIL, 1, MAX_ADDRESSES)})
"""Whom to look for: every address confirmed for the case."""

DISPOSE: Final = "dispose"
PLANT: Final = "plant"
LIFT: Final = "lift"
_OF_A_PERSON: Final = ("serve", "look", LIFT)
ASKED: Final = (*_OF_A_PERSON, DISPOSE, PLANT)
"""``serve``: act. ``look``: say what stands now, and change nothing; the second statement of P6.

``lift``: end a restriction that was served. ``dispose``: of what is over by the register's retention periods; the one
that is about nobody. ``plant``: put the store's canary there, a fictional person at this address.
"""

ORDER_ENTRY: Final = Shape(
    "order_entry",
    required={
        "task": _TASK,
        "attempt": _ATTEMPT,
        "ask": _one_of(*_OF_A_PERSON),
        "right": _one_of(*(right.value for right in Right)),
        "person": PERSON.as_field,
        "received_at": MOMENT,
    },
    optional={"patches": PATCHES},
)
"""``received_at``: when the person's request reached the group; what is newer than it is a fresh act, and stays.

``patches``: of a rectification, field by field.
"""

WISH: Final = "wish"
"""In the place of a right: what somebody wishes of all that they refused and accepted. A store that knows it not says
so, as of any right it does not know, and stays with the "no" that it has."""

_VERSION = FieldType(*[Annotated[int, Field(strict=True, ge=0, le=2**60)]] * 2)

WISH_ENTRY: Final = Shape(
    "wish_entry",
    required={
        "task": _TASK,
        "attempt": _ATTEMPT,
        "ask": _one_of("serve"),
        "right": _one_of(WISH),
        "person": Shape("wishing", required={"emails": listed(EMAIL, 1, 1)}).as_field,
        "received_at": MOMENT,
        "accepts": _one_of("yes", "no"),
        "refused_at": MOMENT,
        "version": _VERSION,
    },
)
"""``accepts``: whether nothing that they refused stands; ``received_at``: the latest moment at which they spoke;
``refused_at``: the latest "no" among it; ``version``: which of two of the same moment knows more. The latest counts.
"""

PLANT_ENTRY: Final = Shape(
    "plant_entry",
    required={
        "task": _TASK,
        "attempt": _ATTEMPT,
        "ask": _one_of(PLANT),
        "address": pattern(r"^canary\.[0-9a-z]{8,32}@example\.org$", 64),
    },
)
"""``address``: of nobody. No other can be planted, whoever signs: an order puts no person into a store."""

_DURATION = pattern(r"^P[0-9YMWD]{2,24}$", 26)

DISPOSAL_ENTRY: Final = Shape(
    "disposal_entry",
    required={
        "task": _TASK,
        "attempt": _ATTEMPT,
        "ask": _one_of(DISPOSE),
        "on": DAY,
        "periods": listed(
            Shape(
                "period",
                required={"rule": pattern(r"^[a-z][a-z0-9-]{0,30}$", 31), "active": _DURATION},
                optional={"archive": _DURATION},
            ).as_field,
            1,
            200,
        ),
    },
)
"""``on``: the day in Paris for which it is asked; ``periods``: the register's retention rules."""

COLLECTION_OUTCOME: Final = Shape(
    "collection_outcome",
    required={"name": pattern(r"^[A-Za-z0-9_.-]{1,64}$", 64), "matched": _COUNT},
    optional={
        "erased": _COUNT,
        "anonymised": _COUNT,
        "restricted": _COUNT,
        "corrected": _COUNT,
        "conflicting": _COUNT,
        "retained": _COUNT,
        "ground": pattern(r"^[A-Za-z0-9 ().,:/-]{1,120}$", 120),
        "until": pattern(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", 10),
    },
)
"""One collection or table: how many records of the person were there, or were over, and what became of them.
What was retained has its ground and, where it ends, its last day. ``corrected``: hold what the person says; in
``conflicting`` ones something else stands than what was said to."""

RECEIPT_ENTRY: Final = Shape(
    "receipt_entry",
    required={
        "task": _TASK,
        "attempt": _ATTEMPT,
        "ask": _one_of(*ASKED),
        "outcome": _one_of(*(outcome.value for outcome in StoreOutcome)),
        "collections": listed(COLLECTION_OUTCOME.as_field, 0, 200),
        "at": MOMENT,
    },
    optional={"copy_sha256": SHA256_HEX, "reason": pattern(r"^[a-z][a-z0-9_-]{0,63}$", 64)},
)
"""``copy_sha256``: of the access copy that came beside the receipt; ``reason``: why a store refused."""

_CLAIMS: Final = {
    "iss": IDENTIFIER,
    "aud": IDENTIFIER,
    "jti": IDENTIFIER,
    "iat": _COUNT,
    "exp": _COUNT,
}

ORDER_CLAIMS: Final = Shape("order", {**_CLAIMS, "entries": listed(ORDER_ENTRY.as_field, 1, MAX_ENTRIES)})
RECEIPT_CLAIMS: Final = Shape(
    "receipt", {**_CLAIMS, "order": IDENTIFIER, "entries": listed(RECEIPT_ENTRY.as_field, 1, MAX_ENTRIES)}
)
"""``order``: the ``jti`` of the order it answers."""


def is_consistent(entry: dict[str, Any]) -> bool:
    """Whether a receipt entry's numbers agree: nothing counted that was not matched, nothing kept without a ground."""
    for one in entry["collections"]:
        kept = one.get("retained", 0)
        if one.get("erased", 0) + one.get("anonymised", 0) + kept > one["matched"]:
            return False
        if one.get("corrected", 0) + one.get("conflicting", 0) > one["matched"]:
            return False
        if kept and "ground" not in one:
            return False
    held = any(one["matched"] for one in entry["collections"])
    return held is (entry["outcome"] != StoreOutcome.NOTHING_HELD) or entry["outcome"] == StoreOutcome.REFUSED
