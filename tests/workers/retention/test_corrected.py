"""A correction reaches the archive, and a record on its way there is met by one of the two. R13, R18; Art. 16."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from schemas.terms import Case
from tests import factories
from tests.factories import NOON, Someone
from tests.workers.bench import Bench
from tests.workers.cases.conftest import court, subsidiary_keys
from tests.workers.cases.court import Court, letters
from tests.workers.cases.test_consent import counted, served
from tests.workers.cases.test_rectifying import last_name
from tests.workers.retention.people import (
    APPLICATION_OVER,
    applicant,
    archived,
    at_every_step,
    in_use,
    sweep_all,
    sweep_theirs,
)
from tests.workers.retention.test_archive import ADMINISTRATION
from workers.cases import rectifying
from workers.retention import moving
from workers.retention.evidence import read_archive
from workers.services import Services
from workers.stores.archive import Archive
from workers.stores.keys import ACTIVE, ARCHIVE, key_id
from workers.stores.mongo import Document
from workers.subject_access import copy_of

__all__ = ["court", "subsidiary_keys"]


async def moved(bench: Bench) -> tuple[Someone, Document]:
    """An applicant who has written since, and what the archive holds of the application."""
    whom = await applicant(bench)
    bench.clock.at = APPLICATION_OVER
    await sweep_all(bench.services)
    await bench.send(factories.form(Case.CONTACT, whom, received=APPLICATION_OVER))
    bench.clock.at += timedelta(hours=1)
    [record] = archived(bench)["submissions"]
    return whom, record


async def test_what_is_archived_is_corrected_with_the_rest(bench: Bench, court: Court) -> None:
    whom, before = await moved(bench)
    reference = await served(court, whom, "rectification", corrections=last_name(whom.last_name, "Newname"))

    one = {"matched": 1, "corrected": 1}
    assert counted((await court.tasks(reference))["controller"]) == {"submissions": one, "archive": one}
    assert "archive: 1 found, 1 correct now" in (await letters(court, reference))["answer-1"]
    [after] = archived(bench)["submissions"]
    assert after == {**before, "sealed": after["sealed"], "versions": {"last_name": 1}}, "what it is kept for stays"
    [shown] = await read_archive(bench.services, ADMINISTRATION, whom.email, "claim 2027-14")
    copied = {one["name"]: one["records"] for one in (await copy_of(bench.services, [whom.email]))["collections"]}
    assert [shown.data["last_name"], *(one["last_name"] for one in copied["archive"])] == ["Newname"] * 2
    assert {one["purpose"] for one in bench.collection("reads", "evidence") if one["reader"] == "rights"} == {
        "rectification",
        "access",
    }


async def test_something_else_in_the_archive_is_shown_and_left(bench: Bench, court: Court) -> None:
    whom, before = await moved(bench)
    reference = await served(court, whom, "rectification", corrections=last_name("Othername", "Newname"))
    task = (await court.tasks(reference))["controller"]
    assert (task["state"], task["outcome"]) == ("doubtful", "conflict")
    assert counted(task)["archive"] == {"matched": 1, "conflicting": 1}
    assert archived(bench)["submissions"] == [before]


async def test_past_its_last_day_there_is_nothing_to_correct(bench: Bench, court: Court) -> None:
    whom, before = await moved(bench)
    bench.clock.at = before["received"] + timedelta(days=6 * 365)
    reference = await served(court, whom, "rectification", corrections=last_name(whom.last_name, "Newname"))
    assert "archive" not in counted((await court.tasks(reference))["controller"])
    assert archived(bench)["submissions"] == [before]


# ---------------------------------------------------------------------- on its way there


class Crossing:
    """Somebody whose application goes to the archive, and who has their name corrected, at the same moment."""

    def __init__(self, bench: Bench, court: Court) -> None:
        self.bench, self.court, self.whom = bench, court, factories.someone()
        self.prepare = partial(applicant, bench, self.whom)
        bench.clock.at = APPLICATION_OVER

    async def correct(self, services: Services | None = None) -> None:
        desk = replace(self.court.desk, services=services or self.bench.services)
        patch = {"field": "last_name", "was": self.whom.last_name, "to": "Newname"}
        said = {"emails": [self.whom.email], "patches": [patch]}
        await rectifying.rectify(desk, {"received_at": APPLICATION_OVER}, said)

    async def names(self) -> list[str]:
        """What stands wherever something does."""
        found = []
        for place, use, stored in (
            ("submissions", ACTIVE, in_use(self.bench)),
            ("archive", ARCHIVE, archived(self.bench)),
        ):
            for one in stored.get("submissions", ()):
                key = key_id(one["person"], use)
                body = (await self.bench.services.keys.read([key]))[key].open(f"{place}/{one['_id']}", one["sealed"])
                found.append(json.loads(body)["last_name"])
        return found

    async def ends_corrected(self) -> None:
        await sweep_theirs(self.bench, self.bench.services)
        assert (await self.names(), in_use(self.bench)) == (["Newname"], {})

    async def between_read_and_copy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The sweep reads, the correction comes and goes, the sweep writes what it read."""
        insert = Archive.insert

        async def corrected_before(archive: Archive, documents: list[Document]) -> None:
            await self.correct()
            await insert(archive, documents)

        await self.prepare()
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(Archive, "insert", corrected_before)
            await sweep_theirs(self.bench, self.bench.services)

    async def at_every_step_of_a_sweep(self) -> int:
        walk = partial(sweep_theirs, self.bench)
        return await at_every_step(self.bench, self.prepare, walk, self.correct, self.ends_corrected)

    async def a_sweep_at_every_step(self) -> int:
        walk = partial(sweep_theirs, self.bench, self.bench.services)
        return await at_every_step(self.bench, self.prepare, self.correct, walk, self.ends_corrected)


