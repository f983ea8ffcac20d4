"""What an external processor holds about a person is in their package, as it gave it, or its silence is told."""

from __future__ import annotations

import asyncio
import io
import json
import random
import zipfile
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from schemas.ledger_keys import new_ledger_keys
from schemas.register_entries import Transfer
from schemas.terms import TransferBasis
from tests.workers.cases.court import letters
from tests.workers.cases.test_evidence_of_cases import checked
from tests.workers.outside.mailing import Asking, asking, issued, mailings_end
from workers.cases import handed_over
from workers.cases.deciding import settle
from workers.cases.engine import advance
from workers.cases.showing import whole
from workers.services import utc_now
from workers.status import look_around

__all__ = ["asking", "issued", "mailings_end"]

HELD = json.dumps([{"opened": "2026-10-01T08:00:00Z", "device": "Telephone of Ada Example"}]).encode()
WEEKS = timedelta(days=29)


async def opened(asking: Asking, reference: str, part: int = 1) -> dict[str, bytes]:
    """The package's members, as whoever downloads it sees them."""
    archive = await asking.court.desk.packages.get(reference if part == 1 else f"{reference}-{part}")
    assert archive is not None
    with zipfile.ZipFile(io.BytesIO(archive)) as one:
        return {name: one.read(name) for name in one.namelist()}


async def told(asking: Asking, holds: bytes | None = HELD) -> str:
    """An access case of which the processor has said that it is done, and what it holds has been fetched."""
    reference = await asking.served("access")
    await asking.later()
    asking.mailing.state, asking.mailing.holds = "completed", holds
    await asking.later(timedelta(hours=2))
    return reference


def of_mailing(members: dict[str, bytes]) -> dict[str, Any]:
    data = json.loads(members["data.json"])
    return next(store for store in data["stores"] if store["code"] == "mailing")


async def test_the_answer_waits_for_what_the_processor_holds(asking: Asking) -> None:
    reference = await asking.served("access")
    await asking.later()
    [asked] = asking.mailing.asked
    assert asked["subject_request_type"] == "access"
    assert (await asking.court.run(reference))["answer"] == "accepted"  # every store of ours has answered

    asking.mailing.state, asking.mailing.holds = "completed", HELD
    assert await asking.call_back() == 202
    assert asking.mailing.shown_to == []  # whoever calls does not wait for the fetching
    await asking.later()
    assert asking.mailing.shown_to == ["Bearer known-by"]
    everywhere = json.dumps(asking.errands, default=str)
    assert (asking.errands[0]["state"], "Telephone" in everywhere, "ada@" in everywhere) == ("done", False, False)

    assert (await asking.court.run(reference))["answer"] == "answered"
    assert "handed_over" not in asking.errands[0]
    members = await opened(asking, reference)
    [listed] = json.loads(members["data.json"])["files"]
    assert members[listed["path"]] == HELD
    assert (listed["store"], listed["path"]) == ("mailing", "files/001-mailing.json")
    assert (of_mailing(members)["state"], of_mailing(members)["proof"]) == ("done", "signed")
    company = asking.court.desk.services.trust.register.processors["mailing"].name
    assert company in members["index.html"].decode()
    answer = (await letters(asking.court, reference))["answer-1"]
    assert company in answer
    assert "signée sous son certificat" in answer

    assert await asking.proof(reference) == "closed"
    _, report = await checked(asking.court, new_ledger_keys(utc_now()), reference)
    assert report.sound
    assert await asking.court.desk.cases.parts_of(listed["store"], listed["sha256"]) == []
    assert asking.bench.collection("copies", "evidence") == []


async def test_nothing_held_is_told_as_that(asking: Asking) -> None:
    reference = await told(asking, holds=None)
    await asking.court.run(reference)
    members = await opened(asking, reference)
    assert of_mailing(members)["state"] == "nothing-held"
    assert not [name for name in members if name.startswith("files/")]


async def test_a_silent_processor_holds_no_answer_up_and_further_word_brings_what_it_holds(asking: Asking) -> None:
    reference = await asking.served("access")
    await asking.later()
    await asking.court.run(reference)
    asking.bench.clock.at = asking.bench.clock() + WEEKS
    assert (await asking.court.run(reference))["answer"] == "answered"
    assert of_mailing(await opened(asking, reference))["state"] == "silent"
    assert (await asking.court.case(reference))["promised"] == ["mailing"]
    assert "PAS ENCORE RÉPONDU" in (await letters(asking.court, reference))["answer-1"]

    asking.mailing.state, asking.mailing.holds = "completed", HELD
    await asking.later()
    await asking.court.run(reference)
    members = await opened(asking, reference, part=2)
    assert members["files/001-mailing.json"] == HELD
    assert await asking.proof(reference) == "closed"


