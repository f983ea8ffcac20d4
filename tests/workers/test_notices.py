"""Contacts are told where their data is from: due, overdue and done, in any order of arrival. R2; GDPR Art. 14; P2."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from schemas.envelope import Event
from schemas.terms import Case, Department, Purpose
from schemas.ticks import NOTICES
from tests import factories
from tests.factories import CRM, NOON
from tests.workers.actors.ticking import HOUR, run
from tests.workers.bench import Bench
from workers.actors import chores
from workers.audience import Audience
from workers.gate import Reader
from workers.notices import NoticeState, listed, look_at_notices
from workers.status import look_around

COLLECTED = "2026-11-10"
LATE = datetime(2026, 12, 10, 23, tzinfo=UTC)
DAYS = timedelta(days=1)


@pytest.fixture(autouse=True)
def _the_next_day(bench: Bench) -> None:
    bench.clock.at = NOON + DAYS


def contact(whom: factories.Someone, collected_at: str = COLLECTED, event_id: str | None = None) -> Event:
    return factories.contact(Case.PROSPECT, whom, collected_at=collected_at, event_id=event_id)


async def test_a_notice_is_due_soon_then_overdue_and_each_is_recorded_once(bench: Bench) -> None:
    """Source: P9, P11."""
    await bench.send(event := contact(factories.someone()), factories.form(Case.CONTACT, factories.someone()))
    near = LATE - 10 * DAYS
    for at, counts in (
        (near - HOUR, {"due_soon": 0, "overdue": 0}),
        (near + HOUR, {"due_soon": 1, "overdue": 0}),
        (near + DAYS + HOUR, {"due_soon": 0, "overdue": 0}),
        (LATE - 2 * HOUR, {"due_soon": 0, "overdue": 0}),
        (LATE + HOUR, {"due_soon": 0, "overdue": 1}),
        (LATE + 40 * DAYS + HOUR, {"due_soon": 0, "overdue": 0}),
    ):
        assert (await run(bench, NOTICES, at))["counts"] == counts, at
    recorded = bench.collection("notices", "evidence")
    assert [(one["submission"], one["standing"], one["late_from"]) for one in recorded] == [
        (event.key, "due_soon", LATE),
        (event.key, "overdue", LATE),
    ]


async def test_it_is_shown_and_an_alarm_once_it_is_late_swept_or_not(bench: Bench) -> None:
    whom = factories.someone()
    await bench.send(event := contact(whom))
    for at, state, standing in (
        (LATE - 11 * DAYS, NoticeState(0, 0), None),
        (LATE - HOUR, NoticeState(1, 0), "due_soon"),
        (LATE, NoticeState(0, 1), "overdue"),
    ):
        bench.clock.at = at
        assert await look_at_notices(bench.services) == state
        expected = [{"event": event.key, "due_on": "2026-12-10", "standing": standing}] if standing else []
        assert await listed(bench.services) == expected
        alarms = (await look_around(bench.services, bench.redis)).alarms
        assert any(alarm.startswith("notices: 1 contact") for alarm in alarms) is (standing == "overdue")
    assert not [canary for canary in whom.canaries if canary in json.dumps(await listed(bench.services))]
    await bench.send(factories.informed(LATE, about=event.id))
    assert await look_at_notices(bench.services) == NoticeState(0, 0), "late, and done"


async def test_a_reply_makes_it_due_that_day(bench: Bench) -> None:
    whom = factories.someone()
    await bench.send(contact(whom))
    await bench.send(factories.interacted(NOON, email=whom.email))
    bench.clock.at = NOON + DAYS
    assert await look_at_notices(bench.services) == NoticeState(0, 1)


WHOM, OTHER = factories.someone(), factories.someone()
FIRST, SECOND = contact(WHOM), contact(WHOM, "2026-11-19")
STORY = [
    FIRST,
    SECOND,
    contact(OTHER),
    factories.informed(NOON - 5 * DAYS, email=WHOM.email, received=NOON),
    factories.informed(NOON - 3 * DAYS, email=WHOM.email, received=NOON),
    factories.informed(NOON + HOUR, about="somebody-else"),
    factories.interacted(NOON - 4 * DAYS, email=WHOM.email),
    factories.interacted(NOON, email=WHOM.email),
    factories.ended(NOON, email=OTHER.email),
]


async def dates_after(bench: Bench, story: list[Event]) -> dict[str, object]:
    """Contact → when its person was told, else until when that must be, once these arrived one by one."""
    bench.wipe()
    for event in story:
        await bench.send(event)
    return {one["_id"]: one.get("informed_at") or one["notice_by"] for one in bench.collection("submissions")}


EXPECTED = {
    FIRST.key: NOON - 5 * DAYS,
    SECOND.key: datetime(2026, 11, 20, 23, tzinfo=UTC),
    STORY[2].key: LATE,
}
"""The first is told of; the second was collected after both notices, and its person replied since."""


def orders(times: int) -> list[list[Event]]:
    chance = Random(14)
    stories = [STORY + chance.sample(STORY, k=3) for _ in range(times)]
    for story in stories:
        chance.shuffle(story)
    return stories


async def test_neither_order_nor_repetition_changes_a_date(bench: Bench) -> None:
    """Notices and replies before the contact that they are about, too. Source: P2."""
    for story in orders(20):
        assert await dates_after(bench, story) == EXPECTED, [STORY.index(event) for event in story]


async def test_the_orders_catch_who_does_not_look_at_what_came_first(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr("workers.actors.submissions.date_arrived", nothing)
    assert any([await dates_after(bench, story) != EXPECTED for story in orders(8)])


async def test_what_is_said_about_one_contact_is_of_no_other(bench: Bench) -> None:
    whom = factories.someone()
    first, second = contact(whom, event_id="c-1"), contact(whom, event_id="c-2")
    other = factories.contact(Case.PROSPECT, whom, collected_at=COLLECTED, event_id="c-1", source="/crm/other")
    await bench.send(first, second, other)
    await bench.send(factories.informed(NOON, about="c-1"), factories.informed(NOON, about="c-9"))
    told = {one["_id"] for one in bench.collection("submissions") if "informed_at" in one}
    assert told == {first.key}, f"the one of {CRM}"


async def test_a_part_at_a_time_by_an_index_and_killed_anywhere(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "AT_ONCE", 2)
    await bench.send(*(contact(factories.someone()) for _ in range(5)))
    assert (await run(bench, NOTICES, LATE + HOUR))["counts"] == {"due_soon": 0, "overdue": 5}
    submissions = bench.reader[f"{bench.prefix}_active"]["submissions"]
    submissions.update_many({}, {"$unset": {"notice_noted": 1}})  # as if it had died before it noted that
    assert (await run(bench, NOTICES, LATE + DAYS))["counts"]["overdue"] == 5
    assert len(bench.collection("notices", "evidence")) == 5
    wanted = {"notice_noted": {"$in": [None, "due_soon"]}, "notice_by": {"$lte": LATE}}
    plan = submissions.find(wanted).sort("notice_by", 1).limit(2).explain()
    assert "notice_by" in str(plan["queryPlanner"]["winningPlan"]["inputStage"])
    assert "COLLSCAN" not in str(plan["queryPlanner"]["winningPlan"])


async def test_a_notice_that_came_unseen_is_seen_before_anything_is_recorded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where contact and notice were written in the same moment by two workers, and one died then."""

    async def nothing(*_: object) -> None: ...

    whom = factories.someone()
    with monkeypatch.context() as patch:
        patch.setattr("workers.actors.submissions.date_arrived", nothing)
        patch.setattr("workers.actors.submissions.date_said_about", nothing)
        await bench.send(contact(whom), factories.informed(NOON, email=whom.email))
    assert (await run(bench, NOTICES, LATE + HOUR))["counts"] == {"due_soon": 0, "overdue": 0}
    assert bench.collection("notices", "evidence") == []
    [kept] = bench.collection("submissions")
    assert kept["informed_at"] == NOON


async def test_who_writes_first_is_told_that_they_must_tell(bench: Bench) -> None:
    """The first communication is the latest moment. Source: GDPR Art. 14(3)(b)."""
    whom = factories.someone()
    await bench.send(event := contact(whom))
    reader = Reader("mailing-test", Department.MARKETING_SALES)

    async def row() -> dict[str, object]:
        page = await Audience(bench.services, reader, Purpose.SALES_INFORMATION).page()
        return page.members[0].as_json()

    assert (await row())["notice_by"] == "2026-12-10T23:00:00.000Z"
    await bench.send(factories.informed(NOON, about=event.id))
    assert "notice_by" not in await row()
