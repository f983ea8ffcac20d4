"""No means no: whatever order things come in, and whoever imports what afterwards. Source: R20, R21, R24; P10."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import UpdateOne

from schemas.envelope import Event
from schemas.register import Register
from schemas.subject import References
from schemas.terms import Case, Department, Purpose, SuppressionGround
from tests import factories
from tests.factories import NOON, Someone
from tests.workers.bench import Bench
from workers import gate
from workers.actors import records
from workers.audience import Audience
from workers.gate import Reader
from workers.letters import replay
from workers.rules.objections import Noes, Rests
from workers.services import services_over
from workers.stores.submissions import Submissions
from workers.stores.suppression import No, Suppressions
from workers.suppressing import suppress

HOUR = timedelta(hours=1)
PROSPECTING = Purpose.SALES_PROSPECTING
MARKETING = Reader("mailer", Department.MARKETING_SALES)


def at(hour: float) -> datetime:
    """So many hours after noon of the day of these tests."""
    return NOON + hour * HOUR


def one_click(bench: Bench, whom: Someone, when: datetime = NOON, **more: Any) -> Event:
    return factories.unsubscribed(bench.services.trust.references, whom, when, **more)


async def may_be_written_to(bench: Bench, purpose: Purpose = PROSPECTING) -> list[str]:
    """By the audience, and by the gate for each: both must say the same."""
    audience = Audience(bench.services, MARKETING, purpose)
    members = [member.email async for page in audience.pages() for member in page.members]
    for email in members:
        assert await bench.read(email, purpose)
    return sorted(members)


async def subscribed(bench: Bench, whom: Someone, when: datetime = NOON) -> None:
    """Subscribed, and the mailed link used an hour later."""
    form = factories.form(Case.NEWSLETTER, whom, received=when)
    await bench.send(form, factories.confirmed(form, when + HOUR))


def without_double_opt_in(bench: Bench) -> None:
    register = bench.services.trust.register
    newsletter = register.newsletter.model_copy(update={"double_opt_in": False})
    change_trust(bench, register=register.model_copy(update={"newsletter": newsletter}))


def change_trust(bench: Bench, **changes: Register | References) -> None:
    services = bench.services
    trust = replace(services.trust, **changes)  # type: ignore[arg-type]
    bench.services = services_over(services.databases, services.uploads, trust, services.clock, services.skew)


# ---------------------------------------------------------------------- one click


async def test_one_click_ends_newsletter_and_prospecting_of_every_case(bench: Bench) -> None:
    whom, other = factories.someone(), factories.someone()
    await subscribed(bench, whom)
    await bench.send(factories.contact(Case.CLIENT, whom), factories.contact(Case.CLIENT, other))
    assert await may_be_written_to(bench) == sorted([whom.email, other.email])
    await bench.send(one_click(bench, whom, at(2)))
    for purpose in (PROSPECTING, Purpose.SALES_INFORMATION, Purpose.EVENT_INVITATIONS):
        assert await may_be_written_to(bench, purpose) == [other.email]
    assert await bench.read(whom.email, Purpose.PROVIDE_SERVICES) == [], "the newsletter itself has ended too"
    reader = Department.ADMINISTRATION
    assert len(await bench.read(whom.email, Purpose.SERVICES_AND_CONTRACT, reader)) == 1, "the contract goes on"


async def test_the_entry_says_since_when_and_why_and_names_nobody(bench: Bench) -> None:
    whom = factories.someone()
    used = one_click(bench, whom, at(2))
    for _ in range(3):
        await bench.send(used)
    await bench.send(one_click(bench, whom, at(1)))  # another link, used before
    (entry,) = bench.collection("suppressions", "evidence")
    prospecting = bench.services.trust.register.prospecting
    assert entry["no"] == {purpose: {"at": at(2), "ground": "unsubscribe"} for purpose in prospecting}
    noted = bench.collection("ledger_pending", "evidence")
    assert [(one["body"]["kind"], one["body"]["details"]) for one in noted] == [
        ("suppressed", {"ground": "unsubscribe"})
    ] * 2
    left = repr(bench.dump()).encode()
    assert not [word for word in whom.canaries if word.encode() in left]
    assert not [key for key in (used.id,) if key.encode() in left], "nor can a link from a log be found here"


async def test_a_link_used_again_after_a_new_subscription_ends_that_too(bench: Bench) -> None:
    whom = factories.someone()
    used = one_click(bench, whom, at(2))
    await bench.send(used)
    await subscribed(bench, whom, at(3))
    assert await may_be_written_to(bench) == [whom.email]
    reference = used.body.decode().partition('"reference":"')[2].partition('"')[0]
    again = one_click(bench, whom, at(5), reference=reference)
    assert (again.key, again.body) == (used.key, used.body)
    await bench.send(again)
    assert await may_be_written_to(bench) == []


async def test_nobody_known_is_on_the_list_before_the_subscription_arrives(bench: Bench) -> None:
    whom = factories.someone()
    await bench.send(one_click(bench, whom, at(2)))
    assert bench.collection("persons") == []
    await subscribed(bench, whom, at(0))  # late: its link was used before the unsubscribe
    assert await may_be_written_to(bench) == []


async def test_who_was_erased_unsubscribes_again(bench: Bench) -> None:
    whom = factories.someone()
    link = one_click(bench, whom, at(2))
    await subscribed(bench, whom)
    await bench.services.forgetting.forget(whom.email)
    await bench.send(link)
    (entry,) = bench.collection("suppressions", "evidence")
    assert entry["no"][PROSPECTING]["at"] == at(2)
    assert bench.collection("persons") == bench.collection("submissions") == []
    await bench.services.forgetting.forget(whom.email)
    assert len(bench.collection("suppressions", "evidence")) == 1, "an erasure leaves it"


@pytest.mark.parametrize("place", ["another list", "forged", "altered"])
async def test_what_we_did_not_seal_is_parked_and_its_neighbours_hold(bench: Bench, place: str) -> None:
    whom, neighbour = factories.someone(), factories.someone()
    references = bench.services.trust.references
    of = references.suppression(whom.email)[0]
    sealed = {
        "another list": references.seal("unsubscribe/offers", of),
        "forged": References(b"x" * 32).seal("unsubscribe/newsletter", of),
        "altered": references.seal("unsubscribe/newsletter", of)[:-2] + "AA",
    }[place]
    await bench.send(one_click(bench, whom, reference=sealed), one_click(bench, neighbour))
    assert bench.reasons() == ["unknown_token"]
    assert len(bench.collection("suppressions", "evidence")) == 1
    assert await bench.services.suppressions.of(whom.email) == {}


async def test_one_that_a_wrong_key_file_could_not_open_is_tried_again(bench: Bench) -> None:
    whom, sound = factories.someone(), bench.services.trust.references
    used = one_click(bench, whom)
    change_trust(bench, references=References(b"other" * 8))
    await bench.send(used)
    (letter,) = bench.collection("parked")
    assert (await replay(bench.services, letter["_id"])).reason == "not_kept"
    change_trust(bench, references=sound)
    assert (await replay(bench.services, letter["_id"])).kept
    assert await bench.services.suppressions.of(whom.email)
    assert bench.collection("parked") == []


async def test_fifty_at_once(bench: Bench) -> None:
    people = [factories.someone() for _ in range(50)]
    await bench.send(*(factories.form(Case.CONTACT, whom) for whom in people))
    assert len(await may_be_written_to(bench)) == 50
    await asyncio.gather(*(bench.send(one_click(bench, whom, at(1))) for whom in people for _ in range(2)))
    assert await may_be_written_to(bench) == []
    assert len(bench.collection("suppressions", "evidence")) == 50


# ---------------------------------------------------------------------- what comes afterwards


def spelled(whom: Someone) -> dict[str, str]:
    """Ways in which a list bought somewhere writes the same address."""
    local, domain = whom.email.split("@")
    return {
        "as it was": whom.email,
        "capitals": whom.email.upper(),
        "spaces": f"  {whom.email} ",
        "capitals of the domain": f"{local}@{domain.upper()}",
        "composed": unicodedata.normalize("NFC", whom.email),
        "decomposed": unicodedata.normalize("NFD", whom.email),
    }


@pytest.mark.parametrize("way", list(spelled(factories.someone())))
@pytest.mark.parametrize("address", ["plain", "accents", "foreign domain"])
async def test_an_import_never_brings_somebody_back(bench: Bench, address: str, way: str) -> None:
    whom = factories.someone()
    whom = {
        "plain": whom,
        "accents": replace(whom, email=f"zoé.{whom.email}"),
        "foreign domain": replace(whom, email=f"{whom.email.split('@')[0]}@bücher.example.org"),
    }[address]
    await bench.send(one_click(bench, whom))
    written = replace(whom, email=spelled(whom)[way])
    later = at(5000)
    await bench.send(factories.contact(Case.PROSPECT, written, received=later, collected_at="2027-01-01"))
    assert await may_be_written_to(bench) == []
    assert bench.collection("persons") == bench.collection("submissions") == [], "refused: no purpose is left"
    (outcome,) = bench.collection("outcomes", "evidence")
    assert (outcome["outcome"], outcome["reason"]) == ("refused", "suppressed")


async def test_dots_may_be_another_persons_box(bench: Bench) -> None:
    """Nothing is stripped from an address that its provider may tell apart: messaging-standards § 8."""
    whom = factories.someone()
    dotted = replace(whom, email=whom.email.replace("testine", "test.ine"))
    await bench.send(one_click(bench, whom))
    await bench.send(factories.contact(Case.PROSPECT, dotted))
    assert len(await may_be_written_to(bench)) == 1


async def test_a_contact_is_kept_for_what_is_left(bench: Bench) -> None:
    whom = factories.someone()
    await bench.send(one_click(bench, whom))
    await bench.send(factories.contact(Case.CLIENT, whom), factories.form(Case.CONTACT, whom))
    linked = {link["purpose"] for link in bench.collection("links")}
    assert linked == {Purpose.SERVICES_AND_CONTRACT, Purpose.PROVIDE_SERVICES}
    assert bench.collection("outcomes", "evidence") == []


async def test_an_event_kept_before_is_not_undone_by_its_repeat(bench: Bench) -> None:
    whom = factories.someone()
    event = factories.contact(Case.PROSPECT, whom)
    wire = await bench.send(event)
    await bench.send(one_click(bench, whom))
    await bench.deliver(wire)
    assert len(bench.collection("submissions")) == 1
    assert bench.collection("outcomes", "evidence") == []
    assert await may_be_written_to(bench) == []


# ---------------------------------------------------------------------- coming back


@pytest.mark.parametrize("double_opt_in", [True, False])
async def test_only_the_mailed_link_lifts_it(bench: Bench, double_opt_in: bool) -> None:
    if not double_opt_in:
        without_double_opt_in(bench)
    whom = factories.someone()
    await bench.send(one_click(bench, whom))
    form = factories.form(Case.NEWSLETTER, whom, received=at(2))
    await bench.send(form)
    assert len(bench.collection("submissions")) == 1
    assert bench.collection("links") == []
    assert await may_be_written_to(bench) == []
    await bench.send(factories.confirmed(form, at(3)))
    assert await may_be_written_to(bench) == [whom.email]
    assert len(await bench.read(whom.email, Purpose.PROVIDE_SERVICES)) == 1


async def test_a_confirmation_lifts_it_for_the_newsletter_alone(bench: Bench) -> None:
    whom = factories.someone()
    await bench.send(factories.contact(Case.CLIENT, whom))
    await suppress(bench.services, [whom.email], SuppressionGround.OBJECTION, at(1))
    await subscribed(bench, whom, at(2))
    (member,) = [m async for p in Audience(bench.services, MARKETING, PROSPECTING).pages() for m in p.members]
    assert member.case is Case.NEWSLETTER
    assert await may_be_written_to(bench, Purpose.EVENT_INVITATIONS) == []


@pytest.mark.parametrize(("confirmed", "lifted"), [(at(2), False), (at(2) + timedelta(milliseconds=1), True)])
async def test_at_a_tie_no_wins(bench: Bench, confirmed: datetime, lifted: bool) -> None:
    whom = factories.someone()
    form = factories.form(Case.NEWSLETTER, whom)
    await bench.send(form, factories.confirmed(form, confirmed))
    await bench.send(one_click(bench, whom, at(2)))
    assert bool(await may_be_written_to(bench)) is lifted


async def test_a_link_used_twice_counts_from_the_first_time_in_any_order(bench: Bench) -> None:
    """So that a scanner's second visit, after the "no", lifts nothing."""
    whom = factories.someone()
    form = factories.form(Case.NEWSLETTER, whom)
    await bench.send(form)
    await bench.send(factories.confirmed(form, at(3)))
    await bench.send(factories.confirmed(form, at(1)))
    await bench.send(one_click(bench, whom, at(2)))
    assert await may_be_written_to(bench) == []
    assert {link["since"] for link in bench.collection("links")} == {at(1)}


