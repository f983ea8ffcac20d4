"""Express agreements to a purpose that a record was not collected for, and their ends: a stream, folded when read.

They travel in the queue ``newsletter``, with every other "no" that a read for many people waits for.
Source: R8, R16; design § 4 "Consent is a stream of events".
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas.routes import CONSENT_GIVEN, CONSENT_WITHDRAWN
from workers.actors.batches import Arrived
from workers.actors.remarks import happened, keep_remarks, remark
from workers.services import Services
from workers.stores.mongo import Document

AGREEMENTS = frozenset({CONSENT_GIVEN, CONSENT_WITHDRAWN})
_PROOF = ("policy_version", "notice_sha256", "language")


async def keep_agreements(services: Services, arrived: Sequence[Arrived]) -> None:
    """Keep each with its proof. It is the person's own act: one that is younger than an erasure of theirs stands."""
    await keep_remarks(services, services.submissions.agreements, arrived, _agreement, own_act=True)


def _agreement(services: Services, one: Arrived) -> Document:
    document = remark(services, one) | {
        "source": one.event.source,
        "purpose": one.data["purpose"],
        "given": one.event.type == CONSENT_GIVEN,
        "happened": happened(one),
    }
    document.update({name: one.data[name] for name in _PROOF if name in one.data})
    if "notice_sha256" in document and "policy_version" in document:
        known = services.trust.register.notice_known(document["policy_version"], document["notice_sha256"])
        document["notice_known"] = known
    return document
