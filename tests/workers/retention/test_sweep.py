"""What is past its date moves to the archive or goes, whatever happens meanwhile. R11, R13, R14; P5, P9."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from schemas.subject import ReferenceUse
from schemas.terms import Case, Purpose, SuppressionGround
from schemas.ticks import DUE_PERSONS, SWEEPS
from tests import factories
from tests.factories import NOON
from tests.workers.actors.ticking import run
from tests.workers.bench import Bench
from tests.workers.retention.people import (
    APPLICATION_OVER,
    ARCHIVE_OVER,
    RELATION_OVER,
    Killed,
    applicant,
    archived,
    at_every_step,
    correspondent,
    in_use,
    living_keys,
    nobody_yet,
    purge_all,
    sweep_all,
    sweep_theirs,
)
from workers.retention import moving
from workers.retention import sweep as sweeping
from workers.services import Services
from workers.stores.keys import ACTIVE, ARCHIVE, Hold, key_id
from workers.suppressing import suppress

HELD = Hold("R-TEST", "legal hold", None)


async def test_what_is_past_its_date_moves_with_its_file_and_later_is_purged(bench: Bench) -> None:
    whom = await applicant(bench)
    bench.clock.at = APPLICATION_OVER - timedelta(seconds=1)
    await sweep_all(bench.services)
    assert archived(bench) == {}
    bench.clock.at = APPLICATION_OVER
    assert (await sweep_all(bench.services))["archived"] == 1
    assert (in_use(bench), living_keys(bench)) == ({}, {"archive"})
    [record] = archived(bench)["submissions"]
    assert [one["at"] for one in record["ended"]] == [APPLICATION_OVER]
    assert not [canary for canary in whom.canaries if canary in str(bench.dump())]
    bench.clock.at = ARCHIVE_OVER - timedelta(seconds=1)
    await purge_all(bench.services)
    assert set(archived(bench)) == {"submissions", "files.files", "files.chunks"}
    bench.clock.at = ARCHIVE_OVER
    assert (await purge_all(bench.services))["purged"] == 1
    assert (archived(bench), living_keys(bench)) == ({}, set())


async def test_the_copy_holds_what_was_given_under_a_key_of_its_own(bench: Bench) -> None:
    whom = await applicant(bench)
    [before] = bench.collection("submissions")
    bench.clock.at = APPLICATION_OVER
    await sweep_all(bench.services)
    [record], services = archived(bench)["submissions"], bench.services
    key = (await services.keys.read([key_id(record["person"], ARCHIVE)]))[key_id(record["person"], ARCHIVE)]
    body = json.loads(key.open(f"archive/{record['_id']}", record["sealed"]))
    assert (body["email"], body["last_name"]) == (whom.email, whom.last_name)
    assert await services.archive.files.read(record["files"][0], record["person"], key) == factories.file().content
    assert record["refs"] == [services.trust.references.of_email(ReferenceUse.LOOKUP, whom.email)]
    assert record["sealed"] != before["sealed"]
    assert "digest" not in record


async def test_without_an_archive_period_it_is_deleted(bench: Bench) -> None:
    await correspondent(bench)
    bench.clock.at = RELATION_OVER - timedelta(seconds=1)
    await sweep_all(bench.services)
    assert in_use(bench)
    bench.clock.at = RELATION_OVER
    assert (await sweep_all(bench.services))["deleted"] == 1
    assert (in_use(bench), archived(bench), living_keys(bench)) == ({}, {}, set())


async def test_who_holds_something_else_keeps_it_and_his_key(bench: Bench) -> None:
    whom = await applicant(bench)
    await correspondent(bench, whom)
    bench.clock.at = APPLICATION_OVER
    await sweep_all(bench.services)
    assert [one["case"] for one in bench.collection("submissions")] == ["contact"]
    assert living_keys(bench) == {"active", "archive"}
    assert len(await bench.read(whom.email)) == 1
    bench.clock.at = ARCHIVE_OVER
    await purge_all(bench.services)
    assert living_keys(bench) == {"active", "archive"}, "another record of his may be on its way to the archive"


async def test_an_anchor_that_never_came_keeps_it_open(bench: Bench) -> None:
    await applicant(bench, decided=False)
    bench.clock.at = datetime(2090, 1, 1, tzinfo=UTC)
    counted = await sweep_all(bench.services)
    assert (counted["open"], len(bench.collection("submissions"))) == (1, 1)


async def test_a_repeat_of_its_message_does_not_bring_it_back(bench: Bench) -> None:
    wire = await bench.send(factories.form(Case.CONTACT, factories.someone()))
    bench.clock.at = RELATION_OVER
    await sweep_all(bench.services)
    await bench.deliver(wire)
    assert in_use(bench) == {}


async def test_past_its_date_nobody_reads_it_swept_or_not(bench: Bench) -> None:
    whom = await correspondent(bench)
    bench.clock.at = RELATION_OVER - timedelta(milliseconds=1)
    assert len(await bench.read(whom.email)) == 1
    bench.clock.at = RELATION_OVER
    assert await bench.read(whom.email) == []


# ---------------------------------------------------------------------- a "no"


async def test_what_a_no_ended_goes_within_minutes_and_never_to_the_archive(bench: Bench) -> None:
    partner, other = factories.someone(), factories.someone()
    await bench.send(factories.contact(Case.PARTNER, partner), factories.contact(Case.PARTNER, other))
    bench.clock.at = NOON + timedelta(hours=1)
    await suppress(bench.services, [partner.email], SuppressionGround.OBJECTION, bench.clock.at)
    await run(bench, DUE_PERSONS, bench.clock.at + timedelta(minutes=5))
    assert len(bench.collection("submissions")) == 1
    assert len(await bench.read(other.email, Purpose.SALES_PROSPECTING)) == 1
    assert archived(bench) == {}
    assert bench.collection("due") == []
    took = await bench.services.disposals.no_to_deletion()
    assert took is not None
    assert (took.last_s, took.longest_s) == (300.0, 300.0)
    assert {one["what"] for one in await bench.services.disposals.by_day(NOON.date())} == {"said_no"}


async def test_the_daily_walk_finds_a_no_that_nobody_was_called_for(bench: Bench) -> None:
    partner = factories.someone()
    await bench.send(factories.contact(Case.PARTNER, partner))
    await suppress(bench.services, [partner.email], SuppressionGround.OBJECTION, NOON)
    bench.reader[f"{bench.prefix}_active"]["due"].delete_many({})
    await sweep_all(bench.services)
    assert in_use(bench) == {}


async def test_who_holds_nothing_goes_and_may_come_back(bench: Bench) -> None:
    whom = await nobody_yet(bench)
    await sweep_all(bench.services)
    assert (in_use(bench), living_keys(bench)) == ({}, set())
    await bench.send(factories.form(Case.CONTACT, whom))
    assert len(await bench.read(whom.email)) == 1


async def test_a_no_spares_what_it_does_not_end(bench: Bench) -> None:
    client = factories.someone()
    await bench.send(factories.contact(Case.CLIENT, client))
    await suppress(bench.services, [client.email], SuppressionGround.OBJECTION, NOON)
    await run(bench, DUE_PERSONS, NOON + timedelta(minutes=5))
    assert len(bench.collection("links")) == 4, "the record serves the contract still"


# ---------------------------------------------------------------------- holds


async def test_a_hold_set_a_second_before_keeps_everything_and_is_counted(bench: Bench) -> None:
    await applicant(bench)
    [person] = bench.collection("persons")
    before = in_use(bench)
    bench.clock.at = APPLICATION_OVER
    await bench.services.keys.hold([key_id(person["_id"], ACTIVE)], HELD)
    assert (await sweep_all(bench.services))["held"] == 1
    assert (in_use(bench), archived(bench)) == (before, {})
    await bench.services.keys.lift([key_id(person["_id"], ACTIVE)], HELD.name)
    bench.clock.at = APPLICATION_OVER + timedelta(days=1)
    await sweep_all(bench.services)
    assert in_use(bench) == {}


async def test_a_hold_keeps_what_is_archived(bench: Bench) -> None:
    await applicant(bench)
    bench.clock.at = APPLICATION_OVER
    await sweep_all(bench.services)
    [record] = archived(bench)["submissions"]
    await bench.services.keys.hold([key_id(record["person"], ARCHIVE)], HELD)
    bench.clock.at = ARCHIVE_OVER
    assert (await purge_all(bench.services)) == {"purged": 0, "held": 1, "left_behind": 0}
    assert archived(bench)["submissions"] == [record]


async def test_a_hold_after_another_worker_was_here_loses_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two walk over the same part; the hold comes when one is done and the other has only copied."""
    await correspondent(bench, await applicant(bench))
    bench.clock.at = APPLICATION_OVER
    real, once = sweeping._forget, []

    async def other_first(*asked: Any) -> frozenset[str]:
        if not once:
            once.append(True)
            await sweep_theirs(bench, bench.services)
            [person] = {one["person"] for one in bench.collection("submissions")}
            await bench.services.keys.hold([key_id(person, use) for use in (ACTIVE, ARCHIVE)], HELD)
        return await real(*asked)

    monkeypatch.setattr(sweeping, "_forget", other_first)
    await sweep_theirs(bench, bench.services)
    held = [one["case"] for place in (in_use(bench), archived(bench)) for one in place["submissions"]]
    assert held == ["contact", "job-application"]


