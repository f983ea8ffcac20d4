"""Decisions: all 42 cells against the published sheet, and what happens when purposes, holds and grounds meet."""

from __future__ import annotations

import itertools
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.terms import FieldName, LawfulBasis, Purpose, Right
from workers.rules.decisions import (
    TABLE,
    Decision,
    ErasureGround,
    Keeping,
    KeepingGround,
    Outcome,
    Reason,
    Refusal,
    Use,
    Verdict,
    decide,
)

TODAY = date(2026, 11, 20)
CONSENT, CONTRACT = LawfulBasis.CONSENT, LawfulBasis.CONTRACT
INTERESTS, DUTY = LawfulBasis.LEGITIMATE_INTERESTS, LawfulBasis.LEGAL_OBLIGATION

SHEET_15 = """
                      access rectification erasure restriction portability objection  withdrawal
consent               yes    yes           yes     yes         yes         withdrawal yes
contract              yes    yes           yes     yes         yes         no         no
legal-obligation      yes    yes           no      yes         no          no         no
vital-interests       yes    yes           yes     yes         no          no         no
public-task           yes    yes           no      yes         no          weighed    no
legitimate-interests  yes    yes           yes     yes         no          weighed    no
"""
"""CNIL, developer guide, sheet 15, in our words; the last column is GDPR Art. 7(3)."""
MEANS = {
    "yes": Verdict.GRANTED,
    "no": Verdict.UNAVAILABLE,
    "withdrawal": Verdict.WITHDRAWAL,
    "weighed": Verdict.PERSON,
}


def cells() -> list[tuple[LawfulBasis, Right, Verdict]]:
    head, *rows = [line.split() for line in SHEET_15.strip().splitlines()]
    return [
        (LawfulBasis(basis), Right(right), MEANS[word])
        for basis, *words in rows
        for right, word in zip(head, words, strict=True)
    ]


def service(basis: LawfulBasis, *, still_needed: bool = False) -> Use:
    return Use(Purpose.PROVIDE_SERVICES, basis, still_needed=still_needed)


def prospecting(basis: LawfulBasis = INTERESTS) -> Use:
    return Use(Purpose.SALES_PROSPECTING, basis, prospecting=True)


CONTRACTED = Use(Purpose.SERVICES_AND_CONTRACT, CONTRACT)
CLAIM = Keeping(KeepingGround.LEGAL_CLAIMS, date(2031, 5, 1), frozenset({Purpose.SERVICES_AND_CONTRACT}))
HOLD = Keeping(KeepingGround.LEGAL_CLAIMS, date(2027, 3, 1), hold="dispute-7")


def verdicts(decision: Decision) -> list[Verdict]:
    return [one.verdict for one in decision.purposes]


def test_the_sheet_has_42_cells() -> None:
    assert len(cells()) == len(set(cells())) == 42


@pytest.mark.parametrize(("basis", "right", "expected"), cells())
def test_cell(basis: LawfulBasis, right: Right, expected: Verdict) -> None:
    decided = decide(right, [service(basis)], on=TODAY).purposes[0]
    assert decided.verdict is expected is TABLE[basis][right].verdict
    assert (decided.reason is None) is (expected is Verdict.GRANTED)
    assert decided.article.split("(")[0] in {"7", "15", "16", "17", "18", "20", "21"}


def test_the_sheet_catches_one_wrong_cell() -> None:
    """Whichever cell says something else is found: the sheet leaves no cell unchecked."""
    for basis, right, expected in cells():
        wrong = {b: dict(row) for b, row in TABLE.items()}
        wrong[basis][right] = next(
            cell for row in TABLE.values() for cell in row.values() if cell.verdict is not expected
        )
        assert sum(wrong[b][r].verdict is not e for b, r, e in cells()) == 1


def test_every_served_right_is_a_right_of_the_table() -> None:
    assert all(decide(right, [], on=TODAY).outcome is Outcome.NOTHING_HELD for right in Right)


