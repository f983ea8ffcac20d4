"""What a person's right is worth, purpose by purpose: which lawful basis gives which right, and what stands against it.

The table is data: six bases by seven rights. Around it stand the rules that no table shows: an objection to prospecting
is absolute; an erasure needs a ground of Art. 17(1) and gives way to an exception of Art. 17(3) or to a hold, for what
these cover and as long as they do; what is kept so serves nothing else.

::

    granted      done
    kept         (erasure) the purpose ends; some data stays, with its ground, scope and last day
    person       a human weighs it; the data is restricted meanwhile (Art. 18(1)(d))
    withdrawal   a consent is not objected to but withdrawn: it is ended as a withdrawal
    unavailable  this basis does not give this right: a partial refusal, with its reason and article

Source: R17 to R20; GDPR Arts 7(3), 15 to 21; CNIL developer guide, sheet 15; W3C DPV; gdpr-clock-and-rights § 1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

from schemas.terms import FieldName, LawfulBasis, Purpose, Right


class Verdict(StrEnum):
    """What becomes of a right for one purpose; see the module."""

    GRANTED = "granted"
    KEPT = "kept"
    PERSON = "person"
    WITHDRAWAL = "withdrawal"
    UNAVAILABLE = "unavailable"


class Reason(StrEnum):
    """Why a purpose was not simply granted."""

    LEGAL_OBLIGATION = "legal_obligation"
    PUBLIC_TASK = "public_task"
    NOT_CONSENT_OR_CONTRACT = "not_consent_or_contract"
    NOT_INTEREST_OR_TASK = "not_interest_or_task"
    NOT_CONSENT = "not_consent"
    CONSENT_IS_WITHDRAWN = "consent_is_withdrawn"
    GROUNDS_TO_BE_WEIGHED = "grounds_to_be_weighed"
    STILL_NEEDED = "still_needed"
    LAWFULNESS_IN_DOUBT = "lawfulness_in_doubt"
    EXCEPTION = "exception"
    HOLD = "hold"


class ErasureGround(StrEnum):
    """Why data must be erased. Source: GDPR Art. 17(1)(a) to (f), in that order."""

    NO_LONGER_NEEDED = "no_longer_needed"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    OBJECTED = "objected"
    UNLAWFUL = "unlawful"
    LEGAL_DUTY = "legal_duty"
    CHILD = "child"

    @property
    def article(self) -> str:
        return f"17(1)({'abcdef'[list(ErasureGround).index(self)]})"


class KeepingGround(StrEnum):
    """Why data may stay all the same. Source: GDPR Art. 17(3)(a) to (e), in that order."""

    FREE_EXPRESSION = "free_expression"
    LEGAL_OBLIGATION = "legal_obligation"
    PUBLIC_HEALTH = "public_health"
    ARCHIVES_AND_RESEARCH = "archives_and_research"
    LEGAL_CLAIMS = "legal_claims"

    @property
    def article(self) -> str:
        return f"17(3)({'abcde'[list(KeepingGround).index(self)]})"


class Refusal(StrEnum):
    """Why staff refuse a whole request; always a person's act, always with words of its own. Source: Art. 12(4)."""

    CANNOT_IDENTIFY = "cannot_identify"
    IDENTITY_NOT_PROVEN = "identity_not_proven"
    MANIFESTLY_UNFOUNDED = "manifestly_unfounded"
    EXCESSIVE = "excessive"
    OTHERS_RIGHTS = "others_rights"
    COMPELLING_GROUNDS = "compelling_grounds"

    @property
    def article(self) -> str:
        return _REFUSAL_ARTICLES[self]


