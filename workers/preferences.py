"""What people accept and refuse by the mailed link to their preferences, and what is left of a "no" by it.

A "no" goes onto the suppression list for the purposes it names. A "yes" is kept as an express agreement of the person's
own, in **active**: it lifts an earlier "no" to that purpose wherever a "no" is weighed, and goes with the person. What
an import calls an agreement lifts nothing.
Source: R8, R20, R21, R24; P10; docs/decisions/0011, 0018.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

from schemas.routes import PREFERENCES_SOURCE
from schemas.subject import ReferenceUse
from schemas.terms import LawfulBasis, Purpose, Right
from workers.rules.objections import Noes, standing
from workers.services import Services


async def no_of(services: Services, emails: Iterable[str]) -> Mapping[str, Noes]:
    """Address → what each "no" is to → the latest of it, less what was accepted since by the mailed link.

    Of those only who ever said one. Addresses in their normal form: two that differ in letter case are of one person.
    Raises :class:`schemas.errors.StoreUnavailable`.
    """
    said = await services.suppressions.of_all(emails)
    refs = {email: services.trust.references.of_email(ReferenceUse.LOOKUP, email) for email in said}
    accepted: defaultdict[bytes, dict[Purpose | LawfulBasis | Right, datetime]] = defaultdict(dict)
    # After the list: a "yes" that is missed leaves the "no", which the next look sees lifted.
    for one in await services.submissions.agreements.about(refs.values()):
        if one["given"] and one["source"] == PREFERENCES_SOURCE:
            mine, purpose = accepted[bytes(one["refs"][0])], Purpose(one["purpose"])
            mine[purpose] = max(one["happened"], mine.get(purpose, one["happened"]))
    return {email: standing(no, accepted[refs[email]]) for email, no in said.items()}