@pytest.fixture
def crossing(bench: Bench, court: Court) -> Crossing:
    return Crossing(bench, court)


async def test_a_correction_between_read_and_copy_is_archived(
    crossing: Crossing, monkeypatch: pytest.MonkeyPatch
) -> None:
    await crossing.between_read_and_copy(monkeypatch)
    assert in_use(crossing.bench) == {}, "it goes at once"
    await crossing.ends_corrected()


@pytest.mark.slow
async def test_a_correction_at_any_step_of_a_sweep_is_archived(crossing: Crossing) -> None:
    assert await crossing.at_every_step_of_a_sweep() > 15


async def test_a_sweep_between_the_two_looks_of_a_correction_archives_it(
    crossing: Crossing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in use was read, the record moves, and the archive is read."""
    await crossing.prepare()
    real = Archive.of

    async def moved_before(archive: Archive, *asked: Any) -> list[Document]:
        await sweep_theirs(crossing.bench, crossing.bench.services)
        return await real(archive, *asked)

    monkeypatch.setattr(Archive, "of", moved_before)
    await crossing.correct()
    await crossing.ends_corrected()


@pytest.mark.slow
async def test_a_sweep_at_any_step_of_a_correction_archives_it(crossing: Crossing) -> None:
    assert await crossing.a_sweep_at_every_step() > 5


async def test_the_copy_of_a_sweep_that_died_follows_too(crossing: Crossing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its copy stands already when the next one comes, and the correction died before it looked there."""
    await crossing.prepare()
    real = moving._erased

    async def dies(*_: Any) -> frozenset[str]:
        raise ConnectionError

    monkeypatch.setattr(moving, "_erased", dies)
    with pytest.raises(ConnectionError):
        await sweep_theirs(crossing.bench, crossing.bench.services)
    monkeypatch.setattr(moving, "_erased", real)
    [copy] = archived(crossing.bench)["submissions"]
    await crossing.correct()
    stored = crossing.bench.reader[f"{crossing.bench.prefix}_archive"]["submissions"]
    stored.replace_one({"_id": copy["_id"]}, copy)
    await crossing.ends_corrected()


async def test_a_copy_that_changes_while_it_is_brought_up_is_left_to_the_next_walk(
    crossing: Crossing, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Archive.follow

    async def outrun(archive: Archive, copy: Document, *more: Any) -> bool:
        return await real(archive, {**copy, "sealed": b"as it was read"}, *more)

    with monkeypatch.context() as racing:
        racing.setattr(Archive, "follow", outrun)
        await crossing.between_read_and_copy(racing)
    assert len(crossing.bench.collection("submissions")) == 1, "it stays in use meanwhile"
    crossing.bench.clock.at += timedelta(days=2)
    await crossing.ends_corrected()
    lines = await crossing.bench.services.disposals.by_day(NOON.date())
    assert [(one["what"], one["records"]) for one in lines] == [("archived", 1)], "counted once"


async def test_a_sweep_that_does_not_look_after_its_copy_is_noticed(
    crossing: Crossing, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_look(*_: Any) -> frozenset[str]:
        return frozenset()

    monkeypatch.setattr(moving, "_follow", no_look)
    with pytest.raises(AssertionError):
        await test_a_correction_between_read_and_copy_is_archived(crossing, monkeypatch)


async def test_a_correction_that_leaves_the_archive_alone_is_noticed(
    crossing: Crossing, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: Any) -> list[Any]:
        return []

    monkeypatch.setattr(rectifying, "_archived", nothing)
    await crossing.prepare()
    await sweep_theirs(crossing.bench, crossing.bench.services)
    await crossing.correct()
    with pytest.raises(AssertionError):
        await crossing.ends_corrected()


async def test_a_correction_that_looks_at_the_archive_first_is_noticed(
    crossing: Crossing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken on purpose: what is moved between its two looks is in neither."""
    real, first = rectifying._in_use, rectifying._archived
    seen: list[Any] = []

    async def archive_first(services: Services, emails: Any) -> Any:
        seen[:] = await first(services, emails)
        await sweep_theirs(crossing.bench, crossing.bench.services)
        return await real(services, emails)

    async def as_seen(*_: Any) -> Any:
        return list(seen)

    monkeypatch.setattr(rectifying, "_in_use", archive_first)
    monkeypatch.setattr(rectifying, "_archived", as_seen)
    await crossing.prepare()
    await crossing.correct()
    with pytest.raises(AssertionError):
        await crossing.ends_corrected()