# ---------------------------------------------------------------------- the key rotated


async def test_entries_hold_under_every_key_the_list_had(bench: Bench) -> None:
    """Made before the rotation, by a link made before it, and after it: read by who knows both, and by who does not."""
    before, old_link, after, new_link = people = [factories.someone() for _ in range(4)]
    root = b"root" * 8
    change_trust(bench, references=References(root))
    old = bench.services
    await bench.send(one_click(bench, before))
    link_of_before = one_click(bench, old_link)
    change_trust(bench, references=References(root, [b"then" * 8, b"last" * 8]))
    await bench.send(link_of_before, one_click(bench, new_link))
    await suppress(bench.services, [after.email], SuppressionGround.OBJECTION, NOON)
    assert [bool(await bench.services.suppressions.of(whom.email)) for whom in people] == [True] * 4
    assert await old.suppressions.of(after.email), "as a worker reads that was not restarted yet"


# ---------------------------------------------------------------------- every order

ACTS = ("subscribe", "confirm", "unsubscribe", "object", "import", "contact", "again")
Act = tuple[str, int]
"""What is done, and at which hour by the person's clock."""


def events_of(bench: Bench, whom: Someone, acts: Sequence[Act]) -> list[Callable[[], Awaitable[Any]]]:
    """Each act's way into the stores, with ids of its own whatever order they are sent in."""
    sent: list[Callable[[], Awaitable[Any]]] = []
    subscription = factories.form(Case.NEWSLETTER, whom, received=at(0))
    made = {
        "subscribe": lambda hour: subscription,
        "confirm": lambda hour: factories.confirmed(subscription, at(hour), event_id=f"confirmed-{hour}"),
        "unsubscribe": lambda hour: one_click(bench, whom, at(hour)),
        "import": lambda hour: factories.contact(Case.PROSPECT, whom, received=at(hour)),
        "contact": lambda hour: factories.form(Case.CONTACT, whom, received=at(hour)),
    }
    for name, hour in acts:
        if name == "object":
            when = at(hour)
            sent.append(lambda when=when: suppress(bench.services, [whom.email], SuppressionGround.OBJECTION, when))
        elif name == "again" and sent:
            sent.append(sent[hour % len(sent)])
        elif name in made:
            event = made[name](hour)
            sent.append(lambda event=event: bench.send(event))
    return sent