@pytest.mark.slow
async def test_a_hold_at_any_step_loses_nothing(bench: Bench) -> None:
    """Set in the middle: the data stands whole in one of the two places, readable under a key that lives."""
    bench.clock.at = APPLICATION_OVER

    async def prepare() -> None:
        await applicant(bench)

    async def hold() -> None:
        persons = {one["person"] for one in bench.collection("submissions")}
        await bench.services.keys.hold([key_id(one, use) for one in persons for use in (ACTIVE, ARCHIVE)], HELD)

    async def whole() -> None:
        assert in_use(bench).get("submissions") or archived(bench).get("submissions")
        for place, use in ((in_use(bench), ACTIVE), (archived(bench), ARCHIVE)):
            for one in place.get("submissions", ()):
                assert key_id(one["person"], use) in await bench.services.keys.read([key_id(one["person"], use)])

    assert await at_every_step(bench, prepare, partial(sweep_theirs, bench), hold, whole) > 15


# ---------------------------------------------------------------------- killed, doubled, and met by an erasure


async def test_killed_at_any_step_it_is_finished_by_the_next(bench: Bench) -> None:
    bench.clock.at = RELATION_OVER

    async def prepare() -> None:
        await correspondent(bench, await applicant(bench))

    async def die() -> None:
        raise Killed

    async def finished() -> None:
        await sweep_all(bench.services)
        assert (in_use(bench), living_keys(bench)) == ({}, {"archive"})
        assert {name: len(found) for name, found in archived(bench).items()} == {
            "submissions": 1,
            "files.files": 1,
            "files.chunks": 1,
        }
        lines = await bench.services.disposals.by_day(NOON.date())
        assert sorted((one["what"], one["purpose"], one["records"]) for one in lines) == [
            ("archived", "recruitment", 1),
            ("deleted", "provide-services", 1),
            ("deleted", "sales-prospecting", 1),
        ], "counted once"

    assert await at_every_step(bench, prepare, partial(sweep_theirs, bench), die, finished) > 15


