"""Who may be written to now, and why the others may not. Source: R8, R10, R24; P5, P8, P9, P10."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis

from schemas.errors import QueueUnavailable, StoreUnavailable
from schemas.routes import NAMESPACE, NEWSLETTER, NOT_YET_NO
from schemas.subject import ReferenceUse
from schemas.terms import Case, Department, Purpose, SuppressionGround
from tests import factories
from tests.waiting import until
from tests.workers.bench import Bench
from workers import arrivals
from workers import audience as audience_module
from workers.arrivals import stored_so_far
from workers.audience import Audience, NoTransferBasis
from workers.gate import Reader, ReadRefused
from workers.members import LeftOut
from workers.services import Services
from workers.stores.keys import ACTIVE, key_id
from workers.stores.suppression import No, Suppressions
from workers.stores.tombstones import of_person

THREE_YEARS = datetime(2029, 11, 20, 23, tzinfo=UTC)
MARKETING = Reader("mailer", Department.MARKETING_SALES)


def audience(bench: Bench, purpose: Purpose = Purpose.SALES_PROSPECTING, **given: Any) -> Audience:
    return Audience(bench.services, given.pop("reader", MARKETING), purpose, **given)


async def everybody(wanted: Audience, size: int = 1_000) -> tuple[list[str], Counter[LeftOut]]:
    """Addresses, sorted, and who was left out."""
    emails, left_out, after = [], Counter[LeftOut](), ""
    while True:
        page = await wanted.page(after, size)
        emails += [member.email for member in page.members]
        left_out += page.left_out
        if page.after is None:
            return sorted(emails), left_out
        after = page.after


async def held(bench: Bench, *cases: Case) -> list[factories.Someone]:
    people = [factories.someone() for _ in cases]
    own = (Case.CONTACT, Case.WHITE_PAPER, Case.JOB_APPLICATION)
    for case, whom in zip(cases, people, strict=True):
        await bench.send((factories.form if case in own else factories.contact)(case, whom))
    return people


async def suppress(services: Services, whom: factories.Someone) -> None:
    no = No(services.trust.register.prospecting, SuppressionGround.OBJECTION, services.clock())
    await services.suppressions.add(whom.email, no)


async def test_who_is_held_for_the_purpose_is_a_member_with_what_he_gave(bench: Bench) -> None:
    contact, _ = await held(bench, Case.CONTACT, Case.JOB_APPLICATION)
    page = await audience(bench).page()
    (member,) = page.members
    assert (member.email, member.case, member.until) == (contact.email, Case.CONTACT, THREE_YEARS)
    assert member.data["last_name"] == contact.last_name
    assert (page.left_out, page.after) == ({LeftOut.OTHER_PURPOSE: 1}, None)


async def test_somebody_with_several_records_is_written_to_once_by_what_lasts_longest(bench: Bench) -> None:
    whom = factories.someone()
    await bench.send(factories.form(Case.CONTACT, whom))
    later = factories.NOON + timedelta(days=90)
    await bench.send(factories.form(Case.WHITE_PAPER, whom, received=later))
    (member,) = (await audience(bench).page()).members
    assert member.case is Case.WHITE_PAPER


async def test_who_said_no_is_left_out_at_once(bench: Bench) -> None:
    first, second = await held(bench, Case.CONTACT, Case.CONTACT)
    assert len((await everybody(audience(bench)))[0]) == 2
    await suppress(bench.services, first)
    assert await everybody(audience(bench)) == ([second.email], {LeftOut.SUPPRESSED: 1})
    services = audience(bench, Purpose.PROVIDE_SERVICES)  # what he asked for goes on
    assert len((await everybody(services))[0]) == 2


async def test_past_its_date_nobody_is_left_whether_or_not_a_sweep_has_run(bench: Bench) -> None:
    (whom,) = await held(bench, Case.CONTACT)
    bench.clock.at = THREE_YEARS - timedelta(milliseconds=1)
    assert (await everybody(audience(bench)))[0] == [whom.email]
    bench.clock.at = THREE_YEARS
    assert await everybody(audience(bench)) == ([], {LeftOut.PERIOD_OVER: 1})


async def read_ahead(wanted: Audience) -> Any:
    """As the walk reads pages while it uses one."""
    persons = await wanted.services.people.page("", 1_000)
    return await wanted._read(await wanted.asked(), persons)


async def test_whose_date_comes_between_the_read_and_the_look_is_left_out(bench: Bench) -> None:
    await held(bench, Case.CONTACT)
    bench.clock.at = THREE_YEARS - timedelta(milliseconds=1)
    wanted = audience(bench)
    read = await read_ahead(wanted)
    bench.clock.at = THREE_YEARS
    page = await wanted._page(read, None)
    assert (page.members, page.left_out) == ([], {LeftOut.PERIOD_OVER: 1})


@pytest.mark.parametrize("why", ["erased", "suppressed"])
async def test_who_goes_between_the_read_and_the_look_is_left_out(bench: Bench, why: str) -> None:
    first, second = await held(bench, Case.CONTACT, Case.CONTACT)
    wanted = audience(bench)
    read = await read_ahead(wanted)
    await (bench.services.forgetting.forget(first.email) if why == "erased" else suppress(bench.services, first))
    page = await wanted._page(read, None)
    assert ([member.email for member in page.members], page.left_out) == ([second.email], {LeftOut(why): 1})


async def test_who_was_erased_is_gone_and_while_it_runs_is_left_out(bench: Bench) -> None:
    first, second = await held(bench, Case.CONTACT, Case.CONTACT)
    services = bench.services
    ref = services.trust.references.of_email(ReferenceUse.LOOKUP, first.email)
    await services.tombstones.write([of_person((await services.people.find([ref]))[ref])])  # it has just begun
    assert await everybody(audience(bench)) == ([second.email], {LeftOut.ERASED: 1})
    await services.forgetting.forget(first.email)
    assert await everybody(audience(bench)) == ([second.email], {})


async def test_whose_key_is_gone_is_left_out(bench: Bench) -> None:
    (whom,) = await held(bench, Case.CONTACT)
    ref = bench.services.trust.references.of_email(ReferenceUse.LOOKUP, whom.email)
    person = (await bench.services.people.find([ref]))[ref]
    await bench.services.keys.destroy([key_id(person, ACTIVE)])
    assert await everybody(audience(bench)) == ([], {LeftOut.ERASED: 1})


async def test_who_is_not_for_this_reader_is_left_out(bench: Bench) -> None:
    """Marketing reads contracts of clients, not of suppliers. Source: R9."""
    client, _ = await held(bench, Case.CLIENT, Case.SUPPLIER)
    found = await everybody(audience(bench, Purpose.SERVICES_AND_CONTRACT))
    assert found == ([client.email], {LeftOut.OTHER_READER: 1})


async def test_a_purpose_of_others_is_refused_and_recorded(bench: Bench) -> None:
    await held(bench, Case.JOB_APPLICATION)
    with pytest.raises(ReadRefused):
        await audience(bench, Purpose.RECRUITMENT).page()
    assert [entry["outcome"] for entry in bench.collection("reads", "evidence")] == ["refused"]


async def test_each_page_is_recorded_with_whom_it_showed(bench: Bench) -> None:
    await held(bench, *[Case.CONTACT] * 5)
    await everybody(audience(bench), size=2)
    entries = bench.collection("reads", "evidence")
    persons = {person["_id"] for person in bench.collection("persons")}
    assert [entry["shown"] for entry in entries] == [2, 2, 1]
    packed = b"".join(entry["persons"] for entry in entries)
    assert {str(UUID(bytes=packed[start : start + 16])) for start in range(0, len(packed), 16)} == persons
    assert {(entry["reader"], entry["purpose"]) for entry in entries} == {("mailer", "sales-prospecting")}


async def test_pages_neither_skip_nor_repeat_while_people_come_and_go(bench: Bench) -> None:
    people = await held(bench, *[Case.CONTACT] * 6)
    wanted, seen, after = audience(bench), [], ""
    while after is not None:
        page = await wanted.page(after, 2)
        seen += [member.email for member in page.members]
        after = page.after
        if len(seen) == 2:
            await bench.services.forgetting.forget(seen[0])
            await held(bench, Case.CONTACT)
    assert len(set(seen)) == len(seen) == 7
    assert set(seen) >= {whom.email for whom in people}


# ---------------------------------------------------------------------- across a border


async def test_a_subsidiary_gets_an_audience_only_while_its_basis_lives(bench: Bench) -> None:
    (whom,) = await held(bench, Case.CONTACT)
    register = bench.services.trust.register
    code = next(code for code, one in register.subsidiaries.items() if one.transfer.expires_on is not None)
    assert (await everybody(audience(bench, subsidiary=code)))[0] == [whom.email]
    expires = register.subsidiaries[code].transfer.expires_on
    assert isinstance(expires, date)
    bench.clock.at = datetime(expires.year, expires.month, expires.day, 12, tzinfo=UTC) + timedelta(days=1)
    with pytest.raises(NoTransferBasis):
        await audience(bench, subsidiary=code).page()
    assert bench.collection("reads", "evidence")[-1]["outcome"] == "no transfer basis"


async def test_a_subsidiary_gets_no_audience_for_a_purpose_it_does_not_have(bench: Bench) -> None:
    register = bench.services.trust.register
    code, purpose = next(
        (code, purpose)
        for code, one in register.subsidiaries.items()
        for purpose in Purpose
        if purpose not in one.purposes
        and any(purpose in rule.purposes for rule in register.cases.values())
        and register.may_read(Department.MARKETING_SALES, purpose, Case.CONTACT)
    )
    with pytest.raises(ReadRefused):
        await audience(bench, purpose, subsidiary=code).page()


async def test_an_unknown_subsidiary_is_an_error(bench: Bench) -> None:
    with pytest.raises(KeyError):
        await audience(bench, subsidiary="atlantis").page()


# ---------------------------------------------------------------------- what is accepted and not stored yet

QUEUE = f"{NAMESPACE}:{NEWSLETTER}"


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Grows with each look at the queues."""
    made: list[Any] = []
    messages = arrivals._messages

    async def counted(*asked: Any) -> Any:
        made.append(await messages(*asked))
        return made[-1]

    monkeypatch.setattr(arrivals, "_messages", counted)
    return made


