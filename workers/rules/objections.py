"""When a "no" ends a purpose, and what lifts it: decided from moments alone, in whatever order they became known.

A "no" to prospecting ends every purpose it names, and the whole of a newsletter subscription. The one thing that lifts
it is the link mailed to the address, used later than the "no", and it lifts it for that subscription: neither a form
nor an import does, and nothing lifts it for them. At a tie "no" wins.
Source: R20, R21, R24; P10; design § 4 "A first subscription", "Suppression entries".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from schemas.terms import Case, Purpose


def ended(case: Case, purpose: Purpose, confirmed: datetime | None, no: Mapping[Purpose, datetime]) -> bool:
    """Whether a person's "no" has ended what a record of this case serves.

    ``confirmed``: when the mailed link of this subscription was used; ``no``: purpose → the latest "no" to it.
    """
    if case is not Case.NEWSLETTER:
        return purpose in no
    latest = max(no.values(), default=None)
    return latest is not None and (confirmed is None or confirmed <= latest)
