"""Who is to be looked at now: named once, kept until it is done, and never lost to a look that began before. R14."""

from __future__ import annotations

from datetime import timedelta

from schemas.terms import Case, SuppressionGround
from tests import factories
from tests.factories import NOON
from tests.workers.bench import Bench
from workers.objecting import enter_address
from workers.suppressing import suppress


async def test_named_twice_somebody_waits_once_since_the_first(bench: Bench) -> None:
    due = bench.services.due
    await due.add(["b", "a", "a"], NOON)
    await due.add(["a"], NOON - timedelta(hours=1))
    await due.add(["a"], NOON + timedelta(hours=1))
    assert [(one.person, one.since) for one in await due.take(5)] == [("a", NOON - timedelta(hours=1)), ("b", NOON)]
    assert len(await due.take(1)) == 1


async def test_who_is_called_for_again_meanwhile_waits_on(bench: Bench) -> None:
    due = bench.services.due
    await due.add(["a", "b"], NOON)
    taken = await due.take(5)
    await due.add(["a"], NOON)
    await due.settle(taken)
    assert [one["_id"] for one in bench.collection("due")] == ["a"]


async def test_a_no_of_a_known_address_has_its_person_looked_at(bench: Bench) -> None:
    known, called, unknown = (factories.someone() for _ in range(3))
    await bench.send(factories.form(Case.CONTACT, known), factories.form(Case.CONTACT, called))
    await suppress(bench.services, [known.email, unknown.email], SuppressionGround.OBJECTION, NOON)
    await enter_address(bench.services, called.email.upper(), SuppressionGround.OBJECTION, NOON.date(), "dpo")
    waiting = {one["_id"] for one in bench.collection("due")}
    assert waiting == {one["_id"] for one in bench.collection("persons")}
