"""Counts of visits: made once of what consent covers, of crowds only, standing whatever goes later. R6, R14; P10."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from schemas.envelope import Event
from schemas.terms import Case, Department
from schemas.ticks import AGGREGATES
from tests import factories
from tests.factories import NOON
from tests.workers.actors.ticking import HOUR, run
from tests.workers.bench import Bench, Document
from tests.workers.test_staff_commands import Staff, staff
from workers.aggregates import count_next_day, read_counts
from workers.gate import Reader, ReadRefused
from workers.stores.aggregates import Aggregates, Counted

__all__ = ["staff"]

CHEESE, WINE = "https://www.example.com/cheese", "https://www.example.com/wine"
DAY = date(2026, 11, 20)
OVER = datetime(2026, 11, 22, 23, tzinfo=UTC)
"""In Paris the day of noon of 20 November has been over for two days."""
MARKETING = Reader("reader-test", Department.MARKETING_SALES)


def visits(page: str, *devices: int, at: datetime = NOON) -> list[Event]:
    return [factories.visit(f"device-{number}", at, url=page) for number in devices]


async def agreed(bench: Bench, *devices: int, at: datetime = NOON - HOUR) -> None:
    """Browsers that agreed to be measured."""
    await bench.send(*(factories.choice(f"device-{number}", at) for number in devices))


async def a_day(bench: Bench) -> None:
    """Twelve browsers on the one page, ten on the other, twelve visits more."""
    await agreed(bench, *range(12))
    await bench.send(*visits(CHEESE, *range(12)), *visits(CHEESE, *range(12)), *visits(WINE, *range(10)))


def kept(bench: Bench) -> list[Document]:
    return bench.collection("aggregates", "evidence")


def cells(bench: Bench) -> dict[tuple[str, str], dict[str, int]]:
    """Day and page → country → visits, as an independent client reads them."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for day in kept(bench):
        for cell in day["cells"]:
            found.setdefault((day["_id"], cell["page"]), {})[cell["country"]] = cell["visits"]
    return found


TWO_PAGES = {("2026-11-20", CHEESE): {"unknown": 24}, ("2026-11-20", WINE): {"unknown": 10}}


async def test_a_day_is_counted_when_it_has_been_over_for_two_days(bench: Bench) -> None:
    await a_day(bench)
    await run(bench, AGGREGATES, OVER - HOUR)
    assert kept(bench) == []
    assert (await run(bench, AGGREGATES, OVER + 5 * HOUR))["counts"] == {"days": 1}
    assert cells(bench) == TWO_PAGES


async def test_what_is_kept_is_about_nobody(bench: Bench) -> None:
    await a_day(bench)
    await run(bench, AGGREGATES, OVER + 5 * HOUR)
    (day,) = kept(bench)
    assert set(day) == {"_id", "least", "made", "cells"}
    assert {frozenset(cell) for cell in day["cells"]} == {frozenset({"page", "country", "language", "visits"})}
    assert (day["least"], day["made"].date()) == (10, date(2026, 11, 23))


async def test_a_page_of_few_is_not_named(bench: Bench) -> None:
    await agreed(bench, *range(20))
    await bench.send(*visits(CHEESE, *range(11)), *visits(WINE, *range(9)), *visits(WINE + "/anna", 0))
    bench.clock.at = OVER
    assert await count_next_day(bench.services)
    assert cells(bench) == {("2026-11-20", "other"): {"unknown": 21}}, "nor is the other one, or this would be nine"


async def test_a_day_of_few_is_counted_as_nothing_and_settled(bench: Bench) -> None:
    await agreed(bench, *range(10))
    await bench.send(*visits(CHEESE, *range(9)))
    bench.clock.at = OVER
    assert await count_next_day(bench.services)
    assert [day["cells"] for day in kept(bench)] == [[]]
    await bench.send(*visits(CHEESE, 9, at=NOON + HOUR))
    assert not await count_next_day(bench.services)


async def test_a_day_is_one_of_paris(bench: Bench) -> None:
    await agreed(bench, *range(10))
    midnight = NOON.replace(hour=23)
    before = midnight - timedelta(milliseconds=1)
    await bench.send(*visits(CHEESE, *range(10), at=before), *visits(WINE, *range(10), at=midnight))
    await run(bench, AGGREGATES, OVER + timedelta(days=2))
    assert set(cells(bench)) == {("2026-11-20", CHEESE), ("2026-11-21", WINE)}


async def test_who_does_not_agree_now_or_did_not_then_is_not_counted(bench: Bench) -> None:
    await a_day(bench)
    later = NOON + timedelta(days=1)
    for consent in bench.collection("consents")[:2]:
        copied = consent | {"_id": f"no-{consent['_id']}", "happened": later, "choices": {"analytics": False}}
        bench.reader[f"{bench.prefix}_active"].consents.insert_one(copied)  # the visits are not swept yet
    bench.clock.at = OVER
    assert await count_next_day(bench.services)
    assert sum(count for countries in cells(bench).values() for count in countries.values()) == 20 + 8


