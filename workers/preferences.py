"""What people accept and refuse by the mailed link to their preferences, and what is left of a "no" by it.

A "no" goes onto the suppression list for the purposes it names. A "yes" is kept as an express agreement of the person's
own, in **active**: it lifts an earlier "no" to that purpose wherever a "no" is weighed, and goes with the person. What
an import calls an agreement lifts nothing.
Source: R8, R20, R21, R24; P10; docs/decisions/0011, 0018, 0022.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

from schemas.routes import PREFERENCES_SOURCE
from schemas.subject import ReferenceUse
from schemas.terms import LawfulBasis, Purpose, Right
from workers.rules.objections import Noes, Wish, standing, wish_of
from workers.services import Services
from workers.slips import Told, leave_slip

Accepted = Mapping[bytes, Noes]
"""By reference: purpose → the latest acceptance of it."""


async def no_of(services: Services, emails: Iterable[str]) -> Mapping[str, Noes]:
    """Address → what each "no" is to → the latest of it, less what was accepted since by the mailed link.

    Of those only who ever said one. Addresses in their normal form: two that differ in letter case are of one person.
    Raises :class:`schemas.errors.StoreUnavailable`.
    """
    said = await services.suppressions.of_all(emails)
    refs = {email: _ref(services, email) for email in said}
    # After the list: a "yes" that is missed leaves the "no", which the next look sees lifted.
    accepted = await _accepted(services, refs.values())
    return {email: standing(no, accepted[refs[email]]) for email, no in said.items()}


async def wishes_of(services: Services, emails: Iterable[str]) -> Mapping[str, Wish]:
    """Address → what they wish of the subsidiaries now; of those who refused something there, and accepted since."""
    said = await services.suppressions.of_all(emails)
    refs = {email: _ref(services, email) for email in said}
    accepted, uses = await _accepted(services, refs.values()), services.trust.register.used_in_subsidiaries
    found = {email: wish_of(no, accepted[refs[email]], uses) for email, no in said.items()}
    return {email: wish for email, wish in found.items() if wish is not None}


async def tell_again(services: Services, said: Iterable[Told]) -> None:
    """Have the subsidiaries told what those wish now who ever accepted anything: a "no" alone no longer says it.

    After what was said stands in its place: of two that cross, the later one sees both. Repeatable.
    """
    known = {_ref(services, one.email): one for one in said}
    accepted = await _accepted(services, known)
    again = [one._replace(fact=f"{one.fact}/wish", wish=True) for ref, one in known.items() if accepted[ref]]
    await leave_slip(services, again)


def _ref(services: Services, email: str) -> bytes:
    return services.trust.references.of_email(ReferenceUse.LOOKUP, email)


async def _accepted(services: Services, refs: Iterable[bytes]) -> Accepted:
    accepted: defaultdict[bytes, dict[Purpose | LawfulBasis | Right, datetime]] = defaultdict(dict)
    for one in await services.submissions.agreements.about(refs):
        if one["given"] and one["source"] == PREFERENCES_SOURCE:
            mine, purpose = accepted[bytes(one["refs"][0])], Purpose(one["purpose"])
            mine[purpose] = max(one["happened"], mine.get(purpose, one["happened"]))
    return accepted
