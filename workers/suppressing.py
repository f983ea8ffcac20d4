"""A "no" to prospecting, whichever way it came: onto the suppression list, with its ground and the person's own time.

Source: R20, R21, R24; P10; design § 4 "an unsubscribe covers newsletter and e-mail prospecting, group-wide".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from schemas.evidence import entry
from schemas.subject import ReferenceUse, clean_email
from schemas.terms import SuppressionGround
from workers.services import Services
from workers.stores.suppression import No


class Said(NamedTuple):
    """Somebody's "no". ``fact``: what makes it one and the same when it comes again, made from nothing about a person;
    ``references``: whom it is from, as the list knows people; ``at``: when they said it, aware.
    """

    fact: str
    references: Sequence[bytes]
    at: datetime


async def suppress(services: Services, emails: Iterable[str], ground: SuppressionGround, at: datetime) -> None:
    """End prospecting for these addresses, as from ``at``; what brought it is in evidence by its case. Repeatable."""
    no, addresses = No(services.trust.register.prospecting, ground, at), list(emails)
    for email in addresses:
        await services.suppressions.add(email, no)
    await look_at(services, addresses, at)


async def look_at(services: Services, emails: Iterable[str], since: datetime) -> None:
    """Have what is held of these addresses looked at now: a "no" of theirs, said at ``since``, is on the list."""
    refs = [services.trust.references.of_email(ReferenceUse.LOOKUP, clean_email(email)) for email in emails]
    await services.due.add((await services.people.find(refs)).values(), since)


async def suppress_on_record(
    services: Services, ground: SuppressionGround, said: Sequence[Said], *, by: str | None = None
) -> None:
    """End prospecting for whom these are from: known, unknown or erased, no record of anybody is needed. Repeatable.

    ``by``: who of staff entered it.
    """
    now, prospecting = services.clock(), services.trust.register.prospecting
    details = {"ground": ground.value} | ({"by": by} if by else {})
    # The fact before the effect: after it, a crash in between would lose it for good.
    await services.notes.write(entry("suppressed", None, one.fact, now, **details) for one in said)
    await services.suppressions.enter(
        (reference, No(prospecting, ground, one.at)) for one in said for reference in one.references
    )