@pytest.mark.parametrize("basis", LawfulBasis)
def test_objection_to_prospecting_is_absolute(basis: LawfulBasis) -> None:
    """On any basis, under a hold, needed or not."""
    use = Use(Purpose.EVENT_INVITATIONS, basis, prospecting=True, still_needed=True)
    decision = decide(Right.OBJECTION, [use], [HOLD, CLAIM], on=TODAY)
    assert (decision.outcome, decision.purposes[0].article) == (Outcome.GRANTED, "21(3)")


def test_another_objection_is_weighed_by_a_person_and_restricts_meanwhile() -> None:
    decision = decide(Right.OBJECTION, [prospecting(), service(INTERESTS), service(CONSENT), CONTRACTED], on=TODAY)
    assert verdicts(decision) == [Verdict.GRANTED, Verdict.PERSON, Verdict.WITHDRAWAL, Verdict.UNAVAILABLE]
    assert decision.outcome is Outcome.PERSON
    assert [one.restricts_meanwhile for one in decision.purposes] == [False, True, False, False]
    assert [one.acts_now for one in decision.purposes] == [True, False, True, False]


@pytest.mark.parametrize(
    ("use", "ground", "article"),
    [
        (service(CONSENT), ErasureGround.CONSENT_WITHDRAWN, "17(1)(b)"),
        (prospecting(), ErasureGround.OBJECTED, "17(1)(c)"),
        (prospecting(CONTRACT), ErasureGround.OBJECTED, "17(1)(c)"),
        (service(INTERESTS), ErasureGround.OBJECTED, "17(1)(c)"),
        (CONTRACTED, ErasureGround.NO_LONGER_NEEDED, "17(1)(a)"),
    ],
)
def test_an_erasure_names_its_ground(use: Use, ground: ErasureGround, article: str) -> None:
    decided = decide(Right.ERASURE, [use], on=TODAY).purposes[0]
    assert (decided.verdict, decided.ground, decided.article) == (Verdict.GRANTED, ground, article)


def test_a_running_contract_is_for_a_person_to_weigh() -> None:
    running = Use(Purpose.SERVICES_AND_CONTRACT, CONTRACT, still_needed=True)
    decision = decide(Right.ERASURE, [running, prospecting()], on=TODAY)
    assert verdicts(decision) == [Verdict.PERSON, Verdict.GRANTED]
    assert decision.for_a_person[0].reason is Reason.STILL_NEEDED


def test_several_bases_on_one_record_are_decided_apart() -> None:
    """A client's record: the mailings end, the contract's evidence stays, and so the record stays."""
    decision = decide(Right.ERASURE, [prospecting(), service(CONSENT), CONTRACTED], [CLAIM], on=TODAY)
    assert verdicts(decision) == [Verdict.GRANTED, Verdict.GRANTED, Verdict.KEPT]
    assert decision.outcome is Outcome.PARTLY
    kept = decision.refusals[0]
    assert (kept.reason, kept.article, kept.kept) == (Reason.EXCEPTION, "17(3)(e)", (CLAIM,))
    assert decision.may_erase([prospecting(), service(CONSENT)])
    assert not decision.may_erase([prospecting(), CONTRACTED])


def test_one_purpose_on_two_bases_is_two_decisions() -> None:
    decision = decide(Right.ERASURE, [service(CONSENT), service(DUTY)], on=TODAY)
    assert verdicts(decision) == [Verdict.GRANTED, Verdict.UNAVAILABLE]
    assert decision.may_erase([service(CONSENT)])
    assert not decision.may_erase([service(DUTY)])
    assert not decision.may_erase([Use(Purpose.RECRUITMENT, CONSENT)]), "what was not decided is not erased"


