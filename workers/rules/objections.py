"""When a "no" ends a purpose, and what lifts it: decided from moments alone, in whatever order they became known.

A "no" to prospecting ends every purpose it names, and the whole of a newsletter subscription. The one thing that lifts
it is a link mailed to the address, used later than the "no": that of a subscription lifts it for that subscription,
that to the person's preferences for the purposes they accept there. Neither a form nor an import does, and nothing
lifts it for them. At a tie "no" wins.
Source: R20, R21, R24; P10; design § 4 "A first subscription", "Suppression entries".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from schemas.register import Register
from schemas.terms import Case, Purpose


def ended(
    register: Register, case: Case, purpose: Purpose, confirmed: datetime | None, no: Mapping[Purpose, datetime]
) -> bool:
    """Whether a person's "no" has ended what a record of this case serves.

    ``confirmed``: when the mailed link of this subscription was used; ``no``: purpose → the latest "no" to it. A
    subscription ends as a whole by a "no" to any prospecting that it serves itself, or to what is asked for.
    """
    if case is not Case.NEWSLETTER:
        return purpose in no
    latest = max(
        (at for named, at in no.items() if named is purpose or named in register.newsletter_ends), default=None
    )
    return latest is not None and (confirmed is None or confirmed <= latest)


def standing(no: Mapping[Purpose, datetime], accepted: Mapping[Purpose, datetime]) -> dict[Purpose, datetime]:
    """What is left of each "no" once its person has accepted purposes by the mailed link: ``accepted``, the latest."""
    return {purpose: at for purpose, at in no.items() if purpose not in accepted or accepted[purpose] <= at}
