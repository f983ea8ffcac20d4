"""Taking a request back, by whoever made it: while nothing was erased or corrected for it yet.

It takes no key and opens nothing, so the counter may do it too. Source: design § 5 "withdrawn"; rights-protocols § 1.
"""

from __future__ import annotations

from datetime import datetime

from schemas.terms import Right
from workers.cases.desk import Evidence
from workers.rules.cases import Answer, ProofState
from workers.stores.cases import OPEN_ANSWERS, Cases
from workers.stores.mongo import Document


def may_be_withdrawn(case: Document) -> bool:
    """Whether it can still be taken back: copies that were only gathered can stay here, what was erased cannot."""
    unserved = case["proof"] == ProofState.NONE or Right(case["right"]).gives_a_copy
    return case["answer"] in OPEN_ANSWERS and unserved


async def withdraw(cases: Cases, evidence: Evidence, case: Document, by: str, now: datetime) -> bool:
    """Take a case back; ``False`` where it cannot be, or not any more. ``by``: who asked. May be repeated."""
    found: Document | None = case
    while found is not None and may_be_withdrawn(found):
        await evidence.note("request_withdrawn", found["_id"], by, by=by)
        changes = {"answer": Answer.WITHDRAWN.value, "reason": "taken_back", "wake_at": now}
        if await cases.change(found, changes, "joins", "link"):
            return True
        found = await cases.get(found["_id"])
    return found is not None and found.get("reason") == "taken_back"
