"""What a bundle's entries and receipts tell together: who was asked when, what each answered, and how that is proved.

Part of the check in :mod:`workers.evidence.verify`: an entry without its receipt, a receipt without its entry, one that
speaks of another case or store, and a state that nothing bears out are each a fault.
Source: P6, P7, P12; R25.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from joserfc.jwk import OKPKey

from schemas.errors import InvalidMessage
from schemas.jose import verify as verify_token
from schemas.orders import CONTROLLER, LIFT, RECEIPT, RECEIPT_CLAIMS, is_consistent
from schemas.signed import read_key
from schemas.terms import Right
from workers.evidence.findings import SETTLED, Report, StoreStory
from workers.evidence.standing import Statement, since_asked_again

Leaf = Mapping[str, Any]
Entry = Mapping[str, Any]


_ASKS: Final = {"receipt_accepted": ("serve", LIFT), "looked": ("look",)}
"""Kind of leaf → what may have been asked of whoever signed the receipt that it names."""


@dataclass(frozen=True, slots=True)
class _Signer:
    party: str
    verifying: Mapping[str, OKPKey]


@dataclass(slots=True)
class _Signed:
    """What one store signed about the case: its entries by the digest of their receipt, and who signed."""

    entries: dict[str, list[Entry]] = field(default_factory=dict)
    signers: dict[str, str] = field(default_factory=dict)


def tell(body: Mapping[str, Any], leaves: Sequence[Leaf], report: Report) -> None:
    """Check receipts against entries and states against both; the stores' stories go into the report."""
    mine = [leaf for leaf in leaves if leaf.get("case") == body["case"]["reference"]]
    signed = _read_receipts(body, leaves, report)
    _check_entries_have_receipts(mine, signed, report)
    _check_stores(body, mine, report)
    report.stores = [_story(store, body["case"], mine, signed) for store in body["stores"]]
    _check_states(body["case"], mine, report)
    _check_closing(body, mine, signed, report)


# ---------------------------------------------------------------------- receipts


def _read_receipts(body: Mapping[str, Any], leaves: Sequence[Leaf], report: Report) -> _Signed:
    keys = _store_keys(body, leaves, report)
    signed = _Signed()
    for n, receipt in enumerate(body["receipts"]):
        where, store = f"/body/receipts/{n}", receipt["store"]
        digest = hashlib.sha256(receipt["jws"].encode()).hexdigest()
        if digest in signed.entries:
            report.fault("receipt_twice", where)
            continue
        try:
            signer = _Signer(store, keys.get(store, {}))
            claims = RECEIPT_CLAIMS.check(verify_token(receipt["jws"], signer, RECEIPT, audience=CONTROLLER, now=None))
        except InvalidMessage as error:
            report.fault(f"receipt_{error.code}", where)
            continue
        signed.signers[digest] = store
        signed.entries[digest] = _entries_of_case(claims["entries"], store, body["case"]["reference"], where, report)
        if not any(leaf["details"].get("digest") == digest for leaf in leaves if "case" in leaf):
            report.fault("receipt_not_noted", where)
    return signed


def _store_keys(body: Mapping[str, Any], leaves: Iterable[Leaf], report: Report) -> dict[str, dict[str, OKPKey]]:
    """The stores' keys that the ledger knows; any other is a fault."""
    noted = {
        (leaf["details"]["store"], leaf["details"]["key"]): leaf["seq"]
        for leaf in leaves
        if leaf["kind"] == "key_known"
    }
    keys: dict[str, dict[str, OKPKey]] = {}
    for n, stated in enumerate(body["store_keys"]):
        where = f"/body/store_keys/{n}"
        try:
            key = read_key(stated["jwk"])
        except InvalidMessage as error:
            report.fault(error.code, where)
            continue
        if key.thumbprint() != stated["thumbprint"]:
            report.fault("fingerprint_disagrees", where)
        elif (stated["store"], stated["thumbprint"]) not in noted:
            report.fault("key_not_noted", where)
        else:
            keys.setdefault(stated["store"], {})[str(key.kid)] = key
    return keys


def _entries_of_case(entries: Iterable[Entry], store: str, reference: str, where: str, report: Report) -> list[Entry]:
    """What a receipt says of this case. It may speak of other cases too: orders are answered in batches."""
    mine = [entry for entry in entries if entry["task"].partition("/")[0] == reference]
    if not mine:
        report.fault("receipt_of_another_case", where)
    for entry in mine:
        # The controller may look into another's store with its own eyes; nobody else answers for another.
        own_eyes = store == CONTROLLER and entry["ask"] == "look"
        if entry["task"].partition("/")[2] != store and not own_eyes:
            report.fault("receipt_of_another_store", where)
        if not is_consistent(dict(entry)):
            report.fault("counts_disagree", where)
    return mine


