"""R20, R21: in whatever order a "no", a "yes" and the orders they make come, every subsidiary ends with the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from schemas.terms import LawfulBasis, Purpose, Right
from tests.factories import NOON
from workers.rules import objections
from workers.rules.objections import Heard, Wish, wish_of

INFORMATION, INVITATIONS, PROSPECTING = (
    Purpose.SALES_INFORMATION,
    Purpose.EVENT_INVITATIONS,
    Purpose.SALES_PROSPECTING,
)
USES = frozenset({INVITATIONS, PROSPECTING})
STORIES = 400

Said = tuple[Purpose, bool, datetime]
Orders = list[Wish | datetime]


def at(minute: float) -> datetime:
    return NOON + timedelta(minutes=minute)


def ends_refused(said: list[Said]) -> bool:
    """By hand: of what a subsidiary does, something was refused and not accepted later."""
    noes = [(purpose, moment) for purpose, yes, moment in said if not yes and purpose in USES]
    return any(all(not (p == purpose and yes and m > moment) for p, yes, m in said) for purpose, moment in noes)


def told(said: list[Said], dice: random.Random) -> Orders:
    """The orders that it makes. A "no" makes one by itself; then each thing said is written down, then looked at.

    What is wished is put together any time after that.
    """
    no: dict[Purpose | LawfulBasis | Right, datetime] = {}
    accepted: dict[Purpose | LawfulBasis | Right, datetime] = {}
    orders: Orders = []

    def steps(purpose: Purpose, yes: bool, moment: datetime) -> Iterator[None]:
        if not yes and purpose in USES:
            orders.append(moment)
        yield
        kept = accepted if yes else no
        kept[purpose] = max(moment, kept.get(purpose, moment))
        yield
        if accepted:
            yield
            wish = wish_of(dict(no), dict(accepted), USES)
            orders.extend([wish] if wish is not None else [])

    running = [steps(*one) for one in said]
    while running:
        one = dice.choice(running)
        if next(one, StopIteration) is StopIteration:
            running.remove(one)
    return orders


def heard_of(orders: Orders) -> Heard:
    heard = Heard()
    for one in orders:
        heard.hear(one)
    return heard


def story(seed: int) -> None:
    dice = random.Random(seed)
    said = [
        (dice.choice([INFORMATION, INVITATIONS, PROSPECTING]), dice.random() < 0.5, at(dice.randint(0, 6)))
        for _ in range(dice.randint(1, 7))
    ]
    orders = told(said, dice)
    ends = set()
    for _ in range(4):
        arriving = orders + dice.choices(orders, k=2) if orders else []
        dice.shuffle(arriving)
        heard = heard_of(arriving)
        ends.add(bool(heard.refused or heard.wish) and not heard.accepted)
    assert ends == {ends_refused(said)}, seed


def test_every_order_of_everything_ends_the_same() -> None:
    for seed in range(STORIES):
        story(seed)


@pytest.mark.slow
def test_every_order_of_everything_ends_the_same_at_length() -> None:
    for seed in range(STORIES, 20_000):
        story(seed)


def test_a_wish_that_does_not_say_what_it_knows_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken on purpose: of two of one moment either may count."""

    def versionless(*known: Any) -> Wish | None:
        wish = objections.wish_of(*known)
        return None if wish is None else replace(wish, version=0)

    monkeypatch.setattr("tests.workers.rules.test_wishes.wish_of", versionless)
    with pytest.raises(AssertionError):
        test_every_order_of_everything_ends_the_same()


def test_whoever_hears_the_last_order_only_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def last(self: Heard, said: Wish | datetime) -> None:
        self.refused, self.wish = (None, said) if isinstance(said, Wish) else (said, None)

    monkeypatch.setattr(objections.Heard, "hear", last)
    with pytest.raises(AssertionError):
        test_every_order_of_everything_ends_the_same()


@pytest.mark.parametrize(("refused", "accepted"), [(at(1), True), (at(2), True), (at(3), False), (at(9), False)])
def test_a_no_that_no_wish_knew_of_counts(refused: datetime, accepted: bool) -> None:
    """Such as of somebody who was erased, and with them what they accepted, and who came back."""
    wish = Wish(at(5), 1, accepts=True, refused_at=at(2))
    assert heard_of([refused, wish]).accepted is heard_of([wish, refused]).accepted is accepted


def test_nothing_is_wished_where_a_no_says_it_all() -> None:
    assert wish_of({INVITATIONS: at(1)}, {}, USES) is None
    assert wish_of({INFORMATION: at(1)}, {INFORMATION: at(2)}, USES) is None, "no subsidiary does that"
    assert wish_of({}, {INVITATIONS: at(1)}, USES) is None


def test_a_withdrawal_of_every_consent_ends_what_was_accepted_before() -> None:
    no = {INVITATIONS: at(1), LawfulBasis.CONSENT: at(3)}
    before, after = (wish_of(no, {INVITATIONS: at(minute)}, USES) for minute in (2, 4))
    assert [one.accepts for one in (before, after) if one is not None] == [False, True]


def test_a_restriction_is_no_part_of_it() -> None:
    accepted = {INVITATIONS: at(2)}
    assert wish_of({INVITATIONS: at(1), Right.RESTRICTION: at(3)}, accepted, USES) == wish_of(
        {INVITATIONS: at(1)}, accepted, USES
    )
