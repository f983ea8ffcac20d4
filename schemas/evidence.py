"""What the ledger says: one closed list of kinds of entry, none of which has room for personal data.

An entry names a case, a store, a right, a digest: ids and codes of ours, never an identifier of a person, nor anything
made from one. Whom a case was about is sealed with the case: once its key is destroyed nobody can tell any more, while
the ledger stays whole. A round of a "no" to the subsidiaries has its entries under its own reference, like a case.

========================= ==============================================================================
kind                      what happened
========================= ==============================================================================
request_received          a request came in
request_joined            a second request of the same person and right joined this case
request_confirmed         the mailed link was used
request_accepted          it was decided to serve it; ``stores``: on whom
request_refused           it was refused, with a ground
request_withdrawn         the person took it back
request_lapsed            its link was never used
identity_asked            proof of identity was asked, on a reasonable doubt
identity_checked          it came and was looked at; no copy was kept
order_issued              an order to a store was signed; its digest; ``people``: of a round, how many
transfer_refused          nothing may cross that border: no live basis
receipt_accepted          a store's signed answer was believed; its digest
receipt_refused           what claimed to be an answer was not believed, and why
looked                    the second look at a store; the digest of what was signed about it
all_receipts, verified    every store has answered; every second look agreed
doubt_settled             a person decided on a store whose answers contradict: asked again, or accepted, and why
extended                  the date was put off, with a ground
answered                  the answer left; ``silent``: stores that had not answered by then
hold_set, hold_lifted     a legal hold
restriction_lifted        the person was told that a restriction ends; with ``store``: that one was asked to end it
package_fetched           the access package was downloaded, once
processor_asked           an external processor took a request; by which protocol it is asked, the register says
processor_barred          it was not asked: nothing may cross that border
processor_answered        it signed that the request is done, or that it will not be; the digest of what it signed;
                          or staff accepted it as done, and why
closed                    every store has proved
suppressed                somebody said no to prospecting: by which way, and who of staff entered it (of no case)
policy_published          a version of the policy was published; the digest of its notices (of no case)
policy_told               people were told of one: by which means, how many (of no case)
restore_drilled           a backup was put back for a try: of how many people, who came back, who was left (of no case)
key_known                 a store's verifying key, as the controller took it on (of no case)
head_sent                 a signed head left the machine (of no case)
========================= ==============================================================================

Source: P6, P12; R25, R30; design § 4 "The ledger"; crypto-and-evidence § 5.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import Field

from schemas.errors import InvalidMessage
from schemas.fields import DAY, IDENTIFIER, MOMENT, SHA256_HEX, FieldType, listed, pattern, wire_moment
from schemas.fields import VERSION as VERSION_OF_POLICY
from schemas.orders import ASKED, MAX_ENTRIES
from schemas.shapes import Shape
from schemas.signed import document_shape
from schemas.terms import Channel, Means, Proof, Right, StoreOutcome, SuppressionGround

HEAD: Final = "greffier-ledger-head"
VERSION: Final = 1
MAX_STORES: Final = 200

REFERENCE: Final = pattern(r"^[A-Za-z0-9-]{1,64}$", 64)
STORE: Final = pattern(r"^[a-z]{2,16}$", 16)
ENTRY_ID: Final = pattern(r"^[A-Za-z0-9-]{1,64}/[a-z_]{1,32}/[0-9a-f]{32}$", 131)
KIND: Final = pattern(r"^[a-z][a-z_]{0,31}$", 32)
CODE: Final = pattern(r"^[a-z][a-z0-9_-]{0,63}$", 64)
GROUND: Final = pattern(r"^[A-Za-z0-9 ().,:/-]{1,120}$", 120)
ACTOR: Final = pattern(r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$", 64)
THUMBPRINT: Final = pattern(r"^[A-Za-z0-9_-]{43}$", 43)


def number(least: int, most: int = 2**53 - 1) -> FieldType:
    """A whole number."""
    kept = Annotated[int, Field(strict=True, ge=least, le=most)]
    return FieldType(kept, kept)


def one_of(*words: str) -> FieldType:
    """One of a few words."""
    return pattern(f"^({'|'.join(words)})$", 40)


_LOOKED: Final = (Proof.VERIFIED, Proof.ATTESTED)
_STORES: Final = listed(STORE, 0, MAX_STORES)
_RIGHT: Final = one_of(*Right)

_DETAILS: Final[Mapping[str, tuple[Mapping[str, FieldType], Mapping[str, FieldType]]]] = {
    "request_received": (
        {"right": _RIGHT},
        {"channel": one_of(*Channel), "received_at": MOMENT, "by": ACTOR, "ground": GROUND},
    ),
    "request_joined": ({"right": _RIGHT}, {"received_at": MOMENT}),
    "request_confirmed": ({}, {"by": ACTOR}),
    "request_accepted": ({"right": _RIGHT}, {"stores": _STORES, "by": ACTOR, "due_on": DAY}),
    "request_refused": ({"ground": GROUND}, {"by": ACTOR}),
    "request_withdrawn": ({}, {"by": ACTOR}),
    "request_lapsed": ({}, {}),
    "identity_asked": ({"ground": GROUND}, {"by": ACTOR}),
    "identity_checked": ({}, {"by": ACTOR}),
    "order_issued": (
        {"store": STORE, "digest": SHA256_HEX},
        {"ask": one_of(*ASKED), "attempt": number(1), "basis": CODE, "people": number(1, MAX_ENTRIES)},
    ),
    "transfer_refused": ({"store": STORE}, {"reason": CODE, "basis": CODE}),
    "receipt_accepted": ({"store": STORE, "digest": SHA256_HEX}, {"outcome": one_of(*StoreOutcome)}),
    "receipt_refused": ({"store": STORE, "reason": CODE}, {"digest": SHA256_HEX}),
    "looked": ({"store": STORE, "digest": SHA256_HEX}, {"proof": one_of(*_LOOKED), "agrees": one_of("yes", "no")}),
    "all_receipts": ({}, {}),
    "verified": ({}, {}),
    "extended": ({"until": DAY, "ground": GROUND}, {"by": ACTOR}),
    "doubt_settled": ({"store": STORE, "decision": one_of("again", "accept"), "ground": GROUND}, {"by": ACTOR}),
    "answered": ({}, {"silent": _STORES, "digest": SHA256_HEX}),
    "hold_set": ({"ground": GROUND}, {"until": DAY, "by": ACTOR}),
    "hold_lifted": ({}, {"ground": GROUND, "by": ACTOR, "store": STORE}),
    "restriction_lifted": ({}, {"by": ACTOR, "store": STORE}),
    "package_fetched": ({}, {}),
    "processor_asked": ({"processor": CODE}, {}),
    "processor_barred": ({"processor": CODE}, {}),
    "processor_answered": (
        {"processor": CODE, "status": CODE},
        {"digest": SHA256_HEX, "ground": GROUND, "by": ACTOR},
    ),
    "closed": ({}, {}),
    "suppressed": ({"ground": one_of(*SuppressionGround)}, {"by": ACTOR}),
    "policy_published": ({"version": VERSION_OF_POLICY, "digest": SHA256_HEX, "effective_on": DAY}, {"by": ACTOR}),
    "policy_told": ({"version": VERSION_OF_POLICY, "means": one_of(*Means)}, {"people": number(0), "by": ACTOR}),
    "restore_drilled": ({"store": STORE, "people": number(0), "back": number(0), "left": number(0)}, {}),
    "key_known": ({"store": STORE, "key": THUMBPRINT}, {"kid": IDENTIFIER}),
    "head_sent": ({"size": number(0), "root": SHA256_HEX, "to": CODE}, {}),
}

KINDS: Final[Mapping[str, Shape]] = {kind: Shape(kind, *said) for kind, said in _DETAILS.items()}
"""Kind → the shape of its details."""

OF_NO_CASE: Final = frozenset(
    {"suppressed", "policy_published", "policy_told", "restore_drilled", "key_known", "head_sent"}
)
"""Kinds whose entries belong to the ledger as a whole; they stand under this id:"""
WHOLE: Final = "ledger"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry before it has its place. ``id``: the same however often it is appended, so that it stands once."""

    id: str
    kind: str
    at: str
    case: str | None
    details: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        case = {} if self.case is None else {"case": self.case}
        return {"id": self.id, "kind": self.kind, "at": self.at, "details": dict(self.details), **case}