async def test_several_at_once_do_it_once(bench: Bench) -> None:
    for _ in range(6):
        await correspondent(bench, await applicant(bench))
    bench.clock.at = RELATION_OVER
    await asyncio.gather(*(sweep_all(bench.services) for _ in range(3)))
    assert (in_use(bench), len(archived(bench)["submissions"])) == ({}, 6)
    lines = await bench.services.disposals.by_day(NOON.date())
    assert sum(one["records"] for one in lines if one["what"] == "archived") == 6


async def _meets_an_erasure(bench: Bench) -> int:
    """At every step of a sweep somebody is erased: nothing of them stands anywhere in the end."""
    bench.clock.at = APPLICATION_OVER
    whom = factories.someone()

    async def prepare() -> None:
        await applicant(bench, whom)

    async def forget() -> None:
        await bench.services.forgetting.forget(whom.email)

    async def gone() -> None:
        assert (in_use(bench), archived(bench), living_keys(bench)) == ({}, {}, set())

    return await at_every_step(bench, prepare, partial(sweep_theirs, bench), forget, gone)


async def test_an_erasure_at_any_step_takes_everything(bench: Bench) -> None:
    assert await _meets_an_erasure(bench) > 15


async def test_a_move_that_does_not_look_is_noticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken on purpose: the copy is written, and nobody looks at the tombstones after."""

    async def no_look(*_: Any) -> frozenset[str]:
        return frozenset()

    monkeypatch.setattr(moving, "_erased", no_look)
    with pytest.raises(AssertionError):
        await _meets_an_erasure(bench)


async def test_a_sweep_that_forgets_before_it_archives_is_noticed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken on purpose: killed in between, the record is nowhere."""
    real = sweeping.archive

    async def forgets_first(services: Services, moved: Any) -> frozenset[str]:
        doomed = {one.person["_id"]: [one.event] for one in moved}
        await services.forgetting.forget_events(doomed)
        return await real(services, moved)

    monkeypatch.setattr(sweeping, "archive", forgets_first)
    with pytest.raises(AssertionError):
        await test_killed_at_any_step_it_is_finished_by_the_next(bench)


