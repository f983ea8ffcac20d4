"""Letters for tests: one of each kind, about fictional people at example.org."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, Final

from schemas.terms import Channel, LawfulBasis, Proof, Purpose, Right
from tests.factories import REGISTER
from workers.correspondence.compose import letterhead
from workers.correspondence.facts import (
    Acknowledgement,
    AnswerLetter,
    CollectionReport,
    ConfirmationLink,
    ExtensionNotice,
    ExtensionReason,
    IdentityRequest,
    Letter,
    Package,
    RefusalLetter,
    Remainder,
    StillHeld,
    StoreReport,
    StoreState,
)
from workers.rules.decisions import Decision, Keeping, KeepingGround, Refusal, Use, decide

NOW: Final = datetime(2026, 11, 20, 12, tzinfo=UTC)
RECEIVED: Final = date(2026, 11, 2)
HEAD: Final = letterhead(REGISTER.controller, "rights@example.org")
REFERENCE: Final = "R-4F7K-9Q2M"
LINK: Final = "https://rights.example.org/rights/confirm?token=" + "eyJ-hbGciOiJ_FZERTQSJ9." * 12 + "end"
STATUS: Final = "https://rights.example.org/status/" + "eyJ-hbGciOiJ_FZERTQSJ9." * 9 + "end"
SHARED: Final[dict[str, Any]] = {"to": "Testine.Sample@example.org", "reference": REFERENCE}
NAMED: Final[dict[str, Any]] = {**SHARED, "name": "Testine Sample", "received_on": RECEIVED}

STORES: Final = (
    StoreReport("Fictive SA", "FR", StoreState.DONE, (CollectionReport("submissions", 3, erased=3),), Proof.VERIFIED),
    StoreReport(
        "Fictive Ltd",
        "GB",
        StoreState.PARTLY_RETAINED,
        (
            CollectionReport("contacts", 2, erased=1, anonymised=1),
            CollectionReport("invoices", 4, retained=4, ground="Art. 17(3)(b) accounts", until=date(2030, 12, 31)),
        ),
        Proof.ATTESTED,
    ),
    StoreReport("Fictive GmbH", "DE", StoreState.NOTHING_HELD),
    StoreReport("Fictive AS", "NO", StoreState.REFUSED, reason="store-locked"),
    StoreReport("Fictive Co", "CN", StoreState.BARRED),
    StoreReport("Fictive Inc", "US", StoreState.SILENT),
)


def confirmation(**changed: Any) -> ConfirmationLink:
    return ConfirmationLink(
        **{**SHARED, "right": Right.ERASURE, "link": LINK, "status": STATUS, "expires_at": NOW, **changed}
    )


def acknowledgement() -> Acknowledgement:
    return Acknowledgement(**NAMED, due=date(2026, 12, 2), right=Right.ACCESS, channel=Channel.LETTER, status=STATUS)


def answer(right: Right = Right.ERASURE, **changed: Any) -> AnswerLetter:
    return AnswerLetter(**{**NAMED, "right": right, "stores": STORES, **changed})


def partial_decision() -> Decision:
    uses = [
        Use(Purpose.SALES_PROSPECTING, LawfulBasis.LEGITIMATE_INTERESTS, prospecting=True),
        Use(Purpose.SERVICES_AND_CONTRACT, LawfulBasis.CONTRACT),
        Use(Purpose.PROVIDE_SERVICES, LawfulBasis.LEGAL_OBLIGATION),
        Use(Purpose.RECRUITMENT, LawfulBasis.CONTRACT, still_needed=True),
    ]
    kept = Keeping(KeepingGround.LEGAL_CLAIMS, date(2031, 5, 1), frozenset({Purpose.SERVICES_AND_CONTRACT}))
    return decide(Right.ERASURE, uses, [kept], on=NOW.date())


def every_letter() -> list[Letter]:
    """One of each kind, and an answer for each right."""
    left = (Remainder(StillHeld.SUPPRESSION), Remainder(StillHeld.CASE_EVIDENCE, date(2031, 11, 20)))
    due = {"due": date(2026, 12, 2)}
    return [
        confirmation(),
        acknowledgement(),
        IdentityRequest(**NAMED, right=Right.ACCESS, why="Two people use this address."),
        ExtensionNotice(
            **NAMED,
            **due,
            right=Right.ACCESS,
            reason=ExtensionReason.HARD_RETRIEVAL,
            text="Eleven companies must search their archives.",
            extended_due=date(2027, 2, 2),
        ),
        RefusalLetter(**NAMED, right=Right.ACCESS, refusal=Refusal.EXCESSIVE, text="The ninth request this year."),
        answer(Right.ACCESS, package=Package(LINK, NOW)),
        answer(Right.ERASURE, decision=partial_decision(), still_held=left),
        answer(Right.OBJECTION, part=2),
    ]