async def test_what_was_accepted_before_is_waited_for_and_what_comes_later_is_not(
    bench: Bench, looks: list[Any]
) -> None:
    await bench.redis.hset(f"{QUEUE}.msgs", "before", b"sealed")  # type: ignore[misc]
    try:
        waiting = asyncio.create_task(stored_so_far(bench.redis, patience_s=30))
        await until(lambda: len(looks) > 1)
        await bench.redis.hset(f"{QUEUE}.msgs", "later", b"sealed")  # type: ignore[misc]
        assert not waiting.done()
        await bench.redis.hdel(f"{QUEUE}.msgs", "before")  # type: ignore[misc]
        await waiting
    finally:
        await bench.redis.delete(f"{QUEUE}.msgs")


async def waited_for(bench: Bench, left: str, entered: str, looks: list[Any]) -> bool:
    """Whether a message is waited for still that went from one hash to another, as the broker moves it."""
    await bench.redis.hset(f"{QUEUE}{left}.msgs", "before", b"sealed")  # type: ignore[misc]
    waiting = asyncio.create_task(stored_so_far(bench.redis, patience_s=30))
    try:
        await until(lambda: looks)
        await bench.redis.hset(f"{QUEUE}{entered}.msgs", "moved", b"sealed")  # type: ignore[misc]
        await bench.redis.hdel(f"{QUEUE}{left}.msgs", "before")  # type: ignore[misc]
        seen = len(looks)
        await until(lambda: waiting.done() or len(looks) > seen + 2)
        still = not waiting.done()
        await bench.redis.hdel(f"{QUEUE}{entered}.msgs", "moved")  # type: ignore[misc]
        await waiting
        return still
    finally:
        waiting.cancel()
        await bench.redis.delete(*NOT_YET_NO[0])