def expected(acts: Sequence[Act], double_opt_in: bool) -> dict[str, bool]:
    """By which records the person may be written to, from the acts alone: a model without any store."""
    hours = {name: [hour for kind, hour in acts if kind == name] for name in ACTS}
    no = max(hours["unsubscribe"] + hours["object"], default=None)
    confirmed = min(hours["confirm"], default=None)
    begun = confirmed is not None or not double_opt_in
    stands = begun if no is None else confirmed is not None and confirmed > no
    return {
        "newsletter": bool(hours["subscribe"]) and stands,
        "others": no is None and bool(hours["import"] + hours["contact"]),
    }


async def visible(bench: Bench, whom: Someone) -> dict[str, bool]:
    cases = {record.case for record in await bench.read(whom.email, PROSPECTING)}
    assert (await may_be_written_to(bench) == [whom.email]) is bool(cases)
    return {"newsletter": Case.NEWSLETTER in cases, "others": bool(cases - {Case.NEWSLETTER})}


async def check(bench: Bench, acts: Sequence[Act], order: Sequence[int], double_opt_in: bool) -> None:
    """Send what these acts bring, in another order, and look."""
    bench.wipe()
    services = bench.services
    if not double_opt_in:
        without_double_opt_in(bench)
    whom = factories.someone()
    sent = events_of(bench, whom, acts)
    for place in sorted(range(len(sent)), key=lambda place: (order[place % len(order)], place)):
        await sent[place]()
    found = await visible(bench, whom)
    bench.services = services
    assert found == expected(acts, double_opt_in), (acts, order, double_opt_in)