async def test_a_consent_that_ran_out_covers_no_count(bench: Bench) -> None:
    bench.clock.at = NOON
    await agreed(bench, *range(12), at=datetime(2025, 10, 21, 12, tzinfo=UTC))
    await bench.send(*visits(CHEESE, *range(12)))
    bench.clock.at = OVER
    assert await count_next_day(bench.services)
    assert cells(bench) == {}


async def test_past_their_period_visits_are_not_counted(bench: Bench) -> None:
    """And no hole in the days stops the later ones."""
    await agreed(bench, *range(12))
    later = NOON + timedelta(days=300)
    await bench.send(*visits(CHEESE, *range(12)), *visits(WINE, *range(12), at=later))
    await run(bench, AGGREGATES, NOON + timedelta(days=366, hours=12))
    assert set(cells(bench)) == {(later.date().isoformat(), WINE)}


# ---------------------------------------------------------------------- once, and for good


async def counts_stand(bench: Bench) -> None:
    """Visits come late, a person is erased, the rest is purged, the chore runs again: the counts are what they were."""
    whom = factories.someone()
    await a_day(bench)
    await bench.send(factories.form(Case.CONTACT, whom, device_id="device-1"))
    await run(bench, AGGREGATES, OVER + 5 * HOUR)
    made = kept(bench)
    await bench.send(*visits(WINE, *range(12)))
    await run(bench, AGGREGATES, OVER + timedelta(days=1))
    assert kept(bench) == made
    assert (await bench.services.forgetting.forget(whom.email)).deleted["visits"] == 4
    await run(bench, AGGREGATES, OVER + timedelta(days=2))
    assert kept(bench) == made
    bench.reader[f"{bench.prefix}_active"].visits.delete_many({})
    await run(bench, AGGREGATES, OVER + timedelta(days=3))
    assert kept(bench) == made


async def test_counts_survive_erasure_and_purge(bench: Bench) -> None:
    await counts_stand(bench)


async def test_a_count_made_anew_is_noticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken on purpose: it forgets what it has counted, and the last count stands."""

    async def nothing(_: Aggregates) -> None:
        return None

    async def replaces(self: Aggregates, counted: Counted, now: datetime) -> None:
        told = counted.as_json()
        document = {"_id": told.pop("day"), "made": now, **told}
        await self._days.replace_one({"_id": document["_id"]}, document, upsert=True)

    async def once(services: Any) -> bool:
        return await real(services) and False

    real = count_next_day
    monkeypatch.setattr("workers.actors.chores.count_next_day", once)
    monkeypatch.setattr(Aggregates, "latest", nothing)
    monkeypatch.setattr(Aggregates, "keep", replaces)
    with pytest.raises(AssertionError):
        await counts_stand(bench)


async def test_two_at_once_count_once(bench: Bench) -> None:
    await a_day(bench)
    bench.clock.at = OVER
    await asyncio.gather(*(count_next_day(bench.services) for _ in range(3)))
    assert cells(bench) == TWO_PAGES


# ---------------------------------------------------------------------- read


async def test_a_department_that_may_reads_them_and_it_is_recorded(bench: Bench) -> None:
    await a_day(bench)
    await run(bench, AGGREGATES, OVER + 5 * HOUR)
    (counted,) = await read_counts(bench.services, MARKETING, DAY, DAY)
    assert {(cell.page, cell.visits) for cell in counted.cells} == {(CHEESE, 24), (WINE, 10)}
    assert await read_counts(bench.services, MARKETING, date.min, DAY - timedelta(days=1)) == []
    with pytest.raises(ReadRefused):
        await read_counts(bench.services, Reader("reader-test", Department.ADMINISTRATION), DAY, DAY)
    told = [
        (one["purpose"], one["person"], one["shown"], one["outcome"]) for one in bench.collection("reads", "evidence")
    ]
    assert sorted(told) == sorted(
        ("aggregate-statistics", None, *one) for one in [(2, "shown"), (0, "shown"), (0, "refused")]
    )


async def test_where_the_register_asks_for_larger_groups_older_days_are_not_shown(bench: Bench) -> None:
    await a_day(bench)
    await run(bench, AGGREGATES, OVER + 5 * HOUR)
    (day,) = kept(bench)
    days = bench.reader[f"{bench.prefix}_evidence"].aggregates
    days.update_one({"_id": day["_id"]}, {"$set": {"least": 9}})
    assert await read_counts(bench.services, MARKETING, DAY, DAY) == []


async def test_the_command_prints_them(bench: Bench, staff: Staff) -> None:
    await a_day(bench)
    await run(bench, AGGREGATES, OVER + 5 * HOUR)
    ((day,),) = [json.loads((await staff("aggregates", "--from", "2026-11-20", "--json")).stdout)]
    assert (day["day"], day["least"], len(day["cells"])) == ("2026-11-20", 10, 2)
    assert json.loads((await staff("aggregates", "--to", "2026-11-19", "--json")).stdout) == []
    assert "2026-11-20" in (await staff("aggregates")).stdout
    refused = await staff("aggregates", "--department", "administration")
    assert (refused.exit_code, "refused" in refused.output) == (1, True)
