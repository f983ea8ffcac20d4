"""What would go by a moment, before it goes: moved, deleted, purged, held, and what stays open. It changes nothing.

Source: R13; design § 4 "An anchor not yet known leaves the link open, and `retention preview` lists it".
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from schemas.fields import wire_moment
from workers.retention.evidence import kept_until
from workers.retention.folding import fold
from workers.rules.retention import Becomes
from workers.services import Services
from workers.stores.disposals import Disposed
from workers.stores.keys import ARCHIVE, key_id

AT_ONCE: Final = 500


@dataclass(slots=True)
class Preview:
    """Counts of records: one that serves several purposes counts under each. ``at``: by when.

    ``going``: what would be done, as the record of disposals will say; ``held``: what a legal hold keeps from it;
    ``open``: what has no end yet, by the event that it waits for.
    """

    at: datetime
    going: Counter[Disposed] = field(default_factory=Counter)
    held: Counter[Disposed] = field(default_factory=Counter)
    open: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    visits: int = 0
    proofs: int = 0

    def as_json(self) -> dict[str, Any]:
        """As programs get it."""
        waiting = ("case", "purpose", "waits_for")
        return {
            "at": wire_moment(self.at),
            "going": [{**what._asdict(), "records": number} for what, number in sorted(self.going.items())],
            "held": [{**what._asdict(), "records": number} for what, number in sorted(self.held.items())],
            "open": [
                {**dict(zip(waiting, what, strict=True)), "records": number}
                for what, number in sorted(self.open.items())
            ],
            "visits": self.visits,
            "proofs_of_consent": self.proofs,
        }


async def preview(services: Services, at: datetime) -> Preview:
    """What the chores would find by ``at``, if nothing were said until then. Raises :class:`StoreUnavailable`."""
    found = Preview(at)
    await _in_use(services, found)
    await _in_the_archive(services, found)
    proof = services.trust.register.consent_proof.length
    found.visits, found.proofs = await services.consents.over(at, proof)
    return found


async def _in_use(services: Services, found: Preview) -> None:
    after = ""
    while persons := await services.people.page(after, AT_ONCE):
        folded = await fold(services, persons, found.at)
        for one in folded.going:
            found.going.update(one.disposed)
        for one in folded.held:
            found.held.update(one.disposed)
        for one in folded.records:
            if one.fate.becomes is Becomes.STAYS:
                found.open.update(
                    (link["case"], link["purpose"], link["anchor"])
                    for link, served in zip(one.links, one.served, strict=True)
                    if served.until is None and not served.said_no
                )
        after = persons[-1]["_id"]


async def _in_the_archive(services: Services, found: Preview) -> None:
    after = ""
    while page := await services.archive.page(after, AT_ONCE):
        over = [one for one in page if kept_until(services.trust.register, one) <= found.at]
        held = await services.keys.held(key_id(one["person"], ARCHIVE) for one in over)
        for one in over:
            lines = (Disposed("purged", one["case"], use["purpose"], use["rule"]) for use in one["ended"])
            (found.held if key_id(one["person"], ARCHIVE) in held else found.going).update(lines)
        after = page[-1]["_id"]