ANY = {
    "acts": st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 40)), min_size=1, max_size=8),
    "order": st.lists(st.integers(0, 9), min_size=8, max_size=8),
    "double_opt_in": st.booleans(),
}
CHECKS = [HealthCheck.function_scoped_fixture]


@settings(max_examples=25, deadline=None, suppress_health_check=CHECKS)
@given(**ANY)
async def test_every_order_and_repetition_leads_to_the_same(
    bench: Bench, acts: list[Act], order: list[int], double_opt_in: bool
) -> None:
    """The shipped actors over real stores, against a model of two lines."""
    await check(bench, acts, order, double_opt_in)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@settings(max_examples=2_000, deadline=None, suppress_health_check=CHECKS)
@given(**ANY)
async def test_every_order_and_repetition_at_length(
    bench: Bench, acts: list[Act], order: list[int], double_opt_in: bool
) -> None:
    await check(bench, acts, order, double_opt_in)


LATER_NO: tuple[Act, ...] = (("subscribe", 0), ("confirm", 1), ("unsubscribe", 2))
LATER_YES: tuple[Act, ...] = (("subscribe", 0), ("confirm", 3), ("unsubscribe", 2))
IMPORTED: tuple[Act, ...] = (("object", 1), ("import", 2), ("contact", 3))


