"""Visits about a person (R5): only of a device that their own live record names, and only as consent stands now.

By gate and audience alike. Source: R5, R15, R16; P5, P9, P10; decision 0008.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.errors import StoreUnavailable
from schemas.routes import CONSENT, message_hashes
from schemas.terms import Case, Department, Purpose, SuppressionGround
from tests import factories
from tests.factories import NOON, Someone, choice, confirmed, form, someone, visit
from tests.workers.bench import Bench
from workers import audience as audience_module
from workers import visits as visits_module
from workers.arrivals import stored_so_far
from workers.audience import Audience
from workers.gate import Reader, ReadRefused
from workers.members import LeftOut
from workers.rules.joining import Apart
from workers.stores.suppression import No
from workers.stores.tombstones import of_device

NEWSLETTER, FOLLOW_UP = Purpose.PERSONALISE_NEWSLETTER, Purpose.DOWNLOAD_FOLLOW_UP
MARKETING = Reader("mailer", Department.MARKETING_SALES)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
THIRTEEN_MONTHS = datetime(2027, 12, 20, 23, tzinfo=UTC)
"""When a choice of NOON ends: the last day of thirteen months is over in Paris."""
URL = "https://www.example.com/cheese"


async def agreed(bench: Bench, device: str, at: datetime = NOON, *, yes: bool = True) -> None:
    await bench.deliver(bench.seal(choice(device, at, analytics=True, personalisation=yes)), CONSENT)


async def downloaded(bench: Bench, device: str | None = None, *, whom: Someone | None = None) -> Someone:
    whom = whom or someone()
    await bench.send(form(Case.WHITE_PAPER, whom, **({"device_id": device} if device else {})))
    return whom


async def visited(bench: Bench, device: str, at: datetime, url: str = URL) -> None:
    await bench.deliver(bench.seal(visit(device, at, url=url)), CONSENT)


def audience(bench: Bench, purpose: Purpose = FOLLOW_UP, reader: Reader = MARKETING, **given: Any) -> Audience:
    return Audience(bench.services, reader, purpose, **given)


async def read_ahead(wanted: Audience) -> Any:
    """As the walk reads a page while it uses the one before."""
    persons = await wanted.services.people.page("", 1_000)
    return await wanted._read(await wanted.asked(), persons)


async def shown(bench: Bench, purpose: Purpose = FOLLOW_UP) -> tuple[dict[str, list[str]], Counter[LeftOut]]:
    """Address → pages, newest first, and who was left out. The gate must say the same of each."""
    page = await audience(bench, purpose).page()
    found = {member.email: [one.url for one in member.visits or ()] for member in page.members}
    for email, urls in found.items():
        record, *_ = await bench.read(email, purpose)
        assert [one.url for one in record.visits] == urls
    return found, page.left_out


async def test_who_agreed_is_shown_with_what_they_read_the_newest_first(bench: Bench) -> None:
    bench.clock.at = NOON + DAY
    await agreed(bench, "d-1")
    whom = await downloaded(bench, "d-1")
    for hour, page in enumerate(("bread", "wine", "cheese"), 1):
        await visited(bench, "d-1", NOON + hour * HOUR, f"https://www.example.com/{page}")
    read = [f"https://www.example.com/{page}" for page in ("cheese", "wine", "bread")]
    assert await shown(bench) == ({whom.email: read}, Counter())
    [member] = (await audience(bench).page()).members
    assert member.as_json()["visits"][0] == {"url": read[0], "happened": "2026-11-20T15:00:00.000Z"}


async def test_a_row_is_bounded(bench: Bench) -> None:
    bench.clock.at = NOON + DAY
    await agreed(bench, "d-1")
    whom = await downloaded(bench, "d-1")
    for minute in range(visits_module.AT_MOST + 5):
        await visited(bench, "d-1", NOON + timedelta(minutes=minute), f"https://www.example.com/{minute}")
    found, _ = await shown(bench)
    newest = visits_module.AT_MOST + 4
    assert found[whom.email][0] == f"https://www.example.com/{newest}"
    assert len(found[whom.email]) == visits_module.AT_MOST


async def test_a_newsletter_is_tailored_for_whoever_confirmed_it(bench: Bench) -> None:
    bench.clock.at = NOON + DAY
    await agreed(bench, "d-1")
    whom = someone()
    subscription = form(Case.NEWSLETTER, whom, device_id="d-1")
    await bench.send(subscription)
    assert (await shown(bench, NEWSLETTER))[0] == {}, "not confirmed yet"
    await bench.send(confirmed(subscription, NOON + HOUR))
    await downloaded(bench, "d-2")  # a download is no subscription
    assert await shown(bench, NEWSLETTER) == ({whom.email: []}, {LeftOut.OTHER_PURPOSE: 1})


@pytest.mark.parametrize("why", ["no_device", "unknown", "refused", "withdrawn", "expired"])
async def test_without_a_consent_that_stands_nobody_is_shown(bench: Bench, why: str) -> None:
    bench.clock.at = NOON + DAY
    whom = await downloaded(bench, None if why == "no_device" else "d-1")
    if why in ("withdrawn", "expired"):
        await agreed(bench, "d-1")
        await visited(bench, "d-1", NOON + HOUR)
    if why in ("refused", "withdrawn"):
        await agreed(bench, "d-1", NOON + 2 * HOUR, yes=False)
    if why == "expired":
        bench.clock.at = THIRTEEN_MONTHS - timedelta(milliseconds=1)
        assert (await shown(bench))[0] == {whom.email: []}, "the visit itself is past its year"
        bench.clock.at = THIRTEEN_MONTHS
    reason = {"no_device": "no_device", "withdrawn": "consent_refused"}.get(why, f"consent_{why}")
    assert await shown(bench) == ({}, {LeftOut(reason): 1})
    assert await bench.read(whom.email, FOLLOW_UP) == []
    assert len(await bench.read(whom.email, Purpose.SALES_PROSPECTING)) == 1, "of other purposes nothing changes"


async def test_consent_withdrawn_between_the_read_and_the_look_counts(bench: Bench) -> None:
    bench.clock.at = NOON + DAY
    await agreed(bench, "d-1")
    await downloaded(bench, "d-1")
    wanted = audience(bench)
    read = await read_ahead(wanted)
    await agreed(bench, "d-1", NOON + HOUR, yes=False)
    page = await wanted._page(read, None)
    assert (page.members, page.left_out) == ([], {LeftOut.CONSENT_REFUSED: 1})


async def test_consent_that_runs_out_between_the_read_and_the_look_counts(bench: Bench) -> None:
    await agreed(bench, "d-1")
    await downloaded(bench, "d-1")
    bench.clock.at = THIRTEEN_MONTHS - timedelta(milliseconds=1)
    wanted = audience(bench)
    read = await read_ahead(wanted)
    assert len((await wanted._page(read, None)).members) == 1
    bench.clock.at = THIRTEEN_MONTHS
    page = await wanted._page(await read_ahead(wanted), None)
    assert (page.members, page.left_out) == ([], {LeftOut.CONSENT_EXPIRED: 1})


async def test_a_device_of_two_people_is_nobodys(bench: Bench) -> None:
    bench.clock.at = NOON + DAY
    await agreed(bench, "d-1")
    first = await downloaded(bench, "d-1")
    await visited(bench, "d-1", NOON + HOUR)
    await downloaded(bench, "d-1", whom=first)  # again, and still one person's
    assert list((await shown(bench))[0]) == [first.email]
    second = await downloaded(bench, "d-1")
    assert await shown(bench) == ({}, {LeftOut.DEVICE_SHARED: 2})
    assert await bench.read(first.email, FOLLOW_UP) == []
    await bench.services.forgetting.forget(second.email)
    assert (await shown(bench))[0] == {first.email: []}, "an erasure takes the visits of the devices it names"


async def test_what_was_read_before_agreeing_is_not_used(bench: Bench) -> None:
    """Measured with consent, and kept; but the choice to be written to about it came later."""
    bench.clock.at = NOON + 3 * DAY
    await agreed(bench, "d-1", yes=False)
    whom = await downloaded(bench, "d-1")
    await visited(bench, "d-1", NOON + HOUR, "https://www.example.com/before")
    await agreed(bench, "d-1", NOON + DAY)
    await visited(bench, "d-1", NOON + DAY + HOUR, "https://www.example.com/after")
    assert (await shown(bench))[0] == {whom.email: ["https://www.example.com/after"]}


async def test_a_visit_past_its_date_is_not_used(bench: Bench) -> None:
    await agreed(bench, "d-1")
    whom = await downloaded(bench, "d-1")
    await visited(bench, "d-1", NOON + HOUR)
    a_year = datetime(2027, 11, 20, 23, tzinfo=UTC)
    bench.clock.at = a_year - timedelta(milliseconds=1)
    assert (await shown(bench))[0] == {whom.email: [URL]}
    bench.clock.at = a_year
    assert (await shown(bench))[0] == {whom.email: []}


@pytest.mark.parametrize("erased", ["the person", "the device", "nobody"])
async def test_an_erasure_under_way_hides_what_still_stands(bench: Bench, erased: str) -> None:
    bench.clock.at = None
    now = bench.clock()
    await agreed(bench, "d-1", now - 2 * HOUR)
    whom = someone()
    await bench.send(form(Case.WHITE_PAPER, whom, received=now - HOUR, device_id="d-1"))
    await visited(bench, "d-1", now - HOUR)
    services = bench.services
    if erased == "the device":
        await services.tombstones.write([of_device(services.trust.references.of_device("d-1"))])
    if erased == "the person":
        await services.forgetting.forget(whom.email)
    expected = {"the person": {}, "the device": {whom.email: []}, "nobody": {whom.email: [URL]}}[erased]
    assert (await shown(bench))[0] == expected


async def test_who_said_no_is_left_out_whatever_the_device_says(bench: Bench) -> None:
    bench.clock.at = NOON + DAY
    await agreed(bench, "d-1")
    whom = await downloaded(bench, "d-1")
    no = No(frozenset([FOLLOW_UP]), SuppressionGround.OBJECTION, NOON + HOUR)
    await bench.services.suppressions.add(whom.email, no)
    assert await shown(bench) == ({}, {LeftOut.SUPPRESSED: 1})
    assert await bench.read(whom.email, FOLLOW_UP) == []


async def test_nothing_is_answered_while_a_withdrawal_is_on_its_way(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience_module, "stored_so_far", lambda *asked: stored_so_far(*asked, patience_s=0.05))
    waiting, again, _ = message_hashes(CONSENT)
    await bench.redis.hset(again, "a-visit", b"sealed")  # type: ignore[misc]
    await audience(bench).page()  # a visit that nothing covered yet is no choice
    await bench.redis.hset(waiting, "a-choice", b"sealed")  # type: ignore[misc]
    with pytest.raises(StoreUnavailable):
        await audience(bench).page()
    await audience(bench, Purpose.SALES_PROSPECTING).page()  # which rests on no cookie
    await bench.redis.delete(waiting, again)


async def test_others_and_subsidiaries_have_no_such_purpose(bench: Bench) -> None:
    with pytest.raises(ReadRefused):
        await audience(bench, reader=Reader("clerk", Department.IT)).page()
    with pytest.raises(ReadRefused):
        await audience(bench, subsidiary="de").page()
    await downloaded(bench, "d-1")
    counted = await audience(bench, Purpose.AGGREGATE_STATISTICS).page()
    assert (counted.members, counted.left_out) == ([], {LeftOut.OTHER_PURPOSE: 1}), "of visits about nobody"


async def test_a_look_that_trusts_what_was_read_before_is_noticed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken variant: consent looked at with the records, and not after them."""
    bench.clock.at = NOON + DAY
    await agreed(bench, "d-1")
    whom = await downloaded(bench, "d-1")
    wanted = audience(bench)
    read = await read_ahead(wanted)
    early = await wanted._visits.judged(read.visits)
    await agreed(bench, "d-1", NOON + HOUR, yes=False)

    async def judged_before(*_: object) -> object:
        return early

    monkeypatch.setattr(visits_module.DeviceVisits, "judged", judged_before)
    assert [member.email for member in (await wanted._page(read, None)).members] == [whom.email]


async def test_a_join_that_asks_nobody_is_noticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken variant: a device is taken to be whoever's record names it, and to have agreed."""
    await agreed(bench, "d-1", yes=False)
    first, second = await downloaded(bench, "d-1"), await downloaded(bench, "d-1")
    monkeypatch.setattr(visits_module, "apart", lambda *_: None)
    page = await audience(bench).page()
    assert sorted(member.email for member in page.members) == sorted([first.email, second.email])


def test_every_reason_is_counted_by_its_name() -> None:
    assert {why.value for why in Apart} <= {why.value for why in LeftOut}
    assert factories.REGISTER.visit_use(Purpose.AGGREGATE_STATISTICS) is None