def test_a_hold_beats_an_erasure_but_not_the_end_of_use() -> None:
    decision = decide(Right.ERASURE, [service(CONSENT), prospecting()], [HOLD], on=TODAY)
    assert verdicts(decision) == [Verdict.KEPT, Verdict.KEPT]
    assert all(one.acts_now and one.reason is Reason.HOLD and one.kept == (HOLD,) for one in decision.purposes)
    assert not decision.may_erase([prospecting()])


def test_a_hold_does_not_lapse_by_itself_and_an_exception_does() -> None:
    after = date(2031, 5, 2)
    assert verdicts(decide(Right.ERASURE, [CONTRACTED], [CLAIM], on=date(2031, 5, 1))) == [Verdict.KEPT]
    assert verdicts(decide(Right.ERASURE, [CONTRACTED], [CLAIM], on=after)) == [Verdict.GRANTED]
    assert verdicts(decide(Right.ERASURE, [CONTRACTED], [HOLD], on=after)) == [Verdict.KEPT]


def test_an_exception_says_which_fields_it_covers() -> None:
    names = frozenset({FieldName.LAST_NAME, FieldName.FIRST_NAME})
    keeping = Keeping(KeepingGround.LEGAL_OBLIGATION, date(2030, 1, 1), fields=names)
    assert decide(Right.ERASURE, [CONTRACTED], [keeping], on=TODAY).purposes[0].kept[0].fields == names


def test_a_hold_limits_no_access() -> None:
    assert decide(Right.ACCESS, [service(DUTY), CONTRACTED], [HOLD, CLAIM], on=TODAY).outcome is Outcome.GRANTED


def test_a_child_is_erased_and_what_the_law_keeps_goes_to_a_person() -> None:
    uses = [CONTRACTED, Use(Purpose.RECRUITMENT, CONTRACT, still_needed=True), service(DUTY)]
    decision = decide(Right.ERASURE, uses, on=TODAY, ground=ErasureGround.CHILD)
    assert verdicts(decision) == [Verdict.GRANTED, Verdict.GRANTED, Verdict.PERSON]
    assert {one.article for one in decision.purposes} == {"17(1)(f)"}


def test_a_right_that_no_purpose_gives_is_refused_whole() -> None:
    decision = decide(Right.PORTABILITY, [service(DUTY), prospecting()], on=TODAY)
    assert decision.outcome is Outcome.REFUSED
    assert len(decision.refusals) == 2


def test_grounds_and_refusals_have_their_articles() -> None:
    assert [one.article for one in ErasureGround] == [f"17(1)({letter})" for letter in "abcdef"]
    assert [one.article for one in KeepingGround] == [f"17(3)({letter})" for letter in "abcde"]
    assert all(one.article for one in Refusal)


PROPERTIES = st.lists(
    st.builds(Use, st.sampled_from(Purpose), st.sampled_from(LawfulBasis), st.booleans(), st.booleans()), max_size=6
)
KEEPINGS = st.lists(st.sampled_from([CLAIM, HOLD]), max_size=2)


@given(right=st.sampled_from(Right), uses=PROPERTIES, keepings=KEEPINGS)
def test_every_decision_is_whole_and_explained(right: Right, uses: list[Use], keepings: list[Keeping]) -> None:
    """One verdict per use; a refusal always has its reason; nothing under a hold may be erased."""
    decision = decide(right, uses, keepings, on=TODAY)
    assert [one.use for one in decision.purposes] == uses
    for one in decision.purposes:
        assert one.article
        assert one.reason is not None or one.verdict is Verdict.GRANTED
        assert bool(one.kept) is (one.verdict is Verdict.KEPT)
    if HOLD in keepings:
        assert not any(decision.may_erase([use]) for use in uses)


def test_prospecting_always_ends_by_erasure_or_objection() -> None:
    for basis, right in itertools.product(LawfulBasis, (Right.ERASURE, Right.OBJECTION)):
        use = Use(Purpose.SALES_INFORMATION, basis, prospecting=True, still_needed=True)
        assert decide(right, [use], [HOLD], on=TODAY).purposes[0].acts_now