@pytest.mark.parametrize("acts", [LATER_NO, LATER_YES, IMPORTED])
@pytest.mark.parametrize("double_opt_in", [True, False])
async def test_each_order_of_three(bench: Bench, acts: Sequence[Act], double_opt_in: bool) -> None:
    for order in permutations(range(3)):
        await check(bench, acts, order, double_opt_in)


# ---------------------------------------------------------------------- broken variants, each noticed


async def _last_written(self: Suppressions, entries: Iterable[tuple[bytes, No]]) -> None:
    """The list as it came, whatever the person's clock says."""
    for ref, no in entries:
        said = {f"no.{purpose}": {"at": no.at, "ground": no.ground.value} for purpose in no.purposes}
        await self._gathered.write(UpdateOne({"_id": ref}, {"$set": said}, upsert=True))


def _any_subscription(_: Register, served: Rests, purpose: Purpose, no: Noes) -> bool:
    return served.case is not Case.NEWSLETTER and purpose in no


def _trusting(_: Register, served: Rests, purpose: Purpose, no: Noes) -> bool:
    return False


async def _by_arrival(self: Submissions, documents: Sequence[dict[str, Any]]) -> None:
    await self.insert_links(documents)


BROKEN: dict[str, tuple[Any, str, Any, tuple[Act, ...]]] = {
    "the last written wins": (Suppressions, "enter", _last_written, (*LATER_NO, ("unsubscribe", 0))),
    "subscribing is enough": (gate, "ended", _any_subscription, LATER_NO),
    "nobody asks the list": (gate, "ended", _trusting, IMPORTED),
    "the first confirmation that arrives counts": (
        Submissions, "confirm_links", _by_arrival, (*LATER_NO, ("confirm", 3)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_broken_variant_is_noticed(bench: Bench, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    where, name, variant, acts = BROKEN[broken]
    monkeypatch.setattr(where, name, variant)
    services, caught = bench.services, 0
    for order in permutations(range(len(acts))):
        try:
            await check(bench, acts, order, double_opt_in=True)
        except AssertionError:
            caught += 1
            bench.services = services
    assert caught


async def test_an_intake_that_does_not_ask_the_list_is_noticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be hidden at the gate, and kept all the same."""
    monkeypatch.setattr(records, "ended", _trusting)
    with pytest.raises(AssertionError):
        await test_an_import_never_brings_somebody_back(bench, "plain", "as it was")