@pytest.mark.parametrize(("left", "entered"), [(".DQ", ""), ("", ".DQ"), (".DQ", ".XQ")])
async def test_a_message_that_goes_elsewhere_under_a_new_id_is_waited_for_still(
    bench: Bench, looks: list[Any], left: str, entered: str
) -> None:
    assert await waited_for(bench, left, entered, looks)


async def test_a_look_at_ids_alone_is_noticed(bench: Bench, looks: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken variant: what was to be tried again is worked on under another id, and nobody waits for it."""
    monkeypatch.setattr(
        arrivals, "_still", lambda before, now: [ids & found for ids, found in zip(before, now, strict=True)]
    )
    assert not await waited_for(bench, ".DQ", "", looks)


@pytest.mark.parametrize("kind", ["", ".DQ", ".XQ"])
async def test_nothing_is_answered_while_a_no_is_on_its_way(bench: Bench, kind: str, monkeypatch: Any) -> None:
    """Also one that waits for another try, or was given up and not parked yet."""
    monkeypatch.setattr(audience_module, "stored_so_far", lambda *asked: stored_so_far(*asked, patience_s=0.05))
    await held(bench, Case.CONTACT)
    await bench.redis.hset(f"{QUEUE}{kind}.msgs", "one", b"sealed")  # type: ignore[misc]
    try:
        with pytest.raises(StoreUnavailable):
            await audience(bench).page()
    finally:
        await bench.redis.delete(f"{QUEUE}{kind}.msgs")
    assert len((await audience(bench).page()).members) == 1


async def test_a_redis_that_is_away_opens_nothing(bench: Bench) -> None:
    with pytest.raises(QueueUnavailable):
        await stored_so_far(Redis(port=1))


async def test_a_list_that_is_not_asked_is_noticed(bench: Bench, monkeypatch: Any) -> None:
    """The broken variant: an audience that trusts the links alone writes to who said no."""

    async def nobody(_: Suppressions, emails: Iterable[str]) -> dict[str, dict[Purpose, datetime]]:
        return {email: {} for email in emails}

    first, second = await held(bench, Case.CONTACT, Case.CONTACT)
    await suppress(bench.services, first)
    monkeypatch.setattr(Suppressions, "of_all", nobody)
    assert (await everybody(audience(bench)))[0] == sorted([first.email, second.email])


# ---------------------------------------------------------------------- by express agreement (R8)


async def test_who_expressly_agrees_is_a_member_by_whatever_record_lives(bench: Bench) -> None:
    invited = Purpose.EVENT_INVITATIONS  # no purpose of a form
    bench.clock.at = factories.NOON + timedelta(days=1)
    whom, _ = await held(bench, Case.CONTACT, Case.CONTACT)
    client, _ = await held(bench, Case.CLIENT, Case.JOB_APPLICATION)
    assert await everybody(audience(bench, invited)) == ([client.email], {LeftOut.OTHER_PURPOSE: 3})
    await bench.send(factories.agreed(whom, invited), factories.agreed(client, invited))
    page = await audience(bench, invited).page()
    assert {member.email: member.case for member in page.members} == {
        whom.email: Case.CONTACT,
        client.email: Case.CLIENT,
    }
    await suppress(bench.services, whom)
    assert await everybody(audience(bench, invited)) == (
        [client.email],
        {LeftOut.OTHER_PURPOSE: 2, LeftOut.SUPPRESSED: 1},
    )


async def test_an_agreement_withdrawn_between_the_read_and_the_look_counts(bench: Bench) -> None:
    invited = Purpose.EVENT_INVITATIONS
    bench.clock.at = factories.NOON + timedelta(days=1)
    whom, client = await held(bench, Case.CONTACT, Case.CLIENT)
    await bench.send(factories.agreed(whom, invited), factories.agreed(client, invited))
    wanted = audience(bench, invited)
    read = await read_ahead(wanted)
    later = factories.NOON + timedelta(hours=1)
    await bench.send(*(factories.agreed(one, invited, later, given=False) for one in (whom, client)))
    page = await wanted._page(read, None)
    assert [member.email for member in page.members] == [client.email], "whose own record serves it"
    assert page.left_out == {LeftOut.OTHER_PURPOSE: 1}
