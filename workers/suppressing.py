"""A "no" to prospecting, whichever way it came, or to what rests on consent: onto the suppression list, with its ground
and the person's own time, and on its way to every subsidiary.

Source: R20, R21, R24, R25; P10; design § 4 "an unsubscribe covers newsletter and e-mail prospecting, group-wide".
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from schemas.evidence import entry
from schemas.subject import ReferenceUse
from schemas.terms import LawfulBasis, Purpose, SuppressionGround
from workers.preferences import tell_again
from workers.services import Services
from workers.slips import Told, leave_slip
from workers.stores.suppression import No


class Said(NamedTuple):
    """Somebody's "no". ``fact``: what makes it one and the same when it comes again, made from nothing about a person;
    ``references``: whom it is from, as the list knows people; ``at``: when they said it, aware; ``emails``: whom the
    subsidiaries are to look for, as far as that is known; ``purposes``: to what, where not to all prospecting.
    """

    fact: str
    references: Sequence[bytes]
    at: datetime
    emails: Sequence[str] = ()
    purposes: frozenset[Purpose] | None = None


async def suppress(services: Services, emails: Iterable[str], ground: SuppressionGround, at: datetime) -> None:
    """End prospecting for these addresses, as from ``at``; what brought it is in evidence by its case. Repeatable.

    The subsidiaries hear of it by that case.
    """
    await _say(services, list(emails), No(services.trust.register.prospecting, ground, at))


async def withdraw_consent(services: Services, emails: Iterable[str], at: datetime) -> None:
    """End, for these addresses, what rests on a consent that was given until ``at``. As :func:`suppress`."""
    consent = frozenset({LawfulBasis.CONSENT})
    await _say(services, list(emails), No(frozenset(), SuppressionGround.WITHDRAWAL, at, consent))


async def _say(services: Services, addresses: Sequence[str], no: No) -> None:
    for email in addresses:
        await services.suppressions.add(email, no)
    await tell_again(services, [Told(_fact(services, email, no), email, no.at) for email in addresses])
    await _look_at(services, [(email, no.at) for email in addresses])


def _fact(services: Services, email: str, no: No) -> str:
    return f"{services.trust.references.suppression(email)[0].hex()}/{no.ground.value}"


async def suppress_on_record(
    services: Services, ground: SuppressionGround, said: Sequence[Said], *, by: str | None = None
) -> None:
    """End prospecting, or what of it each names, for whom these are from: known, unknown or erased. Repeatable.

    No record of anybody is needed. Whose address is known goes to every subsidiary with the next round, as a "no" to
    all prospecting there, unless no subsidiary does what it is to. ``by``: who of staff entered it.
    """
    now, prospecting = services.clock(), services.trust.register.prospecting
    details = {"ground": ground.value} | ({"by": by} if by else {})
    # The fact before the effect: after it, a crash in between would lose it for good.
    await services.notes.write(entry("suppressed", None, one.fact, now, **details) for one in said)
    # Before the list as well: once it holds, what they said no to is deleted, and their address with it.
    told = [one for one in said if one.purposes is None or one.purposes & services.trust.register.used_in_subsidiaries]
    slips = [Told(f"{one.fact}/{n}", email, one.at) for one in told for n, email in enumerate(one.emails)]
    await leave_slip(services, slips)
    await services.suppressions.enter(
        (reference, No(one.purposes or prospecting, ground, one.at)) for one in said for reference in one.references
    )
    await tell_again(services, slips)
    await _look_at(services, [(email, one.at) for one in said for email in one.emails])


async def _look_at(services: Services, said: Sequence[tuple[str, datetime]]) -> None:
    """Have what is held of these addresses looked at now: a "no" of theirs, said at that moment, is on the list.

    Addresses in their normal form, as they are kept.
    """
    references, due = services.trust.references, services.due
    refs = [references.of_email(ReferenceUse.LOOKUP, email) for email, _ in said]
    persons = await services.people.find(refs)
    known = [(persons[ref], at) for ref, (_, at) in zip(refs, said, strict=True) if ref in persons]
    await asyncio.gather(*(due.add([person], at) for person, at in known))
