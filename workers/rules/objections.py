"""When a "no" ends a purpose, and what lifts it: decided from moments alone, in whatever order they became known.

A "no" to prospecting ends every purpose it names, and the whole of a newsletter subscription. The one thing that lifts
it is a link mailed to the address, used later than the "no": that of a subscription lifts it for that subscription,
that to the person's preferences for the purposes they accept there. Neither a form nor an import does, and nothing
lifts it for them. At a tie "no" wins.

A withdrawal of consent is a "no" to all that rested on consent when it was said, what was accepted by then included.
What begins to rest on one later stands on a consent of its own; a newsletter subscription by its mailed link alone.
What a subsidiary is told of the two is one wish for all its uses, beside each "no" by itself; see :class:`Heard`.
Source: R14, R20, R21, R24; P10; GDPR Art. 7(3); design § 4 "A first subscription", "Suppression entries".
"""

from __future__ import annotations

from collections.abc import Mapping, Set
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


# ---------------------------------------------------------------------- as a subsidiary knows it


@dataclass(frozen=True, slots=True)
class Wish:
    """What is left of all that somebody refused and accepted. ``at``: the latest of it; ``refused_at``: of the "no".

    ``version``: grows with everything that is known of what they said; of two of the same moment the larger counts.
    """

    at: datetime
    version: int
    accepts: bool
    refused_at: datetime

    def counts_over(self, other: Wish | None) -> bool:
        """Whether it takes the other's place. At a tie "no" wins."""
        return other is None or (self.at, self.version, not self.accepts) > (other.at, other.version, not other.accepts)


def wish_of(no: Noes, accepted: Noes, uses: Set[Purpose]) -> Wish | None:
    """What somebody wishes of ``uses``; ``None`` where a "no" by itself says it all, or there was none."""
    noes: Noes = {what: at for what, at in no.items() if not isinstance(what, Right)}
    refused = [at for what, at in noes.items() if what in uses]
    if not refused or not accepted:
        return None
    moments = [*noes.values(), *accepted.values()]
    # Moments only move forward, each by itself, so whoever knows more has the larger sum.
    version = sum(round(at.timestamp() * 1000) for at in moments)
    return Wish(max(moments), version, not standing(noes, accepted).keys() & uses, max(refused))


@dataclass(slots=True)
class Heard:
    """What a subsidiary has heard of one address, in whatever order. ``refused``: the latest "no" by itself."""

    refused: datetime | None = None
    wish: Wish | None = None

    def hear(self, said: Wish | datetime) -> None:
        """A wish, or the moment of a "no"."""
        if isinstance(said, Wish):
            self.wish = said if said.counts_over(self.wish) else self.wish
        else:
            self.refused = max(said, self.refused or said)

    @property
    def latest(self) -> datetime | None:
        """When they last said anything that was heard."""
        said = (self.refused, self.wish.at if self.wish is not None else None)
        return max((at for at in said if at is not None), default=None)

    @property
    def accepted(self) -> bool:
        """Whether the latest wish accepts, and knew of every "no" that was heard."""
        wish = self.wish
        return wish is not None and wish.accepts and (self.refused is None or self.refused <= wish.refused_at)
