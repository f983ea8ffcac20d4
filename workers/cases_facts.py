"""What a bundle states of a case, from where cases are kept.

Source: R30.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from schemas.jose import Keys, Peer
from schemas.orders import CONTROLLER
from schemas.register import Register
from schemas.terms import Channel, Right, TransferBasis
from workers.evidence.facts import CaseFacts, ReceiptFacts, StoreFacts
from workers.services import Services
from workers.stores.cases import Cases

UNKNOWN_COUNTRY = "ZZ"
"""Of a company that is no longer in the register."""


async def facts_of(services: Services, party: Keys, peers: Mapping[str, Peer], reference: str) -> CaseFacts | None:
    """A case as it stands now; ``None`` when there is none. ``party``, ``peers``: whose keys check its receipts."""
    cases = Cases(services.databases)
    case = await cases.get(reference)
    if case is None:
        return None
    register = services.trust.register
    tasks = await cases.tasks_of(reference)
    stores = [task["store"] for task in tasks] or [CONTROLLER, *register.subsidiaries]
    receipts = await cases.receipts_of(reference)
    keys = {code: tuple(peer.verifying.values()) for code, peer in peers.items()} | {CONTROLLER: (party.signing,)}
    signers = {receipt["store"] for receipt in receipts}
    return CaseFacts(
        reference=reference,
        right=Right(case["right"]),
        channel=Channel(case["channel"]),
        received_at=case["received_at"],
        due_on=date.fromisoformat(case["due_on"]),
        answer=case["answer"],
        proof=case["proof"],
        stores=tuple(_store(register, code) for code in stores),
        receipts=tuple(ReceiptFacts(one["store"], one["jws"], one["at"]) for one in receipts),
        keys={code: found for code, found in keys.items() if code in signers},
        answered_at=case.get("answered_at"),
        closed_at=case.get("closed_at"),
    )


def _store(register: Register, code: str) -> StoreFacts:
    if code == CONTROLLER:
        own = register.controller
        return StoreFacts(code, own.name, own.country, own.store_region, TransferBasis.NOT_NEEDED.value)
    found = register.subsidiaries.get(code)
    if found is None:
        return StoreFacts(code, code, UNKNOWN_COUNTRY, UNKNOWN_COUNTRY, TransferBasis.SUSPENDED.value)
    return StoreFacts(code, found.name, found.country, found.store_region, found.transfer.basis.value)
