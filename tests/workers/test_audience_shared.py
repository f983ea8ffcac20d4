"""A whole audience read by several processes: the same in the same order, and nothing left of them. R24, R29; P10."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from schemas.terms import Case, Department, Purpose, SuppressionGround
from tests import factories
from tests.waiting import until
from tests.workers.bench import Bench, settings_for
from workers.audience_shared import Part, ReaderDied, Wanted, in_parts
from workers.gate import Reader, ReadRefused
from workers.members import LeftOut
from workers.suppressing import suppress

MARKETING = Reader("mailer", Department.MARKETING_SALES)


@pytest.fixture
def wanted(bench: Bench, mongo_url: str, redis_url: str, keys: Path) -> Wanted:
    settings = settings_for(mongo_url, bench.prefix, keys).model_copy(update={"redis_url": SecretStr(redis_url)})
    return Wanted(settings, MARKETING, Purpose.SALES_PROSPECTING)


async def seven(bench: Bench) -> list[str]:
    """Seven people by the order in which they came, of whom the third has said no; their addresses."""
    now, people = datetime.now(UTC), [factories.someone() for _ in range(7)]
    for whom in people:
        await bench.send(factories.form(Case.CONTACT, whom, received=now))
    await suppress(bench.services, [people[2].email], SuppressionGround.OBJECTION, now)
    return [whom.email for whom in people]


async def to_the_end(parts: AsyncIterator[Part]) -> list[list[str]]:
    return [part.lines async for part in parts]


async def test_it_is_the_same_in_the_same_order(bench: Bench, wanted: Wanted) -> None:
    emails = await seven(bench)
    parts = [part async for part in in_parts(bench.services, wanted, processes=2, stretch=2)]
    assert [part.lines for part in parts] == [emails[:2], emails[3:4], emails[4:6], emails[6:]]
    assert sum((part.left_out for part in parts), Counter()) == {LeftOut.SUPPRESSED: 1}
    assert multiprocessing.active_children() == []
    shown = [read["shown"] for read in bench.collection("reads", "evidence")]
    assert sorted(shown) == [1, 1, 2, 2], "each page is recorded, whoever reads it"


async def test_one_stretch_needs_no_process_and_says_the_same(bench: Bench, wanted: Wanted) -> None:
    emails = await seven(bench)
    alone = await to_the_end(in_parts(bench.services, wanted, processes=2))
    assert alone == [emails[:2] + emails[3:]]
    assert await to_the_end(in_parts(bench.services, wanted, processes=1, stretch=7)) == [*alone, []]


async def test_nobody_is_an_audience_too(bench: Bench, wanted: Wanted) -> None:
    assert await to_the_end(in_parts(bench.services, wanted)) == [[]]


async def test_who_may_not_read_is_refused_once(bench: Bench, wanted: Wanted) -> None:
    await seven(bench)
    refused = Wanted(wanted.settings, Reader("tech", Department.IT), wanted.purpose)
    with pytest.raises(ReadRefused):
        await anext(in_parts(bench.services, refused, processes=2, stretch=2))
    assert [read["outcome"] for read in bench.collection("reads", "evidence")] == ["refused"]
    assert multiprocessing.active_children() == []


async def test_a_process_that_dies_is_no_end_of_the_audience(bench: Bench, wanted: Wanted) -> None:
    await seven(bench)
    parts = in_parts(bench.services, wanted, processes=1, stretch=2)
    await anext(parts)
    (reading,) = multiprocessing.active_children()
    reading.kill()
    with pytest.raises(ReaderDied):
        await to_the_end(parts)


async def test_who_stops_reading_leaves_no_process(bench: Bench, wanted: Wanted) -> None:
    await seven(bench)
    parts = in_parts(bench.services, wanted, processes=2, stretch=2)
    await anext(parts)
    assert len(multiprocessing.active_children()) == 2
    await parts.aclose()
    await until(lambda: multiprocessing.active_children() == [])
