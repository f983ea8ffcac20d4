"""When a "no" ends a purpose, and what lifts it: decided from moments alone, in whatever order they became known.

A "no" to prospecting ends every purpose it names, and the whole of a newsletter subscription. The one thing that lifts
it is a link mailed to the address, used later than the "no": that of a subscription lifts it for that subscription,
that to the person's preferences for the purposes they accept there. Neither a form nor an import does, and nothing
lifts it for them. At a tie "no" wins.

A withdrawal of consent is a "no" to all that rested on consent when it was said, what was accepted by then included.
What begins to rest on one later stands on a consent of its own; a newsletter subscription by its mailed link alone.
Source: R14, R20, R21, R24; P10; GDPR Art. 7(3); design § 4 "A first subscription", "Suppression entries".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from schemas.register import Register
from schemas.terms import Case, LawfulBasis, Purpose, Right

Noes = Mapping[Purpose | LawfulBasis | Right, datetime]
"""What somebody said no to, a purpose or whatever rests on a basis → the latest "no" to it.

Under :attr:`Right.RESTRICTION`: since when nothing of theirs is used. That ends no purpose: the data stays.
"""


@dataclass(frozen=True, slots=True)
class Rests:
    """How a record serves a purpose. ``confirmed``: when the mailed link of this subscription was used."""

    case: Case
    basis: LawfulBasis
    since: datetime
    confirmed: datetime | None = None

    @classmethod
    def of(cls, link: Mapping[str, Any]) -> Self:
        """By a purpose link as it is kept."""
        return cls(Case(link["case"]), LawfulBasis(link["basis"]), link["since"], link.get("confirmed"))


def ended(register: Register, served: Rests, purpose: Purpose, no: Noes) -> bool:
    """Whether a person's "no" has ended what a record serves.

    A subscription ends as a whole by a "no" to any prospecting that it serves itself, or to what is asked for.
    """
    if served.case is not Case.NEWSLETTER:
        withdrawn = no.get(served.basis)
        return purpose in no or (withdrawn is not None and served.since <= withdrawn)
    ends: set[Purpose | LawfulBasis | Right] = {purpose, served.basis, *register.newsletter_ends}
    latest = max((at for what, at in no.items() if what in ends), default=None)
    return latest is not None and (served.confirmed is None or served.confirmed <= latest)


def standing(no: Noes, accepted: Noes) -> dict[Purpose | LawfulBasis | Right, datetime]:
    """What is left of each "no" once its person has accepted purposes by the mailed link: ``accepted``, the latest."""
    withdrawn = no.get(LawfulBasis.CONSENT)
    lifts = {what: at for what, at in accepted.items() if withdrawn is None or at > withdrawn}
    return {what: at for what, at in no.items() if what not in lifts or lifts[what] <= at}
