"""The one gate for reads: who may see what for which purpose, at this moment, and that it is recorded first.

Source: R8, R9, R13, R26; P5, P9, P10.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from schemas.errors import InvalidMessage
from schemas.subject import ReferenceUse
from schemas.terms import Case, Department, Purpose, SuppressionGround
from tests import factories
from tests.factories import NOON, REGISTER
from tests.workers.bench import Bench
from workers.gate import ReadRefused
from workers.stores.keys import ACTIVE, key_id
from workers.stores.suppression import No
from workers.stores.tombstones import of_address, of_event, of_person

THREE_YEARS = datetime(2029, 11, 20, 23, tzinfo=UTC)


async def _held(bench: Bench, case: Case = Case.CONTACT) -> factories.Someone:
    whom = factories.someone()
    make = factories.form if case in (Case.CONTACT, Case.WHITE_PAPER, Case.JOB_APPLICATION) else factories.contact
    await bench.send(make(case, whom))
    return whom


async def test_a_reader_sees_what_was_handed_in(bench: Bench) -> None:
    whom = await _held(bench)
    (seen,) = await bench.read(whom.email.upper())
    assert seen.data["last_name"] == whom.last_name
    assert (seen.case, seen.received, seen.until) == (Case.CONTACT, NOON, THREE_YEARS)


async def test_each_department_reads_for_its_purposes_only(bench: Bench) -> None:
    """What the register says, said again by its own words; a refusal is recorded too. Source: R9."""
    whom, refused = factories.someone(), 0
    for department, purpose in product(Department, Purpose):
        reads = {read.purpose for read in REGISTER.departments[department].reads}
        if purpose in reads:  # where no case serves it, an express agreement may
            assert await bench.read(whom.email, purpose, department) == []
        else:
            refused += 1
            with pytest.raises(ReadRefused):
                await bench.read(whom.email, purpose, department)
    entries = [entry for entry in bench.collection("reads", "evidence") if entry["outcome"] == "refused"]
    assert len(entries) == refused > 20


async def test_a_purpose_is_read_in_the_cases_it_may_be_read_in(bench: Bench) -> None:
    """Marketing reads contracts of clients, not of suppliers. Source: R9, the register's `cases`."""
    whom = factories.someone()
    await bench.send(factories.contact(Case.CLIENT, whom), factories.contact(Case.SUPPLIER, whom))
    seen = await bench.read(whom.email, Purpose.SERVICES_AND_CONTRACT, Department.MARKETING_SALES)
    assert [record.case for record in seen] == [Case.CLIENT]
    both = await bench.read(whom.email, Purpose.SERVICES_AND_CONTRACT, Department.ADMINISTRATION)
    assert {record.case for record in both} == {Case.CLIENT, Case.SUPPLIER}


async def test_a_purpose_that_the_record_does_not_serve_shows_nothing(bench: Bench) -> None:
    whom = await _held(bench, Case.JOB_APPLICATION)
    assert await bench.read(whom.email, Purpose.SALES_PROSPECTING) == []


async def test_past_its_date_nothing_is_shown_whether_or_not_a_sweep_has_run(bench: Bench) -> None:
    """Source: P9."""
    whom = await _held(bench)
    bench.clock.at = THREE_YEARS - timedelta(milliseconds=1)
    assert len(await bench.read(whom.email)) == 1
    bench.clock.at = THREE_YEARS
    assert await bench.read(whom.email) == []
    assert len(bench.collection("submissions")) == 1


async def test_the_registers_period_of_today_counts_not_the_one_that_was_stored(bench: Bench) -> None:
    whom = await _held(bench)
    far = datetime(2099, 1, 1, tzinfo=UTC)
    bench.reader[f"{bench.prefix}_active"]["links"].update_many({}, {"$set": {"expires": far}})
    bench.clock.at = THREE_YEARS
    assert await bench.read(whom.email) == []


async def test_a_suppressed_purpose_shows_nothing_and_the_others_do(bench: Bench) -> None:
    """Source: P10."""
    whom = await _held(bench)
    no = No(frozenset([Purpose.SALES_PROSPECTING]), SuppressionGround.UNSUBSCRIBE, NOON)
    await bench.services.suppressions.add(whom.email, no)
    other = No(frozenset([Purpose.SALES_INFORMATION]), SuppressionGround.OBJECTION, NOON)
    await bench.services.suppressions.add(whom.email, other)
    assert await bench.read(whom.email, Purpose.SALES_PROSPECTING) == []
    assert len(await bench.read(whom.email, Purpose.PROVIDE_SERVICES)) == 1
    (entry,) = bench.collection("suppressions", "evidence")
    assert {purpose: said["ground"] for purpose, said in entry["no"].items()} == {
        "sales-prospecting": "unsubscribe",
        "sales-information": "objection",
    }


@pytest.mark.parametrize("which", ["address", "person", "event"])
async def test_a_tombstone_hides_what_still_stands(bench: Bench, which: str) -> None:
    """An erasure under way is never visible, nor a backup that came back. Source: P5."""
    whom = await _held(bench)
    (kept,) = bench.collection("submissions")
    stones = {
        "address": of_address(bench.services.trust.references.of_email(ReferenceUse.TOMBSTONE, whom.email)),
        "person": of_person(kept["person"]),
        "event": of_event(kept["_id"]),
    }
    await bench.services.tombstones.write([stones[which]])
    assert await bench.read(whom.email) == []


async def test_an_act_after_the_erasure_is_shown_and_one_within_the_doubt_is_not(bench: Bench) -> None:
    whom = await _held(bench)
    await bench.services.forgetting.forget(whom.email)
    now = bench.services.clock()
    await bench.send(factories.form(Case.CONTACT, whom, received=now + timedelta(seconds=1)))
    assert bench.reasons() == ["erased_just_before"]
    assert await bench.read(whom.email) == []
    await bench.send(factories.form(Case.CONTACT, whom, received=now + timedelta(seconds=60)))
    assert len(await bench.read(whom.email)) == 1


async def test_a_destroyed_key_shows_nothing_and_breaks_nothing(bench: Bench) -> None:
    whom = await _held(bench)
    (kept,) = bench.collection("submissions")
    await bench.services.keys.destroy([key_id(kept["person"], ACTIVE)])
    assert await bench.read(whom.email) == []


async def test_every_read_is_recorded_and_names_no_address(bench: Bench) -> None:
    whom, nobody = await _held(bench), factories.someone()
    await bench.read(whom.email)
    await bench.read(nobody.email)
    entries = bench.collection("reads", "evidence")
    assert sorted((entry["outcome"], entry["shown"], entry["person"] is None) for entry in entries) == [
        ("nothing held", 0, True),
        ("shown", 1, False),
    ]
    assert not [text for text in (*whom.canaries, *nobody.canaries) if text in str(entries)]


async def test_a_read_that_cannot_be_recorded_shows_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    whom = await _held(bench)

    async def away(**entry: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(type(bench.services.reads), "record", lambda self, **entry: away(**entry))
    with pytest.raises(ConnectionError):
        await bench.read(whom.email)


async def test_what_is_no_address_is_no_question(bench: Bench) -> None:
    with pytest.raises(InvalidMessage):
        await bench.read("everybody")