async def test_a_sweep_that_keeps_nothing_in_hand_is_noticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken on purpose: killed after the person's document went, nobody finds what he left."""

    async def nothing(*_: Any) -> None:
        return None

    monkeypatch.setattr(sweeping, "_finish", nothing)
    with pytest.raises(AssertionError):
        await test_killed_at_any_step_it_is_finished_by_the_next(bench)


# ---------------------------------------------------------------------- the clock, and the walk


async def test_a_clock_set_back_and_forward_changes_nothing(bench: Bench) -> None:
    await applicant(bench)
    await run(bench, SWEEPS[0], APPLICATION_OVER + timedelta(hours=1))
    for at in (APPLICATION_OVER - timedelta(days=40), APPLICATION_OVER, APPLICATION_OVER - timedelta(days=1)):
        bench.clock.at = at
        await sweep_all(bench.services)
    [record] = archived(bench)["submissions"]
    bench.clock.at = APPLICATION_OVER + timedelta(days=3)
    await sweep_all(bench.services)
    await purge_all(bench.services)
    assert archived(bench)["submissions"] == [record]
    assert in_use(bench) == {}


async def test_a_walk_goes_on_where_it_was_left(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "PERSONS_AT_ONCE", 2)
    for _ in range(24):
        await correspondent(bench)
    bench.clock.at = RELATION_OVER
    counted = 0
    for shard in SWEEPS:
        more = True
        while more:
            counts, more = await sweeping.sweep(bench.services, shard)
            counted += counts.get("deleted", 0)
    assert (counted, in_use(bench)) == (24, {})
    ended = await bench.services.disposals.ended(SWEEPS)
    assert sum(one.counts.get("deleted", 0) for one in ended.values()) == 24


async def test_a_shorter_period_in_the_register_shortens_what_is_archived(bench: Bench) -> None:
    await applicant(bench)
    bench.clock.at = APPLICATION_OVER
    await sweep_all(bench.services)
    register = bench.services.trust.register
    rule = register.retention["application"].model_copy(update={"archive": "P1Y"})
    shorter = register.model_copy(update={"retention": {**register.retention, "application": rule}})
    for folded in ("_links", "archive_periods"):  # from the longer one
        shorter.__dict__.pop(folded, None)
    services = _with_register(bench, shorter)
    bench.clock.at = ARCHIVE_OVER - timedelta(days=4 * 365 - 10)
    assert (await purge_all(services))["purged"] == 1


def _with_register(bench: Bench, register: Any) -> Services:
    return replace(bench.services, trust=replace(bench.services.trust, register=register))