def _check_entries_have_receipts(mine: Iterable[Leaf], signed: _Signed, report: Report) -> None:
    for leaf in mine:
        if leaf["kind"] not in _ASKS:
            continue
        store, digest = leaf["details"]["store"], leaf["details"]["digest"]
        if digest not in signed.entries:
            report.fault("receipt_missing", leaf["where"])
        elif not any(_is_of(entry, store, leaf["kind"]) for entry in signed.entries[digest]):
            report.fault("entry_says_more_than_receipt", leaf["where"])


def _is_of(entry: Entry, store: str, kind: str) -> bool:
    return entry["task"].partition("/")[2] == store and entry["ask"] in _ASKS[kind]


# ---------------------------------------------------------------------- stores


def _check_stores(body: Mapping[str, Any], mine: Sequence[Leaf], report: Report) -> None:
    stated = [store["code"] for store in body["stores"]]
    if len(set(stated)) != len(stated):
        report.fault("store_twice", "/body/stores")
    for leaf in mine:
        store = leaf["details"].get("store")
        if store is not None and store not in stated:
            report.fault("store_left_out", leaf["where"])
        decided = leaf["details"].get("stores")
        if decided is not None and sorted(decided) != sorted(stated):
            report.fault("stores_disagree", leaf["where"])


def _story(store: Mapping[str, Any], case: Mapping[str, Any], mine: Sequence[Leaf], signed: _Signed) -> StoreStory:
    code = store["code"]
    # The controller's own store gets no order by post: it is asked when the request is accepted.
    own = ("request_accepted",) if code == CONTROLLER else ()
    about = [leaf for leaf in mine if leaf["details"].get("store") == code or leaf["kind"] in own]
    answers, looks = _said(about, "receipt_accepted", code, signed), _said(about, "looked", code, signed)
    part = since_asked_again(about, answers, looks)
    answer, look = next(iter(part.answers), None), next(iter(part.looks), None)
    return StoreStory(
        code=code,
        name=store["name"],
        country=store["country"],
        standing=part.standing(Right(case["right"]), about),
        asked_at=_first_at(about, "order_issued", *own),
        answered_at=answer.at if answer else None,
        entry=answer.entry if answer else None,
        looked_at=look.at if look else None,
        look=look.entry if look else None,
    )


def _said(about: Iterable[Leaf], kind: str, store: str, signed: _Signed) -> list[Statement]:
    return [
        Statement(leaf["at"], leaf["seq"], entry, signed.signers[leaf["details"]["digest"]])
        for leaf in about
        if leaf["kind"] == kind
        for entry in signed.entries.get(leaf["details"]["digest"], ())
        if _is_of(entry, store, kind)
    ]


def _first_at(leaves: Iterable[Leaf], *kinds: str) -> str | None:
    return next((str(leaf["at"]) for leaf in leaves if leaf["kind"] in kinds), None)


# ---------------------------------------------------------------------- states


def _check_states(case: Mapping[str, Any], mine: Sequence[Leaf], report: Report) -> None:
    kinds = [leaf["kind"] for leaf in mine]
    if kinds and kinds[0] != "request_received":
        report.fault("begins_without_a_request", mine[0]["where"])
    for leaf in mine:
        if leaf["kind"] in ("request_received", "request_accepted") and leaf["details"]["right"] != case["right"]:
            report.fault("right_disagrees", leaf["where"])
        if leaf["kind"] == "request_received":
            for name in ("channel", "received_at"):
                if leaf["details"].get(name, case[name]) != case[name]:
                    report.fault(f"{name}_disagrees", leaf["where"])
    for kind, state, moment in (("closed", case["proof"], "closed_at"), ("answered", case["answer"], "answered_at")):
        if (state == kind) is not (moment in case) or (state == kind and kind not in kinds):
            report.fault(f"{kind}_disagrees", "/body/case")
    _check_silence(mine, report)


def _check_closing(body: Mapping[str, Any], mine: Sequence[Leaf], signed: _Signed, report: Report) -> None:
    """When the case was closed, every store had proved; what came later does not count."""
    for n, leaf in enumerate(mine):
        if leaf["kind"] == "closed":
            stories = [_story(store, body["case"], mine[:n], signed) for store in body["stores"]]
            if any(story.standing not in SETTLED for story in stories):
                report.fault("closed_without_proof", leaf["where"])


def _check_silence(mine: Sequence[Leaf], report: Report) -> None:
    """Whom the answer called silent had not answered by then, and nobody else."""
    answered: set[str] = set()
    for leaf in mine:
        if leaf["kind"] in ("receipt_accepted", "transfer_refused"):
            answered.add(leaf["details"]["store"])
        silent = leaf["details"].get("silent")
        if silent is not None and set(silent) != {story.code for story in report.stores} - answered:
            report.fault("silence_disagrees", leaf["where"])
