"""Who has read what of a person's data: one by one, in pages of many, in the archive, and after it is gone.

Source: R8, R9.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidMessage
from schemas.terms import Case, Department, Purpose
from tests import factories
from tests.factories import NOON
from tests.workers.bench import Bench
from tests.workers.retention.test_archive import moved, read
from workers.audience import Audience
from workers.gate import Reader
from workers.stores.reads import naming, shows
from workers.who_read import reads_about

MAILER = Reader("mailer", Department.MARKETING_SALES)


async def test_a_page_of_many_is_found_by_each_of_them_and_by_nobody_else(bench: Bench) -> None:
    contacts = [factories.someone() for _ in range(5)]
    applied = factories.someone()
    await bench.send(*(factories.form(Case.CONTACT, whom) for whom in contacts))
    await bench.send(factories.form(Case.JOB_APPLICATION, applied))
    await Audience(bench.services, MAILER, Purpose.SALES_PROSPECTING).page()
    for whom in contacts:
        [found] = await reads_about(bench.services, whom.email.upper())
        assert (found["reader"], found["purpose"], found["shown"]) == ("mailer", "sales-prospecting", 5)
        assert not {"person", "persons", "first", "last"} & found.keys(), "the others are nobody's business"
    assert await reads_about(bench.services, applied.email) == []


async def test_every_way_of_reading_is_in_it_in_the_order_of_time(bench: Bench) -> None:
    whom = factories.someone()
    await bench.send(factories.form(Case.CONTACT, whom))
    await bench.read(whom.email)
    bench.clock.at = datetime.now(UTC) + timedelta(hours=1)
    await Audience(bench.services, MAILER, Purpose.SALES_PROSPECTING).page()
    found = await reads_about(bench.services, whom.email)
    assert [one["at"] for one in found] == sorted(one["at"] for one in found)
    assert len(found) == 2


async def test_a_read_of_the_archive_is_in_it_with_its_reason(bench: Bench) -> None:
    whom = await moved(bench)
    await read(bench.services, whom)
    assert [one["reason"] for one in await reads_about(bench.services, whom.email) if "reason" in one] == [
        "claim 2027-14"
    ]


async def test_an_erasure_hides_no_reader(bench: Bench) -> None:
    whom = factories.someone()
    await bench.send(factories.form(Case.CONTACT, whom))
    await Audience(bench.services, MAILER, Purpose.SALES_PROSPECTING).page()
    await bench.services.forgetting.forget(whom.email)
    assert [one["reader"] for one in await reads_about(bench.services, whom.email)] == ["mailer"]


async def test_an_entry_from_before_they_were_packed_counts(bench: Bench) -> None:
    whom = factories.someone()
    await bench.send(factories.form(Case.CONTACT, whom))
    [person] = bench.collection("persons")
    reads = bench.reader[f"{bench.prefix}_evidence"]["reads"]
    reads.insert_one({"_id": "old", "reader": "mailer", "person": ["another", person["_id"]], "at": NOON})
    assert [one["_id"] for one in await reads_about(bench.services, whom.email)] == ["old"]


async def test_what_is_no_address_is_an_error(bench: Bench) -> None:
    with pytest.raises(InvalidMessage):
        await reads_about(bench.services, "nobody")


IDS = st.uuids().map(str)


@given(st.lists(IDS, min_size=1, unique=True), IDS)
def test_packed_ids_are_those_and_no_others(ids: list[str], other: str) -> None:
    entry = naming(ids)
    assert all(shows(entry, one) for one in ids)
    assert shows(entry, other) == (other in ids)


def test_two_halves_of_neighbours_are_nobody() -> None:
    """What stands across two ids, or beyond the bytes of one, is no third one."""
    one, other = UUID(int=1 << 64), UUID(int=2 << 64)
    across = UUID(bytes=one.bytes[8:] + other.bytes[:8])
    assert not shows(naming([str(one), str(other)]), str(across))


async def test_one_read_is_one_small_entry(bench: Bench) -> None:
    """A page of ten thousand takes sixteen bytes for each, and three keys of an index."""
    ids = [str(UUID(int=number)) for number in range(10_000)]
    await bench.services.reads.record(
        reader="mailer",
        department="marketing-sales",
        purpose="sales-prospecting",
        person=ids,
        shown=len(ids),
        outcome="shown",
        at=NOON,
    )
    [entry] = bench.collection("reads", "evidence")
    assert len(entry["persons"]) == 160_000
    found = await asyncio.gather(*map(bench.services.reads.about, (ids[0], ids[4_711], ids[-1])))
    assert [len(one) for one in found] == [1, 1, 1]
    assert await bench.services.reads.about(str(UUID(int=10_000))) == []
