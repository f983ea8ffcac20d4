"""What is archived, in the hands of rights, holds, readers and the preview. R9, R11, R13, R17, R19."""

from __future__ import annotations

from datetime import timedelta

import pytest
from dateutil.relativedelta import relativedelta

from schemas.errors import InvalidMessage
from schemas.terms import Case, Department, Purpose
from schemas.ticks import PURGE_EXPIRED, PURGE_REMARKS
from tests import factories
from tests.factories import NOON, Someone
from tests.workers.actors.ticking import run
from tests.workers.bench import Bench
from tests.workers.cases.conftest import court, subsidiary_keys
from tests.workers.cases.court import Court
from tests.workers.cases.test_deciding import DPO, entered
from tests.workers.retention.people import (
    APPLICATION_OVER,
    ARCHIVE_OVER,
    RELATION_OVER,
    applicant,
    archived,
    correspondent,
    in_use,
    purge_all,
    sweep_all,
)
from workers.cases import deciding
from workers.cases.weighing import persons_of
from workers.gate import Reader, ReadRefused
from workers.retention.evidence import RETAINED_ON, Evidence, read_archive
from workers.retention.preview import preview
from workers.services import Services
from workers.stores.disposals import Disposed
from workers.stores.keys import ACTIVE, Hold, key_id
from workers.subject_access import copy_of

__all__ = ["court", "subsidiary_keys"]

LAST_DAY = "2032-02-20"
ADMINISTRATION = Reader("clerk.sample", Department.ADMINISTRATION)


async def moved(bench: Bench) -> Someone:
    """An applicant whose record was moved, and who has written since."""
    whom = await applicant(bench)
    bench.clock.at = APPLICATION_OVER
    await sweep_all(bench.services)
    await bench.send(factories.form(Case.CONTACT, whom, received=APPLICATION_OVER))
    return whom


async def read(services: Services, whom: Someone, reader: Reader = ADMINISTRATION) -> list[Evidence]:
    return await read_archive(services, reader, whom.email, "claim 2027-14")


# ---------------------------------------------------------------------- reading


async def test_a_read_needs_a_reason_and_is_recorded_with_it(bench: Bench) -> None:
    whom = await moved(bench)
    [found] = await read(bench.services, whom)
    assert (found.case, found.last_day.isoformat()) == (Case.JOB_APPLICATION, LAST_DAY)
    assert found.data["last_name"] == whom.last_name
    [entry] = [one for one in bench.collection("reads", "evidence") if one["purpose"] == "archive"]
    assert (entry["reason"], entry["outcome"], entry["reader"]) == ("claim 2027-14", "shown", "clerk.sample")
    for reason in ("", "who is ada@example.com?", "x" * 121):
        with pytest.raises(InvalidMessage):
            await read_archive(bench.services, ADMINISTRATION, whom.email, reason)


async def test_whose_department_may_not_is_refused_and_recorded(bench: Bench) -> None:
    whom = await moved(bench)
    with pytest.raises(ReadRefused):
        await read(bench.services, whom, Reader("it.sample", Department.IT))
    [entry] = [one for one in bench.collection("reads", "evidence") if one["purpose"] == "archive"]
    assert entry["outcome"] == "refused"
    assert await read(bench.services, whom, Reader("seller.sample", Department.MARKETING_SALES)) == [], "clients alone"


async def test_past_its_date_it_is_not_shown_purged_or_not(bench: Bench) -> None:
    whom = await moved(bench)
    bench.clock.at = ARCHIVE_OVER - timedelta(milliseconds=1)
    assert len(await read(bench.services, whom)) == 1
    bench.clock.at = ARCHIVE_OVER
    assert await read(bench.services, whom) == []
    assert len(archived(bench)["submissions"]) == 1


async def test_no_other_read_opens_it(bench: Bench) -> None:
    whom = await moved(bench)
    assert await bench.read(whom.email, Purpose.RECRUITMENT, Department.ADMINISTRATION) == []
    assert len(await bench.read(whom.email)) == 1


# ---------------------------------------------------------------------- rights


async def test_an_access_copy_holds_it(bench: Bench) -> None:
    whom = await moved(bench)
    copied = {one["name"]: one["records"] for one in (await copy_of(bench.services, [whom.email]))["collections"]}
    [kept] = copied["archive"]
    assert (kept["case"], kept["last_name"]) == ("job-application", whom.last_name)
    assert [one["case"] for one in copied["submissions"]] == ["contact"]


