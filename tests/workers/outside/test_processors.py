"""An external processor is asked for an erasure, and the case waits for its signed word."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigurationError
from schemas.ledger_keys import new_ledger_keys
from tests.workers.cases.test_evidence_of_cases import checked
from tests.workers.outside.certificates import DAY, Authority
from tests.workers.outside.mailing import DOMAIN, MINUTE, Asking, asking, issued, mailings_end
from workers.cases.deciding import CannotDecide, settle
from workers.cases.engine import advance
from workers.cases.errands import read_errand_sealer
from workers.cases.showing import whole
from workers.rules.opendsr_asked import read_callback
from workers.services import utc_now
from workers.status import look_around

__all__ = ["asking", "issued", "mailings_end"]


async def test_an_erasure_is_asked_and_the_case_closes_on_the_processors_word(asking: Asking) -> None:
    reference = await asking.served()
    [errand] = asking.errands
    assert "letter" in errand
    assert "ada@" not in json.dumps(errand, default=str)
    await asking.later()
    [asked] = asking.mailing.asked
    assert asked["subject_identities"][0]["identity_value"] == "ada@example.com"
    assert (asked["subject_request_type"], asked["subject_request_id"]) == ("erasure", errand["_id"])
    assert asking.mailing.keys == ["Bearer known-by"]
    [errand] = asking.errands
    assert (errand["state"], "letter" in errand) == ("asked", False)  # nothing of the person is left of it
    assert "ada@" not in json.dumps(errand, default=str)

    assert await asking.proof(reference) == "verified"  # every store of ours proved, and still open
    assert (await asking.court.case(reference))["answer"] == "answered"  # the person did not wait for it
    assert await asking.call_back() == 202
    await advance(asking.court.desk, reference)
    assert (await asking.court.case(reference))["proof"] == "closed"
    assert await asking.call_back() == 202  # said twice
    kinds = [one["_id"].split("/")[1] for one in asking.bench.collection("ledger_pending", "evidence")]
    assert (kinds.count("processor_asked"), kinds.count("processor_answered")) == (1, 1)
    _, report = await checked(asking.court, new_ledger_keys(utc_now()), reference)
    assert report.sound
    shown = (await whole(asking.court.desk, reference))["processors"]
    assert [(one["processor"], one["state"]) for one in shown] == [("mailing", "done")]
    assert asking.mailing.fetched == 1  # its certificate is kept


async def test_a_processor_that_does_not_call_back_is_asked_how_it_stands(asking: Asking) -> None:
    await asking.served()
    await asking.later()
    await asking.later(timedelta(hours=2))
    assert asking.errands[0]["state"] == "asked"
    asking.mailing.state, asking.mailing.name = "completed", "X-OpenGDPR"  # one that knows version 1's names
    await asking.later(timedelta(hours=2))
    assert asking.errands[0]["state"] == "done"


async def test_what_has_no_equal_is_asked_of_nobody(asking: Asking) -> None:
    """Nor is portability: what the person provided was provided to us."""
    for right in ("objection", "portability", "restriction", "withdrawal"):
        await asking.served(right)
    assert asking.errands == []


async def test_a_processor_that_refuses_keeps_the_case_open_and_is_seen(asking: Asking) -> None:
    reference = await asking.served()
    asking.mailing.answer = 400
    await asking.later()
    assert asking.errands[0]["state"] == "refused"
    assert await asking.proof(reference) == "verified"
    status = await look_around(asking.court.desk.services, asking.bench.redis)
    assert "processor mailing: 1 request(s) refused or unanswered" in status.alarms
    decided = (reference, "mailing", "accept", "deleted by hand, letter of today", "dpo.sample")
    await settle(asking.court.desk, *decided)
    await advance(asking.court.desk, reference)
    assert (await asking.court.case(reference))["proof"] == "closed"
    with pytest.raises(CannotDecide, match="no such store"):
        await settle(asking.court.desk, *decided)


async def test_a_processor_that_is_away_is_asked_again_and_seen_before_the_date(asking: Asking) -> None:
    await asking.served()
    asking.mailing.answer = 503
    await asking.later()
    await asking.later(timedelta(seconds=1))
    assert len(asking.mailing.asked) == 1
    for _ in range(40):
        await asking.later(timedelta(days=1, hours=3))
    assert len({one["subject_request_id"] for one in asking.mailing.asked}) == 1  # the same request, every time
    assert asking.errands[0]["alarm"] == "unanswered"
    asking.mailing.answer = 201
    await asking.later(timedelta(days=2))
    assert (asking.errands[0]["state"], "alarm" in asking.errands[0]) == ("asked", False)


@pytest.mark.parametrize(
    "spoil", [{"encoded_request": "b3RoZXI="}, {"subject_request_id": "another"}, {"expected_completion_time": 5}]
)
async def test_an_answer_about_something_else_is_not_believed(asking: Asking, spoil: dict[str, Any]) -> None:
    await asking.served()
    asking.mailing.spoil = spoil
    await asking.later()
    assert (asking.errands[0]["state"], "letter" in asking.errands[0]) == ("waiting", True)


async def test_a_call_back_is_believed_in_the_written_order(asking: Asking, authority: Authority) -> None:
    """Everything is wrong at first; what is mended, step by step, changes the answer as the order has it."""
    await asking.served()
    await asking.later()
    mailing, good = asking.mailing, asking.mailing.issued
    asking.processors.certificates.clear()
    stranger = Authority.new("Stranger")
    mailing.domain, mailing.issued = "elsewhere.example.org", authority.issue("elsewhere.example.org")
    assert await asking.call_back(b"{") == 401  # 1. not on the list, whatever its certificate
    mailing.domain = DOMAIN
    for shown in (
        stranger.issue(DOMAIN),  # an authority that is not named
        stranger.own,  # signed by itself
        authority.issue("other.example.org"),
        authority.issue(DOMAIN, begins=-20 * DAY, ends=-10 * DAY),
        authority.issue(DOMAIN, begins=10 * DAY),
    ):
        mailing.shown, mailing.issued = shown.pem, shown
        asking.bench.clock.at = asking.bench.clock() + MINUTE
        assert await asking.call_back(b"{") == 401  # 2. its certificate
    mailing.shown = b"nothing"
    asking.bench.clock.at = asking.bench.clock() + MINUTE
    fetched = mailing.fetched
    for _ in range(3):  # whoever calls back with what does not hold makes us fetch once a minute, no more
        assert await asking.call_back(b"{") == 401
    assert mailing.fetched == fetched + 1
    asking.bench.clock.at = asking.bench.clock() + MINUTE
    mailing.shown, mailing.issued = good.pem, stranger.own
    assert await asking.call_back(b"{") == 400  # 3. its signature
    mailing.issued = good
    assert await asking.call_back(b"{") == 400  # 4. only now is it read
    assert await asking.call_back(status_callback_url="https://opendsr.example.com/other") == 400
    assert await asking.call_back(subject_request_id="0f4ad7a2-7e0e-4b7d-9a44-3f8e5f3d7c11") == 400
    assert await asking.call_back(request_status="denied") == 400
    assert await asking.call_back(headers={"X-OpenDSR-Signature": "x"}) == 401
    assert asking.errands[0]["state"] == "asked"
    assert await asking.call_back() == 202
    assert asking.errands[0]["state"] == "done"


async def test_a_body_that_was_altered_is_not_believed(asking: Asking) -> None:
    await asking.served()
    await asking.later()
    url = {"status_callback_url": asking.processors.callback_url}
    raw = json.dumps(asking.mailing.statement(asking.errands[0]["_id"]) | url).encode()
    headers = asking.mailing.headers(raw)
    altered = raw.replace(b"pending", b"completed")
    assert await asking.call_back(altered, headers) == 400
    said = read_callback(altered, asking.processors.callback_url)[1]
    assert said.status == "completed"  # the variant that reads first would have believed it
    assert asking.errands[0]["state"] == "asked"


async def test_a_certificate_that_was_revoked_is_fetched_anew(asking: Asking, authority: Authority) -> None:
    await asking.served()
    await asking.later()
    lost, fresh = asking.mailing.issued, authority.issue(DOMAIN)
    assert asking.processors.certificates == {DOMAIN: [lost.certificate]}
    [named] = asking.processors.peers.processors
    object.__setattr__(named, "revoked", (lost.certificate.serial_number,))  # as after the operator's next start
    assert await asking.call_back() == 401
    asking.mailing.issued, asking.mailing.shown = fresh, fresh.pem
    asking.bench.clock.at = asking.bench.clock() + MINUTE
    assert await asking.call_back() == 202


async def test_another_processors_errand_is_not_its_to_end(asking: Asking) -> None:
    await asking.served()
    await asking.later()
    collection = asking.bench.reader[f"{asking.bench.prefix}_evidence"]["errands"]
    collection.update_one({}, {"$set": {"domain": "opendsr.other.example.org"}})
    assert await asking.call_back() == 400


def test_a_register_that_asks_a_processor_needs_the_key_to_seal_errands(asking: Asking, tmp_path: Path) -> None:
    register = asking.court.desk.services.trust.register
    with pytest.raises(ConfigurationError, match="errands: is missing"):
        read_errand_sealer(tmp_path, register)
    assert read_errand_sealer(tmp_path, register.model_copy(update={"processors": {}})) is None
