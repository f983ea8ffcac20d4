"""How a store's part stands, from what was noted about it and what was signed, in the ledger's order. Pure.

The same rules by which the controller moves a task (`workers.cases.receiving`), applied again by who checks: the first
answer counts, one that differs puts it in doubt, the first look after it must agree, and what staff decide about a
doubt is shown as their decision and never as proof.
Source: P6; R25; design § 5.5–7.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.orders import CONTROLLER
from schemas.terms import Right
from workers.evidence.findings import Standing
from workers.rules.receipts import answers_agree, look_agrees

Entry = Mapping[str, Any]
Leaf = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Statement:
    """What was signed of a store. ``at``: when it was noted; ``signer``: the store itself, or the controller's eyes."""

    at: str
    seq: int
    entry: Entry
    signer: str

    @property
    def said(self) -> tuple[Any, Any]:
        """What two answers must have in common to say the same."""
        return self.entry["outcome"], self.entry["collections"]


@dataclass(frozen=True, slots=True)
class Part:
    """What a store said in a case: its answers and the looks at it."""

    answers: Sequence[Statement]
    looks: Sequence[Statement]

    def standing(self, right: Right, about: Sequence[Leaf]) -> Standing:
        """``about``: every entry about this store."""
        if not self.answers:
            if any(leaf["kind"] == "transfer_refused" for leaf in about):
                return Standing.BARRED
            asked = any(leaf["kind"] in ("order_issued", "request_accepted") for leaf in about)
            return Standing.SILENT if asked else Standing.NOT_ASKED
        accepted = [leaf["seq"] for leaf in _decided(about, "accept")]
        if accepted:
            known = [one.said for one in self.answers if one.seq < accepted[-1]]
            later = [one.said for one in self.answers if one.seq > accepted[-1]]
            return Standing.DECIDED if all(said in known for said in later) else Standing.CONTRADICTING
        if not all(answers_agree(right, self.answers[0].entry, one.entry) for one in self.answers):
            return Standing.CONTRADICTING
        if not self.looks:
            return Standing.ANSWERED
        if not look_agrees(right, self.answers[0].entry, self.looks[0].entry):
            return Standing.CONTRADICTING
        return Standing.VERIFIED if self.looks[0].signer == CONTROLLER else Standing.ATTESTED


def since_asked_again(about: Sequence[Leaf], answers: Iterable[Statement], looks: Iterable[Statement]) -> Part:
    """What counts: once staff have asked a store again, nothing from before, nor late answers to orders from before.

    The end of a hold asks our own store again, that of a restriction every store.
    """
    lifted = [leaf for leaf in about if leaf["kind"] in ("hold_lifted", "restriction_lifted")]
    again = sorted(leaf["seq"] for leaf in [*_decided(about, "again"), *lifted])
    if not again:
        return Part(list(answers), list(looks))
    orders = [leaf for leaf in about if leaf["kind"] == "order_issued" and leaf["seq"] < again[-1]]
    void = max((leaf["details"].get("attempt", 0) for leaf in orders), default=0)

    def counting(statements: Iterable[Statement]) -> list[Statement]:
        return [one for one in statements if one.seq > again[-1] and one.entry["attempt"] > void]

    return Part(counting(answers), counting(looks))


def _decided(about: Iterable[Leaf], decision: str) -> list[Leaf]:
    return [leaf for leaf in about if leaf["kind"] == "doubt_settled" and leaf["details"]["decision"] == decision]
