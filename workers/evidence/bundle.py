"""The one file that an authority is handed: its closed shape and its bytes.

A signed document (:mod:`schemas.signed`) in canonical JSON, byte for byte: there is one way to write it, so that a
space too many is an alteration too. What it states of the case and of the stores is what the controller says; what
proves it are the leaves, with their way to a signed head, and the receipts that each store signed itself.
Source: P12; R30; RFC 8785.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import rfc8785

from schemas.evidence import (
    CODE,
    MAX_STORES,
    REFERENCE,
    SIGNED_HEAD,
    STORE,
    THUMBPRINT,
    VERSION,
    number,
    one_of,
)
from schemas.fields import DAY, IDENTIFIER, MOMENT, SHA256_HEX, listed, pattern, text
from schemas.shapes import Shape
from schemas.signed import DATED_KEY, PUBLIC_KEY, document_shape
from schemas.terms import Channel, Right

BUNDLE: Final = "greffier-evidence"
MAX_BYTES: Final = 32 * 1024 * 1024
MAX_NODES: Final = 1_000_000
MAX_LEAVES: Final = 10_000

_COUNTRY: Final = pattern(r"^[A-Z]{2}$", 2)
_JWS: Final = pattern(r"^[A-Za-z0-9_.-]+$", 4 * 1024 * 1024)
_PROOF: Final = listed(SHA256_HEX, 0, 64)
_LEAF_TEXT: Final = text(20_000)

CASE: Final = Shape(
    "case",
    required={
        "reference": REFERENCE,
        "right": one_of(*Right),
        "channel": one_of(*Channel),
        "received_at": MOMENT,
        "due_on": DAY,
        "answer": CODE,
        "proof": CODE,
    },
    optional={"answered_at": MOMENT, "closed_at": MOMENT},
)
STORE_EXCERPT: Final = Shape(
    "store", required={"code": STORE, "name": text(200), "country": _COUNTRY, "region": _COUNTRY, "basis": CODE}
)
RECEIPT: Final = Shape("receipt", required={"store": STORE, "jws": _JWS, "received_at": MOMENT})
STORE_KEY: Final = Shape("store_key", required={"store": STORE, "jwk": PUBLIC_KEY.as_field, "thumbprint": THUMBPRINT})
PROVED_LEAF: Final = Shape("proved_leaf", required={"leaf": _LEAF_TEXT, "proof": _PROOF})

BODY: Final = Shape(
    "bundle",
    required={
        "type": one_of(BUNDLE),
        "v": number(VERSION, VERSION),
        "at": MOMENT,
        "log": IDENTIFIER,
        "case": CASE.as_field,
        "stores": listed(STORE_EXCERPT.as_field, 1, MAX_STORES),
        "receipts": listed(RECEIPT.as_field, 0, MAX_LEAVES),
        "store_keys": listed(STORE_KEY.as_field, 0, 10 * MAX_STORES),
        "ledger_keys": listed(DATED_KEY.as_field, 1, 100),
        "leaves": listed(PROVED_LEAF.as_field, 1, MAX_LEAVES),
        "head": SIGNED_HEAD.as_field,
        "newest": SIGNED_HEAD.as_field,
        "consistency": _PROOF,
    },
)
"""``head``: the first one signed over all the leaves, perhaps long since in other hands; ``newest``: the last one when
the file was made; ``consistency``: what proves that the first is the beginning of the second."""

SIGNED_BUNDLE: Final = document_shape("signed_bundle", BODY)


def to_bytes(document: Mapping[str, Any]) -> bytes:
    """The file."""
    return rfc8785.dumps(dict(document))
