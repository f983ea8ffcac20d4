"""Who has read what of one person's data: by the record of reads, also when the data is gone.

Source: R8, R9; GDPR Art. 5(2), 15(1)(c).
"""

from __future__ import annotations

from typing import Any

from schemas.fields import wire_moment
from schemas.subject import ReferenceUse, clean_email
from workers.cases.weighing import persons_of
from workers.services import Services
from workers.stores.tombstones import of_address


async def reads_about(services: Services, email: str) -> list[dict[str, Any]]:
    """Every read that showed something of whoever has, or before an erasure had, this address; the oldest first.

    Each with ``at``, ``reader``, ``department``, ``purpose``, ``outcome`` and what else was recorded, for JSON; nobody
    else whom it showed is named. Whose data went at the end of its period is known by no address any more.

    Raises :class:`schemas.errors.InvalidMessage` for what is no address, and
    :class:`schemas.errors.StoreUnavailable`.
    """
    stone = of_address(services.trust.references.of_email(ReferenceUse.TOMBSTONE, clean_email(email)))
    persons = {*await persons_of(services, [email]), *await services.tombstones.named([stone])}
    found = {one["_id"]: one for person in persons for one in await services.reads.about(person)}
    ordered = sorted(found.values(), key=lambda one: (one["at"], one["_id"]))
    return [{**one, "at": wire_moment(one["at"])} for one in ordered]