def entry(kind: str, case: str | None, fact: str, at: datetime, **details: Any) -> Entry:
    """An entry of one of :data:`KINDS`. ``fact``: what makes it one and the same when it is noted again; only its
    hash is kept. ``case``: its reference, ``None`` for what is of no case.

    Raises :class:`InvalidMessage` ``unknown_kind`` or ``not_in_normal_form``: a fault of the caller.
    """
    shape = KINDS.get(kind)
    if shape is None or (kind in OF_NO_CASE) is not (case is None):
        raise InvalidMessage("unknown_kind")
    name = f"{case or WHOLE}/{kind}/{hashlib.sha256(fact.encode()).hexdigest()[:32]}"
    made = Entry(name, kind, wire_moment(at), case, shape.check(details))
    _ID.check({"id": made.id})
    return made


_ID: Final = Shape("entry_id", required={"id": ENTRY_ID})

LEAF: Final = Shape(
    "leaf",
    required={"v": number(VERSION, VERSION), "seq": number(0), "id": ENTRY_ID, "kind": KIND, "at": MOMENT,
              "details": FieldType(dict[str, Any], dict[str, Any])},
    optional={"case": REFERENCE, "number": number(0), "previous": SHA256_HEX},
)  # fmt: skip
"""An entry in its place: ``seq`` in the ledger, ``number`` among its case's entries from 0, ``previous``: the leaf hash
of the case's entry before, so that none can be left out of a case unseen."""

HEAD_BODY: Final = Shape(
    "head",
    required={"type": one_of(HEAD), "log": IDENTIFIER, "size": number(1), "root": SHA256_HEX, "at": MOMENT},
)
SIGNED_HEAD: Final = document_shape("signed_head", HEAD_BODY)
"""The whole ledger in one hash, signed: whoever keeps one can tell later that nothing under it was changed."""


def check_leaf(found: object) -> dict[str, Any]:
    """A leaf as it stood in the ledger. Raises :class:`InvalidMessage`."""
    leaf = LEAF.check(found)
    shape = KINDS.get(leaf["kind"])
    if shape is None:
        raise InvalidMessage("unknown_kind", "/kind")
    shape.check(leaf["details"])
    chained = {"case", "number"} & leaf.keys()
    if leaf["kind"] in OF_NO_CASE:
        if chained or "previous" in leaf:
            raise InvalidMessage("not_in_normal_form", "/case")
    elif len(chained) < 2 or ("previous" in leaf) is (leaf["number"] == 0):
        raise InvalidMessage("not_in_normal_form", "/number")
    if leaf["id"].split("/")[:2] != [leaf.get("case", WHOLE), leaf["kind"]]:
        raise InvalidMessage("not_in_normal_form", "/id")
    return leaf
