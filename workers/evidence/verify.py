"""Checks a bundle: one file, no server, no network, the ledger's public keys. Only `schemas` and `workers.rules` below.

Nothing in the file is believed because it stands there. The seal covers every byte; but whoever holds the ledger's key
can seal what he likes, so each statement is also held against what he cannot make: receipts that the stores signed, and
heads that have been in other hands.

============================ =======================================================================
checked                      so that
============================ =======================================================================
canonical form, seal         one altered byte anywhere is found
heads, consistency           the ledger under them has only grown since
leaves and their proofs      each entry stood in the ledger when its head was signed
numbers within the case      no entry of the case was left out between others
receipts                     each store signed what it is said to have answered, for this case
entries against receipts     none was added or left out, and none is of another case or store
states against both          no case is called closed that was not proved
============================ =======================================================================

Source: P12; I22; R30; RFC 9162 § 2.1; reliability § 4 row 50.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import rfc8785

from schemas.errors import InvalidMessage
from schemas.evidence import HEAD, check_leaf
from schemas.signed import DatedKey, check_document
from schemas.strict_json import parse
from workers.evidence.bundle import BUNDLE, MAX_BYTES, MAX_NODES, SIGNED_BUNDLE
from workers.evidence.findings import Report
from workers.evidence.story import tell
from workers.evidence.trusted import NOBODY, Trusted
from workers.rules.merkle import leaf_hash, verify_consistency, verify_inclusion


def verify(raw: bytes, trusted: Trusted = NOBODY) -> Report:
    """Check a file. Whatever its bytes are, the answer is a report, never an exception."""
    report = Report()
    document = _read(raw, report)
    if document is None:
        return report
    body = document["body"]
    report.case, report.head = body["case"], body["newest"]["body"]
    keys = _ledger_keys(body, trusted, report)
    _check_seal(document, keys, report)
    _check_heads(body, keys, report)
    leaves = _check_leaves(body, report)
    report.entries = [leaf for leaf in leaves if "case" in leaf]
    _check_chain(body, leaves, report)
    tell(body, leaves, report)
    return report


def _read(raw: bytes, report: Report) -> dict[str, Any] | None:
    if len(raw) > MAX_BYTES:
        report.fault("too_large")
        return None
    try:
        document = SIGNED_BUNDLE.check(parse(raw, max_nodes=MAX_NODES))
    except InvalidMessage as error:
        report.fault(error.code, error.pointer)
        return None
    if rfc8785.dumps(document) != raw:
        report.fault("not_canonical")
    return document


def _ledger_keys(body: Mapping[str, Any], trusted: Trusted, report: Report) -> dict[str, DatedKey]:
    found: dict[str, DatedKey] = {}
    for n, stated in enumerate(body["ledger_keys"]):
        try:
            key = trusted.accept(DatedKey.from_json(stated))
        except InvalidMessage as error:
            report.fault(error.code, f"/body/ledger_keys/{n}")
            continue
        if key is not None and key.kid in found:
            report.fault("key_id_twice", f"/body/ledger_keys/{n}")
        elif key is not None:
            found[key.kid] = key
    report.ledger_keys = list(found.values())
    if not found:
        report.fault("no_trusted_key", "/body/ledger_keys")
    if trusted.log is not None and trusted.log != body["log"]:
        report.fault("another_ledger", "/body/log")
    if not trusted.given:
        report.notes.append("no_key_given")
    return found


def _check_seal(document: Mapping[str, Any], keys: Mapping[str, DatedKey], report: Report) -> None:
    try:
        check_document(document, BUNDLE, keys)
    except InvalidMessage as error:
        report.fault(f"seal_{error.code}", "/signature")


def _check_heads(body: Mapping[str, Any], keys: Mapping[str, DatedKey], report: Report) -> None:
    for name in ("head", "newest"):
        try:
            check_document(body[name], HEAD, keys)
        except InvalidMessage as error:
            report.fault(f"head_{error.code}", f"/body/{name}")
        if body[name]["body"]["log"] != body["log"]:
            report.fault("head_of_another_ledger", f"/body/{name}/body/log")
    older, newer = body["head"]["body"], body["newest"]["body"]
    roots = bytes.fromhex(older["root"]), bytes.fromhex(newer["root"])
    proof = [bytes.fromhex(one) for one in body["consistency"]]
    if not verify_consistency(older["size"], newer["size"], *roots, proof):
        report.fault("heads_not_consistent", "/body/consistency")
    if not older["at"] <= newer["at"] <= body["at"]:
        report.fault("heads_out_of_order", "/body/newest/body/at")


def _check_leaves(body: Mapping[str, Any], report: Report) -> list[dict[str, Any]]:
    """The leaves that could be read, each with its hash under ``hash``."""
    head, read = body["head"]["body"], []
    root, before = bytes.fromhex(head["root"]), -1
    for n, proved in enumerate(body["leaves"]):
        where, raw = f"/body/leaves/{n}", proved["leaf"].encode()
        proof = [bytes.fromhex(one) for one in proved["proof"]]
        try:
            leaf = check_leaf(parse(raw))
        except InvalidMessage as error:
            report.fault(f"leaf_{error.code}", where)
            continue
        if not verify_inclusion(leaf_hash(raw), leaf["seq"], head["size"], proof, root):
            report.fault("leaf_not_in_ledger", where)
        if leaf["seq"] <= before:
            report.fault("leaves_out_of_order", where)
        before = leaf["seq"]
        read.append({**leaf, "hash": leaf_hash(raw).hex(), "where": where})
    return read


def _check_chain(body: Mapping[str, Any], leaves: Iterable[Mapping[str, Any]], report: Report) -> None:
    """The case's entries are numbered from 0 without a gap, each bound to the one before."""
    expected, previous = 0, None
    for leaf in leaves:
        if "case" not in leaf:
            continue
        if leaf["case"] != body["case"]["reference"]:
            report.fault("leaf_of_another_case", leaf["where"])
            continue
        if leaf["number"] != expected or leaf.get("previous") != previous:
            report.fault("entry_left_out", leaf["where"])
        expected, previous = leaf["number"] + 1, leaf["hash"]
    if expected == 0:
        report.fault("no_entry_of_the_case", "/body/leaves")
