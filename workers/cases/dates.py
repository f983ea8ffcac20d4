"""A case's dates, reckoned anew from what is kept of it. Source: R23; GDPR Art. 12(3)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from workers.rules.deadlines import CaseDates, Deadlines, Pause, deadlines
from workers.stores.mongo import Document


def dates_of(case: Document) -> CaseDates:
    """What the answer's clock depends on."""
    return CaseDates(
        received_at=case["received_at"],
        pauses=tuple(Pause(one["asked_at"], one.get("answered_at")) for one in case.get("pauses", ())),
        extended=case.get("extended", False),
        answered_at=case.get("answered_at"),
    )


def reckoned(case: Document, now: datetime) -> Deadlines:
    """Every date of a case as it stands ``now``."""
    return deadlines(dates_of(case), now)


def kept(found: Deadlines) -> dict[str, Any]:
    """What a case keeps of its dates, for the reconciler and for lists."""
    return {"due_on": found.due.isoformat(), "answer_by": found.answer_by}