async def test_an_erasure_leaves_the_evidence_and_says_ground_and_last_day(bench: Bench, court: Court) -> None:
    whom = await moved(bench)
    before = archived(bench)
    reference = await entered(court, whom, confirmed="yes")
    await court.run(reference)
    task = (await court.tasks(reference))["controller"]
    told = {one["name"]: one for one in task["entry"]["collections"]}
    assert told["archive"] == {
        "name": "archive", "matched": 1, "erased": 0, "retained": 1, "ground": RETAINED_ON, "until": LAST_DAY
    }  # fmt: skip
    assert "retained" not in told["submissions"]
    assert archived(bench) == before
    assert "submissions" not in in_use(bench)
    assert len(await read(bench.services, whom)) == 1
    standing = await bench.services.standing.left(whom.email)
    assert {name for name, count in standing.items() if count} == {"archive", "archive.files"}


async def test_an_erasure_takes_what_is_past_its_last_day(bench: Bench, court: Court) -> None:
    whom = await moved(bench)
    bench.clock.at = ARCHIVE_OVER
    await court.run(await entered(court, whom, confirmed="yes"))
    assert archived(bench) == {}


async def test_a_hold_is_on_both_and_its_lifting_ends_both(bench: Bench, court: Court) -> None:
    whom = await moved(bench)
    reference = await entered(court, whom)
    await deciding.hold(court.desk, reference, "court order 12", ARCHIVE_OVER.date(), DPO)
    held = await bench.services.keys.all_held()
    assert sorted(key.partition("/")[2] for key in held) == ["active", "archive"]
    bench.clock.at = ARCHIVE_OVER
    assert (await purge_all(bench.services))["held"] == 1
    await deciding.lift(court.desk, reference, DPO)
    bench.clock.at = ARCHIVE_OVER + timedelta(days=2)
    assert (await purge_all(bench.services))["purged"] == 1


# ---------------------------------------------------------------------- the preview


async def test_the_preview_says_what_would_go_and_changes_nothing(bench: Bench) -> None:
    await moved(bench)
    await applicant(bench, decided=False)
    held, services = await correspondent(bench), bench.services
    await correspondent(bench)
    [person] = await persons_of(services, [held.email])
    await services.keys.hold([key_id(person, ACTIVE)], Hold("R-TEST", "legal hold", None))
    before = {name: found for name, found in bench.dump().items() if not name.startswith("evidence")}
    found = await preview(services, RELATION_OVER + timedelta(days=120))
    purposes = ("provide-services", "sales-prospecting")
    # The one who wrote again did so three months later, and is past that date too.
    assert dict(found.going) == {Disposed("deleted", "contact", purpose, "relation"): 2 for purpose in purposes}
    assert dict(found.held) == {Disposed("deleted", "contact", purpose, "relation"): 1 for purpose in purposes}
    assert dict(found.open) == {("job-application", "recruitment", "application-decided"): 1}
    assert (
        dict((await preview(services, ARCHIVE_OVER)).going)[
            Disposed("purged", "job-application", "recruitment", "application")
        ]
        == 1
    )
    assert {name: found for name, found in bench.dump().items() if not name.startswith("evidence")} == before


# ---------------------------------------------------------------------- what else is past its time


async def test_proofs_of_consent_go_when_nobody_can_claim_any_more(bench: Bench) -> None:
    await bench.send(factories.choice("device-1"))
    [consent] = bench.collection("consents")
    await bench.services.consents.note_expired(consent["valid_until"], limit=10)
    over = consent["valid_until"] + relativedelta(years=5)
    await run(bench, PURGE_EXPIRED, over)
    assert len(bench.collection("consents")) == 1
    await run(bench, PURGE_EXPIRED, over + timedelta(days=2))
    assert bench.collection("consents") == bench.collection("expired_consents", "evidence") == []


async def test_anchors_about_nobody_go_and_others_stay(bench: Bench) -> None:
    whom = await correspondent(bench)
    await bench.send(
        factories.interacted(NOON, email=whom.email), factories.interacted(NOON, email="nobody@example.com")
    )
    await run(bench, PURGE_REMARKS, NOON + timedelta(days=89))
    assert len(bench.collection("anchors")) == 2
    await run(bench, PURGE_REMARKS, NOON + timedelta(days=92))
    assert len(bench.collection("anchors")) == 1