async def test_one_that_refuses_is_named_and_keeps_the_case_open_until_somebody_has_looked(asking: Asking) -> None:
    reference = await asking.served("access")
    asking.mailing.answer = 400
    await asking.later()
    assert (await asking.court.run(reference))["answer"] == "answered"
    assert of_mailing(await opened(asking, reference))["state"] == "refused"
    assert await asking.proof(reference) == "receipted"
    decided = (reference, "mailing", "accept", "copy sent by post, letter of today", "dpo.sample")
    await settle(asking.court.desk, *decided)
    assert await asking.proof(reference) == "closed"


async def test_nothing_is_asked_across_a_border_that_nothing_may_cross(asking: Asking) -> None:
    desk = asking.court.desk
    trust, register = desk.services.trust, desk.services.trust.register
    suspended = Transfer(basis=TransferBasis.SUSPENDED)
    mailing = register.processors["mailing"].model_copy(update={"transfer": suspended})
    register = register.model_copy(update={"processors": {**register.processors, "mailing": mailing}})
    asking.court.desk = replace(desk, services=replace(desk.services, trust=replace(trust, register=register)))
    reference = await asking.served("access")
    await asking.later()
    assert asking.mailing.asked == []
    assert "ada@" not in json.dumps(asking.errands, default=str)
    assert (await asking.court.run(reference))["answer"] == "answered"
    assert of_mailing(await opened(asking, reference))["state"] == "barred"
    assert await asking.proof(reference) == "closed"
    assert [one["reason"] for one in (await whole(asking.court.desk, reference))["processors"]] == ["no_transfer_basis"]
    erased = await asking.served("erasure")  # what ends a use always goes
    await asking.later()
    assert [one["subject_request_type"] for one in asking.mailing.asked] == ["erasure"]
    assert erased != reference


async def test_what_comes_in_many_pieces_comes_whole(asking: Asking) -> None:
    large = random.Random(5).randbytes(3 * 1024 * 1024)
    asking.mailing.media_type = "application/x-tar"
    reference = await told(asking, large)
    await asking.court.run(reference)
    assert (await opened(asking, reference))["files/001-mailing.bin"] == large


@pytest.mark.parametrize("holds", [b"", bytes(8 * 1024 * 1024 + 1)], ids=["empty", "too-large"])
async def test_what_cannot_be_taken_is_asked_for_again_and_seen(asking: Asking, holds: bytes) -> None:
    await told(asking, holds)
    assert (asking.errands[0]["state"], asking.errands[0]["reason"]) == ("asked", "results_empty_or_too_large")
    for _ in range(12):
        await asking.later(timedelta(days=1, hours=3))
    status = await look_around(asking.court.desk.services, asking.bench.redis)
    assert "processor mailing: 1 request(s) refused or unanswered" in status.alarms
    asking.mailing.holds = HELD
    await asking.later(timedelta(days=2))
    assert asking.errands[0]["state"] == "done"


@pytest.mark.parametrize("url", ["https://elsewhere.example.org/results", "http://opendsr.mailing.example.org/results"])
async def test_nobody_is_led_elsewhere(asking: Asking, url: str) -> None:
    asking.mailing.results_url = url
    await told(asking)
    assert (asking.errands[0]["state"], asking.errands[0]["reason"]) == ("asked", "results_elsewhere")
    assert asking.mailing.shown_to == []


async def test_what_was_put_in_its_place_is_not_opened(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes to evidence, and has the key to seal by, is not the counter."""
    reference = await told(asking)
    errands = asking.bench.reader[f"{asking.bench.prefix}_evidence"]["errands"]
    other = asking.processors.sealer.seal_file(asking.errands[0]["_id"], handed_over.HANDED_OVER, b"of somebody else")
    errands.update_one({}, {"$set": {"handed_over.content": other}})
    assert (await asking.court.run(reference))["answer"] == "accepted"
    assert asking.errands[0]["alarm"] == "unread"

    monkeypatch.setattr(handed_over, "_is_what_was_signed", lambda *_: True)  # the variant that does not compare
    assert (await asking.court.run(reference))["answer"] == "answered"
    assert b"of somebody else" in (await opened(asking, reference)).values()


async def test_staff_let_stand_what_nobody_can_open(asking: Asking) -> None:
    reference = await told(asking)
    errands = asking.bench.reader[f"{asking.bench.prefix}_evidence"]["errands"]
    errands.update_one({}, {"$set": {"handed_over.content": b"\x00"}})
    await asking.court.run(reference)
    await settle(asking.court.desk, reference, "mailing", "accept", "unreadable, asked again by hand", "dpo.sample")
    assert (await asking.court.run(reference))["answer"] == "answered"
    assert of_mailing(await opened(asking, reference))["state"] == "refused"


async def test_two_workers_at_once_keep_it_once(asking: Asking) -> None:
    reference = await told(asking)
    await asyncio.gather(*(advance(asking.court.desk, reference) for _ in range(4)))
    await asking.court.run(reference)
    assert (await opened(asking, reference))["files/001-mailing.json"] == HELD