_REFUSAL_ARTICLES: Final[Mapping[Refusal, str]] = {
    Refusal.CANNOT_IDENTIFY: "11(2)",
    Refusal.IDENTITY_NOT_PROVEN: "12(6)",
    Refusal.MANIFESTLY_UNFOUNDED: "12(5)",
    Refusal.EXCESSIVE: "12(5)",
    Refusal.OTHERS_RIGHTS: "15(4)",
    Refusal.COMPELLING_GROUNDS: "21(1)",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the table. ``article``: of the GDPR, on which the verdict rests."""

    verdict: Verdict
    article: str
    reason: Reason | None = None


_ACCESS: Final = Cell(Verdict.GRANTED, "15")
_RECTIFY: Final = Cell(Verdict.GRANTED, "16")
_ERASE: Final = Cell(Verdict.GRANTED, "17(1)")
_RESTRICT: Final = Cell(Verdict.GRANTED, "18(1)")
_PORT: Final = Cell(Verdict.GRANTED, "20(1)")
_WITHDRAW: Final = Cell(Verdict.WITHDRAWAL, "7(3)", Reason.CONSENT_IS_WITHDRAWN)
_END: Final = Cell(Verdict.GRANTED, "7(3)")
_NO_CONSENT: Final = Cell(Verdict.UNAVAILABLE, "7(3)", Reason.NOT_CONSENT)
_WEIGH: Final = Cell(Verdict.PERSON, "21(1)", Reason.GROUNDS_TO_BE_WEIGHED)
_BY_LAW: Final = Cell(Verdict.UNAVAILABLE, "17(3)(b)", Reason.LEGAL_OBLIGATION)
_BY_TASK: Final = Cell(Verdict.UNAVAILABLE, "17(3)(b)", Reason.PUBLIC_TASK)
_NO_PORT: Final = Cell(Verdict.UNAVAILABLE, "20(1)(a)", Reason.NOT_CONSENT_OR_CONTRACT)
_NO_OBJECT: Final = Cell(Verdict.UNAVAILABLE, "21(1)", Reason.NOT_INTEREST_OR_TASK)

_COLUMNS: Final = (
    *(Right.ACCESS, Right.RECTIFICATION, Right.ERASURE, Right.RESTRICTION, Right.PORTABILITY),
    *(Right.OBJECTION, Right.WITHDRAWAL),
)
# fmt: off
_ROWS: Final[Mapping[LawfulBasis, tuple[Cell, ...]]] = {
    #                                  access   rectification erasure restriction portability objection   withdrawal
    LawfulBasis.CONSENT:              (_ACCESS, _RECTIFY,     _ERASE,   _RESTRICT, _PORT,     _WITHDRAW,  _END),
    LawfulBasis.CONTRACT:             (_ACCESS, _RECTIFY,     _ERASE,   _RESTRICT, _PORT,     _NO_OBJECT, _NO_CONSENT),
    LawfulBasis.LEGAL_OBLIGATION:     (_ACCESS, _RECTIFY,     _BY_LAW,  _RESTRICT, _NO_PORT,  _NO_OBJECT, _NO_CONSENT),
    LawfulBasis.VITAL_INTERESTS:      (_ACCESS, _RECTIFY,     _ERASE,   _RESTRICT, _NO_PORT,  _NO_OBJECT, _NO_CONSENT),
    LawfulBasis.PUBLIC_TASK:          (_ACCESS, _RECTIFY,     _BY_TASK, _RESTRICT, _NO_PORT,  _WEIGH,     _NO_CONSENT),
    LawfulBasis.LEGITIMATE_INTERESTS: (_ACCESS, _RECTIFY,     _ERASE,   _RESTRICT, _NO_PORT,  _WEIGH,     _NO_CONSENT),
}
# fmt: on
TABLE: Final[Mapping[LawfulBasis, Mapping[Right, Cell]]] = {
    basis: dict(zip(_COLUMNS, row, strict=True)) for basis, row in _ROWS.items()
}
"""Which basis gives which right. Source: CNIL developer guide, sheet 15; for a withdrawal GDPR Art. 7(3)."""


PORTABLE: Final = frozenset(basis for basis, row in TABLE.items() if row[Right.PORTABILITY].verdict is Verdict.GRANTED)
"""What data must rest on to be the person's to take elsewhere. Source: GDPR Art. 20(1)(a)."""


@dataclass(frozen=True, slots=True)
class Use:
    """One purpose that the person's data serves. ``prospecting``: as the register says of the purpose."""

    purpose: Purpose
    basis: LawfulBasis
    prospecting: bool = False
    still_needed: bool = False
    """The contract runs, the service is being given: Art. 17(1)(a) is not met."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """An exception of Art. 17(3), or a hold (``hold``: its name), and what it covers; None covers everything.

    ``until``: the last day. An exception is over then; a hold is looked at again, and stands until a person lifts it.
    """

    ground: KeepingGround
    until: date | None = None
    purposes: frozenset[Purpose] | None = None
    fields: frozenset[FieldName] | None = None
    hold: str | None = None

    def covers(self, purpose: Purpose, on: date) -> bool:
        over = self.hold is None and self.until is not None and self.until < on
        return not over and (self.purposes is None or purpose in self.purposes)


@dataclass(frozen=True, slots=True)
class PurposeDecision:
    """What was decided for one purpose on one basis. ``kept``: what stays, each with ground, scope and last day."""

    use: Use
    verdict: Verdict
    article: str
    reason: Reason | None = None
    ground: ErasureGround | None = None
    kept: tuple[Keeping, ...] = ()

    @property
    def acts_now(self) -> bool:
        """Whether something is done without waiting for a person: given, ended, withdrawn."""
        return self.verdict in (Verdict.GRANTED, Verdict.KEPT, Verdict.WITHDRAWAL)

    @property
    def restricts_meanwhile(self) -> bool:
        """Whether the data is only stored until a person has decided. Source: GDPR Art. 18(1)(d)."""
        return self.verdict is Verdict.PERSON

    @property
    def refuses(self) -> bool:
        """Whether the person must be told of a refusal, whole or in part: reasons, complaint, remedy (Art. 12(4))."""
        return self.verdict in (Verdict.KEPT, Verdict.UNAVAILABLE)


class Outcome(StrEnum):
    """A decision as a whole."""

    NOTHING_HELD = "nothing_held"
    GRANTED = "granted"
    PARTLY = "partly"
    REFUSED = "refused"
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class Decision:
    """A right, decided for each purpose apart."""

    right: Right
    purposes: tuple[PurposeDecision, ...]

    @property
    def outcome(self) -> Outcome:
        """The whole in one word; ``person`` while one purpose waits for a human, the others being done at once."""
        verdicts = {one.verdict for one in self.purposes}
        if not verdicts:
            return Outcome.NOTHING_HELD
        if Verdict.PERSON in verdicts:
            return Outcome.PERSON
        if verdicts <= {Verdict.GRANTED, Verdict.WITHDRAWAL}:
            return Outcome.GRANTED
        return Outcome.REFUSED if verdicts == {Verdict.UNAVAILABLE} else Outcome.PARTLY

    @property
    def refusals(self) -> tuple[PurposeDecision, ...]:
        """What must be explained to the person."""
        return tuple(one for one in self.purposes if one.refuses)

    @property
    def for_a_person(self) -> tuple[PurposeDecision, ...]:
        """What only a human may decide."""
        return tuple(one for one in self.purposes if one.verdict is Verdict.PERSON)

    def may_erase(self, record: Collection[Use]) -> bool:
        """Whether a record that serves these purposes goes: only when each of them was given up whole."""
        given_up = {(one.use.purpose, one.use.basis) for one in self.purposes if one.verdict is Verdict.GRANTED}
        return self.right is Right.ERASURE and all((use.purpose, use.basis) in given_up for use in record)


def decide(
    right: Right,
    uses: Sequence[Use],
    keepings: Sequence[Keeping] = (),
    *,
    on: date,
    ground: ErasureGround | None = None,
) -> Decision:
    """Decide a right for each purpose. ``keepings``: holds and exceptions, which only an erasure meets.

    ``ground``: from staff, where an erasure rests on more than the wish (unlawful, legal duty, child). ``on``: the
    day of the decision. Source: R17 to R20.
    """
    if right is Right.ERASURE:
        return Decision(right, tuple(_erasure(use, keepings, on, ground) for use in uses))
    if right is Right.OBJECTION:
        return Decision(right, tuple(map(_objection, uses)))
    return Decision(right, tuple(_from_table(use, right) for use in uses))


def _from_table(use: Use, right: Right) -> PurposeDecision:
    cell = TABLE[use.basis][right]
    return PurposeDecision(use, cell.verdict, cell.article, cell.reason)


def _objection(use: Use) -> PurposeDecision:
    """Against prospecting no basis, hold or interest stands: Art. 21(2) and (3)."""
    if use.prospecting:
        return PurposeDecision(use, Verdict.GRANTED, "21(3)")
    return _from_table(use, Right.OBJECTION)


def _erasure(use: Use, keepings: Sequence[Keeping], on: date, ground: ErasureGround | None) -> PurposeDecision:
    if not use.prospecting and TABLE[use.basis][Right.ERASURE].verdict is Verdict.UNAVAILABLE:
        if ground is None:
            return _from_table(use, Right.ERASURE)
        return PurposeDecision(use, Verdict.PERSON, ground.article, Reason.LAWFULNESS_IN_DOUBT, ground)
    ground = ground or _own_ground(use)
    if ground in (ErasureGround.NO_LONGER_NEEDED, ErasureGround.OBJECTED) and use.still_needed and not use.prospecting:
        return PurposeDecision(use, Verdict.PERSON, ground.article, Reason.STILL_NEEDED, ground)
    kept = tuple(one for one in keepings if one.covers(use.purpose, on))
    if not kept:
        return PurposeDecision(use, Verdict.GRANTED, ground.article, ground=ground)
    reason = Reason.HOLD if any(one.hold for one in kept) else Reason.EXCEPTION
    return PurposeDecision(use, Verdict.KEPT, kept[0].ground.article, reason, ground, kept)


def _own_ground(use: Use) -> ErasureGround:
    """What the person's wish alone amounts to: a withdrawal, an objection, or that the data has served."""
    if use.basis is LawfulBasis.CONSENT:
        return ErasureGround.CONSENT_WITHDRAWN
    if use.prospecting or use.basis is LawfulBasis.LEGITIMATE_INTERESTS:
        return ErasureGround.OBJECTED
    return ErasureGround.NO_LONGER_NEEDED
